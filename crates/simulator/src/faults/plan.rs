//! The plan of faults: a list per call, used up from its front, then seeded faults.

use serde::{Deserialize, Serialize};
use wechatpay_v2::MchId;

use crate::api::Api;
use crate::faults::fault::Fault;
use crate::faults::seeded::SeededFaults;
use crate::order::OrderKey;

/// The faults of each call. A call takes the first one that applies to it; if none does, the
/// seeded faults decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultPlan {
    pub unifiedorder: Vec<PlannedFault>,
    pub orderquery: Vec<PlannedFault>,
    pub closeorder: Vec<PlannedFault>,
    /// Random faults of calls and notifications; never used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeded: Option<SeededFaults>,
}

/// A fault, how many calls it affects and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    pub fault: Fault,
    /// How many calls it affects; one by default.
    #[serde(default = "once")]
    pub times: u32,
    /// Only calls of this merchant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mch_id: Option<MchId>,
    /// Only calls about this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_trade_no: Option<String>,
}

fn once() -> u32 {
    1
}

impl FaultPlan {
    /// The fault of a call about this order. It is used up.
    pub(crate) fn take(&mut self, api: Api, key: Option<&OrderKey>) -> Option<Fault> {
        let planned = self.of_call_mut(api);
        let at = planned.iter().position(|fault| fault.applies_to(key))?;
        planned[at].times -= 1;
        if planned[at].times == 0 {
            return Some(planned.remove(at).fault);
        }
        Some(planned[at].fault.clone())
    }

    pub(crate) fn of_call_mut(&mut self, api: Api) -> &mut Vec<PlannedFault> {
        match api {
            Api::Unifiedorder => &mut self.unifiedorder,
            Api::Orderquery => &mut self.orderquery,
            Api::Closeorder => &mut self.closeorder,
        }
    }

    pub(crate) fn faults(&self) -> impl Iterator<Item = &Fault> {
        let all = [&self.unifiedorder, &self.orderquery, &self.closeorder];
        all.into_iter().flatten().map(|planned| &planned.fault)
    }
}

impl PlannedFault {
    /// A fault that affects calls of any merchant and about any order.
    #[must_use]
    pub fn new(fault: Fault, times: u32) -> Self {
        Self { fault, times, mch_id: None, out_trade_no: None }
    }

    fn applies_to(&self, key: Option<&OrderKey>) -> bool {
        let mch_id = key.map(|key| &key.mch_id);
        let out_trade_no = key.map(|key| &key.out_trade_no);
        self.times > 0
            && (self.mch_id.is_none() || self.mch_id.as_ref() == mch_id)
            && (self.out_trade_no.is_none() || self.out_trade_no.as_ref() == out_trade_no)
    }
}

//! What shall go wrong: a plan per call, used up from its front, then by chance.

use serde::{Deserialize, Serialize};
use wechatpay_v2::MchId;

use crate::answer::{Answer, Draft};
use crate::order::OrderKey;
use crate::seeded::SeededFaults;
use crate::view::Api;

/// One thing that goes wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The connection closes without an answer; nothing has happened.
    DropBefore,
    /// It has happened; the connection closes without an answer.
    DropAfterCommit,
    /// `SYSTEMERROR`; nothing has happened.
    SystemError,
    /// `SYSTEMERROR`, although it has happened.
    SystemErrorAfterCommit,
    /// Status 502 with a page; nothing has happened.
    #[serde(rename = "status_5xx")]
    Status5xx,
    /// Status 200 with a page; nothing has happened.
    Html,
    /// It has happened; the answer's body is empty.
    Empty,
    /// It has happened; the answer's XML ends in the middle.
    Truncated,
    /// It has happened; the answer's signature is wrong.
    BadSignature,
    /// It has happened; the answer has no signature.
    MissingSignature,
    /// It has happened; the answer, well signed, speaks of another order (or another app, where an
    /// answer names no order).
    OtherOrder,
    /// Slow by so many milliseconds; then as usual.
    DelayMs(u64),
    /// `FREQUENCY_LIMITED`; nothing has happened.
    FrequencyLimited,
    /// Any `result_code=FAIL`; nothing has happened.
    ErrCode {
        /// WeChat's machine code.
        err_code: String,
        /// WeChat's text.
        #[serde(default)]
        err_code_des: String,
    },
    /// `return_code=FAIL` with this text; nothing has happened.
    ReturnFail(String),
    /// orderquery has not heard of the payment yet: `NOTPAY`. Other calls are as usual.
    Lag,
    /// orderquery tells of an attempt to pay that failed: `PAYERROR`. The payer may try again.
    PayError,
    /// Slow until released; then as usual, even if the caller has gone.
    Hold,
    /// It has happened; the answer comes when it is released.
    HoldAfterCommit,
}

/// A fault, how often it strikes and whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// What goes wrong.
    pub fault: Fault,
    /// With how many calls; one unless said.
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

impl PlannedFault {
    /// A fault that strikes whoever calls next.
    #[must_use]
    pub fn new(fault: Fault, times: u32) -> Self {
        Self { fault, times, mch_id: None, out_trade_no: None }
    }
}

/// The faults of each call. A call takes the first one that fits it; where none does, chance
/// decides, if there is a seed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "WeChat's names of the calls")]
pub struct FaultPlan {
    pub unifiedorder: Vec<PlannedFault>,
    pub orderquery: Vec<PlannedFault>,
    pub closeorder: Vec<PlannedFault>,
    /// What goes wrong by chance, notifications too; never used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeded: Option<SeededFaults>,
}

impl FaultPlan {
    pub(crate) fn take(&mut self, api: Api, key: Option<&OrderKey>) -> Option<Fault> {
        let planned = self.of(api);
        let strikes = |plan: &PlannedFault| {
            let mch_id = key.map(|key| &key.mch_id);
            let out_trade_no = key.map(|key| &key.out_trade_no);
            plan.times > 0
                && (plan.mch_id.is_none() || plan.mch_id.as_ref() == mch_id)
                && (plan.out_trade_no.is_none() || plan.out_trade_no.as_ref() == out_trade_no)
        };
        let at = planned.iter().position(strikes)?;
        planned[at].times -= 1;
        if planned[at].times == 0 {
            return Some(planned.remove(at).fault);
        }
        Some(planned[at].fault.clone())
    }

    pub(crate) fn of(&mut self, api: Api) -> &mut Vec<PlannedFault> {
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

impl Fault {
    /// How a call that it struck is counted; `None` where the call ends as usual.
    pub(crate) fn outcome(&self) -> Option<&'static str> {
        Some(match self {
            Self::DropBefore => "drop_before",
            Self::DropAfterCommit => "drop_after_commit",
            Self::SystemErrorAfterCommit => "system_error_after_commit",
            Self::Status5xx => "status_5xx",
            Self::Html => "html",
            Self::Empty => "empty",
            Self::Truncated => "truncated",
            Self::BadSignature => "bad_signature",
            Self::MissingSignature => "missing_signature",
            Self::OtherOrder => "other_order",
            Self::SystemError | Self::FrequencyLimited | Self::ErrCode { .. } => return None,
            Self::ReturnFail(_) | Self::DelayMs(_) | Self::Hold | Self::HoldAfterCommit => {
                return None;
            }
            Self::Lag | Self::PayError => return None,
        })
    }

    /// The `trade_state` that orderquery shows instead of a payment.
    pub(crate) fn trade_state(&self) -> Option<&'static str> {
        match self {
            Self::Lag => Some("NOTPAY"),
            Self::PayError => Some("PAYERROR"),
            _ => None,
        }
    }

    /// The answer to a call that is declined instead of taken; nobody sees it where the answer is
    /// a page or nothing.
    pub(crate) fn refusal(&self) -> Option<Answer> {
        Some(match self {
            Self::DropBefore | Self::Status5xx | Self::Html => Answer::system_error(),
            Self::SystemError => Answer::system_error(),
            Self::FrequencyLimited => Answer::refused("FREQUENCY_LIMITED", "频率限制"),
            Self::ErrCode { err_code, err_code_des } => Answer::refused(err_code, err_code_des),
            Self::ReturnFail(text) => Answer::Communication(text.clone()),
            _ => return None,
        })
    }

    /// Whether XML can carry its texts.
    pub(crate) fn texts(&self) -> [&str; 2] {
        match self {
            Self::ErrCode { err_code, err_code_des } => [err_code, err_code_des],
            Self::ReturnFail(text) => [text, ""],
            _ => ["", ""],
        }
    }
}

/// Writes the answer, damaged as the fault says.
pub(crate) fn write(draft: Draft, fault: Option<&Fault>) -> String {
    let mut message = draft.message;
    if fault == Some(&Fault::OtherOrder) {
        let names = ["out_trade_no", "appid"];
        if let Some(name) = names.into_iter().find(|name| message.get(name).is_some()) {
            message.set(name, "wx0another0order");
        }
    }
    if let Some((key, sign_type)) = draft.signer {
        let signature = message.signature(&key, sign_type);
        match fault {
            Some(Fault::MissingSignature) => {}
            Some(Fault::BadSignature) => message.set("sign", altered(&signature)),
            _ => message.set("sign", signature),
        }
    }
    let mut xml = message.to_xml();
    match fault {
        Some(Fault::Empty) => xml.clear(),
        Some(Fault::Truncated) => xml.truncate(xml.floor_char_boundary(xml.len() * 2 / 3)),
        _ => {}
    }
    xml
}

/// The same form, another signature.
pub(crate) fn altered(signature: &str) -> String {
    let first = if signature.starts_with('0') { "1" } else { "0" };
    format!("{first}{}", &signature[1..])
}

//! Calls that wait until a test releases them: delays without a clock.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::api::Api;

/// A call that waits to be released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldCall {
    pub api: Api,
    /// `None` if the call names no merchant.
    pub mch_id: Option<String>,
    /// `None` if the call names no order.
    pub out_trade_no: Option<String>,
}

/// Which calls to release: those that match all given fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeldCallFilter {
    pub api: Option<Api>,
    pub mch_id: Option<String>,
    pub out_trade_no: Option<String>,
}

pub(crate) struct WaitingCall {
    pub(crate) call: HeldCall,
    pub(crate) release: oneshot::Sender<()>,
}

impl HeldCallFilter {
    pub(crate) fn matches(&self, call: &HeldCall) -> bool {
        self.api.is_none_or(|api| api == call.api)
            && (self.mch_id.is_none() || self.mch_id == call.mch_id)
            && (self.out_trade_no.is_none() || self.out_trade_no == call.out_trade_no)
    }
}

//! Calls that wait to be released: slowness without a clock.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::view::Api;

/// A call that waits to be released.
pub(crate) struct Held {
    pub(crate) call: HeldCall,
    pub(crate) release: oneshot::Sender<()>,
}

/// Which call waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldCall {
    /// The call.
    pub api: Api,
    /// Its merchant, if it named one.
    pub mch_id: Option<String>,
    /// Its order, if it named one.
    pub out_trade_no: Option<String>,
}

/// Which waiting calls may go on; all of them unless said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the same as in HeldCall")]
pub struct Release {
    pub api: Option<Api>,
    pub mch_id: Option<String>,
    pub out_trade_no: Option<String>,
}

impl Release {
    pub(crate) fn fits(&self, call: &HeldCall) -> bool {
        self.api.is_none_or(|api| api == call.api)
            && (self.mch_id.is_none() || self.mch_id == call.mch_id)
            && (self.out_trade_no.is_none() || self.out_trade_no == call.out_trade_no)
    }
}

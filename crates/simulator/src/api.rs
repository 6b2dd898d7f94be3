//! The calls that the gateway serves.

use serde::{Deserialize, Serialize};

/// A call, by WeChat's name of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    Unifiedorder,
    Orderquery,
    Closeorder,
}

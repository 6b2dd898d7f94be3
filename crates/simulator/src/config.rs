//! What a simulator is started with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wechatpay_v2::{ApiKey, AppId, MchId, SignType};

/// How the gateway behaves. [`Config::new`] gives WeChat's own behaviour.
#[derive(Clone, Debug)]
pub struct Config {
    pub merchants: Vec<Merchant>,
    /// How many times faster than WeChat the repeat schedule of notifications runs, from 0.001 to 1e9.
    pub time_scale: f64,
    /// How long an endpoint may take to answer a notification; never scaled.
    pub notify_timeout: Duration,
    /// How old an order must be before closeorder accepts it. WeChat documents five minutes but is
    /// reported to close younger orders too (`wechatpay-v2/PROTOCOL.md`, "closeorder"), so the default is zero.
    pub close_age_min: Duration,
    /// Orders kept; beyond it, the oldest is deleted.
    pub orders_max: usize,
}

/// A merchant as WeChat knows it.
#[derive(Clone, Debug)]
pub struct Merchant {
    pub mch_id: MchId,
    /// The apps bound to it; a call for another one is refused.
    pub appids: Vec<AppId>,
    pub key: ApiKey,
    /// Signs only forged notifications about orders that the gateway does not know. Each order has
    /// the algorithm of the call that created it.
    pub sign_type: SignType,
    /// Where forged notifications about unknown orders go, plus `/notify/{mch_id}/payment`.
    pub notify_base_url: Option<String>,
}

pub(crate) type Merchants = BTreeMap<MchId, Arc<Merchant>>;

impl Config {
    #[must_use]
    pub fn new(merchants: Vec<Merchant>) -> Self {
        Self {
            merchants,
            time_scale: 1.0,
            notify_timeout: Duration::from_secs(5),
            close_age_min: Duration::ZERO,
            orders_max: 100_000,
        }
    }

    pub(crate) fn is_time_scale(scale: f64) -> bool {
        (0.001..=1e9).contains(&scale)
    }
}

//! Merchants of one test, as the simulator and the workers know them.

use std::net::SocketAddr;

use uuid::Uuid;
use wechatpay_v2::{ApiKey, AppId, MchId, SignType};
use worker::{Merchant, Merchants};

/// A merchant of one test. Its key and openid are random, so that the logs can be searched for them.
#[derive(Clone, Debug)]
pub struct TestMerchant {
    pub mch_id: String,
    pub appid: String,
    pub openid: String,
    pub key: String,
    pub sign_type: SignType,
}

impl TestMerchant {
    pub fn new(mch_id: &str, sign_type: SignType) -> Self {
        let random = || Uuid::new_v4().simple().to_string();
        Self {
            mch_id: mch_id.to_owned(),
            appid: "wx8888888888888888".to_owned(),
            openid: format!("o{}", &random()[..27]),
            key: random(),
            sign_type,
        }
    }
}

/// The simulator's configuration for these merchants, with short waits.
pub fn simulator_config(merchants: &[TestMerchant]) -> simulator::Config {
    let merchants = merchants.iter().map(|merchant| simulator::Merchant {
        mch_id: MchId::parse(&*merchant.mch_id).unwrap(),
        appids: vec![AppId::parse(&*merchant.appid).unwrap()],
        key: ApiKey::parse(&merchant.key).unwrap(),
        sign_type: merchant.sign_type,
        notify_base_url: None,
    });
    let mut config = simulator::Config::new(merchants.collect());
    // WeChat's repeats of a day happen within seconds.
    config.time_scale = 1000.0;
    config
}

/// The same merchants as the worker reads them from its merchants file.
pub fn keys(merchants: &[TestMerchant], public: SocketAddr) -> Merchants {
    let merchants = merchants.iter().map(|merchant| Merchant {
        mch_id: MchId::parse(&*merchant.mch_id).unwrap(),
        appids: vec![AppId::parse(&*merchant.appid).unwrap()],
        sign_type: merchant.sign_type,
        notify_base_url: format!("http://{public}"),
        key: ApiKey::parse(&merchant.key).unwrap(),
        previous_key: None,
        requests_per_second: None,
    });
    Merchants::of(merchants.collect()).unwrap()
}

use wechatpay_v2::{ApiKey, AppId, Credentials, MchId, SignType};

#[derive(Clone, Debug)]
pub struct Merchant {
    pub mch_id: MchId,
    pub appids: Vec<AppId>,
    /// The algorithm of its new orders.
    pub sign_type: SignType,
    /// Where WeChat reaches our ingress.
    pub notify_base_url: String,
    /// Signs requests and verifies notifications.
    pub key: ApiKey,
    /// Verifies notifications that were signed before the key was changed.
    pub previous_key: Option<ApiKey>,
    /// How many calls one worker begins for it in a second at most. `None`: as many as WeChat does not
    /// refuse as too frequent.
    pub requests_per_second: Option<u32>,
}

impl Merchant {
    /// Signs a call about an order, whose algorithm never changes.
    #[must_use]
    pub fn credentials(&self, sign_type: SignType) -> Credentials {
        Credentials { mch_id: self.mch_id.clone(), key: self.key.clone(), sign_type }
    }

    /// The keys that verify: the current one first.
    pub fn keys(&self) -> impl Iterator<Item = &ApiKey> {
        std::iter::once(&self.key).chain(&self.previous_key)
    }

    /// Where WeChat posts the payment notifications of this merchant.
    #[must_use]
    pub fn notify_url(&self) -> String {
        format!("{}/notify/{}/payment", self.notify_base_url, self.mch_id)
    }
}

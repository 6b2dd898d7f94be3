use crate::{ApiKey, Fields, MchId, Nonce, SignType, sign};

/// The merchant that calls, and how the call is signed.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The merchant; in provider mode the provider.
    pub mch_id: MchId,
    /// The APIv2 key of that merchant.
    pub key: ApiKey,
    /// The algorithm. Every call about an order uses the one that the order was created with.
    pub sign_type: SignType,
}

impl Credentials {
    /// Adds the elements that every request has, and signs.
    pub(crate) fn sign_request(&self, mut fields: Fields, nonce: &Nonce) -> Fields {
        fields.insert("mch_id", self.mch_id.as_str());
        fields.insert("nonce_str", nonce.as_str());
        fields.insert("sign_type", self.sign_type.as_str());
        fields.remove("sign");
        let signature = sign(&fields, &self.key, self.sign_type);
        fields.insert("sign", signature);
        fields
    }
}

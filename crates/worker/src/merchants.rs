//! The merchants that this worker serves, and the keys that sign and verify for them.

mod file;
mod merchant;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use wechatpay_v2::MchId;

pub use file::InvalidMerchants;
pub(crate) use file::{MerchantEntry, read_entries};
pub use merchant::Merchant;

type MerchantMap = Arc<HashMap<MchId, Arc<Merchant>>>;

/// The configured merchants. Clones share them, also when they are replaced.
#[derive(Clone, Debug, Default)]
pub struct Merchants(Arc<RwLock<MerchantMap>>);

impl Merchants {
    /// Reads the merchants file.
    ///
    /// # Errors
    /// When anything in it cannot be used.
    pub fn load(path: &Path) -> Result<Self, InvalidMerchants> {
        let merchants = read_entries(path)?.into_iter().map(|entry| entry.merchant);
        Self::of(merchants.collect::<Result<_, _>>()?)
    }

    /// # Errors
    /// When there is none, or a number appears twice.
    pub fn of(list: Vec<Merchant>) -> Result<Self, InvalidMerchants> {
        let mut merchants = HashMap::with_capacity(list.len());
        for merchant in list {
            let mch_id = merchant.mch_id.clone();
            if merchants.insert(mch_id.clone(), Arc::new(merchant)).is_some() {
                let problem = "mch_id must appear once".to_owned();
                return Err(InvalidMerchants::Merchant { mch_id: mch_id.to_string(), problem });
            }
        }
        if merchants.is_empty() {
            return Err(InvalidMerchants::Empty);
        }
        Ok(Self(Arc::new(RwLock::new(Arc::new(merchants)))))
    }

    /// The caller keeps the merchant as it is, also when it is replaced meanwhile.
    #[must_use]
    pub fn get(&self, mch_id: &MchId) -> Option<Arc<Merchant>> {
        self.all().get(mch_id).cloned()
    }

    /// Replaces the merchants of every clone.
    pub fn replace(&self, new: &Self) {
        let new = new.all();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// All merchants of now.
    pub(crate) fn all(&self) -> MerchantMap {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use wechatpay_v2::{ApiKey, AppId, SignType};

    use super::*;

    /// A merchant whose key is `key`, 32 times.
    pub(crate) fn merchant(mch_id: &str, key: &str, requests_per_second: u32) -> Merchant {
        Merchant {
            mch_id: MchId::parse(mch_id).unwrap(),
            appids: vec![AppId::parse("wx8888888888888888").unwrap()],
            sign_type: SignType::Md5,
            notify_base_url: "https://pay.example.com".to_owned(),
            key: ApiKey::parse(&key.repeat(32)).unwrap(),
            previous_key: None,
            requests_per_second: Some(requests_per_second),
        }
    }
}

//! Who may come in at the private listener, and for which merchants (`WXPAY_CLIENTS_FILE`).

use std::{fmt, fs, path::Path, sync::Arc};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use wechatpay_v2::MchId;

mod file;

pub use file::InvalidClients;
use file::{Entry, Scope};

/// The clients, known by the SHA-256 of their tokens.
#[derive(Clone)]
pub struct Clients(Vec<Arc<Client>>);

/// One of them.
pub(crate) struct Client(Entry);

impl Clients {
    /// Reads a file of clients.
    ///
    /// # Errors
    /// When it cannot be read or breaks a rule.
    pub fn read(path: &Path) -> Result<Self, InvalidClients> {
        Self::parse(&fs::read_to_string(path)?)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// When it breaks a rule.
    pub fn parse(text: &str) -> Result<Self, InvalidClients> {
        let entries = file::parse(text)?.into_iter();
        Ok(Self(entries.map(|entry| Arc::new(Client(entry))).collect()))
    }

    /// The client whose token this is. Takes the same time for every token, right or wrong.
    pub(crate) fn find(&self, token: &[u8]) -> Option<&Arc<Client>> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for client in &self.0 {
            for known in &client.0.token_sha256 {
                if known.0.ct_eq(&hash).into() {
                    found = Some(client);
                }
            }
        }
        found
    }
}

impl Client {
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn may_act_for(&self, mch_id: &MchId) -> bool {
        match &self.0.mch_ids {
            Scope::Every => true,
            Scope::Only(ids) => ids.contains(mch_id),
        }
    }
}

/// Names only.
impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|client| client.name());
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of no token in particular.
    const HASH: &str = "bb6cb4e4b1a0ca1ad8c0ab7f59b9a3a0a8be1bcf6a8d0dd4d4f5ad5f2c57e6f4";

    fn file(entry: &str) -> Result<Clients, InvalidClients> {
        Clients::parse(&format!("[[client]]\nname = \"shop\"\n{entry}"))
    }

    #[test]
    fn any_token_of_a_client_is_its_own() {
        let hash = |token: &str| -> String {
            Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let (old, new) = (hash("old"), hash("new").to_uppercase());
        let entry = format!("token_sha256 = [\"{old}\", \"{new}\"]\nmch_ids = [\"1900000109\"]");
        let clients = file(&entry).unwrap();
        for token in ["old", "new"] {
            let client = clients.find(token.as_bytes()).unwrap();
            assert!(client.may_act_for(&MchId::parse("1900000109").unwrap()));
            assert!(!client.may_act_for(&MchId::parse("1900000110").unwrap()));
        }
        assert!(clients.find(b"other").is_none());
        assert!(clients.find(b"").is_none());
        assert_eq!(format!("{clients:?}"), "[\"shop\"]");
    }

    #[test]
    fn a_star_stands_for_every_merchant() {
        for star in ["\"*\"", "[\"*\"]"] {
            let clients = file(&format!("token_sha256 = [\"{HASH}\"]\nmch_ids = {star}")).unwrap();
            assert!(clients.0[0].may_act_for(&MchId::parse("1").unwrap()));
        }
    }
}

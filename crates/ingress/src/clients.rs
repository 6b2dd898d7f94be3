//! Who may use the private listener, and for which merchants (`WXPAY_CLIENTS_FILE`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use service::clients_file::{self, Client, ClientsFileError};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The clients, found by the SHA-256 of their tokens.
#[derive(Clone)]
pub struct Clients(Vec<Arc<Client>>);

impl Clients {
    pub fn read(path: &Path) -> Result<Self, ClientsFileError> {
        clients_file::read(path).map(Self::from)
    }

    pub fn parse(text: &str) -> Result<Self, ClientsFileError> {
        clients_file::parse(text).map(Self::from)
    }

    /// The client whose token this is. Takes the same time for every token, right or wrong.
    pub(crate) fn find(&self, token: &[u8]) -> Option<&Arc<Client>> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for client in &self.0 {
            for known in &client.token_hashes {
                if known.ct_eq(&hash).into() {
                    found = Some(client);
                }
            }
        }
        found
    }
}

impl From<Vec<Client>> for Clients {
    fn from(clients: Vec<Client>) -> Self {
        Self(clients.into_iter().map(Arc::new).collect())
    }
}

/// Prints the names and no token.
impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|client| &client.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use service::hex;

    use super::*;

    #[test]
    fn any_token_of_a_client_finds_it() {
        let hash = |token: &str| hex::encode(&Sha256::digest(token));
        let old = hash("old");
        let new = hash("new").to_uppercase();
        let file = format!(
            "[[client]]\nname = \"shop\"\ntoken_sha256 = [\"{old}\", \"{new}\"]\nmch_ids = \"*\""
        );
        let clients = Clients::parse(&file).unwrap();
        for token in ["old", "new"] {
            assert_eq!(clients.find(token.as_bytes()).unwrap().name, "shop");
        }
        assert!(clients.find(b"other").is_none());
        assert!(clients.find(b"").is_none());
        assert_eq!(format!("{clients:?}"), "[\"shop\"]");
    }
}

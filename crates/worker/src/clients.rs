use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use service::clients_file::{self, Client, ClientsFileError, Scope};
use wechatpay_v2::MchId;

/// Which AMQP users may give commands for which merchants (`WXPAY_CLIENTS_FILE`). The broker
/// verifies the user of a command. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    /// May act for every merchant: the ingress has checked its clients already.
    ingress_user: Option<String>,
    scopes: Arc<HashMap<String, Scope>>,
}

impl Clients {
    /// # Errors
    /// When anything in the file cannot be used.
    pub fn read(path: &Path, ingress_user: Option<String>) -> Result<Self, ClientsFileError> {
        Self::of(clients_file::read(path), ingress_user)
    }

    /// # Errors
    /// Those of [`Clients::read`].
    pub fn parse(text: &str, ingress_user: Option<String>) -> Result<Self, ClientsFileError> {
        Self::of(clients_file::parse(text), ingress_user)
    }

    fn of(
        clients: Result<Vec<Client>, ClientsFileError>,
        ingress_user: Option<String>,
    ) -> Result<Self, ClientsFileError> {
        let clients = match clients {
            // Then only the ingress may give commands. The ingress itself needs a client.
            Err(ClientsFileError::Empty) => Vec::new(),
            clients => clients?,
        };
        let with_user = |client: Client| client.amqp_user.map(|user| (user, client.scope));
        let scopes = clients.into_iter().filter_map(with_user).collect();
        Ok(Self { ingress_user, scopes: Arc::new(scopes) })
    }

    /// Whether this user may give commands for this merchant. Without a user it may not.
    #[must_use]
    pub fn allow(&self, user_id: Option<&str>, mch_id: &MchId) -> bool {
        let Some(user_id) = user_id else { return false };
        if self.ingress_user.as_deref() == Some(user_id) {
            return true;
        }
        self.scopes.get(user_id).is_some_and(|scope| scope.contains(mch_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../../deploy/clients.sample.toml");

    #[test]
    fn user_may_act_for_the_merchants_of_its_client() {
        let clients = Clients::parse(SAMPLE, Some("ingress".to_owned())).unwrap();
        let named = MchId::parse("1900000109").unwrap();
        let other = MchId::parse("1").unwrap();
        assert!(clients.allow(Some("ticket-shop"), &named));
        assert!(!clients.allow(Some("ticket-shop"), &other));
        assert!(clients.allow(Some("ingress"), &other));
        assert!(!clients.allow(Some("unknown"), &named));
        assert!(!clients.allow(None, &named));
    }

    #[test]
    fn without_an_ingress_user_every_user_needs_a_client() {
        let clients = Clients::parse(SAMPLE, None).unwrap();
        assert!(!clients.allow(Some("ingress"), &MchId::parse("1900000109").unwrap()));
    }
}

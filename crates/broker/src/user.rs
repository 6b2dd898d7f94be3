//! Who published a message, as validated by the broker.
//!
//! The broker refuses a `user_id` that is not the user the connection is logged in as. So every
//! message carries this process's own user, and a copy of another user's message names that user
//! in a header, which counts only on messages of this process's own user.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, ShortString};

use crate::config::BrokerConfig;

/// On a copy: the user who published the original.
pub(crate) const ORIGIN_USER_ID: &str = "origin_user_id";

/// The user that the connection is logged in as.
#[derive(Clone, Debug)]
pub(crate) struct BrokerUser(pub(crate) ShortString);

impl BrokerUser {
    pub(crate) fn of(config: &BrokerConfig) -> Self {
        let name = config.amqp_url.uri().authority.userinfo.username.as_str();
        // A name that AMQP cannot carry cannot log in either.
        Self(ShortString::try_new(name).unwrap_or_default())
    }

    pub(crate) fn sign(&self, properties: BasicProperties) -> BasicProperties {
        properties.with_user_id(self.0.clone())
    }

    /// Who published the original, if the broker validated that.
    pub(crate) fn sender_of(&self, properties: &BasicProperties) -> Option<String> {
        let user_id = properties.user_id().as_ref()?;
        if *user_id != self.0 {
            return Some(user_id.to_string());
        }
        let headers = properties.headers().as_ref();
        match headers.and_then(|table| table.inner().get(ORIGIN_USER_ID)) {
            Some(AMQPValue::LongString(name)) => {
                Some(String::from_utf8_lossy(name.as_bytes()).into_owned())
            }
            _ => Some(user_id.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldTable;

    use super::*;

    fn message(user_id: Option<&str>, origin: Option<&str>) -> BasicProperties {
        let mut headers = FieldTable::default();
        if let Some(origin) = origin {
            headers.insert(ORIGIN_USER_ID.into(), AMQPValue::LongString(origin.into()));
        }
        let properties = BasicProperties::default().with_headers(headers);
        match user_id {
            Some(name) => properties.with_user_id(name.into()),
            None => properties,
        }
    }

    #[test]
    fn origin_header_counts_only_under_own_user() {
        let user = BrokerUser("worker".into());
        let sender = |user_id, origin| user.sender_of(&message(user_id, origin));
        assert_eq!(sender(None, Some("shop")), None);
        assert_eq!(sender(Some("shop"), None).as_deref(), Some("shop"));
        assert_eq!(sender(Some("thief"), Some("shop")).as_deref(), Some("thief"));
        assert_eq!(sender(Some("worker"), Some("shop")).as_deref(), Some("shop"));
        assert_eq!(sender(Some("worker"), None).as_deref(), Some("worker"));
    }
}

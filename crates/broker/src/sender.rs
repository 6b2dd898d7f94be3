//! Who published a message, as the broker vouches for it.
//!
//! The broker refuses a `user_id` that is not the name the connection logged in with. So everything
//! that we publish carries our own, and a copy of somebody else's message names its sender in a
//! header, which is believed only under our own, vouched-for name.

use lapin::{
    BasicProperties,
    types::{AMQPValue, ShortString},
};

use crate::{BrokerConfig, Connection};

/// The header in which a copy of ours names whose message it was.
pub(crate) const ORIGIN: &str = "origin_user_id";

/// The name that we log in with.
#[derive(Clone, Debug)]
pub(crate) struct Us(pub(crate) ShortString);

impl Us {
    pub(crate) fn on(connection: &Connection) -> Self {
        Self::of(connection.config())
    }

    /// A name that AMQP cannot carry cannot log in either.
    pub(crate) fn of(config: &BrokerConfig) -> Self {
        let name = config.amqp_url.uri().authority.userinfo.username.as_str();
        Self(ShortString::try_new(name).unwrap_or_default())
    }

    /// Puts our name on a message.
    pub(crate) fn sign(&self, properties: BasicProperties) -> BasicProperties {
        properties.with_user_id(self.0.clone())
    }

    /// Who published it first, when anybody vouches for that.
    pub(crate) fn sender(&self, properties: &BasicProperties) -> Option<String> {
        let vouched = properties.user_id().as_ref()?;
        if *vouched != self.0 {
            return Some(vouched.to_string());
        }
        let origin = properties.headers().as_ref().and_then(|table| table.inner().get(ORIGIN));
        match origin {
            Some(AMQPValue::LongString(name)) => {
                Some(String::from_utf8_lossy(name.as_bytes()).into_owned())
            }
            _ => Some(vouched.to_string()),
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
            headers.insert(ORIGIN.into(), AMQPValue::LongString(origin.into()));
        }
        let properties = BasicProperties::default().with_headers(headers);
        match user_id {
            Some(name) => properties.with_user_id(name.into()),
            None => properties,
        }
    }

    #[test]
    fn a_header_counts_only_under_our_own_name() {
        let us = Us("worker".into());
        let sender = |user_id, origin| us.sender(&message(user_id, origin));
        assert_eq!(sender(None, Some("shop")), None);
        assert_eq!(sender(Some("shop"), None).as_deref(), Some("shop"));
        assert_eq!(sender(Some("thief"), Some("shop")).as_deref(), Some("thief"));
        assert_eq!(sender(Some("worker"), Some("shop")).as_deref(), Some("shop"));
        assert_eq!(sender(Some("worker"), None).as_deref(), Some("worker"));
    }
}

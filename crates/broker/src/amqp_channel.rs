//! Opening and closing a channel, with a bound on each wait.

use lapin::Channel;
use lapin::options::ConfirmSelectOptions;

use crate::error::{BrokerError, bounded};

pub(crate) async fn open(amqp: &lapin::Connection) -> Result<Channel, BrokerError> {
    bounded("opening a channel", amqp.create_channel()).await
}

pub(crate) async fn open_with_confirms(amqp: &lapin::Connection) -> Result<Channel, BrokerError> {
    let channel = open(amqp).await?;
    let select = channel.confirm_select(ConfirmSelectOptions::default());
    bounded("turning confirms on", select).await?;
    Ok(channel)
}

/// Must be called on every channel that is given up while its connection goes on. The client
/// library closes a dropped channel by itself, and when that fails because the connection is
/// closing too, it reports the whole connection as broken.
pub(crate) async fn close(channel: &Channel) {
    // A channel that does not close in time goes with its connection.
    let _ = bounded("closing a channel", channel.close(200, "OK".into())).await;
}

//! Sending replies to requests: unconfirmed, on a channel of their own.

use bytes::Bytes;
use lapin::Channel;
use lapin::options::BasicPublishOptions;
use tokio::sync::mpsc;

use crate::amqp_channel;
use crate::connection::Connection;
use crate::connection::session::Session;
use crate::error::{BrokerError, bounded};
use crate::publish::message::Message;
use crate::publish::outgoing::Outgoing;

/// Replies waiting to be written. A requester has a deadline; older replies are useless to it.
const QUEUED_MAX: usize = 1_024;

/// Sends replies at best effort: a reply is a shortcut, the database is the source of truth.
#[derive(Clone)]
pub struct Replier {
    connection: Connection,
    queue: mpsc::Sender<Outgoing>,
}

impl Replier {
    /// Starts on a channel of its own, which ends with the last handle.
    pub fn start(connection: Connection) -> Self {
        let (queue, replies) = mpsc::channel(QUEUED_MAX);
        tokio::spawn(run(connection.clone(), replies));
        Self { connection, queue }
    }

    /// Sends a reply if that is possible right now; never waits. The reply is dropped when too many
    /// are waiting, when there is no connection, and when `reply_to` names a queue of this system.
    pub fn send(&self, reply_to: &str, correlation_id: Option<&str>, body: Bytes) {
        let sent =
            self.connection.is_up() && self.enqueue(Message::reply(reply_to, correlation_id, body));
        if !sent {
            metrics::counter!("wxpay_replies_dropped_total").increment(1);
        }
    }

    fn enqueue(&self, reply: Message) -> bool {
        Outgoing::new(self.connection.namespace(), reply)
            .is_ok_and(|reply| self.queue.try_send(reply).is_ok())
    }
}

/// A channel and the session it belongs to.
struct ReplyChannel {
    session: Session,
    channel: Channel,
}

impl ReplyChannel {
    async fn open(connection: &Connection) -> Option<Self> {
        let session = connection.session()?;
        match session.open_channel().await {
            Ok(channel) => Some(Self { session, channel }),
            Err(error) => {
                let connection = connection.name();
                tracing::warn!(connection, "a reply was dropped, no channel: {error}");
                None
            }
        }
    }

    fn is_usable(&self, connection: &Connection) -> bool {
        connection.is_current(&self.session) && self.channel.status().connected()
    }

    async fn write(&self, reply: Outgoing) -> Result<(), BrokerError> {
        let Outgoing { exchange, routing_key, properties, body } = reply;
        let options = BasicPublishOptions::default();
        let publish = self.channel.basic_publish(exchange, routing_key, options, &body, properties);
        bounded("sending a reply", publish).await.map(drop)
    }
}

async fn run(connection: Connection, mut replies: mpsc::Receiver<Outgoing>) {
    // Opened with the first reply.
    let mut current: Option<ReplyChannel> = None;
    while let Some(reply) = replies.recv().await {
        if !connection.is_up() {
            continue; // by the time it is up again the requester's deadline has passed
        }
        if !current.as_ref().is_some_and(|channel| channel.is_usable(&connection)) {
            current = ReplyChannel::open(&connection).await;
        }
        if let Some(channel) = &current
            && let Err(error) = channel.write(reply).await
        {
            tracing::warn!(connection = connection.name(), "a reply was dropped: {error}");
        }
    }
    if let Some(ReplyChannel { channel, .. }) = current {
        amqp_channel::close(&channel).await;
    }
}

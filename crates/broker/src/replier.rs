//! Answers to other people's questions: unconfirmed, on a channel of their own.

use bytes::Bytes;
use lapin::{Channel, options::BasicPublishOptions};
use tokio::sync::mpsc;

use crate::{
    BrokerError, Connection, Message, Namespace, connection::Session, error::bounded,
    outgoing::Outgoing, topology::apply::close,
};

/// Answers waiting to be written. Whoever asked has a deadline; older ones are worth nothing.
const QUEUED_MAX: usize = 1_024;

/// Sends answers, or not: they are an accelerator and never the truth, which is in the database.
#[derive(Clone)]
pub struct Replier {
    connection: Connection,
    queue: mpsc::Sender<Outgoing>,
}

impl Replier {
    /// Starts a channel of its own, which ends when the last handle goes.
    pub fn start(connection: Connection) -> Self {
        let (queue, answers) = mpsc::channel(QUEUED_MAX);
        tokio::spawn(run(connection.clone(), answers));
        Self { connection, queue }
    }

    /// Sends an answer if that can be done right now; never waits. It is dropped when too many
    /// are waiting, when there is no connection, and when `reply_to` is one of our own queues.
    pub fn send(&self, reply_to: &str, correlation_id: Option<&str>, body: Bytes) {
        let sent = self.connection.is_up()
            && answer(self.connection.namespace(), reply_to, correlation_id, body)
                .is_some_and(|answer| self.queue.try_send(answer).is_ok());
        if !sent {
            metrics::counter!("wxpay_replies_dropped_total").increment(1);
        }
    }
}

fn answer(
    namespace: &Namespace,
    reply_to: &str,
    correlation_id: Option<&str>,
    body: Bytes,
) -> Option<Outgoing> {
    let message = Message::reply(reply_to, correlation_id, body);
    Outgoing::new(namespace, message).ok()
}

async fn run(connection: Connection, mut answers: mpsc::Receiver<Outgoing>) {
    // A channel is opened when there is something to say.
    let mut current: Option<(Session, Channel)> = None;
    while let Some(answer) = answers.recv().await {
        if !connection.is_up() {
            continue; // by the time it is up again nobody waits any more
        }
        let usable = |(session, channel): &(Session, Channel)| {
            connection.is_current(session) && channel.status().connected()
        };
        if !current.as_ref().is_some_and(usable) {
            current = open(&connection).await;
        }
        if let Some((_, channel)) = &current
            && let Err(problem) = write(channel, answer).await
        {
            tracing::warn!(connection = connection.name(), "an answer was not sent: {problem}");
        }
    }
    if let Some((_, channel)) = current {
        close(&channel).await;
    }
}

async fn open(connection: &Connection) -> Option<(Session, Channel)> {
    let session = connection.session()?;
    match session.open_channel().await {
        Ok(channel) => Some((session, channel)),
        Err(problem) => {
            tracing::warn!(connection = connection.name(), "cannot answer: {problem}");
            None
        }
    }
}

async fn write(channel: &Channel, answer: Outgoing) -> Result<(), BrokerError> {
    let Outgoing { exchange, routing_key, properties, body } = answer;
    let options = BasicPublishOptions::default();
    let publish = channel.basic_publish(exchange, routing_key, options, &body, properties);
    bounded("sending an answer", publish).await.map(drop)
}

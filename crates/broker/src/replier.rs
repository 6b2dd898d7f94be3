//! Answers to other people's questions: unconfirmed, on a channel of their own.

use bytes::Bytes;
use lapin::{Channel, options::BasicPublishOptions};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    BrokerError, Link, Message, Namespace, Target, error::bounded, link::Session,
    outgoing::Outgoing, topology::apply::close,
};

/// Answers waiting to be written. Whoever asked has a deadline; older ones are worth nothing.
const QUEUED_MAX: usize = 1_024;

/// Sends answers, or not: they are an accelerator and never the truth, which is in the database.
#[derive(Clone)]
pub struct Replier {
    link: Link,
    queue: mpsc::Sender<Outgoing>,
}

impl Replier {
    /// Starts a channel of its own, which ends when the last handle goes.
    pub fn start(link: Link) -> Self {
        let (queue, answers) = mpsc::channel(QUEUED_MAX);
        tokio::spawn(run(link.clone(), answers));
        Self { link, queue }
    }

    /// Sends an answer if that can be done right now; never waits. It is dropped when too many
    /// are waiting, when there is no connection, and when `reply_to` is one of our own queues.
    pub fn send(&self, reply_to: &str, correlation_id: Option<&str>, body: Bytes) {
        let sent = self.link.is_up()
            && answer(self.link.namespace(), reply_to, correlation_id, body)
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
    let message = Message {
        to: Target::Reply { reply_to: reply_to.to_owned() },
        kind: "reply".to_owned(),
        message_id: Uuid::now_v7(),
        body,
        content_type: "application/json",
        headers: Vec::new(),
        correlation_id: correlation_id.map(str::to_owned),
        expiration: None,
    };
    Outgoing::new(namespace, message).ok()
}

async fn run(link: Link, mut answers: mpsc::Receiver<Outgoing>) {
    // A channel is opened when there is something to say.
    let mut current: Option<(Session, Channel)> = None;
    while let Some(answer) = answers.recv().await {
        if !link.is_up() {
            continue; // by the time it is up again nobody waits any more
        }
        let usable = |(session, channel): &(Session, Channel)| {
            link.is_current(session) && channel.status().connected()
        };
        if !current.as_ref().is_some_and(usable) {
            current = open(&link).await;
        }
        if let Some((_, channel)) = &current
            && let Err(problem) = write(channel, answer).await
        {
            tracing::warn!(connection = link.name(), "an answer was not sent: {problem}");
        }
    }
    if let Some((_, channel)) = current {
        close(&channel).await;
    }
}

async fn open(link: &Link) -> Option<(Session, Channel)> {
    let session = link.session()?;
    match session.open_channel().await {
        Ok(channel) => Some((session, channel)),
        Err(problem) => {
            tracing::warn!(connection = link.name(), "cannot answer: {problem}");
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

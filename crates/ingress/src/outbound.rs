//! The way out: messages for the broker, and the worker's answers.

use std::time::Duration;

use broker::{
    Connection, ConnectionState, Exchange, Message, NotSentReason, PublishError, Publisher,
    PublisherLimits, Requester, Target,
};
use bytes::Bytes;
use service::metrics::names;
use service::traceparent::TRACEPARENT;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Limits, answer::Answer};

/// Twice what the requests in flight can be, because a caller that gave up leaves its message in
/// the queue until its turn comes. With bodies of 64 KiB that is 64 MiB at the very worst.
const PUBLISHER_LIMITS: PublisherLimits = PublisherLimits { queued: 1024, in_flight: 1000 };

/// The connection to the broker with its two channels: one that only confirms, and one that also
/// takes the answers to questions.
pub(crate) struct Outbound {
    connection: Connection,
    publisher: Publisher,
    asker: Requester,
    limits: Limits,
    stop: CancellationToken,
}

/// A message still without its way through the broker.
pub(crate) struct Letter {
    pub(crate) exchange: Exchange,
    pub(crate) routing_key: &'static str,
    /// The AMQP property `type`.
    pub(crate) kind: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    pub(crate) traceparent: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Outbound {
    pub(crate) fn start(connection: Connection, limits: Limits, stop: CancellationToken) -> Self {
        Self {
            publisher: Publisher::start(connection.clone(), PUBLISHER_LIMITS),
            asker: Requester::start(connection.clone(), PUBLISHER_LIMITS),
            connection,
            limits,
            stop,
        }
    }

    pub(crate) fn state(&self) -> ConnectionState {
        self.connection.current_state()
    }

    /// Publishes; `Ok` is the broker's confirm.
    pub(crate) async fn publish(
        &self,
        letter: Letter,
        within: Duration,
    ) -> Result<(), PublishError> {
        let published = self.publisher.publish(letter.into(), within).await;
        // A test has the process die here, between the confirm and the answer.
        fail::fail_point!("ingress.confirmed", |_| std::process::abort());
        published.inspect_err(count_shed)
    }

    /// Publishes and waits for the answer until `answer_by`. `None`: taken over by the broker,
    /// but nobody answered in time.
    pub(crate) async fn ask(
        &self,
        letter: Letter,
        within: Duration,
        answer_by: Instant,
    ) -> Result<Option<Answer>, PublishError> {
        let asked = self.asker.request(letter.into(), within).await;
        let pending = asked.inspect_err(count_shed)?;
        let answer = tokio::select! {
            answer = pending.wait(answer_by.saturating_duration_since(Instant::now())) => answer,
            () = self.last_call() => None,
        };
        let answer = answer.and_then(|bytes| {
            let answer = Answer::parse(&bytes);
            if answer.is_none() {
                tracing::error!("a worker's answer is no reply");
            }
            answer
        });
        Ok(answer)
    }

    /// Waits for the confirms that are still open.
    pub(crate) async fn drain(&self) {
        let within = self.limits.drain_within;
        tokio::join!(self.publisher.drain(within), self.asker.drain(within));
    }

    /// Once the service stops, an answer gets half of the time that is left to the requests in
    /// flight; a client that hears "accepted, look later" is better off than one that is cut off.
    async fn last_call(&self) {
        self.stop.cancelled().await;
        sleep(self.limits.drain_within / 2).await;
    }
}

impl From<Letter> for Message {
    fn from(letter: Letter) -> Self {
        let mut headers = letter.headers;
        headers.push((TRACEPARENT.to_owned(), letter.traceparent));
        Self {
            to: Target::Exchange {
                exchange: letter.exchange,
                routing_key: letter.routing_key.to_owned(),
            },
            kind: letter.kind.to_owned(),
            message_id: Uuid::now_v7(),
            body: letter.body,
            content_type: letter.content_type,
            headers,
            correlation_id: None,
            expiration: None,
        }
    }
}

fn count_shed(error: &PublishError) {
    let reason = match error {
        PublishError::NotSent(NotSentReason::NoBroker) => "no_broker",
        PublishError::NotSent(NotSentReason::Blocked) => "blocked",
        PublishError::NotSent(NotSentReason::Full) => "queue_full",
        PublishError::NotSent(NotSentReason::TooLate) => "too_late",
        PublishError::NotSent(NotSentReason::Invalid(_)) => "invalid",
        PublishError::Refused => "refused",
        PublishError::Unknown => "unknown",
    };
    metrics::counter!(names::SHED, "reason" => reason).increment(1);
}

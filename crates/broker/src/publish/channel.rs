//! The one channel a publisher writes to, and what is in flight on it.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, poll};
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation};
use tokio::time::Instant;
use tracing::Instrument;

use crate::amqp_channel;
use crate::connection::session::Session;
use crate::error::{BrokerError, bounded};
use crate::publish::error::{NotSentReason, PublishError};
use crate::publish::outgoing::Outgoing;
use crate::publish::replies::{DIRECT_REPLY_TO, Replies};
use crate::publish::request::{Completion, PublishRequest};

/// When the broker confirms nothing for this long although something is in flight, the channel is
/// given up: this is for a lost confirm. A quorum queue that has lost its majority takes as long as
/// it takes, and a new channel does not help it.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// What a publish means for the channel; its caller has its own result already.
type ConfirmResult = Result<(), lapin::Error>;

pub(super) struct PublishChannel {
    channel: Arc<Channel>,
    in_flight: FuturesUnordered<BoxFuture<'static, ConfirmResult>>,
    reply_consumer: Option<ReplyConsumer>,
    last_progress: Instant,
    broken: bool,
    last_error: Option<lapin::Error>,
}

struct ReplyConsumer {
    consumer: lapin::Consumer,
    replies: Replies,
}

impl PublishChannel {
    pub(super) async fn open(
        session: &Session,
        replies: Option<Replies>,
    ) -> Result<Self, BrokerError> {
        let channel = amqp_channel::open_with_confirms(&session.amqp).await?;
        let reply_consumer = match replies {
            Some(replies) => Some(ReplyConsumer::start(&channel, replies).await?),
            None => None,
        };
        Ok(Self {
            channel: Arc::new(channel),
            in_flight: FuturesUnordered::new(),
            reply_consumer,
            last_progress: Instant::now(),
            broken: false,
            last_error: None,
        })
    }

    /// Written and neither confirmed nor refused.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn is_usable(&self) -> bool {
        let connected = self.channel.status().connected() && !self.broken;
        connected && self.last_progress.elapsed() < STALLED_AFTER
    }

    /// Called while no confirm can be expected: the broker is blocked or nothing is in flight.
    pub(super) fn reset_stall_timer(&mut self) {
        self.last_progress = Instant::now();
    }

    /// Writes one message.
    ///
    /// Must be called only by the task that owns the channel: `lapin` takes the delivery tag and
    /// queues the frames under two separate locks, so that two concurrent writers can receive each
    /// other's confirms. The first poll does both without waiting in between; the second wait is
    /// for the confirm and may end in any order.
    pub(super) async fn write(&mut self, request: PublishRequest) {
        if !self.channel.status().connected() {
            return request.refuse(NotSentReason::NoBroker);
        }
        let Some((outgoing, completion)) = request.take() else {
            return;
        };
        let span = completion.span();
        let publish = publish_and_confirm(Arc::clone(&self.channel), outgoing, completion);
        let mut publish = publish.instrument(span).boxed();
        match poll!(&mut publish) {
            Poll::Ready(result) => self.record(result),
            Poll::Pending => self.in_flight.push(publish),
        }
    }

    /// Waits for a confirm or a reply; [`Self::collect`] takes what else has arrived. Loses nothing
    /// when dropped.
    pub(super) async fn next_event(&mut self) {
        let reply = self.reply_consumer.as_mut().map(|replies| replies.consumer.next());
        tokio::select! {
            Some(result) = self.in_flight.next() => self.record(result),
            Some(reply) = OptionFuture::from(reply) => self.receive_reply(reply),
            else => std::future::pending().await,
        }
    }

    /// Takes the confirms that have arrived by now; they come in bursts.
    pub(super) fn collect(&mut self) {
        while let Some(Some(result)) = self.in_flight.next().now_or_never() {
            self.record(result);
        }
    }

    fn record(&mut self, result: ConfirmResult) {
        self.last_progress = Instant::now();
        self.last_error = result.err();
    }

    fn receive_reply(&mut self, reply: Option<lapin::Result<lapin::message::Delivery>>) {
        match (reply, &self.reply_consumer) {
            (Some(Ok(reply)), Some(ReplyConsumer { replies, .. })) => {
                if let Some(id) = reply.properties.correlation_id() {
                    replies.deliver(id.as_str(), reply.data.into());
                }
            }
            // Without its reply consumer the channel can send no request. Open requests run into
            // their deadlines.
            (Some(Err(error)), _) => {
                self.broken = true;
                self.last_error = Some(error);
            }
            (None, _) | (_, None) => self.broken = true,
        }
    }

    /// Gives the channel up. What is confirmed by now counts; the rest is unknown. Returns the
    /// error that broke the channel, if there was one.
    pub(super) fn give_up(mut self) -> Option<lapin::Error> {
        self.collect();
        // Dropping a publish drops its completion, which reports `Unknown`.
        self.in_flight.clear();
        if self.channel.status().connected() {
            let channel = self.channel;
            tokio::spawn(async move { amqp_channel::close(&channel).await });
        }
        self.last_error
    }
}

impl ReplyConsumer {
    async fn start(channel: &Channel, replies: Replies) -> Result<Self, BrokerError> {
        // Direct reply-to requires a consumer without acknowledgements.
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let queue = DIRECT_REPLY_TO.into();
        let consume = channel.basic_consume(queue, "".into(), options, FieldTable::default());
        Ok(Self { consumer: bounded("consuming replies", consume).await?, replies })
    }
}

async fn publish_and_confirm(
    channel: Arc<Channel>,
    outgoing: Outgoing,
    completion: Completion,
) -> ConfirmResult {
    let Outgoing { exchange, routing_key, properties, body } = outgoing;
    // Never `mandatory`: with pipelined confirms, `lapin` attributes a returned message to whichever
    // confirm comes next.
    let options = BasicPublishOptions::default();
    let started = Instant::now();
    let confirmation = async {
        channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
    };
    let result = match confirmation.await {
        Ok(Confirmation::Ack(None)) => {
            metrics::histogram!("wxpay_publish_confirm_seconds").record(started.elapsed());
            Ok(())
        }
        Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(_)) => Err(PublishError::Refused),
        Ok(Confirmation::NotRequested) => {
            tracing::error!("published on a channel without confirms; this is a bug");
            Err(PublishError::Unknown)
        }
        Err(error) => {
            completion.complete(Err(PublishError::Unknown));
            return Err(error);
        }
    };
    completion.complete(result);
    Ok(())
}

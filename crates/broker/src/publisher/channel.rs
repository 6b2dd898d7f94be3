//! The one channel a publisher writes to, and what is in flight on it.

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt, StreamExt, future::BoxFuture, future::OptionFuture, poll, stream::FuturesUnordered,
};
use lapin::{
    Channel, Confirmation,
    options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions},
    types::FieldTable,
};
use tokio::time::Instant;

use super::job::{Job, Slip};
use crate::{
    BrokerError, NotSentReason, PublishError,
    connection::Session,
    error::bounded,
    outgoing::Outgoing,
    replies::{DIRECT_REPLY_TO, Replies},
    topology::apply::close,
};

/// When the broker confirms nothing for this long although something is in flight, the channel
/// is given up. A quorum queue that has lost its majority takes as long as it takes, and a new
/// channel does not help it; this is for a confirm that was lost.
const STALLED_AFTER: Duration = Duration::from_secs(60);

pub(super) struct PublishChannel {
    channel: Arc<Channel>,
    flights: FuturesUnordered<BoxFuture<'static, Landing>>,
    answers: Option<(lapin::Consumer, Replies)>,
    progress: Instant,
    broken: bool,
    last_error: Option<lapin::Error>,
}

/// How a flight ended for the channel; the caller has been told already.
type Landing = Result<(), lapin::Error>;

impl PublishChannel {
    pub(super) async fn open(
        session: &Session,
        replies: Option<Replies>,
    ) -> Result<Self, BrokerError> {
        let channel = session.open_channel().await?;
        let select = channel.confirm_select(ConfirmSelectOptions::default());
        bounded("turning confirms on", select).await?;
        let answers = match replies {
            Some(replies) => Some((consume_answers(&channel).await?, replies)),
            None => None,
        };
        Ok(Self {
            channel: Arc::new(channel),
            flights: FuturesUnordered::new(),
            answers,
            progress: Instant::now(),
            broken: false,
            last_error: None,
        })
    }

    /// Written and neither confirmed nor refused.
    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether it makes sense to go on with this channel.
    pub(super) fn is_sound(&self) -> bool {
        let alive = self.channel.status().connected() && !self.broken;
        alive && self.progress.elapsed() < STALLED_AFTER
    }

    /// Nothing can be expected of the broker at present (or nothing is expected of it).
    pub(super) fn excuse(&mut self) {
        self.progress = Instant::now();
    }

    /// Writes one message.
    ///
    /// Only ever called from the one task that owns the channel: `lapin` takes the delivery tag
    /// and queues the frames under two separate locks, so that two writers can end up with each
    /// other's confirms (engineering, finding 1). The first poll does both, without waiting in
    /// between; the second wait is for the confirm and may happen in any order.
    pub(super) async fn write(&mut self, job: Job) {
        if !self.channel.status().connected() {
            return job.refuse(NotSentReason::NoBroker);
        }
        let Some((outgoing, slip)) = job.take() else {
            return;
        };
        let mut flight = fly(Arc::clone(&self.channel), outgoing, slip).boxed();
        match poll!(&mut flight) {
            std::task::Poll::Ready(landing) => self.note(landing),
            std::task::Poll::Pending => self.flights.push(flight),
        }
    }

    /// Waits for a confirm or an answer, and leaves it to [`Self::collect`] to look for more. Loses
    /// nothing when dropped.
    pub(super) async fn happen(&mut self) {
        let answer = self.answers.as_mut().map(|(consumer, _)| consumer.next());
        tokio::select! {
            Some(landing) = self.flights.next() => self.note(landing),
            Some(answer) = OptionFuture::from(answer) => self.hand_over(answer),
            else => std::future::pending().await,
        }
    }

    /// Takes the confirms that have come in by now; they come in bursts.
    pub(super) fn collect(&mut self) {
        while let Some(Some(landing)) = self.flights.next().now_or_never() {
            self.note(landing);
        }
    }

    fn note(&mut self, landing: Landing) {
        self.progress = Instant::now();
        self.last_error = landing.err();
    }

    fn hand_over(&mut self, answer: Option<lapin::Result<lapin::message::Delivery>>) {
        match (answer, &self.answers) {
            (Some(Ok(answer)), Some((_, replies))) => {
                if let Some(id) = answer.properties.correlation_id() {
                    replies.deliver(id.as_str(), answer.data.into());
                }
            }
            // Without it no question can be asked on this channel. Whoever waits for an answer
            // now waits until their time is up.
            (Some(Err(error)), _) => (self.broken, self.last_error) = (true, Some(error)),
            (None, _) | (_, None) => self.broken = true,
        }
    }

    /// Gives the channel up. Whatever is confirmed by now counts; the rest is unknown. Returns
    /// what went wrong, if anything did.
    pub(super) fn give_up(mut self) -> Option<lapin::Error> {
        self.collect();
        // Dropping a flight drops its slip, which tells the caller `Unknown`.
        self.flights.clear();
        if self.channel.status().connected() {
            let channel = self.channel;
            tokio::spawn(async move { close(&channel).await });
        }
        self.last_error
    }
}

async fn consume_answers(channel: &Channel) -> Result<lapin::Consumer, BrokerError> {
    // The pseudo queue knows no acknowledgements.
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let consume =
        channel.basic_consume(DIRECT_REPLY_TO.into(), "".into(), options, FieldTable::default());
    bounded("consuming answers", consume).await
}

/// From the socket to the confirm.
async fn fly(channel: Arc<Channel>, outgoing: Outgoing, slip: Slip) -> Landing {
    let Outgoing { exchange, routing_key, properties, body } = outgoing;
    // Never mandatory: returns are attributed to the wrong message (engineering, finding 2).
    let options = BasicPublishOptions::default();
    let started = Instant::now();
    let confirmation = async {
        channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
    };
    let answer = match confirmation.await {
        Ok(Confirmation::Ack(None)) => {
            metrics::histogram!("wxpay_publish_confirm_seconds").record(started.elapsed());
            Ok(())
        }
        Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(_)) => Err(PublishError::Refused),
        Ok(Confirmation::NotRequested) => {
            tracing::error!("published on a channel without confirms: this is a bug");
            Err(PublishError::Unknown)
        }
        Err(error) => {
            slip.answer(Err(PublishError::Unknown));
            return Err(error);
        }
    };
    slip.answer(answer);
    Ok(())
}

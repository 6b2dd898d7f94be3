//! Publishing unroutable messages again.

use crate::connection::Connection;
use crate::connection::session::ConnectionState;
use crate::error::BrokerError;
use crate::parked::channel::{ParkedChannel, UnackedMessage};
use crate::parked::queue::ParkedQueue;
use crate::topology::Setup;
use crate::topology::declare::set_up;
use crate::user::BrokerUser;

/// Messages tried in one run; the next run continues.
const TRIED_MAX: u32 = 1_000;

/// Restores the bindings, if this connection declares them ([`Setup::Declare`]), and publishes the
/// messages of the queue `unrouted` again to their exchanges. Returns how many were published.
///
/// Tries each message at most once in a run; one for which no queue is bound stays. Fails at once
/// when the connection is not up. Must not be cancelled: it holds unacknowledged messages.
pub async fn replay_unrouted(connection: &Connection) -> Result<u32, BrokerError> {
    // A blocked connection would not answer.
    let is_up = connection.current_state() == ConnectionState::Up;
    let session = connection.session().filter(|_| is_up);
    let session =
        session.ok_or_else(|| BrokerError::connection_lost("replaying unrouted messages"))?;
    let namespace = connection.namespace();
    if connection.setup() == Setup::Declare {
        set_up(&session.amqp, namespace, Setup::Declare).await?;
    }
    let user = BrokerUser::of(connection.config());
    let channel =
        ParkedChannel::open(&session.amqp, namespace, ParkedQueue::Unrouted, user).await?;
    let mut replay = Replay::default();
    let outcome = replay.run(&channel).await;
    channel.requeue_and_close(replay.last_left.into_iter()).await;
    if replay.sent > 0 {
        let sent = replay.sent;
        let left = replay.left;
        metrics::counter!("wxpay_unrouted_replayed_total").increment(sent.into());
        tracing::warn!(sent, left, "published unrouted messages again");
    }
    outcome.map(|()| replay.sent)
}

#[derive(Default)]
struct Replay {
    sent: u32,
    /// No queue is bound for these. They are returned together, so only the last one is kept.
    left: u32,
    last_left: Option<UnackedMessage>,
}

impl Replay {
    async fn run(&mut self, channel: &ParkedChannel) -> Result<(), BrokerError> {
        // A message that comes back because its binding is still missing lies behind those counted
        // at the start.
        let mut untried = None;
        while untried != Some(0) {
            let Some((message, behind)) = channel.take().await? else {
                return Ok(());
            };
            untried = Some(untried.map_or(behind.min(TRIED_MAX - 1), |untried| untried - 1));
            if channel.publish(&message).await? {
                channel.ack(message).await?;
                self.sent += 1;
            } else {
                self.left += 1;
                self.last_left = Some(message);
            }
        }
        Ok(())
    }
}

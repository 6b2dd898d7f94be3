//! What was published while a binding was missing.

use crate::{
    BrokerError, Connection, ConnectionState, ParkedQueue, Setup,
    parked::{ParkedChannel, UnackedMessage},
    sender::Us,
    topology::apply::set_up,
};

/// Messages tried in one run; the rest waits for the next.
const TRIED_MAX: u32 = 1_000;

/// Restores the bindings, where we own them ([`Setup::Declare`]), and sends what lies in the queue
/// `unrouted` back to where it was published. Returns how many messages were sent.
///
/// Each message is tried at most once in a run, and one that nothing of ours takes is left where it
/// is. Fails without having tried when the link is not up. Should be run to its end: it holds
/// messages.
pub async fn replay_unrouted(connection: &Connection) -> Result<u32, BrokerError> {
    // On a blocked connection nothing would be answered.
    let session =
        connection.session().filter(|_| connection.current_state() == ConnectionState::Up);
    let session = session.ok_or_else(|| BrokerError::gone("sending what is unrouted"))?;
    let amqp = &session.connection;
    if connection.setup() == Setup::Declare {
        set_up(amqp, connection.namespace(), Setup::Declare).await?;
    }
    let channel = ParkedChannel::open(
        amqp,
        connection.namespace(),
        ParkedQueue::Unrouted,
        Us::on(connection),
    )
    .await?;
    let mut run = Run::default();
    let outcome = run.go(&channel).await;
    channel.requeue(run.last_left.into_iter()).await;
    if run.sent > 0 {
        let (sent, left) = (run.sent, run.left);
        metrics::counter!("wxpay_unrouted_replayed_total").increment(sent.into());
        tracing::warn!(sent, left, "unrouted messages were sent on their way again");
    }
    outcome.map(|()| run.sent)
}

#[derive(Default)]
struct Run {
    sent: u32,
    /// Nothing of ours takes these. They go back together, so that only the last one is kept.
    left: u32,
    last_left: Option<UnackedMessage>,
}

impl Run {
    async fn go(&mut self, channel: &ParkedChannel) -> Result<(), BrokerError> {
        // What comes back because its binding is still missing lies behind those counted now.
        let mut untried = None;
        while untried != Some(0) {
            let Some((held, behind)) = channel.take().await? else {
                return Ok(());
            };
            untried = Some(untried.map_or(behind.min(TRIED_MAX - 1), |untried| untried - 1));
            if channel.publish(&held).await? {
                channel.ack(held).await?;
                self.sent += 1;
            } else {
                self.left += 1;
                self.last_left = Some(held);
            }
        }
        Ok(())
    }
}

//! What was published while a binding was missing.

use crate::{
    BrokerError, Link, LinkState, ParkedQueue, Setup,
    parked::{Held, Hold},
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
pub async fn replay_unrouted(link: &Link) -> Result<u32, BrokerError> {
    // On a blocked connection nothing would be answered.
    let session = link.session().filter(|_| link.now() == LinkState::Up);
    let session = session.ok_or_else(|| BrokerError::gone("sending what is unrouted"))?;
    let connection = &session.connection;
    if link.setup() == Setup::Declare {
        set_up(connection, link.namespace(), Setup::Declare).await?;
    }
    let hold =
        Hold::open(connection, link.namespace(), ParkedQueue::Unrouted, Us::on(link)).await?;
    let mut run = Run::default();
    let outcome = run.go(&hold).await;
    hold.put_back(run.last_left.into_iter()).await;
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
    last_left: Option<Held>,
}

impl Run {
    async fn go(&mut self, hold: &Hold) -> Result<(), BrokerError> {
        // What comes back because its binding is still missing lies behind those counted now.
        let mut untried = None;
        while untried != Some(0) {
            let Some((held, behind)) = hold.take().await? else {
                return Ok(());
            };
            untried = Some(untried.map_or(behind.min(TRIED_MAX - 1), |untried| untried - 1));
            if hold.publish(&held).await? {
                hold.ack(held).await?;
                self.sent += 1;
            } else {
                self.left += 1;
                self.last_left = Some(held);
            }
        }
        Ok(())
    }
}

//! Acknowledges many deliveries of a channel with one frame.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;

/// Which deliveries of a channel are settled (acknowledged or given back). RabbitMQ counts the
/// delivery tags of a channel from 1, without a gap.
///
/// An acknowledgement with the flag `multiple` covers every unsettled delivery up to its tag, and
/// one for a tag that is settled already ends the channel. So tags are noted and frames written in
/// one order, under one lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Acks(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Every delivery up to this tag is settled.
    settled_to: u64,
    /// Settled ones above an unsettled one.
    settled: BTreeSet<u64>,
}

/// A written frame: resolves when it is in the socket.
pub(super) type Written = Pin<Box<dyn Future<Output = lapin::Result<()>> + Send>>;

impl Acks {
    /// Notes that these deliveries are settled, and writes the frames that say so: `write` gets the
    /// position of a delivery in `tags`, and whether its frame covers all before it.
    pub(super) fn settle(
        &self,
        tags: &[u64],
        mut write: impl FnMut(usize, bool) -> Written,
    ) -> Vec<Written> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.note(tags);
        let covered = (0..tags.len()).filter(|position| tags[*position] <= state.settled_to);
        let last_covered = covered.max_by_key(|position| tags[*position]);
        let above = (0..tags.len()).filter(|position| tags[*position] > state.settled_to);
        let frames = last_covered.map(|it| (it, true)).into_iter();
        let frames = frames.chain(above.map(|it| (it, false)));
        let written = frames.map(|(position, multiple)| {
            let mut frame = write(position, multiple);
            // The first poll queues the frame, which fixes its place among the others.
            match (&mut frame).now_or_never() {
                Some(result) => Box::pin(std::future::ready(result)),
                None => frame,
            }
        });
        written.collect()
    }
}

impl State {
    fn note(&mut self, tags: &[u64]) {
        self.settled.extend(tags);
        while self.settled.remove(&(self.settled_to + 1)) {
            self.settled_to += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames for these tags, as their tags and the flag.
    fn frames(acks: &Acks, tags: &[u64]) -> Vec<(u64, bool)> {
        let mut frames = Vec::new();
        acks.settle(tags, |position, multiple| {
            frames.push((tags[position], multiple));
            Box::pin(std::future::ready(Ok(())))
        });
        frames
    }

    #[test]
    fn deliveries_in_order_are_acknowledged_with_one_frame() {
        let acks = Acks::default();
        assert_eq!(frames(&acks, &[1, 2, 3]), [(3, true)]);
        assert_eq!(frames(&acks, &[4]), [(4, true)]);
        assert_eq!(frames(&acks, &[6, 5]), [(6, true)]);
    }

    #[test]
    fn delivery_above_an_unsettled_one_is_acknowledged_alone() {
        let acks = Acks::default();
        assert_eq!(frames(&acks, &[3, 4]), [(3, false), (4, false)]);
        assert_eq!(frames(&acks, &[1, 6]), [(1, true), (6, false)]);
        // 3, 4 and 6 are settled already: the frame must not name them.
        assert_eq!(frames(&acks, &[2, 5]), [(5, true)]);
        assert_eq!(frames(&acks, &[7]), [(7, true)]);
    }

    #[test]
    fn no_delivery_needs_no_frame() {
        assert_eq!(frames(&Acks::default(), &[]), []);
    }
}

//! An operation that is retried logs its error once per change and not once per attempt.

use crate::error::BrokerError;

#[derive(Default)]
pub(crate) struct ErrorDeduplicator {
    last: String,
}

impl ErrorDeduplicator {
    /// The error's text, if it differs from the last one.
    pub(crate) fn changed(&mut self, error: &BrokerError) -> Option<&str> {
        let text = error.to_string();
        if text == self.last {
            return None;
        }
        self.last = text;
        Some(&self.last)
    }

    /// After a success: the next error is logged whatever it is.
    pub(crate) fn reset(&mut self) {
        self.last.clear();
    }
}

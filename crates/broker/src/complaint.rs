//! A problem that is tried over and over is logged once per change, not at every attempt.

use crate::BrokerError;

#[derive(Default)]
pub(crate) struct Complaint(String);

impl Complaint {
    /// The problem's text, if it is another one than last time.
    pub(crate) fn news(&mut self, problem: &BrokerError) -> Option<&str> {
        let text = problem.to_string();
        if text == self.0 {
            return None;
        }
        self.0 = text;
        Some(&self.0)
    }

    /// All is well again: the next problem is news whatever it is.
    pub(crate) fn settled(&mut self) {
        self.0.clear();
    }
}

//! Payment notifications: the message, one send of it, and the schedule of repeats.

pub(crate) mod compose;
pub(crate) mod schedule;

mod send;

//! What goes wrong: as planned, or at random from a seed.

pub(crate) mod fault;
pub(crate) mod held;
pub(crate) mod plan;
pub(crate) mod seeded;

mod rng;

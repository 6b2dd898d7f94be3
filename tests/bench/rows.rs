//! What is measured, a file each.

pub(crate) mod burst;
pub(crate) mod creates;
pub(crate) mod fairness;
pub(crate) mod growth;
pub(crate) mod notifications;
pub(crate) mod settle;
pub(crate) mod soak;
pub(crate) mod waiting;

//! What an order is and how its state may change.
//!
//! Pure: no I/O, no clock, no randomness. Time, identifiers and what other orders hold are
//! parameters, so the same inputs give the same bytes on every machine and in every replay.
//!
//! A shop's JSON is parsed into an [`OrderRequest`]. An [`Order`] changes its state only by
//! [`Order::apply`], and every change leaves a [`Transition`] from which its [`event`] is made.
//! `crates/orders/README.md` draws the state machine and specifies the messages.

pub mod event;
mod exception;
mod fact;
mod json;
mod key;
mod machine;
mod order;
mod parse;
mod problem;
mod reader;
mod reply;
mod request;
mod state;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod transition;
mod view;

pub use exception::{Difference, Exception, ExceptionKind};
pub use fact::{Fact, FactKind, Source};
pub use key::OrderKey;
pub use machine::{Applied, ApplyContext, Refusal, Step};
pub use order::Order;
pub use parse::{COMMAND_BYTES_MAX, InvalidCommand};
pub use problem::{FieldProblem, Problem};
pub use reply::Reply;
pub use request::OrderRequest;
pub use state::{Failure, State, StateName};
pub use transition::Transition;
pub use view::{ExceptionView, OrderView, Pay};

//! The state table of `crates/orders/README.md`, case by case: each test brings an order into a
//! state, applies a fact and checks everything that is visible of the order.

mod close_requested;
mod closed;
mod create_refused;
mod paid;
mod paid_differing;
mod prepay_issued;
mod table_case;

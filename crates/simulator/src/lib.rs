//! A WeChat Pay v2 that lives on localhost and misbehaves on request.
//!
//! It serves WeChat's own paths (`/pay/unifiedorder`, `/pay/orderquery`, `/pay/closeorder`) to any
//! client that speaks the protocol, with the checks that WeChat makes. Under `/_sim/` it serves its
//! control API: pay an order, plan faults, list what has happened. Tests in the same process call
//! [`Simulator`]'s methods instead; the control API calls the same methods.
//!
//! A call runs through `calls`: `authenticate`, then one of `unifiedorder`, `orderquery` and
//! `closeorder` (pure decisions over the state), then `answer`; `faults` say what goes wrong before
//! and after. A payment runs through `pay` (a pure decision), then `notifications`: `compose`
//! builds the message, `schedule` sends and repeats it.
//!
//! What WeChat does, with sources, is in `crates/wechatpay-v2/PROTOCOL.md`.

mod run;
mod simulator;

mod calls;
mod control;
mod faults;
mod notifications;

mod pay;
mod pay_options;
mod payment;

mod api;
mod config;
mod error;
mod ids;
mod merchants;
mod message;
mod order;
mod settings;
mod state;
mod view;

pub use api::Api;
pub use config::{Config, Merchant};
pub use error::ControlError;
pub use faults::fault::Fault;
pub use faults::held::{HeldCall, HeldCallFilter};
pub use faults::plan::{FaultPlan, PlannedFault};
pub use faults::seeded::{PerMille, SeededFaults};
pub use pay::Paid;
pub use pay_options::{Malformation, PayOptions, Signing};
pub use run::{Handle, run};
pub use settings::Settings;
pub use simulator::Simulator;
pub use view::{
    AttemptOutcome, AttemptView, NotificationState, NotificationView, OrderCalls, OrderView,
    PaymentView, RequestCounts,
};

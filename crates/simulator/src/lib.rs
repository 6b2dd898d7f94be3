//! A WeChat Pay v2 that lives on localhost and misbehaves on request.
//!
//! It serves WeChat's own paths (`/pay/unifiedorder`, `/pay/orderquery`, `/pay/closeorder`) as
//! strictly as reference 10 asks, to any client that speaks the protocol, and its control under
//! `/_sim/`: "the customer pays now", the plan of faults, and what has happened. Tests in the same
//! process use [`Simulator`]'s functions instead; both go through the same core.
//!
//! A call runs `door` (parse, verify) → one of `unifiedorder`, `orderquery`, `closeorder` (decide,
//! pure over the state) → `answer` (sign), with `faults` before and after. A payment runs `pay`
//! (decide) → `notification` (write) → `notify` (send and repeat).

mod running;
mod server;
mod simulator;

mod closeorder;
mod orderquery;
mod unifiedorder;
mod unifiedorder_rules;

mod answer;
mod door;
mod gateway;
mod message;

mod notification;
mod notify;
mod pay;
mod pay_options;

mod control;
mod page;

mod chance;
mod config;
mod faults;
mod held;
mod merchants;
mod numbers;
mod order;
mod seeded;
mod state;
mod view;

pub use config::{Config, Merchant, SettingError, Settings};
pub use faults::{Fault, FaultPlan, PlannedFault};
pub use held::{HeldCall, Release};
pub use pay::Paid;
pub use pay_options::{Malformation, PayOptions, Signing};
pub use running::Simulator;
pub use seeded::{PerMille, SeededFaults};
pub use server::{Handle, run};
pub use simulator::ControlError;
pub use view::{
    Api, AttemptOutcome, AttemptView, NotificationState, NotificationView, OrderCalls, OrderView,
    PaymentView, RequestCounts,
};

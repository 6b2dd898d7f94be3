//! The whole system in one test process: real libraries against real Postgres, real RabbitMQ and
//! the simulator over HTTP. Each test has a database and a namespace of its own.
//!
//! A test ends with [`World::finish`], which waits until the system is idle, checks its
//! invariants and removes what the test created. A test that forgets it fails.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic")]

pub mod amqp;
mod component;
pub mod environment;
pub mod events;
pub mod faults;
pub mod interrupt;
pub mod invariants;
pub mod local_system;
pub mod logs;
pub mod markdown;
pub mod merchants;
pub mod options;
mod outbox;
pub mod problem;
pub mod program;
pub mod proxy;
pub mod reconciler;
mod requests;
pub mod run_folder;
pub mod secrets;
pub mod servers;
pub mod shop;
pub mod tables;
pub mod wait;
pub mod world;

pub use merchants::TestMerchant;
pub use options::{Options, fast_schedule, idle_schedule};
pub use outbox::OutboxAttempts;
pub use shop::Shop;
pub use tables::StoredNotification;
pub use wait::{eventually, eventually_ok};
pub use world::{World, http_client};

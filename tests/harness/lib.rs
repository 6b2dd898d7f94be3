//! The whole system in one test process: real libraries against real Postgres, real RabbitMQ and
//! the simulator over HTTP. Each test has a database and a namespace of its own.
//!
//! A test ends with [`World::finish`], which waits for quiet, checks the invariants of design 10
//! and removes what the test made. A test that forgets it fails.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic")]

pub mod amqp;
pub mod environment;
pub mod events;
pub mod invariants;
pub mod logs;
pub mod problem;
pub mod program;
pub mod proxy;
pub mod reconciler;
pub mod secrets;
pub mod servers;
pub mod shop;
pub mod tables;
pub mod wait;
pub mod world;

pub use shop::Shop;
pub use tables::StoredNotification;
pub use wait::eventually;
pub use world::{Options, TestMerchant, World, fast_schedule};

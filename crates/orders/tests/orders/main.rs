//! Orders: the state machine, the JSON that is read, and the JSON that is written.

#![allow(clippy::unwrap_used, reason = "a sample that does not parse fails the test")]

mod expected;
mod machine;
mod machine_properties;
mod messages;
mod order_json;
mod payments;
mod readme;
mod same_order_again;

use proptest::test_runner::{Config, FileFailurePersistence};

/// The seed of a failure is written beside its test, to be committed with the repair.
fn proptest_config() -> Config {
    let seeds = FileFailurePersistence::WithSource("seeds");
    Config { failure_persistence: Some(Box::new(seeds)), ..Config::default() }
}

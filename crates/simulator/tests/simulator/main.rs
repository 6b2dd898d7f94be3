//! The simulator over HTTP, as a client sees it that knows the protocol and nothing else.

#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod authenticate;
mod binary;
mod client;
mod closeorder;
mod control;
mod faults;
mod forged;
mod notifications;
mod orderquery;
mod seeded;
mod support;
mod unifiedorder;

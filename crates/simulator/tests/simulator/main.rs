//! The simulator over HTTP, called by a client that only knows WeChat's protocol.

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

//! The three calls that the gateway serves.

pub(crate) mod gateway;

mod answer;
mod authenticate;

mod closeorder;
mod orderquery;
mod unifiedorder;
mod unifiedorder_rules;

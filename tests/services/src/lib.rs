//! Private Postgres and RabbitMQ servers for development and tests.
//!
//! They listen on free ports of 127.0.0.1 only, with passwords made for them, and keep all their
//! data in one folder. A server that was not started from that folder is never touched.

mod containers;
mod folder;
pub mod interrupt;
mod packages;
pub mod ports;
mod postgres;
pub mod process;
mod rabbitmq;
mod server_user;
mod services;
mod startup;
pub mod with;

pub use packages::install as install_packages;
pub use services::{Server, Services};

//! The composed limit of this machine: the rate of a program that does nothing but write the rows
//! that a run has left, in the best batches, and have the messages of that run confirmed.
//!
//! It leaves out the outbox, whose rows come and go, and everything that our programs do between
//! reading and writing. So it is out of reach, and the share of it that is reached says how much
//! the programs cost.

mod broker;
mod postgres;

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::limit::broker::Message;
use crate::limit::postgres::{Rows, Written};
use crate::system::System;

/// Enough for a rate, whatever the run has written.
const ORDERS_MIN: usize = 20_000;
const ROUNDS_MAX: usize = 12;

/// In orders per second, each measured alone, then at the same time.
pub(crate) struct Limit {
    pub(crate) postgres: f64,
    pub(crate) broker: f64,
    pub(crate) composed: f64,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { postgres, broker, composed } = self;
        write!(f, "Postgres {postgres:.0}, RabbitMQ {broker:.0}, both at once {composed:.0}")
    }
}

/// What a run wrote and sent.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// The first transaction that may belong to it.
    pub(crate) since: i64,
    /// Whether its orders were created in it, or only changed.
    pub(crate) creates: bool,
    /// The size of the command or notification of each order.
    pub(crate) request_bytes: usize,
    pub(crate) events_each: usize,
}

/// Measures the limit with the rows and messages of a run of this system.
pub(crate) async fn measure(system: &System, run: &Run) -> Result<Limit> {
    let written = if run.creates { Written::Created } else { Written::Changed };
    let mut rows = Rows::of(&system.environment.pool, run.since, written).await?;
    let message = Message {
        request_bytes: run.request_bytes,
        event_bytes: system.shop.bytes_each(),
        events_each: run.events_each,
    };
    let rounds = ORDERS_MIN.div_ceil(rows.orders.max(1)).clamp(1, ROUNDS_MAX);
    let total = (rows.orders * rounds) as f64;
    let per_second = |time: Duration| total / time.as_secs_f64();

    rows.choose_batch().await?;
    let mut alone = Duration::ZERO;
    let mut sent_alone = Duration::ZERO;
    let mut together = Duration::ZERO;
    for _ in 0..rounds {
        rows.clear().await?;
        let start = Instant::now();
        rows.write().await?;
        alone += start.elapsed();

        let amqp_url = &system.environment.amqp_text;
        let mut broker = broker::Traffic::start(amqp_url, message).await?;
        let start = Instant::now();
        broker.send(rows.orders).await?;
        sent_alone += start.elapsed();

        rows.clear().await?;
        let start = Instant::now();
        tokio::try_join!(rows.write(), broker.send(rows.orders))?;
        together += start.elapsed();
        broker.remove().await?;
    }
    rows.remove().await?;
    Ok(Limit {
        postgres: per_second(alone),
        broker: per_second(sent_alone),
        composed: per_second(together),
    })
}

/// How many messages of this size the broker confirms in a second, on one queue.
pub(crate) async fn confirms(system: &System, bytes: usize, within: Duration) -> Result<f64> {
    let message = Message { request_bytes: bytes, event_bytes: 0, events_each: 0 };
    let mut broker = broker::Traffic::start(&system.environment.amqp_text, message).await?;
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < within {
        broker.send(ORDERS_MIN / 10).await?;
        sent += ORDERS_MIN / 10;
    }
    let rate = sent as f64 / start.elapsed().as_secs_f64();
    broker.remove().await?;
    Ok(rate)
}

//! Compares the topology on the broker with what it should be, and changes nothing there.

use futures_util::future::join_all;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::protocol::AMQPSoftError;
use lapin::types::{AMQPValue, FieldTable};

use crate::amqp_channel;
use crate::config::BrokerConfig;
use crate::connection::connect::AmqpConnection;
use crate::error::BrokerError;
use crate::topology::declare::{check_queue, declare_exchange, declare_queue};
use crate::topology::depths::QueueDepth;
use crate::topology::spec::{ALTERNATE_EXCHANGE, ExchangeSpec, QueueSpec, Topology};

/// An argument that no queue of this system has, with a value that is invalid for every queue. The
/// broker refuses to create a queue with it, and ignores it when it compares an existing one.
const INVALID_ARGUMENT: &str = "x-max-age";
const INVALID_VALUE: &str = "never";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many exchanges and queues there should be.
    pub parts: usize,
    pub drifts: Vec<TopologyDrift>,
    /// How many parts exist but could not be compared: the user lacks the permission, or the
    /// broker's answer is not understood.
    pub uncompared: usize,
    /// Of the queues that exist.
    pub depths: Vec<QueueDepth>,
}

/// A part of the topology that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyDrift {
    /// Kind and name, as `queue wxpay.orders`.
    pub part: String,
    pub kind: DriftKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriftKind {
    Missing,
    /// It has another value of this attribute or argument.
    Differs(String),
}

/// Compares every exchange and queue with what it should be, and measures the queues, on a
/// connection of its own. Bindings are not compared: AMQP has no method that reads them.
///
/// Fails when the broker cannot be reached or stops answering.
pub async fn survey(config: &BrokerConfig) -> Result<Survey, BrokerError> {
    let connection = AmqpConnection::connect(config).await?;
    let survey = compare(connection.amqp(), Topology::of(&config.namespace)).await;
    connection.close().await;
    survey
}

async fn compare(amqp: &lapin::Connection, topology: Topology) -> Result<Survey, BrokerError> {
    let Topology { exchanges, queues } = topology;
    let mut survey = Survey { parts: exchanges.len() + queues.len(), ..Survey::default() };
    let compared = join_all(exchanges.iter().map(|spec| compare_exchange(amqp, spec))).await;
    for (spec, comparison) in exchanges.iter().zip(compared) {
        survey.add(format!("exchange {}", spec.name), comparison?);
    }
    let compared = join_all(queues.iter().map(|spec| compare_queue(amqp, spec))).await;
    for (spec, compared) in queues.iter().zip(compared) {
        let ComparedQueue { comparison, depth } = compared?;
        survey.add(format!("queue {}", spec.name), comparison);
        survey.depths.extend(depth);
    }
    Ok(survey)
}

enum Comparison {
    Same,
    Drifted(DriftKind),
    Uncompared,
}

struct ComparedQueue {
    comparison: Comparison,
    depth: Option<QueueDepth>,
}

impl Survey {
    fn add(&mut self, part: String, comparison: Comparison) {
        match comparison {
            Comparison::Same => {}
            Comparison::Drifted(kind) => self.drifts.push(TopologyDrift { part, kind }),
            Comparison::Uncompared => self.uncompared += 1,
        }
    }
}

/// First checks that the exchange exists. Then declares it with an invalid alternate exchange: if
/// it has been deleted meanwhile, none is created, and if it exists, the broker's error names the
/// first attribute that differs, with its current value.
async fn compare_exchange(
    amqp: &lapin::Connection,
    spec: &ExchangeSpec,
) -> Result<Comparison, BrokerError> {
    let channel = amqp_channel::open(amqp).await?;
    let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
    match declare_exchange(&channel, spec, "checking", passive).await {
        Ok(()) => {}
        Err(error) if error.is_not_found() => return Ok(Comparison::Drifted(DriftKind::Missing)),
        Err(error) => return Err(error),
    }
    let mut arguments = FieldTable::default();
    arguments.insert(ALTERNATE_EXCHANGE.into(), AMQPValue::LongInt(0));
    let invalid = ExchangeSpec { name: spec.name.clone(), kind: spec.kind.clone(), arguments };
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    match declare_exchange(&channel, &invalid, "comparing", durable).await {
        Ok(()) => {
            amqp_channel::close(&channel).await;
            Ok(Comparison::Uncompared)
        }
        Err(error) => parse_refusal(&error, |argument, text| {
            if argument == ALTERNATE_EXCHANGE {
                compare_alternate_exchange(spec, text)
            } else {
                Comparison::Drifted(DriftKind::Differs(argument.to_owned()))
            }
        }),
    }
}

fn compare_alternate_exchange(spec: &ExchangeSpec, text: &str) -> Comparison {
    let Some((_, current)) = text.split_once("but current is ") else {
        return Comparison::Uncompared;
    };
    let is_same = match spec.arguments.inner().get(ALTERNATE_EXCHANGE) {
        Some(AMQPValue::LongString(name)) => current.contains(&format!("'{name}'")),
        _ => current == "none",
    };
    if is_same {
        Comparison::Same
    } else {
        Comparison::Drifted(DriftKind::Differs(ALTERNATE_EXCHANGE.to_owned()))
    }
}

/// As [`compare_exchange`], with an invalid argument that the broker does not compare.
async fn compare_queue(
    amqp: &lapin::Connection,
    spec: &QueueSpec,
) -> Result<ComparedQueue, BrokerError> {
    let channel = amqp_channel::open(amqp).await?;
    let state = match check_queue(&channel, spec).await {
        Ok(state) => state,
        Err(error) if error.is_not_found() => {
            let comparison = Comparison::Drifted(DriftKind::Missing);
            return Ok(ComparedQueue { comparison, depth: None });
        }
        Err(error) => return Err(error),
    };
    let mut arguments = spec.arguments.clone();
    arguments.insert(INVALID_ARGUMENT.into(), AMQPValue::LongString(INVALID_VALUE.into()));
    let invalid = QueueSpec { name: spec.name.clone(), arguments, bindings: Vec::new() };
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    let comparison = match declare_queue(&channel, &invalid, "comparing", durable).await {
        Ok(_) => {
            amqp_channel::close(&channel).await;
            Comparison::Same
        }
        Err(error) => parse_refusal(&error, |argument, _| {
            if argument == INVALID_ARGUMENT {
                Comparison::Uncompared
            } else {
                Comparison::Drifted(DriftKind::Differs(argument.to_owned()))
            }
        })?,
    };
    let depth = QueueDepth::new(spec.name.clone(), &state);
    Ok(ComparedQueue { comparison, depth: Some(depth) })
}

/// Reads the broker's refusal of a declaration; `compare` judges the argument that it names.
fn parse_refusal(
    error: &BrokerError,
    compare: impl FnOnce(&str, &str) -> Comparison,
) -> Result<Comparison, BrokerError> {
    let Some((code, text)) = error.channel_close() else {
        return Err(error.clone());
    };
    let argument =
        text.split_once("inequivalent arg '").and_then(|(_, rest)| rest.split_once('\''));
    Ok(match (code, argument) {
        (AMQPSoftError::PRECONDITIONFAILED, Some((argument, _))) => compare(argument, text),
        // Deleted since the check: there is nothing to compare, and nothing was created.
        (AMQPSoftError::PRECONDITIONFAILED, None) if text.contains("invalid ") => {
            Comparison::Drifted(DriftKind::Missing)
        }
        _ => Comparison::Uncompared,
    })
}

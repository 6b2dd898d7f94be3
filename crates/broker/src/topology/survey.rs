//! Looks at what stands on the broker, and changes nothing there.

use futures_util::future::join_all;
use lapin::{
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    protocol::AMQPSoftError,
    types::{AMQPValue, FieldTable},
};

use super::{
    Topology,
    apply::{self, QueueDepth},
    spec::{ALTERNATE_EXCHANGE, ExchangeSpec, QueueSpec},
};
use crate::{BrokerConfig, BrokerError, dial::Wire, error::bounded};

/// An argument that no queue of ours can have, with a value that no queue at all can have. The
/// broker refuses to make a queue with it, and does not compare it where there is one.
const IMPOSSIBLE: (&str, &str) = ("x-max-age", "never");

/// How the topology stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many exchanges and queues there should be.
    pub parts: usize,
    /// What is not as it should be, exchanges first.
    pub drifts: Vec<TopologyDrift>,
    /// How many are there, but could not be compared: our user may not, or this broker's answer is
    /// not understood.
    pub uncompared: usize,
    /// How full the queues are that are there.
    pub depths: Vec<QueueDepth>,
}

/// A part of the topology that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyDrift {
    /// `queue wxpay.orders`.
    pub part: String,
    /// What is the matter with it.
    pub kind: DriftKind,
}

/// What can be the matter with a part of the topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriftKind {
    /// It is not there.
    Missing,
    /// It is there, with another value of this attribute or argument.
    Differs(String),
}

/// Compares every exchange and queue with what it should be, and measures the queues, on a
/// connection of its own. Bindings cannot be seen: AMQP has no question for them.
///
/// Fails when the broker cannot be reached or stops answering.
pub async fn survey(config: &BrokerConfig) -> Result<Survey, BrokerError> {
    let wire = Wire::dial(config).await?;
    let survey = look(wire.connection(), Topology::of(&config.namespace)).await;
    wire.hang_up().await;
    survey
}

async fn look(connection: &lapin::Connection, topology: Topology) -> Result<Survey, BrokerError> {
    let Topology { exchanges, queues } = topology;
    let mut survey = Survey { parts: exchanges.len() + queues.len(), ..Survey::default() };
    let seen = join_all(exchanges.iter().map(|spec| exchange(connection, spec))).await;
    for (spec, seen) in exchanges.iter().zip(seen) {
        survey.add(format!("exchange {}", spec.name), seen?);
    }
    let seen = join_all(queues.iter().map(|spec| queue(connection, spec))).await;
    for (spec, seen) in queues.iter().zip(seen) {
        let (likeness, depth) = seen?;
        survey.add(format!("queue {}", spec.name), likeness);
        survey.depths.extend(depth);
    }
    Ok(survey)
}

/// How a part compares with what it should be.
enum Comparison {
    Same,
    Drifted(DriftKind),
    Uncompared,
}

impl Survey {
    fn add(&mut self, part: String, likeness: Comparison) {
        match likeness {
            Comparison::Same => {}
            Comparison::Drifted(kind) => self.drifts.push(TopologyDrift { part, kind }),
            Comparison::Uncompared => self.uncompared += 1,
        }
    }
}

/// Whether it is there is asked first. Then it is declared with an alternate exchange that is no
/// name: where the exchange were gone by now, none would be made of that, and where it is there,
/// the broker's complaint is about the first thing that differs, and says what stands there.
async fn exchange(
    connection: &lapin::Connection,
    spec: &ExchangeSpec,
) -> Result<Comparison, BrokerError> {
    let channel = bounded("opening a channel", connection.create_channel()).await?;
    let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
    match apply::declare_exchange(&channel, spec, "checking", passive).await {
        Ok(()) => {}
        Err(error) if error.is_not_found() => return Ok(Comparison::Drifted(DriftKind::Missing)),
        Err(error) => return Err(error),
    }
    let mut impossible = FieldTable::default();
    impossible.insert(ALTERNATE_EXCHANGE.into(), AMQPValue::LongInt(0));
    let impossible =
        ExchangeSpec { name: spec.name.clone(), kind: spec.kind.clone(), arguments: impossible };
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    match apply::declare_exchange(&channel, &impossible, "comparing", durable).await {
        Ok(()) => {
            apply::close(&channel).await;
            Ok(Comparison::Uncompared)
        }
        Err(error) => read(&error, |argument, text| {
            if argument != ALTERNATE_EXCHANGE {
                return Comparison::Drifted(DriftKind::Differs(argument.to_owned()));
            }
            let Some((_, current)) = text.split_once("but current is ") else {
                return Comparison::Uncompared;
            };
            let is_same = match spec.arguments.inner().get(ALTERNATE_EXCHANGE) {
                Some(AMQPValue::LongString(name)) => current.contains(&format!("'{name}'")),
                _ => current == "none",
            };
            match is_same {
                true => Comparison::Same,
                false => Comparison::Drifted(DriftKind::Differs(argument.to_owned())),
            }
        }),
    }
}

/// The same for a queue, with an argument that is not compared.
async fn queue(
    connection: &lapin::Connection,
    spec: &QueueSpec,
) -> Result<(Comparison, Option<QueueDepth>), BrokerError> {
    let channel = bounded("opening a channel", connection.create_channel()).await?;
    let state = match apply::check_queue(&channel, spec).await {
        Ok(state) => state,
        Err(error) if error.is_not_found() => {
            return Ok((Comparison::Drifted(DriftKind::Missing), None));
        }
        Err(error) => return Err(error),
    };
    let depth = QueueDepth {
        queue: spec.name.clone(),
        messages: state.message_count(),
        consumers: state.consumer_count(),
    };
    let (impossible, value) = IMPOSSIBLE;
    let mut arguments = spec.arguments.clone();
    arguments.insert(impossible.into(), AMQPValue::LongString(value.into()));
    let compared = QueueSpec { name: spec.name.clone(), arguments, bindings: Vec::new() };
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    let likeness = match apply::declare_queue(&channel, &compared, "comparing", durable).await {
        Ok(_) => {
            apply::close(&channel).await;
            Comparison::Same
        }
        Err(error) => read(&error, |argument, _| match argument == impossible {
            true => Comparison::Uncompared,
            false => Comparison::Drifted(DriftKind::Differs(argument.to_owned())),
        })?,
    };
    Ok((likeness, Some(depth)))
}

/// What the broker's complaint means: `differs` judges the argument that it found to differ.
fn read(
    error: &BrokerError,
    differs: impl FnOnce(&str, &str) -> Comparison,
) -> Result<Comparison, BrokerError> {
    let Some((kind, text)) = error.objection() else {
        return Err(error.clone());
    };
    let argument =
        text.split_once("inequivalent arg '").and_then(|(_, rest)| rest.split_once('\''));
    Ok(match (kind, argument) {
        (AMQPSoftError::PRECONDITIONFAILED, Some((argument, _))) => differs(argument, text),
        // Gone since it was asked for: there is none to compare with, and none was made.
        (AMQPSoftError::PRECONDITIONFAILED, None) if text.contains("invalid ") => {
            Comparison::Drifted(DriftKind::Missing)
        }
        _ => Comparison::Uncompared,
    })
}

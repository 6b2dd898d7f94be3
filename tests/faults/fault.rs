//! What can be done to a running system: pure, drawn from the seed.

use std::fmt;

use fastrand::Rng;
use worker::failpoint::STEPS;

use crate::chance::weighted;
use crate::system::{INGRESSES, WORKERS};

/// Something that breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    Process(Part, End),
    Server(ServerBlow),
    Wire(Wire, Harm),
}

/// A process of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Worker(usize),
    Ingress(usize),
}

/// How it ends, or fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// SIGKILL.
    Kill,
    /// SIGTERM, and all the time it wants.
    Term,
    /// SIGSTOP for a while, as on a machine that hangs.
    Freeze,
    /// By itself, when it reaches this step.
    At(&'static str),
    /// It lives, but a handler panics at this step.
    Panic(&'static str),
    /// It lives, but what came at this step is lost.
    Vanish(&'static str),
}

/// What happens to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerBlow {
    RabbitKill,
    RabbitRestart,
    RabbitFreeze,
    RabbitAlarm,
    RabbitQueueDeleted(&'static str),
    RabbitDataLost,
    PostgresKill,
    PostgresRestart,
    PostgresFreeze,
    /// Everybody waits for a lock, until the pools are exhausted.
    PostgresLocked,
    /// Every commit takes its time.
    PostgresSlowCommits,
    /// Some writes fail with this SQLSTATE.
    PostgresErrors(&'static str),
}

/// A way between two parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    WorkerToRabbit(usize),
    IngressToRabbit(usize),
    WorkerToPostgres(usize),
    ToGateway,
    ToBackup,
    ToBothHosts,
    WechatToIngress,
    ShopToIngress(usize),
}

/// What becomes of it for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Every connection is reset, new ones come through.
    Cut,
    Dead,
    HalfOpen,
    AnswersHeldBack,
    Slow,
    Throttled,
}

const SQLSTATES: [&str; 4] = ["40001", "40P01", "53100", "53200"];

impl Blow {
    /// A process of ours.
    pub(crate) fn of_a_process(rng: &mut Rng) -> Self {
        if rng.f64() < 0.3 {
            let end = weighted(rng, &[(4, End::Kill), (3, End::Term), (1, End::Freeze)]);
            let end = if rng.f64() < 0.3 { End::At("ingress.confirmed") } else { end };
            return Self::Process(Part::Ingress(rng.usize(0..INGRESSES)), end);
        }
        let step = STEPS[rng.usize(0..STEPS.len())];
        let answered = ["unifiedorder.answered", "orderquery.answered", "closeorder.answered"];
        let vanish = answered[rng.usize(0..answered.len())];
        let handled = ["create.taken", "create.stored", "notification.taken", "close.taken"];
        let panic = handled[rng.usize(0..handled.len())];
        let end = weighted(
            rng,
            &[
                (4, End::Kill),
                (3, End::Term),
                (1, End::Freeze),
                (5, End::At(step)),
                (2, End::Panic(panic)),
                (2, End::Vanish(vanish)),
            ],
        );
        Self::Process(Part::Worker(rng.usize(0..WORKERS)), end)
    }

    /// A server.
    pub(crate) fn of_a_server(rng: &mut Rng) -> Self {
        let queues = ["orders", "notifications", "orders.delay.5s"];
        let queue = queues[rng.usize(0..queues.len())];
        let sqlstate = SQLSTATES[rng.usize(0..SQLSTATES.len())];
        Self::Server(weighted(
            rng,
            &[
                (3, ServerBlow::RabbitKill),
                (2, ServerBlow::RabbitRestart),
                (2, ServerBlow::RabbitFreeze),
                (3, ServerBlow::RabbitAlarm),
                (2, ServerBlow::RabbitQueueDeleted(queue)),
                (1, ServerBlow::RabbitDataLost),
                (3, ServerBlow::PostgresKill),
                (3, ServerBlow::PostgresRestart),
                (3, ServerBlow::PostgresFreeze),
                (3, ServerBlow::PostgresLocked),
                (2, ServerBlow::PostgresSlowCommits),
                (5, ServerBlow::PostgresErrors(sqlstate)),
            ],
        ))
    }

    /// A wire.
    pub(crate) fn of_a_wire(rng: &mut Rng) -> Self {
        let (worker, ingress) = (rng.usize(0..WORKERS), rng.usize(0..INGRESSES));
        let wire = weighted(
            rng,
            &[
                (3, Wire::WorkerToRabbit(worker)),
                (3, Wire::IngressToRabbit(ingress)),
                (3, Wire::WorkerToPostgres(worker)),
                (2, Wire::ToGateway),
                (1, Wire::ToBackup),
                (1, Wire::ToBothHosts),
                (2, Wire::WechatToIngress),
                (2, Wire::ShopToIngress(ingress)),
            ],
        );
        let harm = weighted(
            rng,
            &[
                (3, Harm::Cut),
                (2, Harm::Dead),
                (2, Harm::HalfOpen),
                (2, Harm::AnswersHeldBack),
                (2, Harm::Slow),
                (1, Harm::Throttled),
            ],
        );
        Self::Wire(wire, harm)
    }

    /// The kind, for the count at the end.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Process(Part::Worker(_), end) => format!("worker {end}"),
            Self::Process(Part::Ingress(_), end) => format!("ingress {end}"),
            Self::Server(blow) => blow.to_string(),
            Self::Wire(_, harm) => format!("network {harm}"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "killed",
            Self::Term => "terminated",
            Self::Freeze => "frozen",
            Self::At(_) => "dead at a step",
            Self::Panic(_) => "panicked",
            Self::Vanish(_) => "answer vanished",
        })
    }
}

impl fmt::Display for ServerBlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RabbitKill => "RabbitMQ killed",
            Self::RabbitRestart => "RabbitMQ restarted",
            Self::RabbitFreeze => "RabbitMQ frozen",
            Self::RabbitAlarm => "RabbitMQ memory alarm",
            Self::RabbitQueueDeleted(_) => "RabbitMQ queue deleted",
            Self::RabbitDataLost => "RabbitMQ data lost",
            Self::PostgresKill => "Postgres killed",
            Self::PostgresRestart => "Postgres restarted",
            Self::PostgresFreeze => "Postgres frozen",
            Self::PostgresLocked => "Postgres locked",
            Self::PostgresSlowCommits => "Postgres slow commits",
            Self::PostgresErrors(_) => "Postgres errors",
        })
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::Dead => "dead",
            Self::HalfOpen => "half-open",
            Self::AnswersHeldBack => "answers held back",
            Self::Slow => "slow",
            Self::Throttled => "throttled",
        })
    }
}

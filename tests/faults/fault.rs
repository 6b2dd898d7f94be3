//! The faults that a campaign injects into a running system, drawn from the seed.

use std::fmt;

use fastrand::Rng;
use worker::failpoint::STEPS;

use crate::chance::weighted;
use crate::system::{INGRESSES, WORKERS};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Process(Process, ProcessFault),
    Server(ServerFault),
    Network(Link, NetworkFault),
}

/// The process that a fault is injected into, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    Worker(usize),
    Ingress(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessFault {
    Kill,
    /// SIGTERM. The process gets the time to drain.
    Term,
    /// SIGSTOP for a while, as on a machine that hangs.
    Freeze,
    /// The process exits when it reaches this step.
    ExitAt(&'static str),
    /// A handler panics at this step; the process runs on.
    Panic(&'static str),
    /// The answer that arrives at this step is lost; the process runs on.
    Vanish(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerFault {
    RabbitKill,
    RabbitRestart,
    RabbitFreeze,
    RabbitAlarm,
    RabbitQueueDeleted(&'static str),
    RabbitDataLost,
    PostgresKill,
    PostgresRestart,
    PostgresFreeze,
    /// Every transaction waits for a lock, until the pools are exhausted.
    PostgresLocked,
    /// Every commit is slow.
    PostgresSlowCommits,
    /// Some writes fail with this SQLSTATE.
    PostgresErrors(&'static str),
}

/// A network connection between two components. Each one passes through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    WorkerToRabbit(usize),
    IngressToRabbit(usize),
    WorkerToPostgres(usize),
    ToGateway,
    ToBackup,
    ToBothHosts,
    WechatToIngress,
    ShopToIngress(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkFault {
    /// Open connections are reset; new ones succeed.
    Cut,
    Dead,
    HalfOpen,
    AnswersDelayed,
    Slow,
    Throttled,
}

const SQLSTATES: [&str; 4] = ["40001", "40P01", "53100", "53200"];

impl Fault {
    pub(crate) fn random_process(rng: &mut Rng) -> Self {
        if rng.f64() < 0.3 {
            let fault = weighted(
                rng,
                &[(4, ProcessFault::Kill), (3, ProcessFault::Term), (1, ProcessFault::Freeze)],
            );
            let fault =
                if rng.f64() < 0.3 { ProcessFault::ExitAt("ingress.confirmed") } else { fault };
            return Self::Process(Process::Ingress(rng.usize(0..INGRESSES)), fault);
        }
        let step = STEPS[rng.usize(0..STEPS.len())];
        let answered = ["unifiedorder.answered", "orderquery.answered", "closeorder.answered"];
        let vanish = answered[rng.usize(0..answered.len())];
        let handled = ["create.taken", "create.stored", "notification.taken", "close.taken"];
        let panic = handled[rng.usize(0..handled.len())];
        let fault = weighted(
            rng,
            &[
                (4, ProcessFault::Kill),
                (3, ProcessFault::Term),
                (1, ProcessFault::Freeze),
                (5, ProcessFault::ExitAt(step)),
                (2, ProcessFault::Panic(panic)),
                (2, ProcessFault::Vanish(vanish)),
            ],
        );
        Self::Process(Process::Worker(rng.usize(0..WORKERS)), fault)
    }

    pub(crate) fn random_server(rng: &mut Rng) -> Self {
        let queues = ["orders", "notifications", "orders.delay.5s"];
        let queue = queues[rng.usize(0..queues.len())];
        let sqlstate = SQLSTATES[rng.usize(0..SQLSTATES.len())];
        Self::Server(weighted(
            rng,
            &[
                (3, ServerFault::RabbitKill),
                (2, ServerFault::RabbitRestart),
                (2, ServerFault::RabbitFreeze),
                (3, ServerFault::RabbitAlarm),
                (2, ServerFault::RabbitQueueDeleted(queue)),
                (1, ServerFault::RabbitDataLost),
                (3, ServerFault::PostgresKill),
                (3, ServerFault::PostgresRestart),
                (3, ServerFault::PostgresFreeze),
                (3, ServerFault::PostgresLocked),
                (2, ServerFault::PostgresSlowCommits),
                (5, ServerFault::PostgresErrors(sqlstate)),
            ],
        ))
    }

    pub(crate) fn random_link(rng: &mut Rng) -> Self {
        let worker = rng.usize(0..WORKERS);
        let ingress = rng.usize(0..INGRESSES);
        let link = weighted(
            rng,
            &[
                (3, Link::WorkerToRabbit(worker)),
                (3, Link::IngressToRabbit(ingress)),
                (3, Link::WorkerToPostgres(worker)),
                (2, Link::ToGateway),
                (1, Link::ToBackup),
                (1, Link::ToBothHosts),
                (2, Link::WechatToIngress),
                (2, Link::ShopToIngress(ingress)),
            ],
        );
        let fault = weighted(
            rng,
            &[
                (3, NetworkFault::Cut),
                (2, NetworkFault::Dead),
                (2, NetworkFault::HalfOpen),
                (2, NetworkFault::AnswersDelayed),
                (2, NetworkFault::Slow),
                (1, NetworkFault::Throttled),
            ],
        );
        Self::Network(link, fault)
    }

    /// The kind of fault. The report counts faults by kind.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Process(Process::Worker(_), fault) => format!("worker {fault}"),
            Self::Process(Process::Ingress(_), fault) => format!("ingress {fault}"),
            Self::Server(fault) => fault.to_string(),
            Self::Network(_, fault) => format!("network {fault}"),
        }
    }
}

impl fmt::Display for ProcessFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "killed",
            Self::Term => "terminated",
            Self::Freeze => "frozen",
            Self::ExitAt(_) => "exited at a step",
            Self::Panic(_) => "panicked",
            Self::Vanish(_) => "answer vanished",
        })
    }
}

impl fmt::Display for ServerFault {
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

impl fmt::Display for NetworkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::Dead => "dead",
            Self::HalfOpen => "half-open",
            Self::AnswersDelayed => "answers delayed",
            Self::Slow => "slow",
            Self::Throttled => "throttled",
        })
    }
}

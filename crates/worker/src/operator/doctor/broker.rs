//! RabbitMQ: the connection, the topology, the queues.

use broker::{
    BrokerConfig, DriftKind, ParkedQueue, Queue, QueueDepth, Survey, TopologyDrift, TopologyMode,
};
use broker::{queue_name, survey};

use super::report::Check;
use super::timeout::with_timeout;
use crate::operator::output::{counted, plain};

const CONNECTION: &str = "broker.connection";
const TOPOLOGY: &str = "broker.topology";
const WORK: [Queue; 3] = [Queue::Orders, Queue::Notifications, Queue::Queries];

pub(super) async fn checks(config: BrokerConfig, mode: TopologyMode) -> Vec<Check> {
    let address = config.amqp_url.display_address();
    let namespace = config.namespace.clone();
    let surveyed = with_timeout(async move { survey(&config).await });
    let problem = match surveyed.await {
        Ok(Ok(survey)) => {
            let finding = format!("{address} answers; the namespace is {namespace}");
            let mut checks = vec![Check::ok(CONNECTION, finding), topology(&survey, mode)];
            let depth = |name: String| survey.depths.iter().find(|depth| depth.queue == name);
            checks.extend(
                ParkedQueue::ALL.map(|queue| parked(queue, depth(queue.full_name(&namespace)))),
            );
            checks
                .extend(WORK.map(|queue| work_queue(queue, depth(queue_name(&namespace, queue)))));
            return checks;
        }
        // The full text contains the address with the user.
        Ok(Err(error)) => plain(&error.reason()),
        Err(problem) => problem,
    };
    let finding = format!("{address} cannot be used: {problem}");
    let remedy = "start RabbitMQ, or correct WXPAY_AMQP_URL (host, user, password, virtual host)";
    let mut checks = vec![Check::bad(CONNECTION, finding, remedy)];
    let rest = std::iter::once(TOPOLOGY.to_owned())
        .chain(ParkedQueue::ALL.map(parked_name))
        .chain(WORK.map(work_name));
    checks.extend(rest.map(|name| Check::skipped(name, "the broker cannot be reached")));
    checks
}

fn topology(survey: &Survey, mode: TopologyMode) -> Check {
    let Survey { parts, drifts, uncompared, .. } = survey;
    let missing: Vec<_> = drifts.iter().filter(|drift| drift.kind == DriftKind::Missing).collect();
    let different: Vec<_> = drifts.iter().filter_map(difference).collect();
    let mut findings = Vec::new();
    if missing.len() == *parts {
        findings.push(format!("none of the {parts} exchanges and queues exists"));
    } else if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|drift| drift.part.as_str()).collect();
        findings.push(format!("missing: {}", names.join(", ")));
    }
    if !different.is_empty() {
        findings.push(format!("different: {}", different.join(", ")));
    }
    let finding = findings.join("; ");
    let declare = match mode {
        TopologyMode::Declare => "start or restart a worker: it declares what is missing",
        TopologyMode::Check => {
            "declare what is missing, or start one worker with WXPAY_TOPOLOGY=declare"
        }
    };
    let renew = "RabbitMQ changes no existing queue: stop the workers, empty and delete what is \
                 different, and let a worker declare it again";
    match (missing.is_empty(), different.is_empty(), mode) {
        (true, true, _) if *uncompared == 0 => {
            Check::ok(TOPOLOGY, format!("{parts} exchanges and queues exist and are correct"))
        }
        (true, true, _) => {
            let compared = parts - uncompared;
            let finding = format!(
                "{parts} exchanges and queues exist, {compared} of them are correct; the others \
                 cannot be compared with this user or this broker"
            );
            Check::ok(TOPOLOGY, finding)
        }
        // The owner of the topology may have reasons, and the worker starts.
        (true, false, TopologyMode::Check) => Check::warn(TOPOLOGY, finding, renew),
        (true, false, TopologyMode::Declare) => Check::bad(TOPOLOGY, finding, renew),
        (false, true, _) => Check::bad(TOPOLOGY, finding, declare),
        (false, false, _) => Check::bad(TOPOLOGY, finding, format!("{declare}; {renew}")),
    }
}

fn difference(drift: &TopologyDrift) -> Option<String> {
    match &drift.kind {
        DriftKind::Missing => None,
        DriftKind::Differs(what) => Some(format!("{} ({})", drift.part, plain(what))),
    }
}

fn parked_name(queue: ParkedQueue) -> String {
    format!("parked.{queue}")
}

fn parked(queue: ParkedQueue, depth: Option<&QueueDepth>) -> Check {
    let name = parked_name(queue);
    let Some(depth) = depth else { return Check::skipped(name, "the queue does not exist") };
    if depth.messages == 0 {
        return Check::ok(name, "no message waits for an operator");
    }
    let finding = format!("{} for an operator", waiting(depth.messages));
    let list = format!("`wxpay-worker parked list {queue}`");
    let remedy = match queue {
        ParkedQueue::Unrouted => {
            format!("{list}; a worker with WXPAY_TOPOLOGY=declare restores bindings and resends")
        }
        _ => format!("{list}, then `parked replay` or `parked discard`"),
    };
    Check::bad(name, finding, remedy)
}

fn work_name(queue: Queue) -> String {
    format!("queue.{queue}")
}

fn work_queue(queue: Queue, depth: Option<&QueueDepth>) -> Check {
    let name = work_name(queue);
    let Some(depth) = depth else { return Check::skipped(name, "the queue does not exist") };
    let waiting = waiting(depth.messages);
    match depth.consumers {
        0 => Check::warn(
            name,
            format!("{waiting}, and no worker consumes them"),
            "start a worker (`wxpay-worker run`), or find out why it is not ready (`/readyz`)",
        ),
        consumers => Check::ok(name, format!("{waiting}, consumers: {consumers}")),
    }
}

fn waiting(messages: u32) -> String {
    let verb = if messages == 1 { "waits" } else { "wait" };
    format!("{} {verb}", counted(messages as usize, "message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::doctor::report::CheckStatus;

    fn survey(drifts: &[(&str, Option<&str>)], uncompared: usize) -> Survey {
        let drift = |(part, differs): &(&str, Option<&str>)| TopologyDrift {
            part: (*part).to_owned(),
            kind: differs.map_or(DriftKind::Missing, |what| DriftKind::Differs(what.to_owned())),
        };
        let drifts = drifts.iter().map(drift).collect();
        Survey { parts: 2, drifts, uncompared, depths: Vec::new() }
    }

    #[test]
    fn drift_is_named_with_its_remedy() {
        let checked = |drifts: &[_], mode| {
            let check = topology(&survey(drifts, 0), mode);
            (check.status, check.finding, check.remedy.unwrap_or_default())
        };
        let declare = TopologyMode::Declare;
        let check = TopologyMode::Check;
        assert_eq!(checked(&[], declare).0, CheckStatus::Ok);
        let (status, finding, remedy) = checked(&[("queue a", None)], declare);
        assert_eq!((status, finding.as_str()), (CheckStatus::Bad, "missing: queue a"));
        assert!(remedy.starts_with("start or restart a worker"), "{remedy}");
        let (status, finding, _) = checked(&[("queue a", None), ("queue b", None)], check);
        assert_eq!(status, CheckStatus::Bad);
        assert_eq!(finding, "none of the 2 exchanges and queues exists");
        let different = [("queue a", Some("x-message-ttl"))];
        let (status, finding, remedy) = checked(&different, declare);
        assert_eq!(
            (status, finding.as_str()),
            (CheckStatus::Bad, "different: queue a (x-message-ttl)")
        );
        assert!(remedy.contains("delete"), "{remedy}");
        assert_eq!(checked(&different, check).0, CheckStatus::Warn);
    }

    #[test]
    fn finding_counts_what_could_not_be_compared() {
        let check = topology(&survey(&[], 2), TopologyMode::Check);
        assert_eq!(check.status, CheckStatus::Ok);
        assert!(check.finding.contains("2 exchanges and queues exist, 0 of them"), "{check:?}");
    }

    #[test]
    fn idle_work_queue_warns_and_parked_message_is_bad() {
        let depth = |messages, consumers| QueueDepth { queue: String::new(), messages, consumers };
        let of = |depth: &QueueDepth| work_queue(Queue::Orders, Some(depth)).status;
        assert_eq!(of(&depth(7, 1)), CheckStatus::Ok);
        assert_eq!(of(&depth(0, 0)), CheckStatus::Warn);
        for queue in ParkedQueue::ALL {
            assert_eq!(parked(queue, Some(&depth(0, 0))).status, CheckStatus::Ok);
            assert_eq!(parked(queue, Some(&depth(1, 0))).status, CheckStatus::Bad);
            assert_eq!(parked(queue, None).status, CheckStatus::Skipped);
        }
    }
}

//! RabbitMQ: whether it answers, what stands there, what waits there.

use broker::{
    BrokerConfig, DriftKind, ParkedQueue, Queue, QueueDepth, Survey, TopologyDrift, TopologyMode,
};
use broker::{queue_name, survey};

use super::keys::counted;
use super::report::Check;
use super::within;
use crate::operator::output::plain;

const CONNECTION: &str = "broker.connection";
const TOPOLOGY: &str = "broker.topology";
const WORK: [Queue; 3] = [Queue::Orders, Queue::Notifications, Queue::Queries];

pub(super) async fn checks(config: BrokerConfig, mode: TopologyMode) -> Vec<Check> {
    let (place, namespace) = (config.amqp_url.display_address(), config.namespace.clone());
    let asked = config.clone();
    let problem = match within(async move { survey(&asked).await }).await {
        Ok(Ok(survey)) => {
            let finding = format!("{place} answers, our names begin with {namespace}");
            let mut checks = vec![Check::ok(CONNECTION, finding), topology(&survey, mode)];
            let depth = |name: String| survey.depths.iter().find(|depth| depth.queue == name);
            checks.extend(
                ParkedQueue::ALL.map(|queue| kept(queue, depth(queue.full_name(&namespace)))),
            );
            checks.extend(WORK.map(|queue| work(queue, depth(queue_name(&namespace, queue)))));
            return checks;
        }
        // Its text names the address, user included.
        Ok(Err(error)) => plain(&error.reason()),
        Err(problem) => problem,
    };
    let finding = format!("{place} cannot be used: {problem}");
    let remedy = "start RabbitMQ, or set WXPAY_AMQP_URL right (host, user, password, virtual host)";
    let mut checks = vec![Check::bad(CONNECTION, finding, remedy)];
    let rest = std::iter::once(TOPOLOGY.to_owned())
        .chain(ParkedQueue::ALL.map(kept_name))
        .chain(WORK.map(work_name));
    checks.extend(rest.map(|name| Check::skipped(name, "the broker is not reached")));
    checks
}

fn topology(survey: &Survey, mode: TopologyMode) -> Check {
    let Survey { parts, drifts, uncompared, .. } = survey;
    let missing: Vec<_> = drifts.iter().filter(|drift| drift.kind == DriftKind::Missing).collect();
    let different: Vec<_> = drifts.iter().filter_map(difference).collect();
    let mut findings = Vec::new();
    if missing.len() == *parts {
        findings.push(format!("none of the {parts} exchanges and queues is there"));
    } else if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|drift| drift.part.as_str()).collect();
        findings.push(format!("missing: {}", names.join(", ")));
    }
    if !different.is_empty() {
        findings.push(format!("different: {}", different.join(", ")));
    }
    let finding = findings.join("; ");
    let declare = match mode {
        TopologyMode::Declare => "start or restart a worker, which declares what is missing",
        TopologyMode::Check => {
            "declare what is missing, or start one worker with WXPAY_TOPOLOGY=declare"
        }
    };
    let renew = "RabbitMQ changes nothing that is there: stop the workers, empty and delete what \
                 is different, and have it declared again";
    match (missing.is_empty(), different.is_empty(), mode) {
        (true, true, _) if *uncompared == 0 => Check::ok(
            TOPOLOGY,
            format!("{parts} exchanges and queues are there, as they should be"),
        ),
        (true, true, _) => {
            let compared = parts - uncompared;
            let finding = format!(
                "{parts} exchanges and queues are there, {compared} of them as they should be; \
                 the others could not be compared with this user or this broker"
            );
            Check::ok(TOPOLOGY, finding)
        }
        // Whoever owns it may have reasons, and the worker starts.
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

fn kept_name(queue: ParkedQueue) -> String {
    format!("parked.{queue}")
}

fn kept(queue: ParkedQueue, depth: Option<&QueueDepth>) -> Check {
    let name = kept_name(queue);
    let Some(depth) = depth else { return Check::skipped(name, "the queue is not there") };
    if depth.messages == 0 {
        return Check::ok(name, "nothing waits for a person");
    }
    let finding = format!("{} for a person", waiting(depth.messages));
    let look = format!("`wxpay-worker parked list {queue}`");
    let remedy = match queue {
        ParkedQueue::Unrouted => {
            format!(
                "{look}; a worker with WXPAY_TOPOLOGY=declare restores bindings and sends them on"
            )
        }
        _ => format!("{look}, then `parked replay` or `parked discard`"),
    };
    Check::bad(name, finding, remedy)
}

fn work_name(queue: Queue) -> String {
    format!("queue.{queue}")
}

fn work(queue: Queue, depth: Option<&QueueDepth>) -> Check {
    let name = work_name(queue);
    let Some(depth) = depth else { return Check::skipped(name, "the queue is not there") };
    let waiting = waiting(depth.messages);
    match depth.consumers {
        0 => Check::warn(
            name,
            format!("{waiting}, and no worker consumes them"),
            "start a worker (`wxpay-worker run`), or see why it is not ready (`/readyz`)",
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
    use super::super::report::CheckStatus;
    use super::*;

    fn survey(drifts: &[(&str, Option<&str>)], uncompared: usize) -> Survey {
        let drift = |(part, differs): &(&str, Option<&str>)| TopologyDrift {
            part: (*part).to_owned(),
            kind: differs.map_or(DriftKind::Missing, |what| DriftKind::Differs(what.to_owned())),
        };
        let drifts = drifts.iter().map(drift).collect();
        Survey { parts: 2, drifts, uncompared, depths: Vec::new() }
    }

    #[test]
    fn a_drift_is_named_with_what_mends_it() {
        let judged = |drifts: &[_], mode| {
            let check = topology(&survey(drifts, 0), mode);
            (check.status, check.finding, check.remedy.unwrap_or_default())
        };
        let (declare, check) = (TopologyMode::Declare, TopologyMode::Check);
        assert_eq!(judged(&[], declare).0, CheckStatus::Ok);
        let (status, finding, remedy) = judged(&[("queue a", None)], declare);
        assert_eq!((status, finding.as_str()), (CheckStatus::Bad, "missing: queue a"));
        assert!(remedy.starts_with("start or restart a worker"), "{remedy}");
        let (status, finding, _) = judged(&[("queue a", None), ("queue b", None)], check);
        assert_eq!(status, CheckStatus::Bad);
        assert_eq!(finding, "none of the 2 exchanges and queues is there");
        let different = [("queue a", Some("x-message-ttl"))];
        let (status, finding, remedy) = judged(&different, declare);
        assert_eq!(
            (status, finding.as_str()),
            (CheckStatus::Bad, "different: queue a (x-message-ttl)")
        );
        assert!(remedy.contains("delete"), "{remedy}");
        assert_eq!(judged(&different, check).0, CheckStatus::Warn);
    }

    #[test]
    fn what_could_not_be_compared_is_said() {
        let check = topology(&survey(&[], 2), TopologyMode::Check);
        assert_eq!(check.status, CheckStatus::Ok);
        assert!(check.finding.contains("2 exchanges and queues are there, 0 of them"), "{check:?}");
    }

    #[test]
    fn a_queue_without_a_consumer_and_a_message_for_a_person_are_seen() {
        let depth = |messages, consumers| QueueDepth { queue: String::new(), messages, consumers };
        let of = |depth: &QueueDepth| work(Queue::Orders, Some(depth)).status;
        assert_eq!(of(&depth(7, 1)), CheckStatus::Ok);
        assert_eq!(of(&depth(0, 0)), CheckStatus::Warn);
        for queue in ParkedQueue::ALL {
            assert_eq!(kept(queue, Some(&depth(0, 0))).status, CheckStatus::Ok);
            assert_eq!(kept(queue, Some(&depth(1, 0))).status, CheckStatus::Bad);
            assert_eq!(kept(queue, None).status, CheckStatus::Skipped);
        }
    }
}

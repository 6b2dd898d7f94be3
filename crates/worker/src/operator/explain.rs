//! `order explain`: the timeline of an order, one line for each event.

use std::process::ExitCode;

use orders::{OrderKey, Problem};

use super::FAILED;
use super::notification::DIGEST_SHORT;
use super::output::{differing, plain, print, print_json, state_and_seq, table, utc};
use crate::store::{NotificationSummary, OrderHistory, Store, TimelineEntry, TimelineEvent};

pub(super) async fn run(store: &Store, key: &OrderKey, json: bool) -> anyhow::Result<ExitCode> {
    let history = store.history(key).await?;
    if json {
        print_json(&history.timeline)?;
    } else {
        print(&format_history(key, &history))?;
    }
    if history.is_cut {
        eprintln!("the timeline is longer: of some kinds only the last entries are shown");
    }
    let is_unknown = history.order.is_none() && history.timeline.is_empty();
    Ok(if is_unknown { FAILED } else { ExitCode::SUCCESS })
}

fn format_history(key: &OrderKey, history: &OrderHistory) -> String {
    let head = match &history.order {
        Some(order) => {
            let total_fee = order.request.total_fee;
            let trade_type = order.request.trade_type.as_str();
            format!("{}, {total_fee} fen, {trade_type}", state_and_seq(order))
        }
        None if history.timeline.is_empty() => return format!("{key} is not known\n"),
        None => "no order of this number".to_owned(),
    };
    let row = |entry: &TimelineEntry| {
        let (kind, text) = format_event(&entry.event);
        [utc(entry.at), kind.to_owned(), text]
    };
    let rows: Vec<_> = history.timeline.iter().map(row).collect();
    format!("{key}  {head}\n\n{}", table(["AT", "WHAT", ""], &rows))
}

fn format_event(event: &TimelineEvent) -> (&'static str, String) {
    match event {
        TimelineEvent::Rejected { problem } => ("rejected", format_problem(problem)),
        TimelineEvent::Notification(it) => ("notification", format_notification(it)),
        TimelineEvent::Call { api, verdict, detail, duration_ms } => {
            let detail = after(", ", detail.as_deref());
            ("call", format!("{api}: {verdict}{detail} ({duration_ms} ms)"))
        }
        TimelineEvent::Transition { seq: 1, to, source, .. } => {
            ("accepted", format!("{to} (seq 1), by {source}"))
        }
        TimelineEvent::Transition { seq, from, to, fact, source, .. } => {
            let from = from.as_deref().unwrap_or("-");
            let fact = fact.as_deref().unwrap_or("-");
            ("moved", format!("{from} -> {to} (seq {seq}), by {fact} ({source})"))
        }
        TimelineEvent::ExceptionOpened { exception, transaction_id, differs } => {
            let payment = after(" ", Some(transaction_id));
            let differs = after(": ", Some(&differing(differs)));
            ("exception", format!("{exception}{payment} opened{differs}"))
        }
        TimelineEvent::ExceptionResolved { exception, transaction_id, resolution } => {
            let payment = after(" ", Some(transaction_id));
            ("resolved", format!("{exception}{payment}: {}", plain(resolution)))
        }
        TimelineEvent::Event { kind, event_id, seq, is_confirmed } => {
            let seq = seq.map(|seq| format!(" (seq {seq})")).unwrap_or_default();
            let how = if *is_confirmed { "confirmed" } else { "waits for the broker" };
            ("event", format!("{kind}{seq} {how}, id {event_id}"))
        }
        TimelineEvent::Action { operator, verb, subject, reason } => {
            // The head of the timeline names the order already.
            let rest = subject.split_once(' ').map(|(_, rest)| rest);
            let rest = after(" ", rest);
            let reason = after(": ", reason.as_deref());
            ("operator", format!("{}: {verb}{rest}{reason}", plain(operator)))
        }
    }
}

fn format_problem(problem: &Problem) -> String {
    let detail = after(": ", problem.detail.as_deref());
    let fields: Vec<String> =
        problem.errors.iter().map(|it| format!("{} must be {}", it.field, it.rule)).collect();
    let fields = after(": ", Some(&fields.join("; ")));
    format!("{} {}{detail}{fields}", problem.status, problem.title)
}

fn format_notification(it: &NotificationSummary) -> String {
    let detail = after(", ", it.detail.as_deref());
    let repeats = match it.repeats {
        0 => String::new(),
        count => format!(", repeated {count} times until {}", utc(it.last_received_at)),
    };
    let digest = &it.digest[..DIGEST_SHORT];
    format!("{}: {}{detail}{repeats}, digest {digest}", it.kind, it.verdict)
}

/// The separator and the text; nothing where there is no text.
fn after(separator: &str, text: Option<&str>) -> String {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| format!("{separator}{}", plain(text))).unwrap_or_default()
}

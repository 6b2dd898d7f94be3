//! `order explain`: the whole story, one line for each thing that happened.

use std::process::ExitCode;

use orders::{OrderKey, Problem};
use worker::store::{NotificationSummary, OrderHistory, Store, TimelineEntry, TimelineEvent};

use super::FAILED;
use super::exceptions::differing;
use super::output::{plain, print, print_json, table, utc};

pub(super) async fn run(store: &Store, key: &OrderKey, json: bool) -> anyhow::Result<ExitCode> {
    let history = store.history(key).await?;
    if json {
        print_json(&history.timeline)?;
    } else {
        print(&formatted(key, &history))?;
    }
    if history.is_cut {
        eprintln!("it is longer than this: of some kind only the last entries are shown");
    }
    let is_unknown = history.order.is_none() && history.timeline.is_empty();
    Ok(if is_unknown { FAILED } else { ExitCode::SUCCESS })
}

fn formatted(key: &OrderKey, history: &OrderHistory) -> String {
    let head = match &history.order {
        Some(order) => {
            let request = &order.request;
            let kind = request.trade_type.as_str();
            format!("{} (seq {}), {} fen, {kind}", order.state, order.seq, request.total_fee)
        }
        None if history.timeline.is_empty() => return format!("{key} is not known\n"),
        None => "no order of this number".to_owned(),
    };
    let row = |entry: &TimelineEntry| {
        let (kind, what) = line(&entry.event);
        [utc(entry.at), kind.to_owned(), what]
    };
    let rows: Vec<_> = history.timeline.iter().map(row).collect();
    format!("{key}  {head}\n\n{}", table(["AT", "WHAT", ""], &rows))
}

fn line(event: &TimelineEvent) -> (&'static str, String) {
    match event {
        TimelineEvent::Rejected { problem } => ("rejected", rejected(problem)),
        TimelineEvent::Notification(notification) => ("notification", notified(notification)),
        TimelineEvent::Call { api, verdict, detail, duration_ms } => {
            let detail = after(", ", detail.as_deref());
            ("call", format!("{api}: {verdict}{detail} ({duration_ms} ms)"))
        }
        TimelineEvent::Transition { seq: 1, to, source, .. } => {
            ("accepted", format!("{to} (seq 1), by {source}"))
        }
        TimelineEvent::Transition { seq, from, to, fact, source, .. } => {
            let (from, fact) = (from.as_deref().unwrap_or("-"), fact.as_deref().unwrap_or("-"));
            ("moved", format!("{from} -> {to} (seq {seq}), by {fact} ({source})"))
        }
        TimelineEvent::ExceptionOpened { exception, transaction_id, differs } => {
            let (about, differs) = (after(" ", Some(transaction_id)), differing(differs));
            ("exception", format!("{exception}{about} opened{}", after(": ", Some(&differs))))
        }
        TimelineEvent::ExceptionResolved { exception, transaction_id, resolution } => {
            let about = after(" ", Some(transaction_id));
            ("resolved", format!("{exception}{about}: {}", plain(resolution)))
        }
        TimelineEvent::Event { kind, event_id, seq, is_confirmed } => {
            let seq = seq.map(|seq| format!(" (seq {seq})")).unwrap_or_default();
            let how = if *is_confirmed { "confirmed" } else { "waits for the broker" };
            ("event", format!("{kind}{seq} {how}, id {event_id}"))
        }
        TimelineEvent::Action { operator, verb, subject, reason } => {
            // Whose number it is stands above.
            let about = subject.split_once(' ').map(|(_, about)| about);
            let (about, reason) = (after(" ", about), after(": ", reason.as_deref()));
            ("operator", format!("{}: {verb}{about}{reason}", plain(operator)))
        }
    }
}

fn rejected(problem: &Problem) -> String {
    let detail = after(": ", problem.detail.as_deref());
    let fields: Vec<String> =
        problem.errors.iter().map(|it| format!("{} must be {}", it.field, it.rule)).collect();
    format!("{} {}{detail}{}", problem.status, problem.title, after(": ", Some(&fields.join("; "))))
}

fn notified(it: &NotificationSummary) -> String {
    let detail = after(", ", it.detail.as_deref());
    let repeats = match it.repeats {
        0 => String::new(),
        count => format!(", repeated {count} times until {}", utc(it.last_received_at)),
    };
    format!("{}: {}{detail}{repeats}, digest {}", it.kind, it.verdict, &it.digest[..12])
}

/// The text after what sets it off, or nothing.
fn after(mark: &str, text: Option<&str>) -> String {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| format!("{mark}{}", plain(text))).unwrap_or_default()
}

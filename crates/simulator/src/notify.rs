//! Sending notifications: the first wave, then WeChat's schedule until somebody answers `SUCCESS`
//! (reference 3.3, 3.4).

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::task::JoinSet;
use wechatpay_v2::{Limits, TransactionId, parse_xml};

use crate::Simulator;
use crate::notification::Notification;
use crate::order::OrderKey;
use crate::view::{AttemptOutcome, AttemptView, NotificationState, NotificationView};

/// Seconds before each of the 15 repeats: 24 hours and 4 minutes in all.
const SCHEDULE_SECONDS: [u32; 15] =
    [15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10_800, 10_800, 10_800, 21_600, 21_600];

/// One notification on its way.
pub(crate) struct Delivery {
    pub(crate) key: OrderKey,
    pub(crate) id: u64,
    pub(crate) transaction_id: TransactionId,
    pub(crate) notify_url: String,
    pub(crate) notification: Notification,
    /// Sends of the first wave.
    pub(crate) times: u32,
    pub(crate) concurrently: bool,
    pub(crate) delay: Duration,
    pub(crate) fresh_nonce: bool,
}

impl Delivery {
    /// The record of it before the first attempt.
    pub(crate) fn record(&self) -> NotificationView {
        NotificationView {
            id: self.id,
            transaction_id: self.transaction_id.to_string(),
            notify_url: self.notify_url.clone(),
            state: NotificationState::Pending,
            next_at: None,
            attempts: Vec::new(),
        }
    }
}

/// Sends until it is delivered or the schedule is over.
pub(crate) async fn deliver(simulator: Simulator, mut delivery: Delivery) {
    tokio::time::sleep(delivery.delay).await;
    if first_wave(&simulator, &delivery).await {
        return settle(&simulator, &delivery, NotificationState::Delivered);
    }
    for seconds in SCHEDULE_SECONDS {
        let pause = Duration::from_secs_f64(f64::from(seconds) / simulator.config().time_scale);
        simulator.record(&delivery, |record| {
            record.next_at = Some(OffsetDateTime::now_utc() + pause);
        });
        tokio::time::sleep(pause).await;
        if delivery.fresh_nonce {
            delivery.notification.renew_nonce();
        }
        let body = delivery.notification.write();
        if attempt(simulator.clone(), &delivery, body).await {
            return settle(&simulator, &delivery, NotificationState::Delivered);
        }
    }
    settle(&simulator, &delivery, NotificationState::Exhausted);
}

fn settle(simulator: &Simulator, delivery: &Delivery, state: NotificationState) {
    simulator.record(delivery, |record| {
        record.state = state;
        record.next_at = None;
    });
    let out_trade_no = &delivery.key.out_trade_no;
    tracing::info!(out_trade_no, id = delivery.id, ?state, "the notification is settled");
}

/// All of them are sent, whatever the first is answered: several of WeChat's servers may deliver
/// the same notification (reference 3.1).
async fn first_wave(simulator: &Simulator, delivery: &Delivery) -> bool {
    let body = delivery.notification.write();
    let mut delivered = false;
    if delivery.concurrently {
        let mut sends: JoinSet<AttemptView> = (0..delivery.times)
            .map(|_| send(simulator.clone(), delivery.notify_url.clone(), body.clone()))
            .collect();
        while let Some(sent) = sends.join_next().await {
            delivered |= sent.is_ok_and(|attempt| note(simulator, delivery, attempt));
        }
    } else {
        for _ in 0..delivery.times {
            delivered |= attempt(simulator.clone(), delivery, body.clone()).await;
        }
    }
    delivered
}

async fn attempt(simulator: Simulator, delivery: &Delivery, body: Vec<u8>) -> bool {
    let attempt = send(simulator.clone(), delivery.notify_url.clone(), body).await;
    note(&simulator, delivery, attempt)
}

/// Writes the attempt down and says whether it delivered.
fn note(simulator: &Simulator, delivery: &Delivery, attempt: AttemptView) -> bool {
    let delivered = attempt.outcome == AttemptOutcome::Success;
    tracing::info!(
        out_trade_no = delivery.key.out_trade_no,
        id = delivery.id,
        status = attempt.status,
        outcome = ?attempt.outcome,
        duration_ms = attempt.duration_ms,
        "notified",
    );
    simulator.record(delivery, |record| record.attempts.push(attempt));
    delivered
}

async fn send(simulator: Simulator, notify_url: String, body: Vec<u8>) -> AttemptView {
    let _permit = simulator.sending_permit().await;
    let (at, started) = (OffsetDateTime::now_utc(), Instant::now());
    let request = simulator.http().post(notify_url);
    let sent = request.header("content-type", "text/xml").body(body).send().await;
    let (status, outcome) = match sent {
        Ok(response) => (Some(response.status().as_u16()), judge(response).await),
        Err(error) => (None, failure(&error)),
    };
    AttemptView {
        at,
        status,
        outcome,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

async fn judge(mut response: reqwest::Response) -> AttemptOutcome {
    if response.status() != reqwest::StatusCode::OK {
        return AttemptOutcome::Status;
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= Limits::MESSAGE.bytes => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return AttemptOutcome::Unreadable,
            Ok(None) => break,
            Err(error) => return failure(&error),
        }
    }
    match parse_xml(&body, Limits::MESSAGE) {
        Ok(fields) if fields.get("return_code") == Some("SUCCESS") => AttemptOutcome::Success,
        Ok(_) => AttemptOutcome::Fail,
        Err(_) => AttemptOutcome::Unreadable,
    }
}

fn failure(error: &reqwest::Error) -> AttemptOutcome {
    if error.is_timeout() { AttemptOutcome::Timeout } else { AttemptOutcome::Unreachable }
}

//! When notifications are sent: the first sends, then WeChat's schedule of repeats until the
//! merchant answers `SUCCESS`.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tracing::{Instrument, info_span};
use wechatpay_v2::TransactionId;

use crate::notifications::compose::Notification;
use crate::notifications::send::send;
use crate::order::OrderKey;
use crate::simulator::Simulator;
use crate::view::{AttemptOutcome, AttemptView, NotificationState, NotificationView};

/// Seconds before each of the 15 repeats: 24 hours and 4 minutes in all (`wechatpay-v2/PROTOCOL.md`, "Repeats").
const SCHEDULE_SECONDS: [u32; 15] =
    [15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10_800, 10_800, 10_800, 21_600, 21_600];

/// A notification that is delivered until the merchant answers `SUCCESS`.
pub(crate) struct Delivery {
    pub(crate) key: OrderKey,
    pub(crate) id: u64,
    pub(crate) transaction_id: TransactionId,
    pub(crate) notify_url: String,
    pub(crate) notification: Notification,
    /// How often it is sent at first, whatever the answers.
    pub(crate) times: u32,
    pub(crate) concurrently: bool,
    pub(crate) delay: Duration,
    pub(crate) fresh_nonce: bool,
}

impl Delivery {
    /// Before the first attempt.
    pub(crate) fn view(&self) -> NotificationView {
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

/// Starts to deliver a notification that is in the state already. `pending` counts it as waiting.
pub(crate) fn start(simulator: &Simulator, delivery: Delivery, pending: OwnedSemaphorePermit) {
    let span =
        info_span!("notification", out_trade_no = delivery.key.out_trade_no, id = delivery.id,);
    let simulator = simulator.clone();
    let stop = simulator.stop_token().clone();
    let tasks = simulator.tasks().clone();
    let task = async move {
        stop.run_until_cancelled(deliver(simulator, delivery)).await;
        drop(pending);
    };
    tasks.spawn(task.instrument(span));
}

async fn deliver(simulator: Simulator, mut delivery: Delivery) {
    tokio::time::sleep(delivery.delay).await;
    if send_first(&simulator, &delivery).await {
        return finish(&simulator, &delivery, NotificationState::Delivered);
    }
    for seconds in SCHEDULE_SECONDS {
        let pause = Duration::from_secs_f64(f64::from(seconds) / simulator.config().time_scale);
        update(&simulator, &delivery, |view| {
            view.next_at = Some(OffsetDateTime::now_utc() + pause);
        });
        tokio::time::sleep(pause).await;
        if delivery.fresh_nonce {
            delivery.notification.renew_nonce();
        }
        let body = delivery.notification.write();
        if attempt(&simulator, &delivery, body).await {
            return finish(&simulator, &delivery, NotificationState::Delivered);
        }
    }
    finish(&simulator, &delivery, NotificationState::Exhausted);
}

/// Sends `times` notifications, whatever the first answer is: several of WeChat's servers may
/// deliver the same one.
async fn send_first(simulator: &Simulator, delivery: &Delivery) -> bool {
    let body = delivery.notification.write();
    let mut delivered = false;
    if delivery.concurrently {
        let mut sends: JoinSet<AttemptView> = (0..delivery.times)
            .map(|_| send(simulator.clone(), delivery.notify_url.clone(), body.clone()))
            .collect();
        while let Some(sent) = sends.join_next().await {
            delivered |= sent.is_ok_and(|attempt| record(simulator, delivery, attempt));
        }
    } else {
        for _ in 0..delivery.times {
            delivered |= attempt(simulator, delivery, body.clone()).await;
        }
    }
    delivered
}

async fn attempt(simulator: &Simulator, delivery: &Delivery, body: Vec<u8>) -> bool {
    let attempt = send(simulator.clone(), delivery.notify_url.clone(), body).await;
    record(simulator, delivery, attempt)
}

/// Records the attempt and returns whether it delivered the notification.
fn record(simulator: &Simulator, delivery: &Delivery, attempt: AttemptView) -> bool {
    let delivered = attempt.outcome == AttemptOutcome::Success;
    tracing::info!(
        status = attempt.status,
        outcome = ?attempt.outcome,
        duration_ms = attempt.duration_ms,
        "notification sent",
    );
    update(simulator, delivery, |view| view.attempts.push(attempt));
    delivered
}

fn finish(simulator: &Simulator, delivery: &Delivery, state: NotificationState) {
    update(simulator, delivery, |view| {
        view.state = state;
        view.next_at = None;
    });
    tracing::info!(?state, "notification finished");
}

/// Changes the notification in the state, unless its order was deleted.
fn update(simulator: &Simulator, delivery: &Delivery, change: impl FnOnce(&mut NotificationView)) {
    if let Some(view) = simulator.state().notification_mut(&delivery.key, delivery.id) {
        change(view);
    }
}

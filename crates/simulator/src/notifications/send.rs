//! One attempt to deliver a notification.

use std::time::Instant;

use time::OffsetDateTime;
use wechatpay_v2::{Limits, parse_xml};

use crate::simulator::Simulator;
use crate::view::{AttemptOutcome, AttemptView};

/// Sends a notification once.
pub(crate) async fn send(simulator: Simulator, notify_url: String, body: Vec<u8>) -> AttemptView {
    let _permit = simulator.sending_permit().await;
    let at = OffsetDateTime::now_utc();
    let started = Instant::now();
    let request = simulator.http().post(notify_url);
    let sent = request.header("content-type", "text/xml").body(body).send().await;
    let status = sent.as_ref().ok().map(|response| response.status().as_u16());
    let outcome = match sent {
        Ok(response) => evaluate(response).await,
        Err(error) => failure(&error),
    };
    AttemptView {
        at,
        status,
        outcome,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

async fn evaluate(mut response: reqwest::Response) -> AttemptOutcome {
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

//! The text of a parked message: everything but its body.

use broker::{Delivery, ParkedMessage, ParkedQueue};
use service::hex;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::operator::output::{or_dash, pairs, plain, utc};

pub(super) fn row(queue: ParkedQueue, message: &ParkedMessage) -> [String; 9] {
    let delivery = &message.delivery;
    [
        queue.to_string(),
        format!("#{}", message.position),
        or_dash(delivery.message_id_text.as_deref()),
        parked_at(delivery),
        delivery.attempt.to_string(),
        or_dash(Some(&delivery.routing_key)),
        delivery.body.len().to_string(),
        order_of(delivery).map_or_else(|| "-".to_owned(), |order| plain(&order)),
        reason(queue, message),
    ]
}

fn reason(queue: ParkedQueue, message: &ParkedMessage) -> String {
    match (message.delivery.header("parked_reason"), queue) {
        (Some(reason), _) => plain(reason),
        (None, ParkedQueue::Unrouted) if message.is_replayable => "its binding was missing".into(),
        (None, ParkedQueue::Unrouted) => "no queue is bound for it".into(),
        // The broker itself parks for this reason only.
        (None, _) if message.delivery.header("x-first-death-reason").is_some() => {
            "delivered too often".into()
        }
        (None, _) => "-".into(),
    }
}

/// The time in the header, which anyone may have written.
fn parked_at(delivery: &Delivery) -> String {
    let given = delivery.header("parked_at");
    let time = given.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    time.map_or_else(|| or_dash(given), utc)
}

pub(super) fn format_message(queue: ParkedQueue, message: &ParkedMessage) -> String {
    let delivery = &message.delivery;
    pairs(&[
        ("queue", format!("{queue}, #{}", message.position)),
        ("message_id", or_dash(delivery.message_id_text.as_deref())),
        ("routing key", or_dash(Some(&delivery.routing_key))),
        ("merchant", or_dash(delivery.header("mch_id"))),
        ("order", order_of(delivery).map_or_else(|| "-".to_owned(), |order| plain(&order))),
        ("parked", parked_at(delivery)),
        ("reason", reason(queue, message)),
        ("attempt", delivery.attempt.to_string()),
        ("bytes", delivery.body.len().to_string()),
        ("sha256", sha256(delivery)),
        ("replayable", if message.is_replayable { "yes" } else { "no" }.to_owned()),
    ])
}

/// `mch_id/out_trade_no` as a JSON body has them, valid or not.
pub(super) fn order_of(delivery: &Delivery) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&delivery.body).ok()?;
    let text = |name: &str| body.get(name).and_then(|value| value.as_str()).unwrap_or("?");
    Some(format!("{}/{}", text("mch_id"), text("out_trade_no")))
}

pub(super) fn sha256(delivery: &Delivery) -> String {
    hex::encode(&Sha256::digest(&delivery.body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_body_only_the_order_number_is_shown() {
        let delivery = |body: &'static str| Delivery::new("order.create", body.as_bytes());
        let body = r#"{"mch_id":"1900000109","out_trade_no":"SO-0001","openid":"oSecret"}"#;
        assert_eq!(order_of(&delivery(body)).as_deref(), Some("1900000109/SO-0001"));
        assert_eq!(order_of(&delivery(r#"{"mch_id":7}"#)).as_deref(), Some("?/?"));
        assert_eq!(order_of(&delivery("<xml/>")), None);
        let message = ParkedMessage { position: 3, delivery: delivery(body), is_replayable: true };
        assert!(!format_message(ParkedQueue::Orders, &message).contains("oSecret"));
    }
}

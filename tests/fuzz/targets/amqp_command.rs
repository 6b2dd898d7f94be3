//! A command with any properties, in their wire form, and any body.

#![no_main]

use broker::{Delivery, Namespace, topology};
use fuzz::split;
use libfuzzer_sys::fuzz_target;
use orders::{InvalidCommand, OrderKey, OrderRequest, Reply};

#[path = "../../../crates/worker/src/commands/identity.rs"]
mod identity;
#[path = "../../../crates/worker/src/traceparent.rs"]
mod trace;
#[path = "../../../crates/ingress/src/worker_reply.rs"]
mod worker_reply;

fuzz_target!(|input: &[u8]| {
    let (body, mut choices) = split(input);
    let routing_key =
        [topology::ORDER_CREATE, topology::ORDER_CLOSE, topology::ORDER_QUERY][choices.below(3)];
    let Some(delivery) = Delivery::decode(routing_key, choices.rest(), body.to_vec()) else {
        return;
    };
    assert!(delivery.attempt >= 1);
    assert!(format!("{delivery:?}").len() < 2048, "short enough for a log");

    // The worker writes these into keys, tables and headers.
    let id = identity::command_id(&delivery);
    assert!((1..=255).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(id, identity::command_id(&delivery));
    assert_eq!(identity::lease_holder(&delivery), identity::lease_holder(&delivery));
    if let Some(trace) = trace::of(&delivery) {
        assert!(trace.len() <= 128 && trace.is_ascii());
    }
    let namespace = Namespace::parse("wxpay").expect("the default");
    if let Some(reply_to) = &delivery.reply_to {
        assert_eq!(namespace.owns(reply_to), reply_to.starts_with("wxpay."));
    }

    let invalid = match routing_key {
        topology::ORDER_CREATE => OrderRequest::parse(&delivery.body).err(),
        _ => OrderKey::parse(&delivery.body).err(),
    };
    if let Some(invalid) = invalid {
        check_reply(invalid);
    }
});

/// The ingress can read the reply to a refused command, and the reply is small.
fn check_reply(invalid: InvalidCommand) {
    let reply = Reply::problem(invalid.into_problem());
    let json = serde_json::to_vec(&reply).expect("a reply serializes");
    assert!(json.len() <= 32 * 1024);
    assert_eq!(serde_json::from_slice::<Reply>(&json).ok(), Some(reply));
    let answer = worker_reply::WorkerReply::parse(&json).expect("the ingress reads it");
    assert!(answer.is_problem && answer.body.is_object() && answer.status >= 400);
}

//! `order show` and `order explain`.

use std::time::Duration;

use harness::amqp::Amqp;
use harness::program::Program;
use harness::{Options, Shop, World, eventually, fast_schedule};
use serde_json::{Value, json};
use simulator::{Fault, FaultPlan, PayOptions, PlannedFault, Signing};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;
use wechatpay_v2::Fen;
use worker::CheckSchedule;

use super::{command, create_payable_order, expect_audited, lines, unpaid_notification};

#[tokio::test]
async fn explain_lists_everything_in_order_of_time() {
    // The late payment is found by its notification, not by the check after the close.
    let never = Duration::from_secs(3600);
    let schedule = Some(CheckSchedule { closed_check_delay: never, ..fast_schedule() });
    let world = World::start_with(Options { schedule, ..Options::default() }).await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let program = Program::of(&world);
    let lost = PlannedFault::new(Fault::DropAfterCommit, 1);
    let plan = FaultPlan { unifiedorder: vec![lost], ..FaultPlan::default() };
    world.simulator.set_faults(plan).unwrap();
    world.create(&shop.order(&number, 9900), Some(20)).await;
    world.wait_for_state(&shop, &number, "payable").await;

    let wrong = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..unpaid_notification() };
    let wrong = world.unsent_notification(&shop, &number, wrong);
    world.notify_ok(&shop.mch_id, &wrong).await;
    world.notify_ok(&shop.mch_id, &wrong).await;
    eventually("the counted repeat", async || {
        let stored = world.stored_notification(&wrong).await?;
        (stored.repeats == 1).then_some(())
    })
    .await;
    let close = ["order", "close", &shop.mch_id, &number, "--reason", "sold out"];
    program.run_ok(&world, &close).await;
    program.run_ok(&world, &["order", "requery", &shop.mch_id, &number]).await;
    world.wait_for_state(&shop, &number, "closed").await;
    let late = world.pay(&shop, &number, &PayOptions { force: true, ..PayOptions::default() });
    world.wait_for_state(&shop, &number, "paid").await;
    let second = PayOptions { second_payment: true, force: true, ..PayOptions::default() };
    let second = world.pay(&shop, &number, &second);
    world.exception_events(&number, 3).await;
    world.wait_until_idle().await;

    let explain = ["order", "explain", &shop.mch_id, &number];
    let history = program.run_json(&world, &[&explain[..], &["--json"]].concat()).await;
    let late = late.transaction_id.as_str();
    let second = second.transaction_id.as_str();
    for (kind, text, count) in [
        ("call", r#""verdict":"unknown""#, 1),
        ("call", "prepay_id issued", 1),
        ("call", "closeorder", 1),
        ("transition", "payable", 2),
        ("transition", "closing", 2),
        ("transition", r#""to":"paid""#, 1),
        ("notification", r#""verdict":"exception""#, 2),
        ("notification", r#""repeats":1"#, 1),
        ("notification", r#""verdict":"applied""#, 1),
        ("exception_opened", "amount_mismatch", 1),
        ("exception_opened", &format!(r#""transaction_id":"{late}""#), 1),
        ("exception_opened", &format!(r#""transaction_id":"{second}""#), 1),
        ("event", "order.paid", 1),
        ("event", "exception.opened", 3),
        ("event", r#""is_confirmed":false"#, 0),
        ("action", "sold out", 1),
        ("action", "order requery", 1),
    ] {
        let found = lines(&history, kind, text).len();
        assert_eq!(found, count, "{kind} {text}: {history:#}");
    }
    let at = |entry: &Value| OffsetDateTime::parse(entry["at"].as_str().unwrap(), &Rfc3339);
    let times: Vec<_> = history.as_array().unwrap().iter().map(|it| at(it).unwrap()).collect();
    assert!(times.is_sorted(), "{history:#}");

    let text = program.run_ok(&world, &explain).await;
    for words in [
        "paid (seq 5), 9900 fen, JSAPI",
        "unifiedorder: unknown",
        "lin: order close: sold out",
        "created (seq 1), by shop",
        "closed -> paid",
        "duplicate_payment",
        "late_payment",
        "amount_mismatch",
        "total_fee: ours 9900, theirs 1",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let show = ["order", "show", &shop.mch_id, &number];
    let text = program.run_ok(&world, &show).await;
    for words in ["paid (seq 5)", late, "late_payment since", "notifications 3"] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let shown = program.run_json(&world, &[&show[..], &["--json"]].concat()).await;
    assert_eq!(shown["order"]["state"], "paid");
    assert_eq!(shown["order"]["openid"], "…");
    assert_eq!(shown["transitions"].as_array().unwrap().len(), 5, "{shown:#}");
    expect_audited(&world, "order close", &format!("{}/{number}", shop.mch_id), Some("sold out"))
        .await;
    world.finish().await;
}

/// The history of the order that a forgery names shows the forgery and the query that it caused.
#[tokio::test]
async fn explain_shows_forgery_and_its_query() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let number = create_payable_order(&world, &shop).await;
    let explain = ["order", "explain", &shop.mch_id, &number, "--json"];
    let before = program.run_json(&world, &explain).await;
    assert_eq!(lines(&before, "call", "orderquery").len(), 0);
    let forged = PayOptions { sign: Signing::Wrong, ..unpaid_notification() };
    let body = world.unsent_notification(&shop, &number, forged);
    world.notify_ok(&shop.mch_id, &body).await;
    eventually("the query in the history", async || {
        let history = program.run_json(&world, &explain).await;
        (lines(&history, "call", "NOTPAY").len() == 1).then_some(())
    })
    .await;
    let history = program.run_json(&world, &explain).await;
    assert_eq!(lines(&history, "notification", "bad_signature").len(), 1, "{history:#}");
    let listed = program.run_ok(&world, &["notification", "list", &shop.mch_id, &number]).await;
    assert!(listed.contains("bad_signature"), "{listed}");
    let digest = listed.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap();
    let shown = program.run_ok(&world, &["notification", "show", digest]).await;
    for words in ["bad_signature", "out_trade_no", &number, "openid", "characters"] {
        assert!(shown.contains(words), "no {words:?} in\n{shown}");
    }
    world.exception_events("-", 1).await;
    let exceptions = program.run_ok(&world, &["exceptions", "show", &shop.mch_id, "-"]).await;
    assert!(exceptions.contains("bad_signature"), "{exceptions}");
    let resolve = ["exceptions", "resolve", &shop.mch_id, "-", "bad_signature"];
    let resolve = [&resolve[..], &["--reason", "a scanner"]].concat();
    let output = program.run_ok(&world, &resolve).await;
    assert!(output.ends_with("is resolved\n"), "{output}");
    program.run_expecting_failure(&world, &resolve).await;
    let subject = format!("{}/- bad_signature", shop.mch_id);
    expect_audited(&world, "exceptions resolve", &subject, Some("a scanner")).await;
    world.finish().await;
}

#[tokio::test]
async fn show_without_order_shows_rejection() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let program = Program::of(&world);
    let amqp = Amqp::connect(&world.environment).await;
    let mut order = shop.order(&number, 9900);
    order["total_fee"] = json!(0);
    let id = Uuid::now_v7().to_string();
    amqp.command("order.create", order.to_string().as_bytes(), command(&id)).await;
    world.wait_for_event(&number, "order.rejected").await;
    world.wait_until_idle().await;
    for verb in ["show", "explain"] {
        let output = program.run(&world, &["order", verb, &shop.mch_id, &number]).await;
        assert!(output.stdout.contains("total_fee") && output.stdout.contains("422"), "{output:?}");
    }
    let again = ["events", "replay", "--order", &format!("{}/{number}", shop.mch_id)];
    program.run_ok(&world, &again).await;
    eventually("the repeated event", async || {
        (world.events.for_order(&number).len() >= 2).then_some(())
    })
    .await;
    assert_eq!(world.events.distinct(&number).len(), 1);
    amqp.close().await;
    world.finish().await;
}

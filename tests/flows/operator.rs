//! The operator's verbs, as the program that they run: what they show, what they change, and who
//! did it. [`Program::run`] checks that no word of it is a secret.

use std::time::Duration;

use broker::{Exchange, Queue, exchange_name};
use harness::amqp::Amqp;
use harness::program::Program;
use harness::{Options, Shop, World, eventually, fast_schedule, world};
use lapin::BasicProperties;
use lapin::types::FieldTable;
use serde_json::{Value, json};
use simulator::{Fault, FaultPlan, PayOptions, PlannedFault, Signing};
use sqlx::Row;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;
use wechatpay_v2::Fen;
use worker::CheckSchedule;

/// Who did what and why, the oldest first.
async fn actions(world: &World, verb: &str) -> Vec<(String, String, Option<String>)> {
    let rows = "select operator, subject, reason from operator_actions where verb = $1 order by id";
    let rows = sqlx::query(rows).bind(verb).fetch_all(&world.environment.pool).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Exactly one was done, to this, for this reason.
async fn is_audited(world: &World, verb: &str, subject: &str, reason: Option<&str>) {
    let done = actions(world, verb).await;
    assert_eq!(done.len(), 1, "{done:?}");
    let (operator, about, why) = &done[0];
    assert_eq!((operator.as_str(), why.as_deref()), ("lin", reason));
    assert!(about.starts_with(subject), "{about}");
}

async fn payable(world: &World, shop: &Shop) -> String {
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    number
}

async fn paid(world: &World, shop: &Shop) -> String {
    let number = payable(world, shop).await;
    world.pay(shop, &number, &PayOptions::default());
    world.wait_for_event(&number, "order.paid").await;
    number
}

fn untrue() -> PayOptions {
    PayOptions { notify_only: true, ..PayOptions::default() }
}

fn in_a_hurry() -> Options {
    Options { schedule: Some(fast_schedule()), ..Options::default() }
}

/// The lines of a story that are of this kind and hold this text.
fn lines<'a>(story: &'a Value, kind: &str, text: &str) -> Vec<&'a Value> {
    let entries = story.as_array().unwrap().iter();
    entries.filter(|it| it["kind"] == kind && it.to_string().contains(text)).collect()
}

#[tokio::test]
async fn the_story_of_an_order_holds_all_that_happened_in_the_order_of_time() {
    // The late payment is told by its notification, not found by the check after the close.
    let never = Duration::from_secs(3600);
    let schedule = Some(CheckSchedule { closed_check_delay: never, ..fast_schedule() });
    let world = World::start_with(Options { schedule, ..Options::default() }).await;
    let (shop, number) = (world.shop(), Shop::number());
    let program = Program::of(&world);
    let lost = PlannedFault::new(Fault::DropAfterCommit, 1);
    let plan = FaultPlan { unifiedorder: vec![lost], ..FaultPlan::default() };
    world.simulator.set_faults(plan).unwrap();
    world.create(&shop.order(&number, 9900), Some(20)).await;
    world.wait_for_state(&shop, &number, "payable").await;

    let wrong = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..untrue() };
    let wrong = world.unsent_notification(&shop, &number, wrong);
    world.notify_ok(&shop.mch_id, &wrong).await;
    world.notify_ok(&shop.mch_id, &wrong).await;
    eventually("its repeat", async || {
        let kept = world.stored_notification(&wrong).await?;
        (kept.repeats == 1).then_some(())
    })
    .await;
    let close = ["order", "close", &shop.mch_id, &number, "--reason", "sold out"];
    program.does(&world, &close).await;
    program.does(&world, &["order", "requery", &shop.mch_id, &number]).await;
    world.wait_for_state(&shop, &number, "closed").await;
    let late = world.pay(&shop, &number, &PayOptions { force: true, ..PayOptions::default() });
    world.wait_for_state(&shop, &number, "paid").await;
    let second = PayOptions { second_payment: true, force: true, ..PayOptions::default() };
    let second = world.pay(&shop, &number, &second);
    world.exception_events(&number, 3).await;
    world.wait_until_idle().await;

    let explain = ["order", "explain", &shop.mch_id, &number];
    let story = program.tells(&world, &[&explain[..], &["--json"]].concat()).await;
    let (late, second) = (late.transaction_id.as_str(), second.transaction_id.as_str());
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
        let found = lines(&story, kind, text).len();
        assert_eq!(found, count, "{kind} {text}: {story:#}");
    }
    let at = |entry: &Value| OffsetDateTime::parse(entry["at"].as_str().unwrap(), &Rfc3339);
    let times: Vec<_> = story.as_array().unwrap().iter().map(|it| at(it).unwrap()).collect();
    assert!(times.is_sorted(), "{story:#}");

    let text = program.does(&world, &explain).await;
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
    let text = program.does(&world, &show).await;
    for words in ["paid (seq 5)", late, "late_payment since", "notifications 3"] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let shown = program.tells(&world, &[&show[..], &["--json"]].concat()).await;
    assert_eq!(shown["order"]["state"], "paid");
    assert_eq!(shown["order"]["openid"], "…");
    assert_eq!(shown["transitions"].as_array().unwrap().len(), 5, "{shown:#}");
    is_audited(&world, "order close", &format!("{}/{number}", shop.mch_id), Some("sold out")).await;
    world.finish().await;
}

/// It can come from anybody, but the story of the order that it names shows who tried what, and the
/// question that it caused.
#[tokio::test]
async fn a_forgery_and_its_question_stand_in_the_story_of_the_order_it_names() {
    let world = World::start().await;
    let shop = world.shop();
    let program = Program::of(&world);
    let number = payable(&world, &shop).await;
    let explain = ["order", "explain", &shop.mch_id, &number, "--json"];
    let before = program.tells(&world, &explain).await;
    assert_eq!(lines(&before, "call", "orderquery").len(), 0);
    let forged = PayOptions { sign: Signing::Wrong, ..untrue() };
    let body = world.unsent_notification(&shop, &number, forged);
    world.notify_ok(&shop.mch_id, &body).await;
    eventually("the question in the story", async || {
        let story = program.tells(&world, &explain).await;
        (lines(&story, "call", "NOTPAY").len() == 1).then_some(())
    })
    .await;
    let story = program.tells(&world, &explain).await;
    assert_eq!(lines(&story, "notification", "bad_signature").len(), 1, "{story:#}");
    let listed = program.does(&world, &["notification", "list", &shop.mch_id, &number]).await;
    assert!(listed.contains("bad_signature"), "{listed}");
    let digest = listed.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap();
    let shown = program.does(&world, &["notification", "show", digest]).await;
    for words in ["bad_signature", "out_trade_no", &number, "openid", "characters"] {
        assert!(shown.contains(words), "no {words:?} in\n{shown}");
    }
    world.exception_events("-", 1).await;
    let exceptions = program.does(&world, &["exceptions", "show", &shop.mch_id, "-"]).await;
    assert!(exceptions.contains("bad_signature"), "{exceptions}");
    let resolve = ["exceptions", "resolve", &shop.mch_id, "-", "bad_signature"];
    let resolve = [&resolve[..], &["--reason", "a scanner"]].concat();
    let said = program.does(&world, &resolve).await;
    assert!(said.ends_with("is resolved\n"), "{said}");
    program.declines(&world, &resolve).await;
    let subject = format!("{}/- bad_signature", shop.mch_id);
    is_audited(&world, "exceptions resolve", &subject, Some("a scanner")).await;
    world.finish().await;
}

#[tokio::test]
async fn a_rejection_is_shown_where_there_is_no_order() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let program = Program::of(&world);
    let amqp = Amqp::connect(&world.environment).await;
    let mut order = shop.order(&number, 9900);
    order["total_fee"] = json!(0);
    let id = Uuid::now_v7().to_string();
    amqp.command("order.create", order.to_string().as_bytes(), command(&id)).await;
    world.wait_for_event(&number, "order.rejected").await;
    world.wait_until_idle().await;
    for verb in ["show", "explain"] {
        let said = program.run(&world, &["order", verb, &shop.mch_id, &number]).await;
        assert!(said.out.contains("total_fee") && said.out.contains("422"), "{said:?}");
    }
    let again = ["events", "replay", "--order", &format!("{}/{number}", shop.mch_id)];
    program.does(&world, &again).await;
    eventually("it again", async || (world.events.for_order(&number).len() >= 2).then_some(()))
        .await;
    assert_eq!(world.events.distinct(&number).len(), 1);
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn what_is_not_known_is_said_and_changes_nothing() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let program = Program::of(&world);
    let mch_id = shop.mch_id.as_str();
    for arguments in [
        &["order", "show", mch_id, &number][..],
        &["order", "explain", mch_id, &number],
        &["order", "requery", mch_id, &number],
        &["order", "close", mch_id, &number, "--reason", "none"],
        &["exceptions", "show", mch_id, &number],
        &["exceptions", "resolve", mch_id, &number, "unsettled", "--reason", "none"],
        &["notification", "list", mch_id, &number],
        &["notification", "show", "abcdef"],
        &["notification", "replay", "abcdef"],
        &["events", "replay", "--order", &format!("{mch_id}/{number}")],
        &["parked", "show", "orders", "#1"],
        &["parked", "replay", "orders", "#1"],
        &["parked", "discard", "orders", "#1", "--reason", "none"],
    ] {
        program.declines(&world, arguments).await;
    }
    assert_eq!(program.does(&world, &["exceptions", "list"]).await, "no exceptions\n");
    assert_eq!(program.does(&world, &["parked", "list"]).await, "nothing is parked\n");
    let rows = "select (select count(*) from operator_actions) + (select count(*) from exceptions)
        + (select count(*) from orders)";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&world.environment.pool).await.unwrap();
    assert_eq!(rows, 0);
    world.finish().await;
}

#[tokio::test]
async fn requery_closed_finds_the_late_payments_that_nobody_told() {
    let world = World::start().await;
    let (shop, program) = (world.shop(), Program::of(&world));
    let [paid, left] = [(); 2].map(|()| Shop::number());
    for number in [&paid, &left] {
        world.create_payable(&shop.order(number, 9900)).await;
        program.does(&world, &["order", "close", &shop.mch_id, number, "--reason", "sold"]).await;
        world.update_order_row(number, "created_at = created_at - interval '5 minutes'").await;
        world.check_order_now(&shop, number).await;
        world.wait_for_state(&shop, number, "closed").await;
        world
            .update_order_row(
                number,
                "next_check_at = null, closed_at = closed_at - interval '2 hours'",
            )
            .await;
    }
    let late = PayOptions { state_only: true, force: true, ..PayOptions::default() };
    world.pay(&shop, &paid, &late);
    let ago = |hours| {
        format!(
            "to_char((now() - interval '{hours} hours') at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
        )
    };
    let since = |expression: String| {
        let (world, left) = (&world, &left);
        async move { world.select_order::<String>(left, &expression).await }
    };
    let verb = ["order", "requery-closed", "--since"];
    let hour = since(ago(1)).await;
    let said = program.does(&world, &[&verb[..], &[&hour]].concat()).await;
    assert_eq!(said, "WeChat is asked about 0 closed orders now\n");
    let day = since(ago(24)).await;
    let said = program.does(&world, &[&verb[..], &[&day]].concat()).await;
    assert_eq!(said, "WeChat is asked about 2 closed orders now\n");
    world.wait_for_state(&shop, &paid, "paid").await;
    assert_eq!(world.exception_kinds(&paid).await, ["late_payment"]);
    assert_eq!(world.order_state(&shop, &left).await.unwrap(), "closed");
    assert_eq!(actions(&world, "order requery-closed").await.len(), 2);
    world.finish().await;
}

#[tokio::test]
async fn requery_finds_a_payment_that_nobody_told() {
    let world = World::start().await;
    let shop = world.shop();
    let program = Program::of(&world);
    let number = payable(&world, &shop).await;
    world.pay(&shop, &number, &PayOptions { state_only: true, ..PayOptions::default() });
    program.does(&world, &["order", "requery", &shop.mch_id, &number]).await;
    world.wait_for_state(&shop, &number, "paid").await;
    is_audited(&world, "order requery", &format!("{}/{number}", shop.mch_id), None).await;
    world.finish().await;
}

#[tokio::test]
async fn an_operator_closes_what_is_not_paid_and_only_that() {
    let world = World::start_with(in_a_hurry()).await;
    let shop = world.shop();
    let program = Program::of(&world);
    let (open, settled) = (payable(&world, &shop).await, paid(&world, &shop).await);
    let close = async |number: &str| {
        let close = ["order", "close", &shop.mch_id, number, "--reason", "sold out"];
        program.run(&world, &close).await
    };
    let said = close(&settled).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("is paid and stays so"), "{said:?}");
    assert_eq!(world.order_state(&shop, &settled).await.as_deref(), Some("paid"));

    let said = close(&open).await;
    assert!(said.code == 0 && said.out.contains("is closing (seq 3)"), "{said:?}");
    program.does(&world, &["order", "requery", &shop.mch_id, &open]).await;
    world.wait_for_state(&shop, &open, "closed").await;
    let history = ["created by shop", "payable by reply", "closing by operator", "closed by reply"];
    assert_eq!(world.transitions(&open).await, history);
    world
        .expect_events(&open, &["order.created", "order.payable", "order.closing", "order.closed"])
        .await;
    is_audited(&world, "order close", &format!("{}/{open}", shop.mch_id), Some("sold out")).await;
    world.finish().await;
}

#[tokio::test]
async fn an_exception_is_listed_shown_and_resolved_once() {
    let world = World::start().await;
    let shop = world.shop();
    let program = Program::of(&world);
    let number = payable(&world, &shop).await;
    let wrong = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..untrue() };
    for _ in 0..2 {
        let body = world.unsent_notification(&shop, &number, wrong.clone());
        world.notify_ok(&shop.mch_id, &body).await;
    }
    let events = world.exception_events(&number, 2).await;
    let ids: Vec<_> =
        events.iter().map(|it| it["exception"]["transaction_id"].as_str().unwrap()).collect();

    let listed = program.tells(&world, &["exceptions", "list", "--json"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed:#}");
    assert_eq!(
        listed[0]["differs"],
        json!([{"field": "total_fee", "ours": "9900", "theirs": "1"}])
    );
    let text = program.does(&world, &["exceptions", "list", "--kind", "amount_mismatch"]).await;
    assert!(ids.iter().all(|id| text.contains(id)), "{text}");
    let none = program.does(&world, &["exceptions", "list", "--kind", "unsettled"]).await;
    assert_eq!(none, "no exceptions\n");
    let shown = program.does(&world, &["exceptions", "show", &shop.mch_id, &number]).await;
    assert!(shown.contains("total_fee: the order says 9900, WeChat says 1"), "{shown}");

    let resolve = ["exceptions", "resolve", &shop.mch_id, &number, "amount_mismatch"];
    let reason = ["--reason", "a test of the cash desk"];
    let several = program.declines(&world, &[&resolve[..], &reason].concat()).await;
    assert!(ids.iter().all(|id| several.contains(id)), "{several}");
    let one = [&resolve[..], &reason, &["--transaction-id", ids[0]]].concat();
    let done = program.does(&world, &one).await;
    assert!(done.contains("is asked about the order again"), "{done}");
    let twice = program.declines(&world, &one).await;
    assert!(twice.contains("a test of the cash desk"), "{twice}");
    let no_reason = program.run(&world, &[&resolve[..], &["--reason", ""]].concat()).await;
    assert_eq!(no_reason.code, 2, "{no_reason:?}");

    let open = program.tells(&world, &["exceptions", "list", "--json"]).await;
    assert_eq!(open.as_array().unwrap().len(), 1, "{open:#}");
    assert_eq!(open[0]["transaction_id"], ids[1]);
    let all = program.tells(&world, &["exceptions", "list", "--all", "--json"]).await;
    assert_eq!(all.as_array().unwrap().len(), 2, "{all:#}");
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!(view["exceptions"].as_array().unwrap().len(), 1, "{view}");
    let subject = format!("{}/{number} amount_mismatch {}", shop.mch_id, ids[0]);
    is_audited(&world, "exceptions resolve", &subject, Some("a test of the cash desk")).await;
    let story = ["order", "explain", &shop.mch_id, &number, "--json"];
    let story = program.tells(&world, &story).await;
    assert_eq!(lines(&story, "exception_resolved", ids[0]).len(), 1, "{story:#}");
    world.finish().await;
}

#[tokio::test]
async fn a_notification_of_the_time_of_a_wrong_key_is_judged_again_and_settles() {
    let world = World::start().await;
    let shop = world.shop();
    let program = Program::of(&world);
    let number = payable(&world, &shop).await;
    let wrong: Vec<_> = world
        .merchants
        .iter()
        .cloned()
        .map(|mut merchant| {
            merchant.key = Shop::number();
            merchant
        })
        .collect();
    world.keys.replace(&world::keys(&wrong, world.public));
    let body = world.unsent_notification(&shop, &number, PayOptions::default());
    world.notify_ok(&shop.mch_id, &body).await;
    eventually("it to be kept", async || world.stored_notification(&body).await).await;
    eventually("the question to be over", async || {
        let over = "select call_lease_holder is null and next_check_at > now() from orders";
        let over: bool = sqlx::query_scalar(over).fetch_one(&world.environment.pool).await.unwrap();
        let asked = world.simulator.request_counts().apis;
        (over && asked.contains_key(&simulator::Api::Orderquery)).then_some(())
    })
    .await;
    let listed = program.does(&world, &["notification", "list", &shop.mch_id, &number]).await;
    let digest = listed.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap();

    let books = world.ledger_rows().await;
    let replay = ["notification", "replay", digest];
    let said = program.does(&world, &[&replay[..], &["--dry-run"]].concat()).await;
    assert!(said.contains("payable (seq 2) would become paid (seq 3)"), "{said}");
    assert!(said.contains("nothing: a dry run"), "{said}");
    assert_eq!(world.ledger_rows().await, books);
    assert_eq!(world.count_notifications("bad_signature").await, 1);
    assert_eq!(actions(&world, "notification replay").await, []);

    let said = program.does(&world, &replay).await;
    assert!(said.contains("payable (seq 2) became paid (seq 3)"), "{said}");
    assert!(said.contains("bad_signature") && said.contains("applied"), "{said}");
    assert_eq!(world.order_state(&shop, &number).await.as_deref(), Some("paid"));
    world.wait_for_event(&number, "order.paid").await;
    assert_eq!(world.count_notifications("applied").await, 1);
    let listed = program.does(&world, &["notification", "list", &shop.mch_id, &number]).await;
    assert!(listed.contains(digest) && listed.contains("applied"), "{listed}");

    // A second time it finds what stands.
    let said = program.does(&world, &replay).await;
    assert!(said.contains("paid (seq 3) as before"), "{said}");
    assert_eq!(actions(&world, "notification replay").await.len(), 2);
    assert_eq!(world.count_notifications("applied").await, 1);
    world.finish().await;
}

#[tokio::test]
async fn events_are_sent_again_under_their_ids_and_with_their_bytes() {
    let world = World::start().await;
    let shop = world.shop();
    let program = Program::of(&world);
    let since = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    let (one, other) = (paid(&world, &shop).await, paid(&world, &shop).await);
    let wrong = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..untrue() };
    let body = world.unsent_notification(&shop, &one, wrong);
    world.notify_ok(&shop.mch_id, &body).await;
    world.exception_events(&one, 1).await;
    world.wait_until_idle().await;
    let counted = |number: &str| {
        let bodies = world.events.bodies();
        let mut of: Vec<_> = bodies
            .into_iter()
            .filter(|body| serde_json::from_slice::<Value>(body).unwrap()["out_trade_no"] == number)
            .collect();
        of.sort();
        of
    };
    // A relay that waits too long for a confirm sends an event twice: only what is new counts.
    let first = counted(&one);
    let said = ["events", "replay", "--order", &format!("{}/{one}", shop.mch_id)];
    let said = program.does(&world, &said).await;
    assert_eq!(said, "4 of 4 stored events are sent again\n");
    eventually("them again", async || (counted(&one).len() >= first.len() + 4).then_some(())).await;
    world.wait_until_idle().await;

    let said = program.does(&world, &["events", "replay", "--since", &since]).await;
    assert_eq!(said, "7 of 7 stored events are sent again\n");
    eventually("all again", async || {
        let now = (counted(&one).len(), counted(&other).len());
        (now.0 >= first.len() + 8 && now.1 >= 6).then_some(())
    })
    .await;
    let mut distinct = counted(&one);
    distinct.dedup();
    assert_eq!(distinct.len(), 4, "the bytes are those that were stored");
    assert_eq!(
        world.events.transition_types(&one),
        ["order.created", "order.payable", "order.paid"]
    );
    assert_eq!(actions(&world, "events replay").await.len(), 2);
    let empty = ["events", "replay", "--since", "2020-01-01T00:00:00Z"];
    let empty = [&empty[..], &["--until", "2020-02-01T00:00:00Z"]].concat();
    assert!(program.declines(&world, &empty).await.contains("0 of 0"));
    world.finish().await;
}

fn command(message_id: &str) -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(message_id.into())
        .with_delivery_mode(2)
}

async fn waits(amqp: &Amqp, queue: &str, count: usize) {
    let name = amqp.qualified_name(queue);
    eventually(&format!("{count} messages in {queue}"), async || {
        (amqp.peek_all(&name).await.len() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_parked_is_listed_shown_replayed_and_thrown_away() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let program = Program::of(&world);
    let amqp = Amqp::connect(&world.environment).await;
    let broken = Uuid::now_v7().to_string();
    // It names no merchant, so that nobody can be told.
    let body = json!({"openid": shop.openid, "out_trade_no": number}).to_string();
    amqp.command("order.create", body.as_bytes(), command(&broken)).await;
    waits(&amqp, "orders.parked", 1).await;

    let listed = program.does(&world, &["parked", "list"]).await;
    for words in ["orders", "#1", &broken, "order.create", &number, "no command can be read"] {
        assert!(listed.contains(words), "no {words:?} in\n{listed}");
    }
    let shown = program.does(&world, &["parked", "show", "orders", &broken]).await;
    assert!(shown.contains("replayable   yes"), "{shown}");
    waits(&amqp, "orders.parked", 1).await;

    // Nothing was mended: it comes back.
    let first = amqp.peek_all(&amqp.qualified_name("orders.parked")).await;
    let said = program.does(&world, &["parked", "replay", "orders", &broken]).await;
    assert_eq!(said, "1 sent on their way again\n");
    let parked_at =
        |found: &[lapin::message::Delivery]| harness::amqp::header(&found[0], "parked_at").unwrap();
    eventually("it to be parked again", async || {
        let found = amqp.peek_all(&amqp.qualified_name("orders.parked")).await;
        (found.len() == 1 && parked_at(&found) != parked_at(&first)).then_some(())
    })
    .await;
    let mch = format!("?/{number}");
    let discard = ["parked", "discard", "orders", "#1", "--reason", "the shop has mended it"];
    let said = program.does(&world, &discard).await;
    assert!(said.starts_with("thrown away:") && said.contains(&mch), "{said}");
    waits(&amqp, "orders.parked", 0).await;
    let done = actions(&world, "parked discard").await;
    assert_eq!(done.len(), 1, "{done:?}");
    assert!(done[0].1.contains(&broken), "{done:?}");
    assert_eq!(done[0].2.as_deref(), Some("the shop has mended it"));
    assert_eq!(actions(&world, "parked replay").await.len(), 1);
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn an_order_that_was_parked_is_done_when_it_is_replayed() {
    let world = World::start().await;
    let shop = world.shop();
    let program = Program::of(&world);
    let amqp = Amqp::connect(&world.environment).await;
    let numbers: Vec<_> = (0..3).map(|_| Shop::number()).collect();
    let parking = amqp.qualified_name("orders.parked");
    for number in &numbers {
        let body = shop.order(number, 9900).to_string();
        let id = Uuid::now_v7().to_string();
        amqp.publish(&parking, "order.create", body.as_bytes(), command(&id)).await;
    }
    waits(&amqp, "orders.parked", 3).await;
    assert_eq!(world.ledger_rows().await, [""; 0]);
    let said = program.does(&world, &["parked", "replay", "orders", "--all"]).await;
    assert_eq!(said, "3 sent on their way again\n");
    for number in &numbers {
        world.wait_for_state(&shop, number, "payable").await;
    }
    waits(&amqp, "orders.parked", 0).await;
    let done = actions(&world, "parked replay").await;
    assert_eq!(done.len(), 3, "{done:?}");
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn what_was_sent_while_a_binding_was_missing_is_done_when_a_worker_restores_it() {
    let mut world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let program = Program::of(&world);
    let paid_number = payable(&world, &shop).await;
    world.stop_workers().await;
    let amqp = Amqp::connect(&world.environment).await;
    let lost = [
        (Queue::Orders, Exchange::Commands, "order.create"),
        (Queue::Notifications, Exchange::Notify, "payment"),
    ];
    for (queue, exchange, key) in lost {
        unbind(&world, &amqp.qualified_name(queue.name()), exchange, key).await;
    }
    let (status, _) = world.create(&shop.order(&number, 9900), None).await;
    assert_eq!(status, 202);
    let body = world.unsent_notification(&shop, &paid_number, PayOptions::default());
    world.notify_ok(&shop.mch_id, &body).await;
    waits(&amqp, "unrouted", 2).await;
    let listed = program.does(&world, &["parked", "list", "unrouted"]).await;
    assert!(listed.contains("order.create") && listed.contains("payment"), "{listed}");
    // Where the binding is still missing nothing goes away.
    program.run(&world, &["parked", "replay", "unrouted", "--all"]).await;
    waits(&amqp, "unrouted", 2).await;

    world.add_worker().await;
    world.wait_for_state(&shop, &number, "payable").await;
    world.wait_for_state(&shop, &paid_number, "paid").await;
    waits(&amqp, "unrouted", 0).await;
    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    amqp.close().await;
    world.finish().await;
}

async fn unbind(world: &World, queue: &str, exchange: Exchange, key: &str) {
    let url = harness::services::amqp_text();
    let connection = lapin::Connection::connect(&url, Default::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let exchange = exchange_name(&world.environment.namespace, exchange);
    let (queue, exchange, key) = (queue.into(), exchange.as_str().into(), key.into());
    channel.queue_unbind(queue, exchange, key, FieldTable::default()).await.unwrap();
    connection.close(200, "OK".into()).await.unwrap();
}

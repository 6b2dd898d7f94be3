//! `notification replay` and `events replay`.

use harness::program::Program;
use harness::{Shop, World, eventually, merchants};
use serde_json::Value;
use simulator::PayOptions;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wechatpay_v2::Fen;

use super::{actions, create_paid_order, create_payable_order, unpaid_notification};

#[tokio::test]
async fn replayed_notification_settles_after_key_correction() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let number = create_payable_order(&world, &shop).await;
    let wrong: Vec<_> = world
        .merchants
        .iter()
        .cloned()
        .map(|mut merchant| {
            merchant.key = Shop::number();
            merchant
        })
        .collect();
    world.worker_merchants.replace(&merchants::keys(&wrong, world.public));
    let body = world.unsent_notification(&shop, &number, PayOptions::default());
    world.notify_ok(&shop.mch_id, &body).await;
    eventually("the stored notification", async || world.stored_notification(&body).await).await;
    eventually("the end of the query", async || {
        let over = "select call_lease_holder is null and next_check_at > now() from orders";
        let over: bool = sqlx::query_scalar(over).fetch_one(&world.environment.pool).await.unwrap();
        let queried = world.simulator.request_counts().apis;
        (over && queried.contains_key(&simulator::Api::Orderquery)).then_some(())
    })
    .await;
    let listed = program.run_ok(&world, &["notification", "list", &shop.mch_id, &number]).await;
    let digest = listed.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap();

    let ledger = world.ledger_rows().await;
    let replay = ["notification", "replay", digest];
    let output = program.run_ok(&world, &[&replay[..], &["--dry-run"]].concat()).await;
    assert!(output.contains("payable (seq 2) would become paid (seq 3)"), "{output}");
    assert!(output.contains("nothing: a dry run"), "{output}");
    assert_eq!(world.ledger_rows().await, ledger);
    assert_eq!(world.count_notifications("bad_signature").await, 1);
    assert_eq!(actions(&world, "notification replay").await, []);

    let output = program.run_ok(&world, &replay).await;
    assert!(output.contains("payable (seq 2) became paid (seq 3)"), "{output}");
    assert!(output.contains("bad_signature") && output.contains("applied"), "{output}");
    assert_eq!(world.order_state(&shop, &number).await.as_deref(), Some("paid"));
    world.wait_for_event(&number, "order.paid").await;
    assert_eq!(world.count_notifications("applied").await, 1);
    let listed = program.run_ok(&world, &["notification", "list", &shop.mch_id, &number]).await;
    assert!(listed.contains(digest) && listed.contains("applied"), "{listed}");

    // A second replay changes nothing.
    let output = program.run_ok(&world, &replay).await;
    assert!(output.contains("paid (seq 3) as before"), "{output}");
    assert_eq!(actions(&world, "notification replay").await.len(), 2);
    assert_eq!(world.count_notifications("applied").await, 1);
    world.finish().await;
}

#[tokio::test]
async fn replayed_events_keep_ids_and_bytes() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let since = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    let one = create_paid_order(&world, &shop).await;
    let other = create_paid_order(&world, &shop).await;
    let wrong = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..unpaid_notification() };
    let body = world.unsent_notification(&shop, &one, wrong);
    world.notify_ok(&shop.mch_id, &body).await;
    world.exception_events(&one, 1).await;
    world.wait_until_idle().await;
    let counted = |number: &str| {
        let bodies = world.events.bodies();
        let mut of_order: Vec<_> = bodies
            .into_iter()
            .filter(|body| serde_json::from_slice::<Value>(body).unwrap()["out_trade_no"] == number)
            .collect();
        of_order.sort();
        of_order
    };
    // A relay that misses a confirm publishes an event twice, so only the increase is compared.
    let first = counted(&one);
    let output = ["events", "replay", "--order", &format!("{}/{one}", shop.mch_id)];
    let output = program.run_ok(&world, &output).await;
    assert_eq!(output, "4 of 4 stored events are sent again\n");
    eventually("four more events", async || (counted(&one).len() >= first.len() + 4).then_some(()))
        .await;
    world.wait_until_idle().await;

    let output = program.run_ok(&world, &["events", "replay", "--since", &since]).await;
    assert_eq!(output, "7 of 7 stored events are sent again\n");
    eventually("every event again", async || {
        let of_one = counted(&one).len();
        let of_other = counted(&other).len();
        (of_one >= first.len() + 8 && of_other >= 6).then_some(())
    })
    .await;
    let mut distinct = counted(&one);
    distinct.dedup();
    assert_eq!(distinct.len(), 4, "a replay must publish the stored bytes");
    assert_eq!(
        world.events.transition_types(&one),
        ["order.created", "order.payable", "order.paid"]
    );
    assert_eq!(actions(&world, "events replay").await.len(), 2);
    let empty = ["events", "replay", "--since", "2020-01-01T00:00:00Z"];
    let empty = [&empty[..], &["--until", "2020-02-01T00:00:00Z"]].concat();
    assert!(program.run_expecting_failure(&world, &empty).await.contains("0 of 0"));
    world.finish().await;
}

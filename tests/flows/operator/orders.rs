//! `order requery`, `order requery-closed` and `order close`.

use harness::program::Program;
use harness::{Shop, World};
use simulator::PayOptions;

use super::{actions, create_paid_order, create_payable_order, expect_audited, fast_options};

#[tokio::test]
async fn requery_closed_finds_late_payments() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let [paid, left] = [(); 2].map(|()| Shop::number());
    for number in [&paid, &left] {
        world.create_payable(&shop.order(number, 9900)).await;
        program.run_ok(&world, &["order", "close", &shop.mch_id, number, "--reason", "sold"]).await;
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
        let world = &world;
        let left = &left;
        async move { world.select_order::<String>(left, &expression).await }
    };
    let verb = ["order", "requery-closed", "--since"];
    let hour = since(ago(1)).await;
    let output = program.run_ok(&world, &[&verb[..], &[&hour]].concat()).await;
    assert_eq!(output, "WeChat is queried about 0 closed orders now\n");
    let day = since(ago(24)).await;
    let output = program.run_ok(&world, &[&verb[..], &[&day]].concat()).await;
    assert_eq!(output, "WeChat is queried about 2 closed orders now\n");
    world.wait_for_state(&shop, &paid, "paid").await;
    assert_eq!(world.exception_kinds(&paid).await, ["late_payment"]);
    assert_eq!(world.order_state(&shop, &left).await.unwrap(), "closed");
    assert_eq!(actions(&world, "order requery-closed").await.len(), 2);
    world.finish().await;
}

#[tokio::test]
async fn requery_finds_unnotified_payment() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let number = create_payable_order(&world, &shop).await;
    world.pay(&shop, &number, &PayOptions { state_only: true, ..PayOptions::default() });
    program.run_ok(&world, &["order", "requery", &shop.mch_id, &number]).await;
    world.wait_for_state(&shop, &number, "paid").await;
    expect_audited(&world, "order requery", &format!("{}/{number}", shop.mch_id), None).await;
    world.finish().await;
}

#[tokio::test]
async fn close_verb_closes_unpaid_orders_only() {
    let world = World::start_with(fast_options()).await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let open = create_payable_order(&world, &shop).await;
    let settled = create_paid_order(&world, &shop).await;
    let close = async |number: &str| {
        let close = ["order", "close", &shop.mch_id, number, "--reason", "sold out"];
        program.run(&world, &close).await
    };
    let output = close(&settled).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("is paid and stays so"), "{output:?}");
    assert_eq!(world.order_state(&shop, &settled).await.as_deref(), Some("paid"));

    let output = close(&open).await;
    assert!(output.code == 0 && output.stdout.contains("is closing (seq 3)"), "{output:?}");
    program.run_ok(&world, &["order", "requery", &shop.mch_id, &open]).await;
    world.wait_for_state(&shop, &open, "closed").await;
    let history = ["created by shop", "payable by reply", "closing by operator", "closed by reply"];
    assert_eq!(world.transition_labels(&open).await, history);
    world
        .expect_events(&open, &["order.created", "order.payable", "order.closing", "order.closed"])
        .await;
    expect_audited(&world, "order close", &format!("{}/{open}", shop.mch_id), Some("sold out"))
        .await;
    world.finish().await;
}

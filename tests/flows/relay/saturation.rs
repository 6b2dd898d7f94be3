//! A worker publishes as many events as it can, and more keep coming.

use futures_util::future::join_all;
use harness::amqp::Amqp;
use harness::program::Program;
use harness::{Shop, World, eventually};
use lapin::BasicProperties;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const SENDERS: usize = 8;
/// Commands ahead of their events: the queue of orders never runs empty, and stays short.
const AHEAD_MAX: usize = 1_000;

/// Sends commands that are rejected, each with an event, until `stop`. Returns how many.
async fn send_rejected_commands(world: &World, stop: &CancellationToken) -> usize {
    let amqp = Amqp::connect(&world.environment).await;
    let shop = world.hmac_shop();
    let before = world.events.count();
    let mut sent = 0;
    while !stop.is_cancelled() {
        if sent * SENDERS > world.events.count() - before + AHEAD_MAX {
            tokio::task::yield_now().await;
            continue;
        }
        let body = json!({ "mch_id": shop.mch_id, "out_trade_no": Shop::number() }).to_string();
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_message_id(Shop::number().into());
        amqp.command("order.create", body.as_bytes(), properties).await;
        sent += 1;
    }
    amqp.close().await;
    sent
}

#[tokio::test]
async fn events_of_killed_worker_are_told_at_full_load() {
    let mut world = World::start().await;
    world.stop_workers().await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let killed = program.spawn_worker("relay.taken=1*return(die)");
    killed.wait_until_ready(&world).await;
    let number = Shop::number();
    world.create(&shop.order(&number, 9900), None).await;
    killed.wait_for_exit_by_signal().await;
    assert!(world.outbox_count(&shop).await > 0);
    let hide = "update outbox set next_attempt_at = now() + interval '1 hour'";
    sqlx::query(hide).execute(&world.environment.pool).await.unwrap();

    let worker = program.start_worker(&world).await;
    let stop = CancellationToken::new();
    let load = join_all((0..SENDERS).map(|_| send_rejected_commands(&world, &stop)));
    let expect_told = async {
        let before = world.events.count();
        eventually("load", async || (world.events.count() >= before + AHEAD_MAX).then_some(()))
            .await;
        eventually("the age of the oldest event", async || {
            let oldest = worker.metric(&world, "wxpay_outbox_oldest_seconds").await;
            oldest.is_some_and(|seconds| seconds > 0.0).then_some(())
        })
        .await;
        let show = "update outbox set next_attempt_at = now() where mch_id = $1";
        sqlx::query(show).bind(&shop.mch_id).execute(&world.environment.pool).await.unwrap();
        world.wait_for_event(&number, "order.created").await;
        stop.cancel();
    };
    let (sent, ()) = tokio::join!(load, expect_told);
    let sent = sent.into_iter().sum::<usize>() as i64;
    assert!(sent > AHEAD_MAX as i64);

    eventually("every command to be rejected", async || {
        let rejected = sqlx::query_scalar("select count(*) from rejections");
        let rejected: i64 = rejected.fetch_one(&world.environment.pool).await.unwrap();
        (rejected == sent).then_some(())
    })
    .await;
    let end_lease = "update orders set call_lease_until = now(), next_check_at = now()
        where call_lease_until is not null";
    sqlx::query(end_lease).execute(&world.environment.pool).await.unwrap();
    world.wait_for_state(&shop, &number, "payable").await;
    world.wait_until_idle().await;
    worker.stop().await;
    world.finish().await;
}

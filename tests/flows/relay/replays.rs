//! `events replay --since` puts many events into the outbox.

use harness::program::Program;
use harness::{World, eventually};

const EVENTS: i64 = 600;

#[tokio::test]
async fn replays_come_after_events_that_were_never_told() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let since = world.database_time().await;
    world.store_unpublished_events(&shop, "old", EVENTS).await;
    world.wait_until_idle().await;
    world.stop_workers().await;

    let before = world.events.count();
    let program = Program::of(&world);
    let output = program.run_ok(&world, &["events", "replay", "--since", &since]).await;
    assert_eq!(output, format!("{EVENTS} of {EVENTS} stored events are sent again\n"));
    world.store_unpublished_events(&shop, "new", 100).await;
    world.add_worker().await;
    world.wait_until_idle().await;
    eventually("every event", async || {
        (world.events.count() >= before + EVENTS as usize + 100).then_some(())
    })
    .await;
    let arrived = world.events.numbers_with_prefix("")[before..].to_vec();
    let last = |prefix: &str| arrived.iter().rposition(|number| number.starts_with(prefix));
    assert!(last("new") < last("old"), "{arrived:?}");
    world.finish().await;
}

//! A burst of orders: accepted and settled in batches, called from their merchant's lane.

use simulator::Api;

use super::*;

/// Lets so few calls through that most orders of a burst find no place in the lane.
fn set_slow_rate(world: &World) {
    set_rate(world, Some(2));
}

fn set_rate(world: &World, requests_per_second: Option<u32>) {
    world.worker_merchants.replace(&changed_merchants(world, |_, merchant| Merchant {
        requests_per_second,
        ..merchant
    }));
}

async fn never_called(world: &World, shop: &Shop) -> i64 {
    count(world, shop, "state = 'created' and called_at is null").await
}

/// Posts a burst of which a part is called, a part waits in the lane, and a part has no place.
async fn overfill_lane(world: &World, shop: &Shop) -> Vec<String> {
    set_slow_rate(world);
    let numbers = post_orders(world, shop, 40).await;
    eventually("every stored order", async || {
        (count(world, shop, "true").await == 40).then_some(())
    })
    .await;
    assert!(never_called(world, shop).await > 0);
    numbers
}

fn expect_one_call_each(world: &World, shop: &Shop, numbers: &[String]) {
    for number in numbers {
        let calls = world.calls(shop, number);
        assert_eq!((calls.unifiedorder, calls.orderquery), (1, 0), "{number}");
    }
}

async fn wait_until_payable(world: &World, shop: &Shop, numbers: &[String]) {
    for number in numbers {
        world.wait_for_state(shop, number, "payable").await;
    }
}

#[tokio::test]
async fn order_without_place_is_called_later_without_query() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let numbers = overfill_lane(&world, &shop).await;
    set_rate(&world, None);
    wait_until_payable(&world, &shop, &numbers).await;
    expect_one_call_each(&world, &shop, &numbers);
    assert_eq!(attempts(&world, &shop).await, 0);
    world.finish().await;
}

#[tokio::test]
async fn full_lane_of_stopped_worker_is_left_to_another() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let numbers = overfill_lane(&world, &shop).await;
    world.stop_workers().await;
    assert_eq!(count(&world, &shop, "call_lease_until is not null").await, 0);
    let created = count(&world, &shop, "state = 'created'").await;
    assert_eq!(never_called(&world, &shop).await, created);
    set_rate(&world, None);
    world.add_worker().await;
    wait_until_payable(&world, &shop, &numbers).await;
    expect_one_call_each(&world, &shop, &numbers);
    world.finish().await;
}

#[tokio::test]
async fn full_lane_of_killed_worker_is_not_forgotten() {
    let mut world = world_with(GatewayLimits::default()).await;
    let shop = world.md5_shop();
    let numbers = overfill_lane(&world, &shop).await;
    world.workers.remove(0).kill();
    let leased = count(&world, &shop, "call_lease_until > now()").await;
    let called =
        numbers.iter().filter(|number| world.calls(&shop, number).unifiedorder > 0).count();
    set_rate(&world, None);
    world.add_worker().await;
    // What was never called is called at once, what a lease protects only after its end.
    eventually("every order without a lease", async || {
        let created = count(&world, &shop, "state = 'created'").await;
        (created <= leased).then_some(())
    })
    .await;
    let expire = "update orders set call_lease_until = now(), next_check_at = now()
        where call_lease_until is not null";
    sqlx::query(expire).execute(&world.environment.pool).await.unwrap();
    wait_until_payable(&world, &shop, &numbers).await;
    let calls: u64 = numbers.iter().map(|number| world.calls(&shop, number).unifiedorder).sum();
    assert!(calls <= (numbers.len() + called) as u64, "{calls} calls");
    let outcomes = &world.simulator.request_counts().apis[&Api::Unifiedorder];
    assert_eq!(outcomes.get("INVALID_REQUEST"), None, "{outcomes:?}");
    world.finish().await;
}

#[tokio::test]
async fn calls_waiting_when_breaker_opens_are_made_later() {
    let pause = Duration::from_millis(100);
    let limits = GatewayLimits {
        concurrent_calls: 8,
        failures_max: 3,
        pause_first: pause,
        pause_max: pause * 3,
        ..small_limits()
    };
    let world = world_with(limits).await;
    let shop = world.md5_shop();
    fail_all_calls(&world, &shop, Fault::Hold);
    let numbers = post_orders(&world, &shop, 300).await;
    eventually("a held call for every permit", async || {
        (held_calls_of(&world, &shop) == 4).then_some(())
    })
    .await;
    fail_all_calls(&world, &shop, Fault::SystemError);
    world.simulator.release(&HeldCallFilter::default());
    eventually("an order that waits for the breaker", async || {
        let waiting = "called_at is null and gateway_message is not null";
        (count(&world, &shop, waiting).await > 0).then_some(())
    })
    .await;
    remove_faults(&world);
    wait_until_payable(&world, &shop, &numbers).await;
    world.finish().await;
}

#[tokio::test]
async fn poisoned_order_fails_alone_in_its_batch() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    world.stop_workers().await;
    let numbers = post_orders(&world, &shop, 30).await;
    let (poisoned, others) = numbers.split_first().unwrap();
    let refuse = format!(
        "create function refuse_order() returns trigger language plpgsql as $$
        begin
            if new.out_trade_no = '{poisoned}' then raise exception 'refused'; end if;
            return new;
        end $$;
        create trigger refuse_order before insert on orders
            for each row execute function refuse_order()"
    );
    let pool = &world.environment.pool;
    sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(pool).await.unwrap();
    world.add_worker().await;
    wait_until_payable(&world, &shop, others).await;
    assert_eq!(world.order_state(&shop, poisoned).await, None);
    let allow = "drop trigger refuse_order on orders";
    sqlx::raw_sql(allow).execute(&world.environment.pool).await.unwrap();
    world.wait_for_state(&shop, poisoned, "payable").await;
    expect_one_call_each(&world, &shop, &numbers);
    world.finish().await;
}

#[tokio::test]
async fn locked_order_holds_no_neighbour_in_its_batch() {
    let world = World::start().await;
    let shop = world.md5_shop();
    fail_all_calls(&world, &shop, Fault::Hold);
    let numbers = post_orders(&world, &shop, 20).await;
    world.wait_for_held_calls(numbers.len()).await;
    let (locked, others) = numbers.split_first().unwrap();
    let mut lock = world.environment.pool.begin().await.unwrap();
    let select = "select 1 from orders where out_trade_no = $1 for update";
    sqlx::query(select).bind(locked).execute(&mut *lock).await.unwrap();
    remove_faults(&world);
    wait_until_payable(&world, &shop, others).await;
    assert_eq!(world.order_state(&shop, locked).await.as_deref(), Some("created"));
    lock.rollback().await.unwrap();
    world.wait_for_state(&shop, locked, "payable").await;
    expect_one_call_each(&world, &shop, &numbers);
    world.finish().await;
}

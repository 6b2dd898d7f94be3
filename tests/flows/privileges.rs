//! The shipped privileges: the broker users of `deploy/rabbitmq/permissions.sh` and the database roles
//! of `deploy/postgres/roles.sql` suffice for everything the system does, and allow nothing else.

mod roles;
mod users;

use harness::amqp::Amqp;
use harness::program::Program;
use harness::servers::{Server, Servers};
use harness::{Options, Shop, World, eventually, fast_schedule};
use lapin::BasicProperties;
use serde_json::json;
use simulator::PayOptions;
use uuid::Uuid;
use worker::Clients;
use worker::testing::remove_old_rows;

use roles::Roles;
use users::Users;

#[tokio::test]
async fn shipped_privileges_suffice_and_refuse_the_rest() {
    let servers = Servers::start().await;
    let (mut world, users, roles) = world_with_least_privileges(&servers).await;
    let mut program = Program::of(&world);
    program.set("WXPAY_DATABASE_URL", roles.worker.expose());

    use_orders_and_events(&world, &users).await;
    use_everything_else(&mut world, &program, &roles).await;
    program.set("WXPAY_DATABASE_URL", roles.reader.expose());
    roles.expect_rest_refused(&world, &program).await;
    users.expect_rest_refused(&world).await;
    world.finish().await;
}

/// A world with the users and roles of `deploy/README.md`. Only the test itself has more rights.
async fn world_with_least_privileges(servers: &Servers) -> (World, Users, Roles) {
    let broker = servers.url(Server::RabbitMq);
    let users = Users::new(broker.clone());
    let clients =
        "[[client]]\nname = \"shop\"\nmch_ids = [\"1900000109\"]\namqp_user = \"shop-a\"\n";
    let mut world = World::start_with(Options {
        amqp_text: Some(broker.to_string()),
        database_admin_url: Some(servers.url(Server::Postgres).to_string()),
        ingress_amqp_url: Some(users.url("ingress")),
        unmigrated: true,
        schedule: Some(fast_schedule()),
        clients: Some(Clients::parse(clients, Some("ingress".to_owned())).unwrap()),
        ..Options::default()
    })
    .await;
    users.make(servers, &world).await;
    let roles = Roles::make(&world).await;
    world.restart_workers_as(users.url("worker"), roles.worker.clone()).await;
    world.add_worker().await;
    world.wait_until_ingress_ready().await;
    (world, users, roles)
}

/// Creates orders over HTTP and AMQP, pays them with and without a notification, and closes one.
async fn use_orders_and_events(world: &World, users: &Users) {
    let shop = world.md5_shop();
    let [notified, unnotified, closed, asked] = [(); 4].map(|()| Shop::number());
    for number in [&notified, &unnotified, &closed] {
        world.create_payable(&shop.order(number, 9900)).await;
    }
    world.pay(&shop, &notified, &PayOptions::default());
    world.pay(&shop, &unnotified, &PayOptions { state_only: true, ..PayOptions::default() });
    assert!(world.close(&shop.mch_id, &closed, Some(20)).await.0.is_success());

    let amqp = Amqp::connect_to(&world.environment, &users.text("shop-a")).await;
    let mut answers = amqp.direct_reply_to().await;
    let mut events = users.events(&amqp, &format!("*.*.{}", shop.mch_id)).await;
    let question = BasicProperties::default()
        .with_message_id(Uuid::now_v7().to_string().into())
        .with_user_id("shop-a".into())
        .with_reply_to(answers.name.as_str().into());
    let order = shop.order(&asked, 9900);
    amqp.command("order.create", order.to_string().as_bytes(), question).await;
    assert_eq!(answers.next_json().await["status"], 200);
    world.pay(&shop, &asked, &PayOptions::default());
    let mut types = Vec::new();
    while types.last() != Some(&json!("order.paid")) {
        let event = events.next_json().await;
        assert_eq!(event["mch_id"], shop.mch_id);
        types.extend((event["out_trade_no"] == asked).then(|| event["type"].clone()));
    }
    assert_eq!(types, ["order.created", "order.payable", "order.paid"]);
    amqp.close().await;

    for number in [&notified, &unnotified] {
        world.wait_for_state(&shop, number, "paid").await;
    }
    world.wait_for_state(&shop, &closed, "closed").await;
    assert_eq!(world.get(&shop, &notified).await.0, 200);
}

/// Rejections, exceptions, forgeries, operator commands, and the removal of old rows.
async fn use_everything_else(world: &mut World, program: &Program, roles: &Roles) {
    let shop = world.hmac_shop();
    let [wrong, suspect] = [(); 2].map(|()| Shop::number());
    world.create_payable(&shop.order(&wrong, 1)).await;
    assert_eq!(world.create(&shop.order(&wrong, 2), Some(20)).await.0, 409);
    world.create_payable(&shop.order(&suspect, 9900)).await;
    let forged = PayOptions {
        notify_only: true,
        sign: simulator::Signing::OtherKey,
        ..PayOptions::default()
    };
    let forged = world.unsent_notification(&shop, &suspect, forged);
    world.notify_ok(&shop.mch_id, &forged).await;
    world.notify_ok(&shop.mch_id, &forged).await;
    world.pay(&shop, &suspect, &PayOptions::default());
    world.wait_for_state(&shop, &suspect, "paid").await;
    world.pay(&shop, &suspect, &PayOptions { second_payment: true, ..PayOptions::default() });
    world.exception_events(&suspect, 1).await;

    let key = [&*shop.mch_id, &*suspect];
    program.run_ok(world, &[&["order", "requery"], &key[..]].concat()).await;
    let resolve =
        [&["exceptions", "resolve"], &key[..], &["duplicate_payment", "--reason", "seen"]];
    program.run_ok(world, &resolve.concat()).await;
    let again = format!("{}/{suspect}", shop.mch_id);
    program.run_ok(world, &["events", "replay", "--order", &again]).await;
    let digest =
        "select encode(digest, 'hex') from notifications where verdict = 'applied' limit 1";
    let digest: String =
        sqlx::query_scalar(digest).fetch_one(&world.environment.pool).await.unwrap();
    program.run_ok(world, &["notification", "replay", &digest]).await;
    program.run_ok(world, &[&["order", "explain"], &key[..]].concat()).await;

    world.wait_until_idle().await;
    for age in [
        "update gateway_calls set at = at - interval '31 days'",
        "update event_confirms set confirmed_at = confirmed_at - interval '31 days'",
        "insert into rejections values ('old', '-', '-', '{}', now() - interval '91 days',
            gen_random_uuid(), '')",
    ] {
        assert!(
            sqlx::query(age).execute(&world.environment.pool).await.unwrap().rows_affected() > 0
        );
    }
    assert!(remove_old_rows(&roles.worker).await.unwrap() > 0);
    eventually("the removal of every old row", async || {
        (remove_old_rows(&roles.worker).await.unwrap() == 0).then_some(())
    })
    .await;
}

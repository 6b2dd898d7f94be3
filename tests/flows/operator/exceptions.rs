//! `exceptions list`, `show` and `resolve`.

use harness::World;
use harness::program::Program;
use serde_json::json;
use simulator::PayOptions;
use wechatpay_v2::Fen;

use super::{create_payable_order, expect_audited, lines, unpaid_notification};

#[tokio::test]
async fn exception_is_listed_shown_and_resolved_once() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let number = create_payable_order(&world, &shop).await;
    let wrong = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..unpaid_notification() };
    for _ in 0..2 {
        let body = world.unsent_notification(&shop, &number, wrong.clone());
        world.notify_ok(&shop.mch_id, &body).await;
    }
    let events = world.exception_events(&number, 2).await;
    let ids: Vec<_> =
        events.iter().map(|it| it["exception"]["transaction_id"].as_str().unwrap()).collect();

    let listed = program.run_json(&world, &["exceptions", "list", "--json"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed:#}");
    assert_eq!(
        listed[0]["differs"],
        json!([{"field": "total_fee", "ours": "9900", "theirs": "1"}])
    );
    let text = program.run_ok(&world, &["exceptions", "list", "--kind", "amount_mismatch"]).await;
    assert!(ids.iter().all(|id| text.contains(id)), "{text}");
    let none = program.run_ok(&world, &["exceptions", "list", "--kind", "unsettled"]).await;
    assert_eq!(none, "no exceptions\n");
    let shown = program.run_ok(&world, &["exceptions", "show", &shop.mch_id, &number]).await;
    assert!(shown.contains("total_fee: the order says 9900, WeChat says 1"), "{shown}");

    let resolve = ["exceptions", "resolve", &shop.mch_id, &number, "amount_mismatch"];
    let reason = ["--reason", "a test at the checkout"];
    let several = program.run_expecting_failure(&world, &[&resolve[..], &reason].concat()).await;
    assert!(ids.iter().all(|id| several.contains(id)), "{several}");
    let one = [&resolve[..], &reason, &["--transaction-id", ids[0]]].concat();
    let done = program.run_ok(&world, &one).await;
    assert!(done.contains("is queried about the order again"), "{done}");
    let twice = program.run_expecting_failure(&world, &one).await;
    assert!(twice.contains("a test at the checkout"), "{twice}");
    let no_reason = program.run(&world, &[&resolve[..], &["--reason", ""]].concat()).await;
    assert_eq!(no_reason.code, 2, "{no_reason:?}");

    let open = program.run_json(&world, &["exceptions", "list", "--json"]).await;
    assert_eq!(open.as_array().unwrap().len(), 1, "{open:#}");
    assert_eq!(open[0]["transaction_id"], ids[1]);
    let all = program.run_json(&world, &["exceptions", "list", "--all", "--json"]).await;
    assert_eq!(all.as_array().unwrap().len(), 2, "{all:#}");
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!(view["exceptions"].as_array().unwrap().len(), 1, "{view}");
    let subject = format!("{}/{number} amount_mismatch {}", shop.mch_id, ids[0]);
    expect_audited(&world, "exceptions resolve", &subject, Some("a test at the checkout")).await;
    let history = ["order", "explain", &shop.mch_id, &number, "--json"];
    let history = program.run_json(&world, &history).await;
    assert_eq!(lines(&history, "exception_resolved", ids[0]).len(), 1, "{history:#}");
    world.finish().await;
}

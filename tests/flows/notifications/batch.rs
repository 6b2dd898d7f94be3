//! Sixty notifications of every kind in one batch: one transaction, one verdict for each.

use futures_util::future::join_all;
use harness::{Shop, StoredNotification, World, eventually};
use simulator::{Malformation, PayOptions, Signing};
use wechatpay_v2::Fen;

use super::HISTORY;

/// Each kind of wrong notification, the stored verdict, and their number.
fn wrong_kinds(other: &Shop) -> Vec<(PayOptions, Option<&'static str>, usize)> {
    let unpaid = |options: PayOptions| PayOptions { notify_only: true, ..options };
    let forged = PayOptions { sign: Signing::Wrong, ..PayOptions::default() };
    let unreadable = PayOptions { malform: Some(Malformation::Truncated), ..PayOptions::default() };
    let of_another_merchant =
        PayOptions { mch_id: Some(other.mch_id.clone()), ..PayOptions::default() };
    let failed = PayOptions { malform: Some(Malformation::ResultFail), ..PayOptions::default() };
    let of_another_amount = PayOptions { total_fee: Fen::new(1).ok(), ..PayOptions::default() };
    vec![
        (unpaid(forged), Some("bad_signature"), 8),
        (unpaid(unreadable), Some("unreadable"), 5),
        (unpaid(of_another_merchant), None, 5),
        (unpaid(failed), Some("not_success"), 4),
        (unpaid(of_another_amount), Some("exception"), 4),
    ]
}

#[tokio::test]
async fn each_of_sixty_in_one_batch_gets_its_own_status() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let other = world.hmac_shop();
    let numbers: Vec<String> = (0..20).map(|_| Shop::number()).collect();
    let orders: Vec<_> = numbers.iter().map(|n| shop.order(n, 9900)).collect();
    join_all(orders.iter().map(|order| world.create_payable(order))).await;
    world.stop_workers().await;

    // Each body with what is stored of it. A repeat is counted with the first one.
    let mut notifications: Vec<(Vec<u8>, Option<StoredNotification>)> = Vec::new();
    let stored = |verdict| Some(StoredNotification::new(verdict, 0));
    let mut orders = numbers.iter().cycle();
    for (options, verdict, count) in wrong_kinds(&other) {
        for number in orders.by_ref().take(count) {
            let body = world.unsent_notification(&shop, number, options.clone());
            notifications.push((body, verdict.and_then(stored)));
        }
    }
    for _ in 0..6 {
        let unpaid = PayOptions { notify_only: true, ..PayOptions::default() };
        let body = world.unsent_notification(&shop, &Shop::number(), unpaid);
        notifications.push((body, stored("exception")));
    }
    for (n, number) in numbers.iter().enumerate() {
        let body = world.unsent_notification(&shop, number, PayOptions::default());
        let repeats = i32::from(n < 8);
        if repeats == 1 {
            notifications.insert(n, (body.clone(), None));
        }
        notifications.push((body, Some(StoredNotification::new("applied", repeats))));
    }
    assert_eq!(notifications.len(), 60);
    for (body, _) in &notifications {
        world.notify_ok(&shop.mch_id, body).await;
    }
    assert_eq!(world.count_notifications("applied").await, 0);

    world.add_worker().await;
    for number in &numbers {
        world.wait_for_state(&shop, number, "paid").await;
    }
    for (body, expected) in &notifications {
        if expected.is_some() {
            eventually(&format!("{expected:?}"), async || {
                (&world.stored_notification(body).await == expected).then_some(())
            })
            .await;
        }
    }
    // Eight more are repeats and five name another merchant: these are counted, not stored.
    let counts = [
        ("applied", 20),
        ("exception", 10),
        ("bad_signature", 8),
        ("unreadable", 5),
        ("not_success", 4),
        ("already", 0),
    ];
    for (verdict, count) in counts {
        assert_eq!(world.count_notifications(verdict).await, count, "{verdict}");
    }
    for number in &numbers {
        assert_eq!(world.transition_labels(number).await, HISTORY);
    }
    world.finish().await;
}

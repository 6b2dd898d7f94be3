//! A forged notification changes nothing: it gets the expected answer, every row of the ledger stays
//! the same, and the real payment is still booked.

mod altered;
mod forgery;

use futures_util::future::join_all;
use harness::{Shop, StoredNotification, World};
use simulator::{Malformation, PayOptions, Signing};

use forgery::{ACCEPTED, Forgery, expect_no_change, unpaid_notification};

const MALFORMED: u16 = 400;
const TOO_LARGE: u16 = 413;

#[tokio::test]
async fn wrong_signature_changes_nothing() {
    let world = World::start().await;
    let mut forgeries = Vec::new();
    for shop in [world.md5_shop(), world.hmac_shop()] {
        for sign in [Signing::Wrong, Signing::OtherKey, Signing::Missing, Signing::Empty] {
            let options = PayOptions { sign, ..PayOptions::default() };
            let forge = |number: &str| unpaid_notification(&world, &shop, number, &options);
            let forgery = Forgery::for_new_order(&world, &shop, format!("{sign:?}"), forge).await;
            forgeries.push(forgery.stored_as("bad_signature"));
        }
    }
    expect_no_change(world, forgeries).await;
}

#[tokio::test]
async fn mislabelled_sign_type_changes_nothing() {
    let world = World::start().await;
    let mut forgeries = Vec::new();
    for (shop, sign_type) in
        [(world.md5_shop(), "HMAC-SHA256"), (world.hmac_shop(), "MD5"), (world.hmac_shop(), "none")]
    {
        let options = PayOptions {
            extra_fields: [("sign_type".to_owned(), sign_type.to_owned())].into(),
            ..PayOptions::default()
        };
        let forge = |number: &str| unpaid_notification(&world, &shop, number, &options);
        let forgery = Forgery::for_new_order(&world, &shop, sign_type, forge).await;
        forgeries.push(forgery.stored_as("bad_signature"));
    }
    expect_no_change(world, forgeries).await;
}

#[tokio::test]
async fn signature_by_other_algorithm_than_order_is_exception() {
    let world = World::start().await;
    let mut forgeries = Vec::new();
    for (shop, sign) in [(world.md5_shop(), Signing::HmacSha256), (world.hmac_shop(), Signing::Md5)]
    {
        let options = PayOptions { sign, ..PayOptions::default() };
        let forge = |number: &str| unpaid_notification(&world, &shop, number, &options);
        let forgery = Forgery::for_new_order(&world, &shop, format!("{sign:?}"), forge).await;
        forgeries.push(forgery.stored_as("exception").opening_exception("identity_mismatch"));
    }
    expect_no_change(world, forgeries).await;
}

#[tokio::test]
async fn malformed_message_changes_nothing() {
    let world = World::start().await;
    let cases = [
        (Malformation::Doctype, MALFORMED, None),
        (Malformation::Gbk, MALFORMED, None),
        (Malformation::Huge, TOO_LARGE, None),
        (Malformation::Duplicate, ACCEPTED, Some("unreadable")),
        (Malformation::Truncated, ACCEPTED, Some("unreadable")),
        (Malformation::Nested, ACCEPTED, Some("unreadable")),
        (Malformation::Trailing, ACCEPTED, Some("unreadable")),
        (Malformation::NoReturnCode, ACCEPTED, Some("unreadable")),
        (Malformation::ResultFail, ACCEPTED, Some("not_success")),
    ];
    let mut forgeries = Vec::new();
    for shop in [world.md5_shop(), world.hmac_shop()] {
        for (malform, status, verdict) in cases {
            let options = PayOptions { malform: Some(malform), ..PayOptions::default() };
            let forge = |number: &str| unpaid_notification(&world, &shop, number, &options);
            let forgery =
                Forgery::for_new_order(&world, &shop, format!("{malform:?}"), forge).await;
            forgeries.push(forgery.answered(status).stored_as(verdict));
        }
    }
    // This message names no order. Its bytes are the same for every order, so it is sent once.
    let shop = world.md5_shop();
    let options = PayOptions { malform: Some(Malformation::ReturnFail), ..PayOptions::default() };
    let forge = |number: &str| unpaid_notification(&world, &shop, number, &options);
    let forgery = Forgery::for_new_order(&world, &shop, "ReturnFail", forge).await;
    forgeries.push(forgery.stored_as("unreadable"));
    expect_no_change(world, forgeries).await;
}

#[tokio::test]
async fn body_that_is_no_message_changes_nothing() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let bodies: [&[u8]; 8] = [
        b"",
        b" \r\n",
        b"\xef\xbb\xbf",
        b"1",
        br#"{"return_code":"SUCCESS","total_fee":9900}"#,
        b"return_code=SUCCESS&total_fee=9900",
        b"<!-- --><xml><return_code>SUCCESS</return_code></xml>",
        b"<xml><return_code>\xff</return_code></xml>",
    ];
    let mut forgeries = Vec::new();
    for body in bodies {
        let name = String::from_utf8_lossy(body);
        let forgery = Forgery::for_new_order(&world, &shop, name, |_| body.to_vec()).await;
        forgeries.push(forgery.answered(MALFORMED));
    }
    expect_no_change(world, forgeries).await;
}

#[tokio::test]
async fn message_of_other_merchant_changes_nothing() {
    let world = World::start().await;
    let one = world.md5_shop();
    let other = world.hmac_shop();
    let mut forgeries = Vec::new();
    for (shop, stranger) in [(&one, &other), (&other, &one)] {
        let ordinary = PayOptions::default();
        // An authentic message on the path of another merchant, whose key did not sign it.
        let forge = |number: &str| unpaid_notification(&world, shop, number, &ordinary);
        let name = "another merchant's path";
        let forgery = Forgery::for_new_order(&world, shop, name, forge).await;
        forgeries.push(forgery.posted_to(&stranger.mch_id));
        // An authentic message on the path of an unknown merchant.
        let name = "the path of a merchant that is not configured";
        let forgery = Forgery::for_new_order(&world, shop, name, forge).await;
        forgeries.push(forgery.posted_to("1999999999"));
        // Signed with the key of the path's merchant, with another merchant or none in the body.
        let with_other_merchant =
            PayOptions { mch_id: Some(stranger.mch_id.clone()), ..PayOptions::default() };
        let without_merchant =
            PayOptions { empty_fields: vec!["mch_id".to_owned()], ..PayOptions::default() };
        for (name, options) in [
            ("another merchant in the body", with_other_merchant),
            ("no merchant in the body", without_merchant),
        ] {
            let forge = |number: &str| unpaid_notification(&world, shop, number, &options);
            forgeries.push(Forgery::for_new_order(&world, shop, name, forge).await);
        }
    }
    expect_no_change(world, forgeries).await;
}

/// Every client can post here, and must not fill the disk.
#[tokio::test]
async fn only_sample_of_many_forgeries_is_stored() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    let ledger = world.ledger_rows().await;
    let wrong = PayOptions { sign: Signing::Wrong, ..PayOptions::default() };
    let bodies = (0..120).map(|_| unpaid_notification(&world, &shop, &number, &wrong));
    let bodies: Vec<_> = bodies.collect();
    let posts = bodies.iter().map(|body| world.notify_ok(&shop.mch_id, body));
    join_all(posts).await;
    world.process_queues().await;
    // Fifty are stored per hour, and the test may run across the full hour.
    let stored = world.count_notifications("bad_signature").await;
    assert!((50..=100).contains(&stored), "{stored}");
    assert_eq!(world.ledger_rows().await, ledger);

    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    world.finish().await;
}

#[tokio::test]
async fn lower_case_signature_is_accepted() {
    let world = World::start().await;
    for shop in [world.md5_shop(), world.hmac_shop()] {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        let options = PayOptions { sign: Signing::Lowercase, ..PayOptions::default() };
        world.pay(&shop, &number, &options);
        world.wait_for_state(&shop, &number, "paid").await;
        let applied = [StoredNotification::new("applied", 0)];
        world.expect_stored_notifications(&number, &applied).await;
    }
    world.finish().await;
}

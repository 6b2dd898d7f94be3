//! Whatever is not what WeChat sent changes nothing (design 10, 7): each forgery is answered as
//! design 6 says, the ledger stay as they are to the byte, and the truth still settles the order.

mod altered;
mod forgery;

use futures_util::future::join_all;
use harness::{Shop, StoredNotification, World};
use simulator::{Malformation, PayOptions, Signing};

use forgery::{Forgery, TAKEN, change_nothing, untrue};

const MALFORMED: u16 = 400;
const TOO_LARGE: u16 = 413;

#[tokio::test]
async fn wrong_signature_changes_nothing() {
    let world = World::start().await;
    let mut forgeries = Vec::new();
    for shop in [world.shop(), world.hmac_shop()] {
        for sign in [Signing::Wrong, Signing::OtherKey, Signing::Missing, Signing::Empty] {
            let options = PayOptions { sign, ..PayOptions::default() };
            let forge = |number: &str| untrue(&world, &shop, number, &options);
            let forgery = Forgery::about_an_order(&world, &shop, format!("{sign:?}"), forge).await;
            forgeries.push(forgery.kept_as("bad_signature"));
        }
    }
    change_nothing(world, forgeries).await;
}

#[tokio::test]
async fn mislabelled_sign_type_changes_nothing() {
    let world = World::start().await;
    let mut forgeries = Vec::new();
    for (shop, sign_type) in
        [(world.shop(), "HMAC-SHA256"), (world.hmac_shop(), "MD5"), (world.hmac_shop(), "none")]
    {
        let options = PayOptions {
            extra_fields: [("sign_type".to_owned(), sign_type.to_owned())].into(),
            ..PayOptions::default()
        };
        let forge = |number: &str| untrue(&world, &shop, number, &options);
        let forgery = Forgery::about_an_order(&world, &shop, sign_type, forge).await;
        forgeries.push(forgery.kept_as("bad_signature"));
    }
    change_nothing(world, forgeries).await;
}

#[tokio::test]
async fn signature_by_other_algorithm_than_order_is_exception() {
    let world = World::start().await;
    let mut forgeries = Vec::new();
    for (shop, sign) in [(world.shop(), Signing::HmacSha256), (world.hmac_shop(), Signing::Md5)] {
        let options = PayOptions { sign, ..PayOptions::default() };
        let forge = |number: &str| untrue(&world, &shop, number, &options);
        let forgery = Forgery::about_an_order(&world, &shop, format!("{sign:?}"), forge).await;
        forgeries.push(forgery.kept_as("exception").opens("identity_mismatch"));
    }
    change_nothing(world, forgeries).await;
}

#[tokio::test]
async fn malformed_message_changes_nothing() {
    let world = World::start().await;
    let cases = [
        (Malformation::Doctype, MALFORMED, None),
        (Malformation::Gbk, MALFORMED, None),
        (Malformation::Huge, TOO_LARGE, None),
        (Malformation::Duplicate, TAKEN, Some("unreadable")),
        (Malformation::Truncated, TAKEN, Some("unreadable")),
        (Malformation::Nested, TAKEN, Some("unreadable")),
        (Malformation::Trailing, TAKEN, Some("unreadable")),
        (Malformation::NoReturnCode, TAKEN, Some("unreadable")),
        (Malformation::ResultFail, TAKEN, Some("not_success")),
    ];
    let mut forgeries = Vec::new();
    for shop in [world.shop(), world.hmac_shop()] {
        for (malform, status, verdict) in cases {
            let options = PayOptions { malform: Some(malform), ..PayOptions::default() };
            let forge = |number: &str| untrue(&world, &shop, number, &options);
            let forgery =
                Forgery::about_an_order(&world, &shop, format!("{malform:?}"), forge).await;
            forgeries.push(forgery.answered(status).kept_as(verdict));
        }
    }
    // The only one that names no order, so that the same bytes can be sent about one alone.
    let shop = world.shop();
    let options = PayOptions { malform: Some(Malformation::ReturnFail), ..PayOptions::default() };
    let forge = |number: &str| untrue(&world, &shop, number, &options);
    let forgery = Forgery::about_an_order(&world, &shop, "ReturnFail", forge).await;
    forgeries.push(forgery.kept_as("unreadable"));
    change_nothing(world, forgeries).await;
}

#[tokio::test]
async fn body_that_is_no_message_changes_nothing() {
    let world = World::start().await;
    let shop = world.shop();
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
        let forgery = Forgery::about_an_order(&world, &shop, name, |_| body.to_vec()).await;
        forgeries.push(forgery.answered(MALFORMED));
    }
    change_nothing(world, forgeries).await;
}

#[tokio::test]
async fn message_of_other_merchant_changes_nothing() {
    let world = World::start().await;
    let one = world.shop();
    let other = world.hmac_shop();
    let mut forgeries = Vec::new();
    for (shop, stranger) in [(&one, &other), (&other, &one)] {
        let ordinary = PayOptions::default();
        // Right, and posted to the path of another merchant, whose key does not sign it.
        let forge = |number: &str| untrue(&world, shop, number, &ordinary);
        let name = "another merchant's path";
        let forgery = Forgery::about_an_order(&world, shop, name, forge).await;
        forgeries.push(forgery.posted_to(&stranger.mch_id));
        // Right, and posted to the path of a merchant that nobody here knows.
        let name = "the path of a merchant that is not configured";
        let forgery = Forgery::about_an_order(&world, shop, name, forge).await;
        forgeries.push(forgery.posted_to("1999999999"));
        // Signed by the merchant of the path, in the name of another, or of nobody.
        let strangers =
            PayOptions { mch_id: Some(stranger.mch_id.clone()), ..PayOptions::default() };
        let nobodys =
            PayOptions { empty_fields: vec!["mch_id".to_owned()], ..PayOptions::default() };
        for (name, options) in
            [("another merchant in the body", strangers), ("no merchant in the body", nobodys)]
        {
            let forge = |number: &str| untrue(&world, shop, number, &options);
            forgeries.push(Forgery::about_an_order(&world, shop, name, forge).await);
        }
    }
    change_nothing(world, forgeries).await;
}

/// Anybody can post here: a disk must not fill with it.
#[tokio::test]
async fn only_sample_of_many_forgeries_is_stored() {
    let mut world = World::start().await;
    let shop = world.shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    let ledger = world.ledger_rows().await;
    let wrong = PayOptions { sign: Signing::Wrong, ..PayOptions::default() };
    let bodies = (0..120).map(|_| untrue(&world, &shop, &number, &wrong));
    let bodies: Vec<_> = bodies.collect();
    let posts = bodies.iter().map(|body| world.notify_ok(&shop.mch_id, body));
    join_all(posts).await;
    world.process_queues().await;
    // Fifty in an hour, and while this runs an hour can end.
    let kept = world.count_notifications("bad_signature").await;
    assert!((50..=100).contains(&kept), "{kept}");
    assert_eq!(world.ledger_rows().await, ledger);

    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    world.finish().await;
}

#[tokio::test]
async fn lower_case_signature_is_accepted() {
    let world = World::start().await;
    for shop in [world.shop(), world.hmac_shop()] {
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

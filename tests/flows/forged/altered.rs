//! Authentic messages that an attacker altered.

use harness::{Shop, StoredNotification, World, eventually};
use simulator::{Malformation, PayOptions};
use wechatpay_v2::{Fen, Fields, Limits, parse_xml, write_xml};

use super::forgery::{Forgery, expect_no_change, unpaid_notification};

/// Replaces a text, which must occur.
fn replaced(body: &[u8], what: &str, with: &str) -> Vec<u8> {
    let text = str::from_utf8(body).unwrap();
    assert!(text.contains(what), "{what}");
    text.replace(what, with).into_bytes()
}

#[tokio::test]
async fn altered_message_changes_nothing() {
    let world = World::start().await;
    let mut forgeries = Vec::new();
    for shop in [world.md5_shop(), world.hmac_shop()] {
        // The customer of a cheap order may know its authentic notification.
        let cheap = Shop::number();
        world.create_payable(&shop.order(&cheap, 1)).await;
        let seen = world.unsent_notification(&shop, &cheap, PayOptions::default());
        world.notify_ok(&shop.mch_id, &seen).await;
        world.wait_for_state(&shop, &cheap, "paid").await;

        let replayed = |number: &str| replaced(&seen, &cheap, number);
        let name = "another order's notification under this number";
        forgeries.push(Forgery::for_new_order(&world, &shop, name, replayed).await);
        let and_amount = |number: &str| replaced(&replayed(number), ">1<", ">9900<");
        let name = "the same with this order's amount";
        forgeries.push(Forgery::for_new_order(&world, &shop, name, and_amount).await);

        let cheaper = PayOptions { total_fee: Fen::new(1).ok(), ..PayOptions::default() };
        let raised = |number: &str| {
            let message = unpaid_notification(&world, &shop, number, &cheaper);
            replaced(&message, "<total_fee>1</total_fee>", "<total_fee>9900</total_fee>")
        };
        let name = "a smaller payment with the amount raised";
        forgeries.push(Forgery::for_new_order(&world, &shop, name, raised).await);

        let failed =
            PayOptions { malform: Some(Malformation::ResultFail), ..PayOptions::default() };
        let succeeded = |number: &str| {
            let message = unpaid_notification(&world, &shop, number, &failed);
            replaced(&message, "<result_code><![CDATA[FAIL]]>", "<result_code><![CDATA[SUCCESS]]>")
        };
        let name = "a failure that was made a success";
        forgeries.push(Forgery::for_new_order(&world, &shop, name, succeeded).await);

        let longer = |number: &str| {
            let message = unpaid_notification(&world, &shop, number, &PayOptions::default());
            replaced(&message, "</xml>", "<attach>more</attach></xml>")
        };
        let name = "an element more";
        forgeries.push(Forgery::for_new_order(&world, &shop, name, longer).await);
    }
    let forgeries = forgeries.into_iter().map(|it| it.stored_as("bad_signature"));
    expect_no_change(world, forgeries.collect()).await;
}

/// The string to sign does not mark where a text ends and the next element begins. An attacker who
/// chooses `attach` and rewrites the message can turn parts of it into elements, and the authentic
/// elements into the text of `z`.
fn reread(message: &[u8], hidden: &str) -> Vec<u8> {
    let message = parse_xml(message, Limits::MESSAGE).unwrap();
    let after_attach = message
        .iter()
        .filter(|(name, text)| *name > "attach" && *name != "sign" && !text.is_empty());
    let swallowed: String = after_attach.map(|(name, text)| format!("&{name}={text}")).collect();
    let mut fields: Fields = ["appid", "sign"]
        .iter()
        .map(|name| (*name, message.get(name).unwrap().to_owned()))
        .collect();
    let (attach, elements) = hidden.split_once('&').unwrap();
    fields.insert("attach", attach);
    for element in elements.split('&') {
        let (name, text) = element.split_once('=').unwrap();
        fields.insert(name, text);
    }
    fields.insert("z", swallowed);
    write_xml(&fields).into_bytes()
}

#[tokio::test]
async fn elements_inside_text_are_not_elements() {
    let mut world = World::start().await;
    for shop in [world.md5_shop(), world.hmac_shop()] {
        let cheap = Shop::number();
        let dear = Shop::number();
        world.create_payable(&shop.order(&cheap, 1)).await;
        world.create_payable(&shop.order(&dear, 9900)).await;
        let ledger = world.ledger_rows().await;
        let hidden = format!(
            "a&mch_id={}&out_trade_no={dear}&result_code=SUCCESS&return_code=SUCCESS\
             &time_end=20260721183142&total_fee=9900&transaction_id=4200000000000000000000000001&z=",
            shop.mch_id
        );
        let options = PayOptions {
            extra_fields: [("attach".to_owned(), hidden.clone())].into(),
            ..PayOptions::default()
        };
        let message = world.unsent_notification(&shop, &cheap, options);
        let forged = reread(&message, &hidden);
        world.notify_ok(&shop.mch_id, &forged).await;
        let stored = eventually("the stored notification", async || {
            world.stored_notification(&forged).await
        })
        .await;
        // The signature verifies, so the message is stored and parked for an operator.
        assert_eq!(stored, StoredNotification::new("unreadable", 0));
        assert_eq!(world.ledger_rows().await, ledger);

        // The authentic message is applied.
        world.notify_ok(&shop.mch_id, &message).await;
        world.wait_for_state(&shop, &cheap, "paid").await;
        world.pay(&shop, &dear, &PayOptions::default());
        world.wait_for_state(&shop, &dear, "paid").await;
    }
    world.expect_parked(2);
    world.finish().await;
}

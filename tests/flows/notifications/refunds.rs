//! Refund notifications are encrypted and not signed: they are stored, and no order moves.

use aes::Aes256;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::{Shop, StoredNotification, World, eventually};
use md5::{Digest, Md5};
use reqwest::StatusCode;
use simulator::PayOptions;
use wechatpay_v2::notification_answer;

const BLOCK: usize = 16;

/// Encrypts as WeChat does: AES-256-ECB with PKCS#7 padding, under the lower-case hex of the key's
/// MD5 (see `crates/wechatpay-v2/PROTOCOL.md`).
fn encrypted(text: &str, key: &str) -> String {
    let digest = Md5::digest(key.as_bytes());
    let aes_key: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let cipher = Aes256::new_from_slice(aes_key.as_bytes()).unwrap();
    let mut bytes = text.as_bytes().to_vec();
    let padding = BLOCK - bytes.len() % BLOCK;
    bytes.resize(bytes.len() + padding, u8::try_from(padding).unwrap());
    let (blocks, _) = Block::<Aes256>::slice_as_chunks_mut(&mut bytes);
    cipher.encrypt_blocks(blocks);
    STANDARD.encode(bytes)
}

fn refund(shop: &Shop, number: &str, transaction_id: &str, key: &str) -> Vec<u8> {
    let inner = format!(
        "<root><out_refund_no><![CDATA[RF-{number}]]></out_refund_no>\
         <out_trade_no><![CDATA[{number}]]></out_trade_no>\
         <refund_account><![CDATA[REFUND_SOURCE_UNSETTLED_FUNDS]]></refund_account>\
         <refund_fee><![CDATA[9900]]></refund_fee>\
         <refund_id><![CDATA[50300009872026072112345678901]]></refund_id>\
         <refund_recv_accout><![CDATA[支付用户零钱]]></refund_recv_accout>\
         <refund_request_source><![CDATA[API]]></refund_request_source>\
         <refund_status><![CDATA[SUCCESS]]></refund_status>\
         <settlement_refund_fee><![CDATA[9900]]></settlement_refund_fee>\
         <settlement_total_fee><![CDATA[9900]]></settlement_total_fee>\
         <success_time><![CDATA[2026-07-21 20:11:05]]></success_time>\
         <total_fee><![CDATA[9900]]></total_fee>\
         <transaction_id><![CDATA[{transaction_id}]]></transaction_id></root>"
    );
    let mch_id = &shop.mch_id;
    let appid = &shop.appid;
    let nonce = Shop::number();
    let req_info = encrypted(&inner, key);
    format!(
        "<xml><return_code>SUCCESS</return_code><appid><![CDATA[{appid}]]></appid>\
         <mch_id><![CDATA[{mch_id}]]></mch_id><nonce_str><![CDATA[{nonce}]]></nonce_str>\
         <req_info><![CDATA[{req_info}]]></req_info></xml>"
    )
    .into_bytes()
}

/// Posts a body to the refund path and waits until it is stored.
async fn notify_and_wait(world: &World, shop: &Shop, body: &[u8]) -> StoredNotification {
    let answer = world.notify_refund(&shop.mch_id, body.to_vec()).await;
    let success = notification_answer::SUCCESS.to_owned();
    assert_eq!(answer, (StatusCode::OK, success));
    eventually("the stored notification", async || world.stored_notification(body).await).await
}

#[tokio::test]
async fn refund_notification_is_deferred_and_moves_nothing() {
    let world = World::start().await;
    let shop = world.hmac_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    let paid = world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    let ledger = world.ledger_rows().await;

    let key = &world.merchants[1].key;
    let body = refund(&shop, &number, paid.transaction_id.as_str(), key);
    let stored = notify_and_wait(&world, &shop, &body).await;
    assert_eq!(stored, StoredNotification::new("deferred", 0));
    let both = [StoredNotification::new("applied", 0), StoredNotification::new("deferred", 0)];
    assert_eq!(world.stored_notifications(&number).await, both);
    assert_eq!(world.ledger_rows().await, ledger);
    assert_eq!(world.exception_kinds(&number).await, [""; 0]);
    world.finish().await;
}

/// Blocks of encrypted messages can be combined, so the decrypted text can have any length.
#[tokio::test]
async fn refund_notification_with_overlong_number_is_stored() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let overlong: String = (0..200).map(|_| Shop::number()).collect();
    let body = refund(&shop, &overlong, &overlong, &world.merchants[0].key);
    let stored = notify_and_wait(&world, &shop, &body).await;
    assert_eq!(stored, StoredNotification::new("deferred", 0));
    world.finish().await;
}

#[tokio::test]
async fn undecryptable_refund_notification_is_sampled() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    let paid = world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    let ledger = world.ledger_rows().await;

    // Another merchant's key, a truncated block, invalid Base64, and an empty text.
    let valid = refund(&shop, &number, paid.transaction_id.as_str(), &world.merchants[0].key);
    let valid = String::from_utf8(valid).unwrap();
    let other_key = refund(&shop, &number, paid.transaction_id.as_str(), &world.merchants[1].key);
    let start = valid.find("<req_info><![CDATA[").unwrap() + "<req_info><![CDATA[".len();
    let with = |req_info: &str| {
        let end = valid.find("]]></req_info>").unwrap();
        [&valid[..start], req_info, &valid[end..]].concat().into_bytes()
    };
    let cut = &valid[start..start + 20];
    for body in [other_key, with(cut), with("no Base64!"), with("")] {
        let stored = notify_and_wait(&world, &shop, &body).await;
        assert_eq!(stored, StoredNotification::new("bad_signature", 0));
    }
    assert_eq!(world.ledger_rows().await, ledger);
    assert_eq!(world.stored_notifications(&number).await, [StoredNotification::new("applied", 0)]);
    world.finish().await;
}

#[tokio::test]
async fn payment_notification_on_refund_path_moves_nothing() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    let ledger = world.ledger_rows().await;
    let body = world.unsent_notification(&shop, &number, PayOptions::default());
    let stored = notify_and_wait(&world, &shop, &body).await;
    assert_eq!(stored, StoredNotification::new("bad_signature", 0));
    assert_eq!(world.ledger_rows().await, ledger);

    // The same bytes on the right path are applied: the digest deduplicates rows, not effects.
    world.notify_ok(&shop.mch_id, &body).await;
    world.wait_for_state(&shop, &number, "paid").await;
    assert_eq!(world.stored_notification(&body).await, Some(StoredNotification::new("applied", 1)));
    world.finish().await;
}

/// The first notification did not verify, so it was stored without its order.
#[tokio::test]
async fn repeat_that_settles_is_stored_with_order() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    let body = world.unsent_notification(&shop, &number, PayOptions::default());
    notify_and_wait(&world, &shop, &body).await;
    world.notify_ok(&shop.mch_id, &body).await;
    world.wait_for_state(&shop, &number, "paid").await;
    assert_eq!(world.stored_notifications(&number).await, [StoredNotification::new("applied", 1)]);
    world.finish().await;
}

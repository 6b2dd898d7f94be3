//! Properties of every body that can be sent.

use orders::testing::{ACCEPTED_AT, EXPIRE, sample};
use orders::{InvalidCommand, Order, OrderKey, OrderRequest};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use wechatpay_v2::SignType;

use super::FIELDS;

/// A text without outer white space of at most so many bytes, in every script.
fn texts(bytes_max: usize) -> impl Strategy<Value = String> {
    let characters = r#"[ -~¡-¬®-ʯ一-鿿！-～<>&"'\\]{1,40}"#;
    characters.prop_filter_map("white space or too long", move |text| {
        let text = text.trim().to_owned();
        (1..=bytes_max).contains(&text.len()).then_some(text)
    })
}

fn json_texts() -> impl Strategy<Value = String> {
    texts(64).prop_map(|text| json!({ "goods_detail": [{ "goods_name": text }] }).to_string())
}

fn bodies() -> impl Strategy<Value = Value> {
    let needed = (
        "[0-9]{1,32}",
        "[0-9A-Za-z]{1,32}",
        "[0-9A-Za-z_-]{6,32}",
        texts(127),
        1..=wechatpay_v2::Fen::MAX,
        prop_oneof![
            any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
            any::<std::net::Ipv6Addr>().prop_map(|ip| ip.to_string()),
        ],
        option::of(prop::sample::select(vec!["JSAPI", "NATIVE", "APP", "MWEB"])),
    );
    // All that any trade type needs is always given; the rest comes and goes.
    let given = ("[0-9A-Za-z_-]{1,128}", texts(32), json_texts());
    let optional = (
        option::of(texts(127)),
        option::of(json_texts()),
        option::of(texts(32)),
        option::of(texts(32)),
        option::of(Just("no_credit")),
        option::of(Just("Y")),
        option::of(0..253_402_271_999_i64),
        option::of(("[0-9]{1,32}", "[0-9A-Za-z]{1,32}", "[0-9A-Za-z_-]{1,128}")),
    );
    (needed, given, optional).prop_map(|(needed, given, optional)| {
        let (mch_id, appid, out_trade_no, text, total_fee, ip, trade_type) = needed;
        let (openid, product_id, scene_info) = given;
        let (attach, detail, goods_tag, device_info, limit_pay, receipt, expire, sub) = optional;
        let expire = expire.map(|seconds| {
            let rfc3339 = time::format_description::well_known::Rfc3339;
            let instant = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            instant.format(&rfc3339).unwrap()
        });
        let (sub_mch_id, sub_appid, sub_openid) = match sub {
            Some((mch_id, appid, openid)) => (Some(mch_id), Some(appid), Some(openid)),
            None => (None, None, None),
        };
        let mut body = json!({
            "mch_id": mch_id, "appid": appid, "out_trade_no": out_trade_no, "body": text,
            "total_fee": total_fee, "spbill_create_ip": ip, "trade_type": trade_type,
            "openid": openid, "product_id": product_id, "scene_info": scene_info,
            "attach": attach, "detail": detail, "goods_tag": goods_tag,
            "device_info": device_info, "limit_pay": limit_pay, "receipt": receipt,
            "time_expire": expire,
            "sub_mch_id": sub_mch_id, "sub_appid": sub_appid, "sub_openid": sub_openid,
        });
        body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        body
    })
}

/// JSON of any shape, under names that an order has and others.
fn values() -> impl Strategy<Value = Value> {
    let leaves = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaves.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn objects() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        3 => prop::sample::select(&FIELDS[..]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::btree_map(name, values(), 0..12).prop_map(|map| map.into_iter().collect())
}

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    match OrderRequest::parse(bytes) {
        // Whatever is taken is an order that can be written down, called for and read again.
        Ok(order) => {
            let wire = serde_json::to_vec(&order).unwrap();
            prop_assert_eq!(OrderRequest::parse(&wire), Ok(order.clone()));
            let expire = order.time_expire.unwrap_or(EXPIRE);
            let (order, _) = Order::accept(order, expire, SignType::Md5, ACCEPTED_AT);
            prop_assert!(order.parameters("https://example.com/").len() >= 8);
            prop_assert!(order.conflicts_with(&order.request).is_empty());
        }
        Err(InvalidCommand::Malformed(what)) => prop_assert!(!what.is_empty()),
        Err(InvalidCommand::Fields { errors, .. }) => {
            prop_assert!((1..=32).contains(&errors.len()));
            for error in &errors {
                prop_assert!(error.field.chars().count() <= 64);
                prop_assert!(!error.field.chars().any(char::is_control));
                prop_assert!(error.rule.len() < 256);
            }
        }
    }
    let _ = OrderKey::parse(bytes);
    Ok(())
}

proptest! {
    #![proptest_config(crate::proptest_config())]

    #[test]
    fn valid_order_survives_a_round_trip(body in bodies()) {
        let order = OrderRequest::parse(body.to_string().as_bytes());
        prop_assert!(order.is_ok(), "{:?}", order);
        let order = order.unwrap();
        let written = serde_json::to_value(&order).unwrap();
        let again = OrderRequest::parse(written.to_string().as_bytes());
        prop_assert_eq!(again.as_ref(), Ok(&order));
        let read: OrderRequest = serde_json::from_value(written.clone()).unwrap();
        prop_assert_eq!(read, order);

        // Not a byte of a field is changed on the way.
        let mut expected = body;
        if expected.get("trade_type").is_none() {
            expected["trade_type"] = json!("JSAPI");
        }
        prop_assert_eq!(written, expected);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in any::<Vec<u8>>()) {
        check(&bytes)?;
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in any::<String>()) {
        check(text.as_bytes())?;
        check(json!({ "body": text, "detail": text, text.clone(): text }).to_string().as_bytes())?;
    }

    #[test]
    fn arbitrary_object_does_not_panic(object in objects()) {
        check(Value::Object(object).to_string().as_bytes())?;
    }

    /// A right order with one field replaced by anything is an order or names that field.
    #[test]
    fn replaced_field_is_read_or_named(order in bodies(), which in any::<prop::sample::Index>(), value in values()) {
        let mut order = order;
        let fields = order.as_object_mut().unwrap();
        let name = which.get(&fields.keys().cloned().collect::<Vec<_>>()).clone();
        fields.insert(name.clone(), value);
        let bytes = order.to_string().into_bytes();
        check(&bytes)?;
        if let Err(InvalidCommand::Fields { errors, .. }) = OrderRequest::parse(&bytes) {
            prop_assert!(errors.iter().any(|error| error.field == name), "{errors:?}");
        }
    }

    /// A right order with one byte replaced, cut or doubled.
    #[test]
    fn damaged_order_does_not_panic(which in any::<prop::sample::Index>(), byte in any::<u8>(), kind in 0..4_u8) {
        let mut bytes = sample().to_string().into_bytes();
        let at = which.index(bytes.len());
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.truncate(at),
            2 => bytes.insert(at, byte),
            _ => { bytes.remove(at); }
        }
        check(&bytes)?;
    }
}

//! Invalid orders, and orders that WeChat refuses permanently: the shop gets the reason, and no invalid
//! order is stored.

use harness::amqp::Amqp;
use harness::problem::{expect_problem, kind_of, wrong_fields};
use harness::{Shop, World, eventually};
use lapin::BasicProperties;
use serde_json::{Value, json};
use simulator::{Fault, FaultPlan, PlannedFault};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

const JSON: (&str, &str) = ("content-type", "application/json");
const WAIT: (&str, &str) = ("prefer", "wait=20");
/// The ingress's limit of a body.
const BODY_MAX: usize = 64 * 1024;

/// An order in which every field is given.
fn full_order(shop: &Shop, number: &str) -> Value {
    let expire = OffsetDateTime::now_utc() + Duration::hours(1);
    let mut order = shop.order(number, 9900);
    let more = json!({
        "trade_type": "JSAPI",
        "product_id": "SKU-1001",
        "scene_info": r#"{"store_info":{"id":"SZTX001","name":"shop"}}"#,
        "attach": "cart-17",
        "detail": r#"{"goods_detail":[{"goods_id":"rose","quantity":3,"price":3300}]}"#,
        "goods_tag": "spring",
        "limit_pay": "no_credit",
        "device_info": "WEB",
        "receipt": "Y",
        "time_expire": expire.format(&Rfc3339).unwrap(),
        "sub_mch_id": "1900000209",
        "sub_appid": "wx9999999999999999",
        "sub_openid": "oSubPayer",
    });
    for (name, value) in more.as_object().unwrap() {
        order[name] = value.clone();
    }
    order
}

/// Invalid values of each field: too long, empty, of another type, out of range, forbidden characters.
fn wrong_values() -> Vec<(&'static str, Value)> {
    let text = |length: usize| Value::from("9".repeat(length));
    let object = |bytes: usize| Value::from(format!("{{\"a\":\"{}\"}}", "x".repeat(bytes)));
    let deep = format!("{{\"a\":{}", "[".repeat(5_000));
    let fields: [(&'static str, Vec<Value>); 22] = [
        ("mch_id", vec![text(33), json!("shop"), json!("１")]),
        ("appid", vec![text(33), json!("wx_8888"), json!("wx 8")]),
        (
            "out_trade_no",
            vec![
                text(33),
                text(5),
                json!("with space"),
                json!("with/slash"),
                json!("../../etc/passwd"),
                json!("SO2026\n"),
                json!("SO2026\u{0}0001"),
                json!("订单二〇二六"),
            ],
        ),
        ("trade_type", vec![json!("jsapi"), json!("MICROPAY")]),
        (
            "body",
            vec![
                text(128),
                json!("极".repeat(43)),
                json!("flowers 🌹"),
                json!("two\nlines"),
                json!(" outer space"),
                json!("bell\u{7}"),
                json!("\u{202e}sdrawkcab"),
            ],
        ),
        (
            "total_fee",
            vec![
                json!(0),
                json!(-1),
                json!(0.5),
                json!(9900.0),
                json!(9_007_199_254_740_992_i64),
                json!(u64::MAX),
                json!(1e30),
                json!("9900"),
            ],
        ),
        (
            "spbill_create_ip",
            vec![
                json!("203.0.113"),
                json!("203.0.113.256"),
                json!("203.0.113.24:80"),
                json!("203.0.113.24, 10.0.0.1"),
            ],
        ),
        ("openid", vec![text(129), json!("o<script>")]),
        ("product_id", vec![text(33)]),
        ("scene_info", vec![object(250), json!("[]"), json!("{")]),
        ("attach", vec![text(128), json!("a\u{0}b"), json!("a\rb")]),
        ("detail", vec![object(6_000), json!("1"), json!(deep)]),
        ("goods_tag", vec![text(33)]),
        ("limit_pay", vec![json!("no_debit")]),
        ("device_info", vec![text(33)]),
        ("receipt", vec![json!("N")]),
        (
            "time_expire",
            vec![
                json!("tomorrow"),
                json!("20261120093000"),
                json!("2026-11-20"),
                json!("2026-02-30T00:00:00Z"),
                json!("9999-12-31T23:59:59Z"),
            ],
        ),
        ("sub_mch_id", vec![text(33), json!("shop")]),
        ("sub_appid", vec![text(33), json!("wx_8")]),
        ("sub_openid", vec![text(129), json!("o p")]),
        // The notify URL comes from the merchants file, and unknown names are errors.
        ("notify_url", vec![json!("https://shop.example/notify")]),
        ("prepay_id", vec![json!("wx1")]),
    ];
    let of_no_type = [json!(""), json!(null), json!(true), json!([]), json!({"a": 1})];
    fields
        .into_iter()
        .flat_map(|(field, values)| {
            let others = of_no_type.clone().into_iter();
            values.into_iter().chain(others).map(move |v| (field, v))
        })
        .chain([("openid", json!(7)), ("body", json!(7)), ("mch_id", json!(7))])
        .collect()
}

/// Expects no order in the ledger or at the gateway.
async fn expect_no_effect(world: &World) {
    let ledger = world.ledger_rows().await;
    assert!(ledger.is_empty(), "{ledger:#?}");
    assert!(world.simulator.request_counts().orders.is_empty());
}

/// Waits for this many rejections of a number, and returns their problems.
async fn wait_for_rejections(world: &World, number: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} rejections of {number:?}"), async || {
        let events = world.events.distinct(number);
        assert!(events.iter().all(|event| event["type"] == "order.rejected"));
        let problems = events.iter().map(|event| event["problem"].clone());
        (events.len() == count).then(|| problems.collect())
    })
    .await
}

#[tokio::test]
async fn order_with_every_field_reaches_wechat_complete() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = full_order(&shop, &number);
    let view = world.create_payable(&order).await;
    let gateway = world.simulator.order(&shop.mch_id, &number).unwrap();
    for (name, value) in order.as_object().unwrap() {
        assert!(gateway.parameters.contains(name), "{name} is not sent");
        if name != "time_expire" {
            assert_eq!(&view[name], value, "{name}");
        }
    }
    assert_eq!(view["pay"]["appId"], order["sub_appid"]);
    world.finish().await;
}

#[tokio::test]
async fn order_at_limit_of_every_field_is_accepted() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    assert_eq!(number.len(), 32, "the longest valid number");
    let mut order = full_order(&shop, &number);
    for (field, value) in [
        ("body", json!("极".repeat(42))),
        ("attach", json!("a".repeat(127))),
        ("product_id", json!("p".repeat(32))),
        ("goods_tag", json!("g".repeat(32))),
        ("device_info", json!("d".repeat(32))),
        ("detail", json!(format!("{{\"a\":\"{}\"}}", "x".repeat(5_992)))),
        ("scene_info", json!(format!("{{\"a\":\"{}\"}}", "x".repeat(248)))),
        ("openid", json!("o".repeat(128))),
        ("sub_openid", json!("o".repeat(128))),
        ("total_fee", json!(9_007_199_254_740_991_i64)),
        ("spbill_create_ip", json!("2001:db8:1234:5678:9abc:def0:1234:5678")),
    ] {
        order[field] = value;
    }
    world.create_payable(&order).await;
    world.finish().await;
}

#[tokio::test]
async fn wrong_field_is_named_with_its_rule() {
    let world = World::start().await;
    let shop = world.md5_shop();
    for (field, value) in wrong_values() {
        let number = Shop::number();
        let mut order = full_order(&shop, &number);
        order[field] = value;
        let problem = expect_problem(world.post(order.to_string(), &[JSON, WAIT]).await).await;
        assert_eq!(problem["status"], 422, "{field}: {problem}");
        assert_eq!(kind_of(&problem), "invalid-order", "{field}");
        let named = wrong_fields(&problem);
        assert_eq!(named, [field], "{}", order[field]);
        if field != "out_trade_no" && field != "mch_id" {
            let (status, _) = world.get(&shop, &number).await;
            assert_eq!(status.as_u16(), 404, "{field}: {}", order[field]);
        }
    }
    expect_no_effect(&world).await;
    world.finish().await;
}

#[tokio::test]
async fn missing_field_is_named_with_its_rule() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let mut orders = Vec::new();
    for field in
        ["mch_id", "appid", "out_trade_no", "body", "total_fee", "spbill_create_ip", "openid"]
    {
        let mut order = shop.order(&Shop::number(), 9900);
        order.as_object_mut().unwrap().remove(field);
        orders.push((field, order));
    }
    for (trade_type, field) in [("NATIVE", "product_id"), ("MWEB", "scene_info")] {
        let mut order = shop.order_of_type(&Shop::number(), trade_type);
        order.as_object_mut().unwrap().remove(field);
        orders.push((field, order));
    }
    for (field, rest) in [("sub_appid", "sub_mch_id"), ("sub_mch_id", "sub_openid")] {
        let mut order = full_order(&shop, &Shop::number());
        order.as_object_mut().unwrap().remove(field);
        assert!(order.get(rest).is_some());
        orders.push((field, order));
    }
    for (field, order) in orders {
        let problem = expect_problem(world.post(order.to_string(), &[JSON, WAIT]).await).await;
        assert_eq!(problem["status"], 422, "{field}: {problem}");
        assert_eq!(wrong_fields(&problem), [field]);
    }
    expect_no_effect(&world).await;
    world.finish().await;
}

#[tokio::test]
async fn all_wrong_fields_are_named_together() {
    let world = World::start().await;
    let order = json!({"mch_id": "shop", "total_fee": 0, "spbill_create_ip": "here", "colour": 1});
    let problem = expect_problem(world.post(order.to_string(), &[JSON]).await).await;
    let mut named = wrong_fields(&problem);
    named.sort_unstable();
    let all = [
        "appid",
        "body",
        "colour",
        "mch_id",
        "openid",
        "out_trade_no",
        "spbill_create_ip",
        "total_fee",
    ];
    assert_eq!(named, all);

    // The answer stays small for any number of errors.
    let many: serde_json::Map<_, _> = (0..5_000).map(|n| (format!("f{n}"), json!(1))).collect();
    let problem = expect_problem(world.post(Value::from(many).to_string(), &[JSON]).await).await;
    assert_eq!(problem["status"], 422);
    assert!(problem.to_string().len() < 8 * 1024, "{problem}");
    expect_no_effect(&world).await;
    world.finish().await;
}

#[tokio::test]
async fn body_that_is_no_json_object_is_refused() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let good = shop.order(&Shop::number(), 9900).to_string();
    let inside = |what: &str| format!("{{\"body\":{what}");
    let twice = good.replacen('{', "{\"total_fee\":1,", 1);
    let mut latin = good.clone().into_bytes();
    latin.push(0xe9);
    let bodies: Vec<(&str, u16, Vec<u8>)> = vec![
        ("empty", 400, vec![]),
        ("blank", 400, b" \n".to_vec()),
        ("cut off", 400, good.as_bytes()[..good.len() / 2].to_vec()),
        ("two of them", 400, good.repeat(2).into_bytes()),
        ("a repeated name", 400, twice.into_bytes()),
        ("null", 400, b"null".to_vec()),
        ("a list", 400, format!("[{good}]").into_bytes()),
        ("a text", 400, json!(good).to_string().into_bytes()),
        ("XML", 400, b"<xml></xml>".to_vec()),
        ("not UTF-8", 400, latin),
        ("a NaN", 400, b"{\"total_fee\":NaN}".to_vec()),
        ("deep", 400, "[".repeat(BODY_MAX).into_bytes()),
        ("deep inside", 400, inside(&"[".repeat(60_000)).into_bytes()),
        ("deep objects", 400, "{\"a\":".repeat(10_000).into_bytes()),
        ("deeper", 413, "[".repeat(100_000).into_bytes()),
        ("a byte too much", 413, vec![b' '; BODY_MAX + 1]),
        ("a megabyte", 413, vec![b' '; 1 << 20]),
    ];
    for (what, status, body) in bodies {
        let problem = expect_problem(world.post(body, &[JSON, WAIT]).await).await;
        assert_eq!(problem["status"], status, "{what}: {problem}");
        let kind = if status == 400 { "malformed" } else { "too-large" };
        assert_eq!(kind_of(&problem), kind, "{what}");
    }
    let problem = expect_problem(world.post(good, &[("content-type", "text/plain")]).await).await;
    assert_eq!(problem["status"], 400);
    expect_no_effect(&world).await;
    world.finish().await;
}

#[tokio::test]
async fn time_expire_too_early_is_refused() {
    let world = World::start().await;
    let shop = world.md5_shop();
    for minutes in [5, 0, -60] {
        let number = Shop::number();
        let expire = OffsetDateTime::now_utc() + Duration::minutes(minutes);
        let mut order = shop.order(&number, 9900);
        order["time_expire"] = json!(expire.format(&Rfc3339).unwrap());

        let problem = expect_problem(world.post(order.to_string(), &[JSON, WAIT]).await).await;
        assert_eq!(problem["status"], 422, "{problem}");
        assert_eq!(wrong_fields(&problem), ["time_expire"], "{minutes}");
        assert_eq!(wait_for_rejections(&world, &number, 1).await[0], problem);
        let (status, found) = world.get(&shop, &number).await;
        assert_eq!((status.as_u16(), found), (422, problem));
    }
    expect_no_effect(&world).await;
    world.finish().await;
}

#[tokio::test]
async fn rejection_can_be_queried_later() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let mut order = shop.order(&number, 9900);
    order["time_expire"] = json!("2020-01-01T00:00:00Z");
    let (status, accepted) = world.create(&order, None).await;
    assert_eq!(status.as_u16(), 202, "{accepted}");
    let problems = wait_for_rejections(&world, &number, 1).await;
    let (status, found) = world.get(&shop, &number).await;
    assert_eq!((status.as_u16(), &found), (422, &problems[0]));
    assert_eq!(wrong_fields(&found), ["time_expire"]);

    // A corrected order with the same number is accepted.
    world.create_payable(&shop.order(&number, 9900)).await;
    let (status, view) = world.get(&shop, &number).await;
    assert_eq!((status.as_u16(), &view["state"]), (200, &json!("payable")));
    world.finish().await;
}

#[tokio::test]
async fn unconfigured_merchant_or_app_is_refused() {
    let world = World::start().await;
    let shop = world.md5_shop();
    for (field, value) in [("mch_id", "1999999999"), ("appid", "wx0000000000000000")] {
        let number = Shop::number();
        let mut order = shop.order(&number, 9900);
        order[field] = json!(value);
        let problem = expect_problem(world.post(order.to_string(), &[JSON, WAIT]).await).await;
        assert_eq!(problem["status"], 422, "{problem}");
        assert_eq!(wrong_fields(&problem), [field]);
        assert_eq!(wait_for_rejections(&world, &number, 1).await[0], problem);
        assert_eq!(world.events.for_order(&number)[0]["mch_id"], order["mch_id"]);
    }
    expect_no_effect(&world).await;
    world.finish().await;
}

#[tokio::test]
async fn wrong_order_by_amqp_is_answered_and_reported() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let mut parked = 0;
    for (n, (field, value)) in wrong_values().into_iter().enumerate() {
        let number = Shop::number();
        let mut order = full_order(&shop, &number);
        order[field] = value;
        let properties = BasicProperties::default()
            .with_reply_to(answers.name.as_str().into())
            .with_correlation_id(n.to_string().into())
            .with_message_id(Uuid::now_v7().to_string().into());
        let body = order.to_string();
        amqp.command("order.create", body.as_bytes(), properties).await;

        let reply = answers.next_json().await;
        assert_eq!(reply["status"], 422, "{field}: {reply}");
        assert_eq!(wrong_fields(&reply["problem"]), [field]);
        match field {
            // The merchant is unknown, so the message is parked for an operator.
            "mch_id" => parked += 1,
            // The rejection names the number as given, as far as it is printable.
            "out_trade_no" => {}
            _ => {
                let problems = wait_for_rejections(&world, &number, 1).await;
                assert_eq!(problems[0], reply["problem"]);
                let (status, found) = world.get(&shop, &number).await;
                assert_eq!((status.as_u16(), &found), (422, &problems[0]));
            }
        }
    }
    let numbers = wrong_values().into_iter();
    let numbers = numbers.filter(|(field, _)| *field == "out_trade_no").count();
    let rejected = "select count(*) from rejections where out_trade_no !~ '^[0-9a-f]{32}$'";
    let rejected: i64 =
        sqlx::query_scalar(rejected).fetch_one(&world.environment.pool).await.unwrap();
    assert_eq!(rejected, i64::try_from(numbers).unwrap());
    expect_no_effect(&world).await;
    amqp.close().await;
    world.expect_parked(parked);
    world.finish().await;
}

#[tokio::test]
async fn permanent_refusal_by_wechat_fails_order() {
    let world = World::start().await;
    for (shop, err_code) in [
        (world.md5_shop(), "NOAUTH"),
        (world.hmac_shop(), "PARAM_ERROR"),
        (world.md5_shop(), "APPID_MCHID_NOT_MATCH"),
        (world.hmac_shop(), "ORDERCLOSED"),
    ] {
        let number = Shop::number();
        let fault = Fault::ErrCode {
            err_code: err_code.to_owned(),
            err_code_des: "微信支付说：不行".to_owned(),
        };
        let plan =
            FaultPlan { unifiedorder: vec![PlannedFault::new(fault, 1)], ..FaultPlan::default() };
        world.simulator.set_faults(plan).unwrap();

        let order = shop.order(&number, 9900).to_string();
        let problem = expect_problem(world.post(order, &[JSON, WAIT]).await).await;
        assert_eq!(problem["status"], 422, "{problem}");
        assert_eq!(kind_of(&problem), "refused");
        assert_eq!(problem["err_code"], err_code);
        assert_eq!(problem["state"], "failed");
        assert_eq!(problem["detail"], "微信支付说：不行");

        world.expect_events(&number, &["order.created", "order.failed"]).await;
        let (status, view) = world.get(&shop, &number).await;
        assert_eq!((status.as_u16(), &view["state"]), (200, &json!("failed")));
        let failure = json!({"err_code": err_code, "err_code_des": "微信支付说：不行"});
        assert_eq!(view["failure"], failure);
        assert_eq!(
            world.wait_for_event(&number, "order.failed").await["order"]["failure"],
            failure
        );
        assert_eq!(world.transition_labels(&number).await, ["created by shop", "failed by reply"]);
    }
    world.finish().await;
}

//! What leaves the house: events, views and replies, name by name (design 6 and 7).

#![allow(clippy::unwrap_used, reason = "a sample that does not parse fails the test")]

mod sample;

use std::collections::BTreeSet;

use orders::event::{self, Event};
use orders::{
    Difference, Exception, ExceptionKind, ExceptionView, Fact, FieldProblem, Order, OrderView, Pay,
    Problem, Reply, StateName, Step, Transition,
};
use sample::{
    ACCEPTED_AT, EXPIRE, NOW, OPENID, REACHED_AT, TRANSACTION, body, context, fen, order_in, paid,
    payment, prepay, with,
};
use serde_json::{Value, json};
use uuid::Uuid;
use wechatpay_v2::pay_params::{AppPay, JsapiPay};
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{OpenId, Payment, SignType};

const ID: Uuid = Uuid::from_u128(0x0198_2b1c_94d7_7b0f_a3b5_5d0c_77e1_9a42);

/// The view of an order that was just accepted.
fn created_view() -> Value {
    let mut view = body();
    for (field, value) in [
        ("trade_type", json!("JSAPI")),
        ("time_expire", json!("2026-07-21T12:30:00Z")),
        ("fee_type", json!("CNY")),
        ("state", json!("created")),
        ("seq", json!(1)),
        ("created_at", json!("2026-07-21T10:30:00.25Z")),
        ("updated_at", json!("2026-07-21T10:30:00.25Z")),
        ("exceptions", json!([])),
    ] {
        view[field] = value;
    }
    view
}

/// The view of an order that a fact just moved, with the fields that only its state has.
fn moved_view(state: StateName, fields: Value) -> Value {
    let mut view = created_view();
    view["state"] = json!(state);
    view["seq"] = json!(8);
    view["updated_at"] = json!("2026-07-21T10:40:00.75Z");
    for (name, value) in fields.as_object().unwrap() {
        view[name] = value.clone();
    }
    view
}

fn move_by(from: StateName, fact: &Fact) -> (Order, Transition) {
    let applied = order_in(from, &body()).apply(fact, &context(NOW)).unwrap();
    match applied.step {
        Step::Moved(transition) => (applied.order, transition),
        Step::Already => panic!("{from} does not move"),
    }
}

fn event_of(order: &Order, transition: &Transition, pay: Option<Pay>) -> (Event, Value) {
    let make = || {
        let view = OrderView::of(order, Vec::new(), pay.clone());
        event::of_transition(ID, transition, &view)
    };
    let event = make();
    assert_eq!(event, make(), "the same inputs give the same bytes");
    assert_eq!(event.body.as_bytes(), make().body.as_bytes());
    assert_eq!((event.id, event.mch_id.as_str()), (ID, "1699000001"));
    let body = serde_json::from_str(&event.body).unwrap();
    (event, body)
}

fn jsapi_pay() -> JsapiPay {
    JsapiPay {
        app_id: "wx5f0c2e7a91d34b68".to_owned(),
        time_stamp: "1784629802".to_owned(),
        nonce_str: "CCPlVNWRlZeN9J3ryP9ks8G0mQ5GOzLH".to_owned(),
        package: "prepay_id=wx21183000118842f0c7d9a1b2c3d4e50000".to_owned(),
        sign_type: SignType::HmacSha256,
        pay_sign: "AD3B251377FD57F2".to_owned(),
    }
}

fn app_pay() -> AppPay {
    AppPay {
        appid: "wx5f0c2e7a91d34b68".to_owned(),
        partnerid: "1699000001".to_owned(),
        prepayid: "wx21183000118842f0c7d9a1b2c3d4e50000".to_owned(),
        package: "Sign=WXPay".to_owned(),
        noncestr: "CCPlVNWRlZeN9J3ryP9ks8G0mQ5GOzLH".to_owned(),
        timestamp: "1784629802".to_owned(),
        sign: "AD3B251377FD57F2".to_owned(),
    }
}

fn jsapi_json() -> Value {
    json!({
        "appId": "wx5f0c2e7a91d34b68",
        "timeStamp": "1784629802",
        "nonceStr": "CCPlVNWRlZeN9J3ryP9ks8G0mQ5GOzLH",
        "package": "prepay_id=wx21183000118842f0c7d9a1b2c3d4e50000",
        "signType": "HMAC-SHA256",
        "paySign": "AD3B251377FD57F2",
    })
}

#[test]
fn the_first_event_has_no_previous_state() {
    let request = sample::request(&body());
    let (order, transition) = Order::accept(request, EXPIRE, SignType::HmacSha256, ACCEPTED_AT);
    let (event, told) = event_of(&order, &transition, None);
    assert_eq!(event.kind, "order.created");
    let expected = json!({
        "id": "01982b1c-94d7-7b0f-a3b5-5d0c77e19a42",
        "type": "order.created",
        "version": 1,
        "occurred_at": "2026-07-21T10:30:00.25Z",
        "mch_id": "1699000001",
        "out_trade_no": "SO20260721A0001",
        "seq": 1,
        "state": "created",
        "order": created_view(),
    });
    assert_eq!(told, expected);
}

#[test]
fn every_transition_has_its_event() {
    let prepay = Prepay {
        code_url: Some("weixin://wxpay/bizpayurl?pr=1".to_owned()),
        mweb_url: Some("https://wx.tenpay.com/?prepay_id=1".to_owned()),
        ..prepay("wx21183000118842f0c7d9a1b2c3d4e50000")
    };
    let complaint = json!({ "gateway_message": "系统超时" });
    for (from, fact, to, fields) in [
        (
            StateName::Created,
            Fact::PrepayIssued(prepay),
            StateName::Payable,
            json!({
                "prepay_id": "wx21183000118842f0c7d9a1b2c3d4e50000",
                "code_url": "weixin://wxpay/bizpayurl?pr=1",
                "mweb_url": "https://wx.tenpay.com/?prepay_id=1",
                "pay": jsapi_json(),
            }),
        ),
        (
            StateName::Created,
            Fact::CreateRefused(sample::failure()),
            StateName::Failed,
            json!({ "failure": { "err_code": "NOAUTH", "err_code_des": "商户无此接口权限" } }),
        ),
        (
            StateName::Payable,
            paid(payment(&sample::accepted(&body()))),
            StateName::Paid,
            json!({
                "transaction_id": TRANSACTION,
                "time_end": "2026-07-21T10:30:30Z",
                "cash_fee": 9900,
            }),
        ),
        (StateName::Payable, Fact::CloseRequested, StateName::Closing, complaint.clone()),
        (StateName::Closing, Fact::Closed, StateName::Closed, complaint),
    ] {
        let (order, transition) = move_by(from, &fact);
        // Offered every time, shown only while the order is payable.
        let (event, told) = event_of(&order, &transition, Some(Pay::Jsapi(jsapi_pay())));
        let kind = format!("order.{to}");
        assert_eq!((event.kind, event::type_of(to)), (&*kind, &*kind));
        let expected = json!({
            "id": ID,
            "type": kind,
            "version": 1,
            "occurred_at": "2026-07-21T10:40:00.75Z",
            "mch_id": "1699000001",
            "out_trade_no": "SO20260721A0001",
            "seq": 8,
            "state": to,
            "previous_state": from,
            "order": moved_view(to, fields),
        });
        assert_eq!(told, expected);
    }
}

/// A consumer binds by type: each state has one, and no two share it.
#[test]
fn every_type_is_another() {
    let mut types: BTreeSet<&str> = StateName::ALL.map(event::type_of).into();
    types.extend([event::EXCEPTION_OPENED, event::ORDER_REJECTED]);
    let contract = [
        "exception.opened",
        "order.closed",
        "order.closing",
        "order.created",
        "order.failed",
        "order.paid",
        "order.payable",
        "order.rejected",
    ];
    assert!(types.into_iter().eq(contract));
}

#[test]
fn an_opened_exception_is_told_with_the_order_where_there_is_one() {
    let order = order_in(StateName::Payable, &body());
    let less = Payment { total_fee: fen(9800), ..payment(&order) };
    let applied = order.apply(&paid(less), &context(NOW)).unwrap();
    let open = ExceptionView { kind: ExceptionKind::AmountMismatch, opened_at: NOW };
    let view = OrderView::of(&applied.order, vec![open], None);
    let exception = applied.exception.unwrap();
    let make = |view| event::of_exception(ID, &exception, &order.key(), view, NOW);
    let mut expected = json!({
        "id": ID,
        "type": "exception.opened",
        "version": 1,
        "occurred_at": "2026-07-21T10:40:00.75Z",
        "mch_id": "1699000001",
        "out_trade_no": "SO20260721A0001",
        "seq": 7,
        "state": "payable",
        "exception": {
            "kind": "amount_mismatch",
            "transaction_id": TRANSACTION,
            "differs": [{ "field": "total_fee", "ours": "9900", "theirs": "9800" }],
            "opened_at": "2026-07-21T10:40:00.75Z",
        },
        "order": moved_view(StateName::Payable, json!({
            "seq": 7,
            "updated_at": "2026-07-21T10:31:00.5Z",
            "prepay_id": "wx21183000118842f0c7d9a1b2c3d4e50000",
            "gateway_message": "系统超时",
            "exceptions": [
                { "kind": "amount_mismatch", "opened_at": "2026-07-21T10:40:00.75Z" },
            ],
        })),
    });
    let event = make(Some(&view));
    assert_eq!(serde_json::from_str::<Value>(&event.body).unwrap(), expected);
    assert_eq!(event.body.as_bytes(), make(Some(&view)).body.as_bytes());
    assert_eq!((event.kind, &event.mch_id), (event::EXCEPTION_OPENED, &order.key().mch_id));

    for name in ["seq", "state", "order"] {
        expected = with(expected, name, Value::Null);
    }
    let told: Value = serde_json::from_str(&make(None).body).unwrap();
    assert_eq!(told, expected);
}

#[test]
fn an_exception_without_a_payment_names_none() {
    for kind in ExceptionKind::ALL {
        let exception = Exception { kind, transaction_id: None, differs: Vec::new() };
        let key = sample::request(&body()).key();
        let event = event::of_exception(ID, &exception, &key, None, NOW);
        let told: Value = serde_json::from_str(&event.body).unwrap();
        let expected =
            json!({ "kind": kind.as_str(), "differs": [], "opened_at": "2026-07-21T10:40:00.75Z" });
        assert_eq!(told["exception"], expected);
        assert_eq!(ExceptionKind::parse(kind.as_str()), Some(kind));
    }
}

#[test]
fn a_rejection_is_told_under_an_id_made_from_the_command() {
    let key = sample::request(&body()).key();
    let problem = Problem::invalid(vec![FieldProblem::new("total_fee", "at least 1")]);
    let make = |message_id: &str, mch_id: &str, at| {
        let mch_id = wechatpay_v2::MchId::parse(mch_id).unwrap();
        event::of_rejection(message_id, &mch_id, key.out_trade_no.as_str(), &problem, at)
    };
    let event = make("0198-1", "1699000001", NOW);
    assert_eq!(event.kind, "order.rejected");
    let told: Value = serde_json::from_str(&event.body).unwrap();
    let expected = json!({
        "id": event.id,
        "type": "order.rejected",
        "version": 1,
        "occurred_at": "2026-07-21T10:40:00.75Z",
        "mch_id": "1699000001",
        "out_trade_no": "SO20260721A0001",
        "problem": {
            "type": "urn:wxpay-orders:problem:invalid-order",
            "title": "fields of the order break their rules",
            "status": 422,
            "errors": [{ "field": "total_fee", "rule": "at least 1" }],
        },
    });
    assert_eq!(told, expected);

    // The second delivery of the command is the same event, byte for byte and whenever it comes.
    assert_eq!(make("0198-1", "1699000001", NOW), event);
    assert_eq!(make("0198-1", "1699000001", ACCEPTED_AT).id, event.id);
    assert_ne!(make("0198-2", "1699000001", NOW).id, event.id);
    // Two shops that count their messages alike are not mistaken for each other.
    assert_ne!(make("0198-1", "1699000002", NOW).id, event.id);
    // Pinned: another id after an upgrade would be another event to every consumer.
    assert_eq!(event.id.get_version_num(), 5);
    assert_eq!(event.id.to_string(), "bad537b7-7e31-5b3c-ac5b-e599abe9b2f3");
}

/// What only the gateway and the payer may know is in no event but where design 6 puts it.
#[test]
fn an_event_holds_no_secret() {
    let other_payer = Payment {
        openid: Some(OpenId::parse("oAnotherPayer").unwrap()),
        sub_openid: Some(OpenId::parse("oAnotherSubPayer").unwrap()),
        attach: Some("attached".to_owned()),
        ..payment(&sample::accepted(&body()))
    };
    let (order, transition) = move_by(StateName::Payable, &paid(other_payer));
    assert!(transition.fact_json.to_string().contains("oAnotherPayer"));
    let (event, _) = event_of(&order, &transition, Some(Pay::Jsapi(jsapi_pay())));
    for secret in [
        "Another",
        "attached",
        "CMB_DEBIT",
        "sign",
        "Sign",
        "AD3B251377FD57F2",
        "notify_url",
        "nonce",
        "key",
    ] {
        assert!(!event.body.contains(secret), "{secret}: {}", event.body);
    }
}

/// Log lines are made with `Debug`: none of it shows a payer, a signature or a body.
#[test]
fn debug_shows_no_secret() {
    let (order, transition) =
        move_by(StateName::Payable, &paid(payment(&sample::accepted(&body()))));
    let view = OrderView::of(
        &order_in(StateName::Payable, &body()),
        Vec::new(),
        Some(Pay::Jsapi(jsapi_pay())),
    );
    let event = event::of_transition(ID, &transition, &view);
    assert!(event.body.contains(OPENID) && event.body.contains("AD3B251377FD57F2"));
    let reply = Reply::order(200, view.clone());
    let shown =
        format!("{event:?} {transition:?} {order:?} {view:?} {reply:?} {:?}", Pay::App(app_pay()));
    for secret in [OPENID, "AD3B251377FD57F2"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    for useful in ["order.paid", "Payable", "1699000001", &ID.to_string()] {
        assert!(shown.contains(useful), "{useful}: {shown}");
    }
}

#[test]
fn a_view_has_what_its_state_has() {
    let always = [
        "mch_id",
        "appid",
        "out_trade_no",
        "trade_type",
        "body",
        "total_fee",
        "spbill_create_ip",
        "openid",
        "time_expire",
        "fee_type",
        "state",
        "seq",
        "created_at",
        "updated_at",
        "gateway_message",
        "exceptions",
    ];
    for (state, more) in [
        (StateName::Created, &[][..]),
        (StateName::Payable, &["prepay_id", "pay"]),
        (StateName::Paid, &["transaction_id", "time_end", "cash_fee"]),
        (StateName::Closing, &[]),
        (StateName::Closed, &[]),
        (StateName::Failed, &["failure"]),
    ] {
        let order = order_in(state, &body());
        let view = OrderView::of(&order, Vec::new(), Some(Pay::Jsapi(jsapi_pay())));
        let wire = serde_json::to_value(&view).unwrap();
        let names: BTreeSet<&str> = wire.as_object().unwrap().keys().map(|n| n.as_str()).collect();
        let expected: BTreeSet<&str> = always.iter().chain(more).copied().collect();
        assert_eq!(names, expected, "{state}");
        assert_eq!(serde_json::from_value::<OrderView>(wire).unwrap(), view);
    }

    // The payment decides: no coupon, no cash_fee, no invention.
    let order = order_in(StateName::Payable, &body());
    let silent = Payment { cash_fee: None, ..payment(&order) };
    let (order, _) = move_by(StateName::Payable, &paid(silent));
    let wire = serde_json::to_value(OrderView::of(&order, Vec::new(), None)).unwrap();
    assert_eq!(wire.get("cash_fee"), None);
    assert_eq!(wire["total_fee"], 9900);
}

fn round_trip(reply: &Reply, expected: &Value) {
    let text = serde_json::to_string(reply).unwrap();
    assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), expected);
    assert_eq!(&serde_json::from_str::<Reply>(&text).unwrap(), reply);
    assert_eq!(&serde_json::from_slice::<Reply>(text.as_bytes()).unwrap(), reply);
    assert_eq!(&serde_json::from_value::<Reply>(expected.clone()).unwrap(), reply);
}

#[test]
fn a_reply_is_an_order_or_a_problem() {
    let at_reached = |state, fields: Value| {
        let mut view = moved_view(state, json!({ "seq": 7, "gateway_message": "系统超时" }));
        view["updated_at"] =
            json!(REACHED_AT.format(&time::format_description::well_known::Rfc3339).unwrap());
        for (name, value) in fields.as_object().unwrap() {
            view[name] = value.clone();
        }
        view
    };
    let payable = order_in(StateName::Payable, &body());
    for (pay, shown) in [
        (Pay::Jsapi(jsapi_pay()), jsapi_json()),
        (
            Pay::App(app_pay()),
            json!({
                "appid": "wx5f0c2e7a91d34b68",
                "partnerid": "1699000001",
                "prepayid": "wx21183000118842f0c7d9a1b2c3d4e50000",
                "package": "Sign=WXPay",
                "noncestr": "CCPlVNWRlZeN9J3ryP9ks8G0mQ5GOzLH",
                "timestamp": "1784629802",
                "sign": "AD3B251377FD57F2",
            }),
        ),
    ] {
        let reply = Reply::order(200, OrderView::of(&payable, Vec::new(), Some(pay)));
        let fields = json!({
            "prepay_id": "wx21183000118842f0c7d9a1b2c3d4e50000",
            "pay": shown,
        });
        let order = at_reached(StateName::Payable, fields);
        round_trip(&reply, &json!({ "status": 200, "order": order }));
    }

    let created = OrderView::of(&order_in(StateName::Created, &body()), Vec::new(), None);
    let order = at_reached(StateName::Created, json!({}));
    round_trip(&Reply::order(202, created), &json!({ "status": 202, "order": order }));

    let conflict = Reply::problem(Problem::conflict(&["body", "total_fee"], StateName::Payable));
    round_trip(
        &conflict,
        &json!({
            "status": 409,
            "problem": {
                "type": "urn:wxpay-orders:problem:conflict",
                "title": "this number stands for another order",
                "status": 409,
                "detail": "differs from the standing order in: body, total_fee",
                "state": "payable",
            },
        }),
    );
    let paid = Reply::problem(Problem::already_paid());
    round_trip(
        &paid,
        &json!({
            "status": 409,
            "problem": {
                "type": "urn:wxpay-orders:problem:already-paid",
                "title": "a paid order cannot be closed",
                "status": 409,
                "state": "paid",
            },
        }),
    );
}

/// Every field, the rare ones included, survives the flattening and the untagged choice.
#[test]
fn every_view_comes_back_from_a_reply() {
    let mut all = sample::sub_body();
    for (field, value) in [
        ("time_expire", "2026-07-21T12:30:00Z"),
        ("attach", "shop=7"),
        ("detail", r#"{"goods_detail":[]}"#),
        ("sub_openid", "oSubDemoUser"),
        ("receipt", "Y"),
    ] {
        all[field] = json!(value);
    }
    // The largest amount keeps every digit.
    all["total_fee"] = json!(wechatpay_v2::Fen::MAX);
    for state in StateName::ALL {
        let order = order_in(state, &all);
        let exceptions = ExceptionKind::ALL.map(|kind| ExceptionView { kind, opened_at: NOW });
        let view = OrderView::of(&order, exceptions.into(), None);
        let text = serde_json::to_string(&Reply::order(200, view.clone())).unwrap();
        let Ok(Reply::Order { order, .. }) = serde_json::from_str(&text) else {
            panic!("{text}");
        };
        assert_eq!(*order, view);
        assert_eq!(order.request.total_fee.get(), wechatpay_v2::Fen::MAX);
    }
}

/// An untagged choice takes the first variant that fits, so none may fit by accident.
#[test]
fn what_is_neither_order_nor_problem_is_no_reply() {
    let view = OrderView::of(&order_in(StateName::Paid, &body()), Vec::new(), None);
    let order = json!({ "status": 200, "order": view });
    assert!(serde_json::from_value::<Reply>(order.clone()).is_ok());
    let mut broken: Vec<Value> =
        ["mch_id", "total_fee", "state", "seq", "created_at", "exceptions"]
            .into_iter()
            .map(|field| {
                let mut reply = order.clone();
                reply["order"].as_object_mut().unwrap().remove(field);
                reply
            })
            .collect();
    for (field, value) in [
        ("state", json!("refunded")),
        ("seq", json!("7")),
        ("total_fee", json!(9900.0)),
        ("total_fee", json!(-1)),
        ("openid", json!("not an openid")),
        ("created_at", json!(1_784_629_802)),
        ("time_end", json!("20260721183142")),
    ] {
        let mut reply = order.clone();
        reply["order"][field] = value;
        broken.push(reply);
    }
    broken.extend([
        json!({}),
        json!([]),
        json!({ "status": 200 }),
        json!({ "status": 200, "order": null }),
        json!({ "status": 409, "problem": null }),
        json!({ "status": 409, "problem": {} }),
        json!({ "order": view }),
        json!({ "status": "200", "order": view }),
        json!({ "status": 65_736, "order": view }),
    ]);
    for reply in broken {
        let error = serde_json::from_value::<Reply>(reply.clone()).expect_err(&reply.to_string());
        assert!(!error.to_string().contains(OPENID));
    }
}

/// During an upgrade the two sides are of two versions for a while.
#[test]
fn a_reply_may_hold_what_this_version_does_not_know() {
    let view = OrderView::of(&order_in(StateName::Paid, &body()), Vec::new(), None);
    let mut wire = serde_json::to_value(Reply::order(200, view.clone())).unwrap();
    wire["order"]["refunded_fee"] = json!(0);
    wire["elapsed_ms"] = json!(12);
    wire["problem"] = json!({ "status": 409 });
    let reply = serde_json::from_value::<Reply>(wire).unwrap();
    assert_eq!(reply, Reply::order(200, view));
}

#[test]
fn a_difference_is_three_texts() {
    let difference = Difference {
        field: "total_fee".to_owned(),
        ours: "9900".to_owned(),
        theirs: "9800".to_owned(),
    };
    let wire = json!({ "field": "total_fee", "ours": "9900", "theirs": "9800" });
    assert_eq!(serde_json::to_value(&difference).unwrap(), wire);
    assert_eq!(serde_json::from_value::<Difference>(wire).unwrap(), difference);
}

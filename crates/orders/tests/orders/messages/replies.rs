//! Replies as they are written, and as the ingress reads them.

use orders::testing::{NOW, OPENID, REACHED_AT, order_in, sample, sample_with_sub_merchant};
use orders::{ExceptionKind, ExceptionView, OrderView, Pay, Problem, Reply, StateName};
use serde_json::{Value, json};

use super::{app_pay, jsapi_json, jsapi_pay, moved_view};

fn round_trip(reply: &Reply, expected: &Value) {
    let text = serde_json::to_string(reply).unwrap();
    assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), expected);
    assert_eq!(&serde_json::from_str::<Reply>(&text).unwrap(), reply);
    assert_eq!(&serde_json::from_slice::<Reply>(text.as_bytes()).unwrap(), reply);
    assert_eq!(&serde_json::from_value::<Reply>(expected.clone()).unwrap(), reply);
}

#[test]
fn reply_is_an_order_or_a_problem() {
    let at_reached = |state, fields: Value| {
        let mut view = moved_view(state, json!({ "seq": 2, "gateway_message": "系统超时" }));
        view["updated_at"] =
            json!(REACHED_AT.format(&time::format_description::well_known::Rfc3339).unwrap());
        for (name, value) in fields.as_object().unwrap() {
            view[name] = value.clone();
        }
        view
    };
    let payable = order_in(StateName::Payable, &sample());
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

    let created = OrderView::of(&order_in(StateName::Created, &sample()), Vec::new(), None);
    let order = at_reached(StateName::Created, json!({}));
    round_trip(&Reply::order(202, created), &json!({ "status": 202, "order": order }));

    let conflict = Reply::problem(Problem::conflict(&["body", "total_fee"], StateName::Payable));
    round_trip(
        &conflict,
        &json!({
            "status": 409,
            "problem": {
                "type": "urn:wxpay-orders:problem:conflict",
                "title": "another order has this out_trade_no",
                "status": 409,
                "detail": "differs from the existing order in: body, total_fee",
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

/// Flattening and the untagged choice keep every field.
#[test]
fn view_survives_a_round_trip_in_a_reply() {
    let mut all = sample_with_sub_merchant();
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

/// An untagged choice takes the first variant that fits, so no variant may fit by accident.
#[test]
fn malformed_reply_is_refused() {
    let view = OrderView::of(&order_in(StateName::Paid, &sample()), Vec::new(), None);
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

/// During an upgrade ingress and worker have different versions.
#[test]
fn reply_with_unknown_fields_is_read() {
    let view = OrderView::of(&order_in(StateName::Paid, &sample()), Vec::new(), None);
    let mut wire = serde_json::to_value(Reply::order(200, view.clone())).unwrap();
    wire["order"]["refunded_fee"] = json!(0);
    wire["elapsed_ms"] = json!(12);
    wire["problem"] = json!({ "status": 409 });
    let reply = serde_json::from_value::<Reply>(wire).unwrap();
    assert_eq!(reply, Reply::order(200, view));
}

//! What shops receive, name by name.

use orders::testing::{NOW, context, order_in, sample};
use orders::{Fact, Order, StateName, Step, Transition};
use serde_json::{Value, json};
use wechatpay_v2::SignType;
use wechatpay_v2::pay_params::{AppPay, JsapiPay};

mod events;
mod replies;
mod secrets;
mod views;

/// The view of a new order.
fn created_view() -> Value {
    let mut view = sample();
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

/// The view of an order after one fact, with the fields that only its state has.
fn moved_view(state: StateName, fields: Value) -> Value {
    let mut view = created_view();
    view["state"] = json!(state);
    view["seq"] = json!(3);
    view["updated_at"] = json!("2026-07-21T10:40:00.75Z");
    for (name, value) in fields.as_object().unwrap() {
        view[name] = value.clone();
    }
    view
}

fn move_by(from: StateName, fact: &Fact) -> (Order, Transition) {
    let applied = order_in(from, &sample()).apply(fact, &context(NOW)).unwrap();
    match applied.step {
        Step::Moved(transition) => (applied.order, transition),
        Step::Already => panic!("{from} does not move"),
    }
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

//! Events and `Debug` output show no payer, no signature and no raw body.

use orders::testing::{OPENID, accepted, order_in, paid, payment, sample};
use orders::{OrderView, Pay, Reply, StateName, event};
use uuid::Uuid;
use wechatpay_v2::{OpenId, Payment};

use super::{app_pay, jsapi_pay, move_by};

const ID: Uuid = Uuid::from_u128(0x0198_2b1c_94d7_7b0f_a3b5_5d0c_77e1_9a42);

/// A payment contains more than a shop may see.
#[test]
fn event_holds_no_secret() {
    let other_payer = Payment {
        openid: Some(OpenId::parse("oAnotherPayer").unwrap()),
        sub_openid: Some(OpenId::parse("oAnotherSubPayer").unwrap()),
        attach: Some("attached".to_owned()),
        ..payment(&accepted(&sample()))
    };
    let (order, transition) = move_by(StateName::Payable, &paid(other_payer));
    assert!(transition.fact_json.to_string().contains("oAnotherPayer"));
    let view = OrderView::of(&order, Vec::new(), Some(Pay::Jsapi(jsapi_pay())));
    let event = event::of_transition(ID, &transition, &view);
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

/// Log lines are made with `Debug`.
#[test]
fn debug_output_holds_no_secret() {
    let (order, transition) = move_by(StateName::Payable, &paid(payment(&accepted(&sample()))));
    let view = OrderView::of(
        &order_in(StateName::Payable, &sample()),
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

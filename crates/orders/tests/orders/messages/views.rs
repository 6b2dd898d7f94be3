//! The fields of a view, state by state.

use std::collections::BTreeSet;

use orders::testing::{order_in, paid, payment, sample};
use orders::{Difference, OrderView, Pay, StateName};
use serde_json::json;
use wechatpay_v2::Payment;

use super::{jsapi_pay, move_by};

#[test]
fn view_has_the_fields_of_its_state() {
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
        let order = order_in(state, &sample());
        let view = OrderView::of(&order, Vec::new(), Some(Pay::Jsapi(jsapi_pay())));
        let wire = serde_json::to_value(&view).unwrap();
        let names: BTreeSet<&str> = wire.as_object().unwrap().keys().map(|n| n.as_str()).collect();
        let expected: BTreeSet<&str> = always.iter().chain(more).copied().collect();
        assert_eq!(names, expected, "{state}");
        assert_eq!(serde_json::from_value::<OrderView>(wire).unwrap(), view);
    }

    // Without a cash_fee in the payment there is none in the view.
    let order = order_in(StateName::Payable, &sample());
    let silent = Payment { cash_fee: None, ..payment(&order) };
    let (order, _) = move_by(StateName::Payable, &paid(silent));
    let wire = serde_json::to_value(OrderView::of(&order, Vec::new(), None)).unwrap();
    assert_eq!(wire.get("cash_fee"), None);
    assert_eq!(wire["total_fee"], 9900);
}

#[test]
fn difference_is_three_strings() {
    let difference = Difference {
        field: "total_fee".to_owned(),
        ours: "9900".to_owned(),
        theirs: "9800".to_owned(),
    };
    let wire = json!({ "field": "total_fee", "ours": "9900", "theirs": "9800" });
    assert_eq!(serde_json::to_value(&difference).unwrap(), wire);
    assert_eq!(serde_json::from_value::<Difference>(wire).unwrap(), difference);
}

//! The body of every event.

use std::collections::BTreeSet;

use orders::event::{self, Event};
use orders::testing::{
    ACCEPTED_AT, EXPIRE, NOW, TRANSACTION, accepted, context, failure, fen, order_in, paid,
    payment, prepay, request, sample, with,
};
use orders::{
    Exception, ExceptionKind, ExceptionView, Fact, FieldProblem, Order, OrderView, Pay, Problem,
    StateName, Transition,
};
use serde_json::{Value, json};
use uuid::Uuid;
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{MchId, Payment, SignType};

use super::{created_view, jsapi_json, jsapi_pay, move_by, moved_view};

const ID: Uuid = Uuid::from_u128(0x0198_2b1c_94d7_7b0f_a3b5_5d0c_77e1_9a42);

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

#[test]
fn first_event_has_no_previous_state() {
    let request = request(&sample());
    let (order, transition) = Order::accept(request, EXPIRE, SignType::HmacSha256, ACCEPTED_AT);
    let (event, body) = event_of(&order, &transition, None);
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
    assert_eq!(body, expected);
}

#[test]
fn each_transition_makes_its_event() {
    let prepay = Prepay {
        code_url: Some("weixin://wxpay/bizpayurl?pr=1".to_owned()),
        mweb_url: Some("https://wx.tenpay.com/?prepay_id=1".to_owned()),
        ..prepay("wx21183000118842f0c7d9a1b2c3d4e50000")
    };
    let last_text = json!({ "gateway_message": "系统超时" });
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
            Fact::CreateRefused(failure()),
            StateName::Failed,
            json!({ "failure": { "err_code": "NOAUTH", "err_code_des": "商户无此接口权限" } }),
        ),
        (
            StateName::Payable,
            paid(payment(&accepted(&sample()))),
            StateName::Paid,
            json!({
                "transaction_id": TRANSACTION,
                "time_end": "2026-07-21T10:30:30Z",
                "cash_fee": 9900,
            }),
        ),
        (StateName::Payable, Fact::CloseRequested, StateName::Closing, last_text.clone()),
        (StateName::Closing, Fact::Closed, StateName::Closed, last_text),
    ] {
        let (order, transition) = move_by(from, &fact);
        // `pay` is always given here, and shown only while the order is payable.
        let (event, body) = event_of(&order, &transition, Some(Pay::Jsapi(jsapi_pay())));
        let kind = format!("order.{to}");
        assert_eq!((event.kind, event::type_of(to)), (&*kind, &*kind));
        let expected = json!({
            "id": ID,
            "type": kind,
            "version": 1,
            "occurred_at": "2026-07-21T10:40:00.75Z",
            "mch_id": "1699000001",
            "out_trade_no": "SO20260721A0001",
            "seq": 3,
            "state": to,
            "previous_state": from,
            "order": moved_view(to, fields),
        });
        assert_eq!(body, expected);
    }
}

/// A consumer binds by type, so no two states share one.
#[test]
fn each_event_type_is_distinct() {
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
fn exception_event_carries_the_order_if_known() {
    let order = order_in(StateName::Payable, &sample());
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
        "seq": 2,
        "state": "payable",
        "exception": {
            "kind": "amount_mismatch",
            "transaction_id": TRANSACTION,
            "differs": [{ "field": "total_fee", "ours": "9900", "theirs": "9800" }],
            "opened_at": "2026-07-21T10:40:00.75Z",
        },
        "order": moved_view(StateName::Payable, json!({
            "seq": 2,
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
    let body: Value = serde_json::from_str(&make(None).body).unwrap();
    assert_eq!(body, expected);
}

#[test]
fn exception_without_payment_names_no_transaction() {
    for kind in ExceptionKind::ALL {
        let exception = Exception { kind, transaction_id: None, differs: Vec::new() };
        let key = request(&sample()).key();
        let event = event::of_exception(ID, &exception, &key, None, NOW);
        let body: Value = serde_json::from_str(&event.body).unwrap();
        let expected =
            json!({ "kind": kind.as_str(), "differs": [], "opened_at": "2026-07-21T10:40:00.75Z" });
        assert_eq!(body["exception"], expected);
        assert_eq!(ExceptionKind::parse(kind.as_str()), Some(kind));
    }
}

#[test]
fn rejection_event_id_derives_from_the_command() {
    let key = request(&sample()).key();
    let problem = Problem::invalid(vec![FieldProblem::new("total_fee", "at least 1")]);
    let make = |message_id: &str, mch_id: &str, at| {
        let mch_id = MchId::parse(mch_id).unwrap();
        event::of_rejection(message_id, &mch_id, key.out_trade_no.as_str(), &problem, at)
    };
    let event = make("0198-1", "1699000001", NOW);
    assert_eq!(event.kind, "order.rejected");
    let body: Value = serde_json::from_str(&event.body).unwrap();
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
    assert_eq!(body, expected);

    // A second delivery of the command makes the same event.
    assert_eq!(make("0198-1", "1699000001", NOW), event);
    assert_eq!(make("0198-1", "1699000001", ACCEPTED_AT).id, event.id);
    assert_ne!(make("0198-2", "1699000001", NOW).id, event.id);
    // Two shops that number their messages alike have distinct events.
    assert_ne!(make("0198-1", "1699000002", NOW).id, event.id);
    // Pinned: after a change of the id every consumer would take a repeat for a new event.
    assert_eq!(event.id.get_version_num(), 5);
    assert_eq!(event.id.to_string(), "bad537b7-7e31-5b3c-ac5b-e599abe9b2f3");
}

//! Which payments settle an order: the fields that must match, late and second payments.

use orders::testing::{
    NOW, TRANSACTION, context, fen, order_in, paid, payment, sample, sample_with_sub_merchant,
    time_end, transaction,
};
use orders::{Applied, ApplyContext, ExceptionKind, Fact, Order, State, StateName, Step};
use time::OffsetDateTime;
use time::macros::datetime;
use wechatpay_v2::{AppId, Coupon, MchId, OutTradeNo, Payment, SignType};

use crate::expected::{difference, exception, late, moved, stays};

/// One error of a payment, and what the exception must say.
struct Wrong {
    field: &'static str,
    kind: ExceptionKind,
    ours: &'static str,
    theirs: &'static str,
    falsify: fn(&mut Payment, &mut SignType, &mut ApplyContext),
}

const WRONGS: [Wrong; 12] = [
    Wrong {
        field: "mch_id",
        kind: ExceptionKind::IdentityMismatch,
        ours: "1699000001",
        theirs: "1699000009",
        falsify: |payment, _, _| payment.mch_id = MchId::parse("1699000009").unwrap(),
    },
    Wrong {
        field: "appid",
        kind: ExceptionKind::IdentityMismatch,
        ours: "wx5f0c2e7a91d34b68",
        theirs: "WX5f0c2e7a91d34b68",
        falsify: |payment, _, _| payment.appid = AppId::parse("WX5f0c2e7a91d34b68").unwrap(),
    },
    Wrong {
        field: "out_trade_no",
        kind: ExceptionKind::IdentityMismatch,
        ours: "SO20260721A0001",
        theirs: "so20260721a0001",
        falsify: |payment, _, _| {
            payment.out_trade_no = OutTradeNo::parse("so20260721a0001").unwrap();
        },
    },
    Wrong {
        field: "sign_type",
        kind: ExceptionKind::IdentityMismatch,
        ours: "HMAC-SHA256",
        theirs: "MD5",
        falsify: |_, sign_type, _| *sign_type = SignType::Md5,
    },
    Wrong {
        field: "sub_mch_id",
        kind: ExceptionKind::IdentityMismatch,
        ours: "1699000002",
        theirs: "1699000003",
        falsify: |payment, _, _| payment.sub_mch_id = Some(MchId::parse("1699000003").unwrap()),
    },
    Wrong {
        field: "sub_mch_id",
        kind: ExceptionKind::IdentityMismatch,
        ours: "1699000002",
        theirs: "",
        falsify: |payment, _, _| payment.sub_mch_id = None,
    },
    Wrong {
        field: "sub_appid",
        kind: ExceptionKind::IdentityMismatch,
        ours: "wx00000000000000aa",
        theirs: "wx00000000000000bb",
        falsify: |payment, _, _| {
            payment.sub_appid = Some(AppId::parse("wx00000000000000bb").unwrap());
        },
    },
    Wrong {
        field: "sub_appid",
        kind: ExceptionKind::IdentityMismatch,
        ours: "wx00000000000000aa",
        theirs: "",
        falsify: |payment, _, _| payment.sub_appid = None,
    },
    Wrong {
        field: "transaction_id",
        kind: ExceptionKind::IdentityMismatch,
        ours: "booked on SO20260721A0009",
        theirs: TRANSACTION,
        falsify: |_, _, context| context.booked_on = Some("SO20260721A0009".to_owned()),
    },
    Wrong {
        field: "total_fee",
        kind: ExceptionKind::AmountMismatch,
        ours: "9900",
        theirs: "9899",
        falsify: |payment, _, _| payment.total_fee = fen(9899),
    },
    // Too much is as wrong as too little.
    Wrong {
        field: "total_fee",
        kind: ExceptionKind::AmountMismatch,
        ours: "9900",
        theirs: "9901",
        falsify: |payment, _, _| payment.total_fee = fen(9901),
    },
    Wrong {
        field: "fee_type",
        kind: ExceptionKind::AmountMismatch,
        ours: "CNY",
        theirs: "USD",
        falsify: |payment, _, _| payment.fee_type = "USD".to_owned(),
    },
];

#[test]
fn payment_with_one_wrong_field_opens_an_exception() {
    for state in StateName::ALL {
        let order = order_in(state, &sample_with_sub_merchant());
        for wrong in &WRONGS {
            let mut payment = payment(&order);
            let mut sign_type = order.sign_type;
            let mut context = context(NOW);
            (wrong.falsify)(&mut payment, &mut sign_type, &mut context);
            let differs = vec![difference(wrong.field, wrong.ours, wrong.theirs)];
            let expected = stays(&order, Some(exception(wrong.kind, &payment, differs)));
            let fact = Fact::Paid { payment: Box::new(payment), sign_type };
            assert_eq!(order.apply(&fact, &context), Ok(expected), "{} × {state}", wrong.field);
        }
    }
}

#[test]
fn payment_with_all_fields_wrong_opens_one_exception() {
    let order = order_in(StateName::Payable, &sample_with_sub_merchant());
    let mut payment = payment(&order);
    let mut sign_type = order.sign_type;
    let mut context = context(NOW);
    for wrong in &WRONGS {
        (wrong.falsify)(&mut payment, &mut sign_type, &mut context);
    }
    let fact = Fact::Paid { payment: Box::new(payment), sign_type };
    let applied = order.apply(&fact, &context).unwrap();
    assert_eq!(applied.order, order);
    assert_eq!(applied.step, Step::Already);
    let exception = applied.exception.unwrap();
    assert_eq!(exception.kind, ExceptionKind::IdentityMismatch);
    let named: Vec<&str> = exception.differs.iter().map(|d| d.field.as_str()).collect();
    let all = [
        "mch_id",
        "appid",
        "out_trade_no",
        "sign_type",
        "sub_mch_id",
        "sub_appid",
        "transaction_id",
        "total_fee",
        "fee_type",
    ];
    assert_eq!(named, all);
}

#[test]
fn absent_sub_merchant_fields_are_not_compared() {
    let order = order_in(StateName::Payable, &sample());
    let others = Payment {
        sub_mch_id: Some(MchId::parse("1699000003").unwrap()),
        sub_appid: Some(AppId::parse("wx00000000000000bb").unwrap()),
        openid: None,
        trade_type: None,
        bank_type: None,
        attach: Some("another shop".to_owned()),
        ..payment(&order)
    };
    let fact = paid(others);
    let applied = order.apply(&fact, &context(NOW));
    assert_eq!(applied, Ok(moved(&order, &fact, &context(NOW))));
}

#[test]
fn amount_is_total_fee_and_never_cash_fee() {
    let order = order_in(StateName::Payable, &sample());
    let coupons = |amount: i64| {
        vec![Coupon {
            coupon_id: "1".to_owned(),
            coupon_type: Some("CASH".to_owned()),
            coupon_fee: fen(amount),
        }]
    };
    for cash_fee in [None, Some(0), Some(1), Some(9899), Some(9901)] {
        let covered = 9900 - cash_fee.unwrap_or(9900).min(9900);
        let fact = paid(Payment {
            cash_fee: cash_fee.map(fen),
            coupon_fee: Some(fen(covered)),
            coupons: coupons(covered),
            settlement_total_fee: Some(fen(1)),
            ..payment(&order)
        });
        let applied = order.apply(&fact, &context(NOW));
        assert_eq!(applied, Ok(moved(&order, &fact, &context(NOW))), "{cash_fee:?}");
    }

    let right_cash_only = Payment {
        total_fee: fen(9800),
        cash_fee: Some(fen(9900)),
        settlement_total_fee: Some(fen(9900)),
        ..payment(&order)
    };
    let differs = vec![difference("total_fee", "9900", "9800")];
    let mismatch = exception(ExceptionKind::AmountMismatch, &right_cash_only, differs);
    let applied = order.apply(&paid(right_cash_only), &context(NOW));
    assert_eq!(applied, Ok(stays(&order, Some(mismatch))));
}

/// A payment that ended at `ended`, of an order that is closing since `since`: what `apply` does,
/// and what it does with a payment in time.
fn pay_while_closing(since: OffsetDateTime, ended: OffsetDateTime) -> (Applied, Applied) {
    let order =
        Order { state: State::Closing { since }, ..order_in(StateName::Closing, &sample()) };
    let fact = paid(Payment { time_end: time_end(ended), ..payment(&order) });
    let applied = order.apply(&fact, &context(NOW)).unwrap();
    (applied, moved(&order, &fact, &context(NOW)))
}

#[test]
fn payment_ended_after_closing_began_is_late() {
    let since = datetime!(2026-07-21 10:31:00 UTC);
    for (ended, is_late) in [
        (datetime!(2026-07-21 10:30:59 UTC), false),
        (since, false),
        (datetime!(2026-07-21 10:31:01 UTC), true),
    ] {
        let (applied, mut expected) = pay_while_closing(since, ended);
        if is_late {
            expected.exception = Some(late(
                &payment(&expected.order),
                "closing",
                "2026-07-21T10:31:00Z",
                "2026-07-21T10:31:01Z",
            ));
        }
        assert_eq!(applied, expected, "{ended}");
    }
}

/// WeChat's times have whole seconds: within the second of closing, which came first is unknown.
#[test]
fn payment_in_the_second_of_closing_is_not_late() {
    let since = datetime!(2026-07-21 10:31:00.5 UTC);
    let (applied, expected) = pay_while_closing(since, datetime!(2026-07-21 10:31:00 UTC));
    assert_eq!(applied, expected);
    let (applied, _) = pay_while_closing(since, datetime!(2026-07-21 10:31:01 UTC));
    let kind = applied.exception.map(|exception| exception.kind);
    assert_eq!(kind, Some(ExceptionKind::LatePayment));
}

#[test]
fn payment_of_closed_or_failed_order_is_late() {
    for state in [StateName::Closed, StateName::Failed] {
        let order = order_in(state, &sample());
        for ended in [datetime!(2026-07-21 10:00:00 UTC), datetime!(2026-07-21 12:00:00 UTC)] {
            let fact = paid(Payment { time_end: time_end(ended), ..payment(&order) });
            let applied = order.apply(&fact, &context(NOW)).unwrap();
            assert_eq!(applied.order, moved(&order, &fact, &context(NOW)).order);
            let kind = applied.exception.map(|exception| exception.kind);
            assert_eq!(kind, Some(ExceptionKind::LatePayment), "{state} {ended}");
        }
    }
}

#[test]
fn second_transaction_opens_duplicate_payment() {
    let order = order_in(StateName::Paid, &sample());
    let second =
        Payment { transaction_id: transaction("4200009876202607210000000002"), ..payment(&order) };
    let differs = vec![difference("transaction_id", TRANSACTION, "4200009876202607210000000002")];
    let duplicate = exception(ExceptionKind::DuplicatePayment, &second, differs);
    let expected = stays(&order, Some(duplicate));
    assert_eq!(order.apply(&paid(second), &context(NOW)), Ok(expected.clone()));

    // Only the transaction_id decides whether a payment is booked already.
    let again = Payment {
        bank_type: Some("OTHERS".to_owned()),
        cash_fee: Some(fen(1)),
        time_end: time_end(NOW),
        ..payment(&order)
    };
    let applied = order.apply(&paid(again), &context(NOW));
    assert_eq!(applied, Ok(stays(&order, None)));
}

//! The table of design 5, cell by cell.

#![allow(clippy::unwrap_used, reason = "a cell that is no text fails the test")]

mod sample;

use orders::{
    Applied, ApplyContext, Difference, Exception, ExceptionKind, Fact, FactKind, Order, Refusal,
    Source, State, StateName, Step, Transition,
};
use sample::{
    NOW, body, context, failure, fen, order_in, paid, payment, prepay, sub_body, time_end,
    transaction,
};
use time::OffsetDateTime;
use time::macros::datetime;
use wechatpay_v2::{AppId, Coupon, MchId, OutTradeNo, Payment, SignType};

/// The rows of design 5. A cell is the state that is reached, `already` or `refusal`; `+late` adds
/// the exception; `renewed` is `already` with the newer prepay. The payment of row `paid` ended
/// before the order was closing.
const TABLE: &str = "
    fact            | created | payable | closing | closed    | failed    | paid
    prepay_issued   | payable | renewed | already | refusal   | refusal   | already
    create_refused  | failed  | refusal | already | already   | already   | already
    paid            | paid    | paid    | paid    | paid+late | paid+late | already
    close_requested | closing | closing | already | already   | already   | already
    closed          | closed  | closed  | closed  | already   | already   | refusal
";

fn fact(name: &str) -> Fact {
    match name {
        "prepay_issued" => Fact::PrepayIssued(prepay("wx21201000118842f0c7d9a1b2c3d4e50001")),
        "create_refused" => Fact::CreateRefused(failure()),
        "paid" => paid(payment(&sample::accepted(&body()))),
        "close_requested" => Fact::CloseRequested,
        "closed" => Fact::Closed,
        other => panic!("no such fact: {other}"),
    }
}

/// The data of the state that a fact leads to.
fn reached(fact: &Fact) -> State {
    match fact.clone() {
        Fact::PrepayIssued(prepay) => State::Payable { prepay, issued_at: NOW },
        Fact::CreateRefused(failure) => State::Failed(failure),
        Fact::Paid { payment, .. } => State::Paid(payment),
        Fact::CloseRequested => State::Closing { since: NOW },
        Fact::Closed => State::Closed { at: NOW },
    }
}

fn moved(order: &Order, fact: &Fact, context: &ApplyContext) -> Applied {
    let state = reached(fact);
    let closes = matches!(fact, Fact::CloseRequested | Fact::Closed);
    let transition = Transition {
        seq: order.seq + 1,
        from: Some(order.state.name()),
        to: state.name(),
        fact: fact.kind(),
        fact_json: fact.to_json(),
        source: context.source,
        at: context.at,
    };
    Applied {
        order: Order {
            state,
            seq: order.seq + 1,
            updated_at: context.at,
            gateway_message: order.gateway_message.clone().filter(|_| closes),
            // Every field is named, so that a new one has to be thought of here.
            request: order.request.clone(),
            time_expire: order.time_expire,
            sign_type: order.sign_type,
            created_at: order.created_at,
        },
        step: Step::Moved(transition),
        exception: None,
    }
}

fn stays(order: &Order, exception: Option<Exception>) -> Applied {
    Applied { order: order.clone(), step: Step::Already, exception }
}

/// The prepay is newer, and WeChat's complaint about an earlier attempt is answered.
fn renewed(order: &Order, state: State) -> Order {
    Order { state, gateway_message: None, ..order.clone() }
}

fn difference(field: &str, ours: &str, theirs: &str) -> Difference {
    Difference { field: field.to_owned(), ours: ours.to_owned(), theirs: theirs.to_owned() }
}

fn exception(kind: ExceptionKind, payment: &Payment, differs: Vec<Difference>) -> Exception {
    Exception { kind, transaction_id: Some(payment.transaction_id.clone()), differs }
}

fn late(payment: &Payment, state: &str, ended: &str, paid_at: &str) -> Exception {
    let differs = vec![difference("state", state, "paid"), difference("time_end", ended, paid_at)];
    exception(ExceptionKind::LatePayment, payment, differs)
}

#[test]
fn every_cell_of_the_table() {
    let rows: Vec<Vec<&str>> =
        TABLE.trim().lines().map(|row| row.split('|').map(str::trim).collect()).collect();
    let states: Vec<StateName> =
        rows[0][1..].iter().map(|name| StateName::parse(name).unwrap()).collect();
    assert_eq!(states.len(), StateName::ALL.len());

    let mut cells = 0;
    for row in &rows[1..] {
        let fact = fact(row[0]);
        assert_eq!(fact.kind().as_str(), row[0]);
        for (state, cell) in states.iter().zip(&row[1..]) {
            let order = order_in(*state, &body());
            let expected = match *cell {
                "already" => Ok(stays(&order, None)),
                "renewed" => Ok(stays(&renewed(&order, reached(&fact)), None)),
                "refusal" => Err(Refusal { state: *state, fact: fact.kind() }),
                "paid+late" => Ok(Applied {
                    exception: Some(late(
                        &payment(&order),
                        state.as_str(),
                        "2026-07-21T10:31:00.5Z",
                        "2026-07-21T10:30:30Z",
                    )),
                    ..moved(&order, &fact, &context(NOW))
                }),
                name => {
                    assert_eq!(reached(&fact).name().as_str(), name, "{} misread", row[0]);
                    Ok(moved(&order, &fact, &context(NOW)))
                }
            };
            let before = order.clone();
            assert_eq!(order.apply(&fact, &context(NOW)), expected, "{} × {state}", row[0]);
            assert_eq!(order, before, "apply changed its receiver");
            cells += 1;
        }
    }
    assert_eq!(cells, 30);
}

#[test]
fn the_transition_says_where_the_fact_came_from() {
    let order = order_in(StateName::Created, &body());
    for source in [Source::Reply, Source::Notify, Source::Query, Source::Shop, Source::Operator] {
        let context = ApplyContext { source, ..context(NOW) };
        let applied = order.apply(&Fact::Closed, &context);
        assert_eq!(applied, Ok(moved(&order, &Fact::Closed, &context)));
    }
}

#[test]
fn the_first_transition_is_the_birth() {
    let at = datetime!(2026-07-21 10:30:00.25 UTC);
    let expire = datetime!(2026-07-21 12:30:00.999 UTC);
    let request = sample::request(&body());
    let (order, transition) = Order::accept(request.clone(), expire, SignType::Md5, at);
    let born = Order {
        request,
        time_expire: datetime!(2026-07-21 12:30:00 UTC),
        sign_type: SignType::Md5,
        state: State::Created,
        seq: 1,
        gateway_message: None,
        created_at: at,
        updated_at: at,
    };
    assert_eq!(order, born);
    let first = Transition {
        seq: 1,
        from: None,
        to: StateName::Created,
        fact: FactKind::Accepted,
        fact_json: serde_json::json!({ "kind": "accepted" }),
        source: Source::Shop,
        at,
    };
    assert_eq!(transition, first);
}

/// One thing that is wrong with a payment, and what the exception must say.
struct Wrong {
    field: &'static str,
    kind: ExceptionKind,
    ours: &'static str,
    theirs: &'static str,
    make: fn(&mut Payment, &mut SignType, &mut ApplyContext),
}

const WRONGS: [Wrong; 12] = [
    Wrong {
        field: "mch_id",
        kind: ExceptionKind::IdentityMismatch,
        ours: "1699000001",
        theirs: "1699000009",
        make: |payment, _, _| payment.mch_id = MchId::parse("1699000009").unwrap(),
    },
    Wrong {
        field: "appid",
        kind: ExceptionKind::IdentityMismatch,
        ours: "wx5f0c2e7a91d34b68",
        theirs: "WX5f0c2e7a91d34b68",
        make: |payment, _, _| payment.appid = AppId::parse("WX5f0c2e7a91d34b68").unwrap(),
    },
    Wrong {
        field: "out_trade_no",
        kind: ExceptionKind::IdentityMismatch,
        ours: "SO20260721A0001",
        theirs: "so20260721a0001",
        make: |payment, _, _| {
            payment.out_trade_no = OutTradeNo::parse("so20260721a0001").unwrap();
        },
    },
    Wrong {
        field: "sign_type",
        kind: ExceptionKind::IdentityMismatch,
        ours: "HMAC-SHA256",
        theirs: "MD5",
        make: |_, sign_type, _| *sign_type = SignType::Md5,
    },
    Wrong {
        field: "sub_mch_id",
        kind: ExceptionKind::IdentityMismatch,
        ours: "1699000002",
        theirs: "1699000003",
        make: |payment, _, _| payment.sub_mch_id = Some(MchId::parse("1699000003").unwrap()),
    },
    Wrong {
        field: "sub_mch_id",
        kind: ExceptionKind::IdentityMismatch,
        ours: "1699000002",
        theirs: "",
        make: |payment, _, _| payment.sub_mch_id = None,
    },
    Wrong {
        field: "sub_appid",
        kind: ExceptionKind::IdentityMismatch,
        ours: "wx00000000000000aa",
        theirs: "wx00000000000000bb",
        make: |payment, _, _| {
            payment.sub_appid = Some(AppId::parse("wx00000000000000bb").unwrap());
        },
    },
    Wrong {
        field: "sub_appid",
        kind: ExceptionKind::IdentityMismatch,
        ours: "wx00000000000000aa",
        theirs: "",
        make: |payment, _, _| payment.sub_appid = None,
    },
    Wrong {
        field: "transaction_id",
        kind: ExceptionKind::IdentityMismatch,
        ours: "booked on SO20260721A0009",
        theirs: sample::TRANSACTION,
        make: |_, _, context| context.booked_on = Some("SO20260721A0009".to_owned()),
    },
    Wrong {
        field: "total_fee",
        kind: ExceptionKind::AmountMismatch,
        ours: "9900",
        theirs: "9899",
        make: |payment, _, _| payment.total_fee = fen(9899),
    },
    // More than asked for is as wrong as less.
    Wrong {
        field: "total_fee",
        kind: ExceptionKind::AmountMismatch,
        ours: "9900",
        theirs: "9901",
        make: |payment, _, _| payment.total_fee = fen(9901),
    },
    Wrong {
        field: "fee_type",
        kind: ExceptionKind::AmountMismatch,
        ours: "CNY",
        theirs: "USD",
        make: |payment, _, _| payment.fee_type = "USD".to_owned(),
    },
];

#[test]
fn a_payment_that_differs_in_one_field_moves_no_state() {
    for state in StateName::ALL {
        let order = order_in(state, &sub_body());
        for wrong in &WRONGS {
            let (mut payment, mut sign_type, mut context) =
                (payment(&order), order.sign_type, context(NOW));
            (wrong.make)(&mut payment, &mut sign_type, &mut context);
            let differs = vec![difference(wrong.field, wrong.ours, wrong.theirs)];
            let expected = stays(&order, Some(exception(wrong.kind, &payment, differs)));
            let fact = Fact::Paid { payment: Box::new(payment), sign_type };
            assert_eq!(order.apply(&fact, &context), Ok(expected), "{} × {state}", wrong.field);
        }
    }
}

#[test]
fn a_payment_that_differs_in_all_fields_is_one_exception_that_names_them_all() {
    let order = order_in(StateName::Payable, &sub_body());
    let (mut payment, mut sign_type, mut context) =
        (payment(&order), order.sign_type, context(NOW));
    for wrong in &WRONGS {
        (wrong.make)(&mut payment, &mut sign_type, &mut context);
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
fn what_the_order_does_not_have_is_not_compared() {
    let order = order_in(StateName::Payable, &body());
    let others = Payment {
        sub_mch_id: Some(MchId::parse("1699000003").unwrap()),
        sub_appid: Some(AppId::parse("wx00000000000000bb").unwrap()),
        openid: None,
        trade_type: None,
        bank_type: None,
        attach: Some("not ours".to_owned()),
        ..payment(&order)
    };
    let fact = paid(others);
    let applied = order.apply(&fact, &context(NOW));
    assert_eq!(applied, Ok(moved(&order, &fact, &context(NOW))));
}

#[test]
fn the_amount_that_counts_is_total_fee_and_never_cash_fee() {
    let order = order_in(StateName::Payable, &body());
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

fn pays_at(since: OffsetDateTime, ended: OffsetDateTime) -> (Applied, Applied) {
    let order = Order { state: State::Closing { since }, ..order_in(StateName::Closing, &body()) };
    let fact = paid(Payment { time_end: time_end(ended), ..payment(&order) });
    let applied = order.apply(&fact, &context(NOW)).unwrap();
    (applied, moved(&order, &fact, &context(NOW)))
}

#[test]
fn a_payment_while_closing_is_late_only_after_the_closing_instant() {
    let since = datetime!(2026-07-21 10:31:00 UTC);
    for (ended, is_late) in [
        (datetime!(2026-07-21 10:30:59 UTC), false),
        (since, false),
        (datetime!(2026-07-21 10:31:01 UTC), true),
    ] {
        let (applied, mut expected) = pays_at(since, ended);
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

/// WeChat's clock has whole seconds: within the second of the closing nobody can tell.
#[test]
fn a_payment_in_the_second_of_the_closing_is_not_late() {
    let since = datetime!(2026-07-21 10:31:00.5 UTC);
    let (applied, expected) = pays_at(since, datetime!(2026-07-21 10:31:00 UTC));
    assert_eq!(applied, expected);
    let (applied, _) = pays_at(since, datetime!(2026-07-21 10:31:01 UTC));
    let kind = applied.exception.map(|exception| exception.kind);
    assert_eq!(kind, Some(ExceptionKind::LatePayment));
}

#[test]
fn a_payment_of_a_closed_or_failed_order_is_late_whenever_it_ended() {
    for state in [StateName::Closed, StateName::Failed] {
        let order = order_in(state, &body());
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
fn a_second_payment_is_an_exception_about_the_second() {
    let order = order_in(StateName::Paid, &body());
    let second =
        Payment { transaction_id: transaction("4200009876202607210000000002"), ..payment(&order) };
    let differs =
        vec![difference("transaction_id", sample::TRANSACTION, "4200009876202607210000000002")];
    let duplicate = exception(ExceptionKind::DuplicatePayment, &second, differs);
    let expected = stays(&order, Some(duplicate));
    assert_eq!(order.apply(&paid(second), &context(NOW)), Ok(expected.clone()));

    // What is booked counts, not what else the message says.
    let again = Payment {
        bank_type: Some("OTHERS".to_owned()),
        cash_fee: Some(fen(1)),
        time_end: time_end(NOW),
        ..payment(&order)
    };
    let applied = order.apply(&paid(again), &context(NOW));
    assert_eq!(applied, Ok(stays(&order, None)));
}

#[test]
fn a_refusal_opens_a_contradiction() {
    let order = order_in(StateName::Paid, &body());
    let refusal = order.apply(&Fact::Closed, &context(NOW)).unwrap_err();
    assert_eq!(refusal.to_string(), "an order that is paid cannot accept closed");
    let contradiction = Exception {
        kind: ExceptionKind::Contradiction,
        transaction_id: None,
        differs: vec![difference("state", "paid", "closed")],
    };
    assert_eq!(refusal.exception(), contradiction);
}

#[test]
fn the_prepay_that_was_issued_last_is_kept() {
    let order = order_in(StateName::Payable, &body());
    let held = prepay("wx21183000118842f0c7d9a1b2c3d4e50000");
    let newer = prepay("wx21201000118842f0c7d9a1b2c3d4e50001");
    let apply = |order: &Order, prepay, at| {
        let applied = order.apply(&Fact::PrepayIssued(prepay), &context(at));
        let applied = applied.unwrap();
        assert_eq!((applied.step, applied.exception), (Step::Already, None));
        applied.order
    };
    let payable = |prepay, issued_at| State::Payable { prepay, issued_at };

    let refreshed = renewed(&order, payable(newer.clone(), NOW));
    assert_eq!(apply(&order, newer.clone(), NOW), refreshed);

    // The same one again is not younger than it is.
    let again = apply(&order, held.clone(), NOW);
    assert_eq!(again.state, payable(held, sample::REACHED_AT));

    // A writer that lost the race applies its older one again.
    let before = datetime!(2026-07-21 10:30:59 UTC);
    assert_eq!(apply(&order, newer, before), order);
}

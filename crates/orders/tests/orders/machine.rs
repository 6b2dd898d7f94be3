//! The table of `crates/orders/README.md`, cell by cell.

use orders::testing::{
    NOW, PREPAY, REACHED_AT, accepted, context, failure, fen, order_in, paid, payment, prepay,
    request, sample,
};
use orders::{
    Applied, ApplyContext, Exception, ExceptionKind, Fact, FactKind, Order, Refusal, Source, State,
    StateName, Step, Transition,
};
use time::macros::datetime;
use wechatpay_v2::{Payment, SignType};

use crate::expected::{difference, exception, late, moved, reached, renewed, stays};
use crate::readme;

/// The fact of a row. The payment ended before [`REACHED_AT`]; a paid order has it already.
fn fact(row: &str) -> Fact {
    let payment = payment(&accepted(&sample()));
    match row {
        "prepay_issued" => Fact::PrepayIssued(prepay("wx21201000118842f0c7d9a1b2c3d4e50001")),
        "create_refused" => Fact::CreateRefused(failure()),
        "paid" => paid(payment),
        "paid, differs" => paid(Payment { total_fee: fen(9899), ..payment }),
        "close_requested" => Fact::CloseRequested,
        "closed" => Fact::Closed,
        other => panic!("no such fact: {other}"),
    }
}

fn cell(text: &str, order: &Order, fact: &Fact) -> Result<Applied, Refusal> {
    let state = order.state.name();
    match text {
        "already" => Ok(stays(order, None)),
        "renewed" => Ok(stays(&renewed(order, reached(fact)), None)),
        "refusal" => Err(Refusal { state, fact: fact.kind() }),
        "exception" => {
            let differs = vec![difference("total_fee", "9900", "9899")];
            let mismatch = exception(ExceptionKind::AmountMismatch, &payment(order), differs);
            Ok(stays(order, Some(mismatch)))
        }
        "paid + late" => {
            let reached_at = "2026-07-21T10:31:00.5Z";
            let paid_at = "2026-07-21T10:30:30Z";
            let late = late(&payment(order), state.as_str(), reached_at, paid_at);
            Ok(Applied { exception: Some(late), ..moved(order, fact, &context(NOW)) })
        }
        name => {
            assert_eq!(reached(fact).name().as_str(), name, "the cell is misread");
            Ok(moved(order, fact, &context(NOW)))
        }
    }
}

#[test]
fn apply_does_what_the_readme_table_says() {
    let rows = readme::table("fact");
    let states: Vec<StateName> =
        rows[0][1..].iter().map(|name| StateName::parse(name).unwrap()).collect();
    assert_eq!(states.len(), StateName::ALL.len());

    let mut cells = 0;
    for row in &rows[1..] {
        let fact = fact(&row[0]);
        assert_eq!(row[0].split(',').next(), Some(fact.kind().as_str()));
        for (state, text) in states.iter().zip(&row[1..]) {
            let order = order_in(*state, &sample());
            let before = order.clone();
            let expected = cell(text, &order, &fact);
            assert_eq!(order.apply(&fact, &context(NOW)), expected, "{} × {state}", row[0]);
            assert_eq!(order, before, "apply changed its receiver");
            cells += 1;
        }
    }
    assert_eq!(cells, 36);
}

#[test]
fn transition_carries_the_source_of_its_fact() {
    let order = order_in(StateName::Created, &sample());
    for source in [Source::Reply, Source::Notify, Source::Query, Source::Shop, Source::Operator] {
        let context = ApplyContext { source, ..context(NOW) };
        let applied = order.apply(&Fact::Closed, &context);
        assert_eq!(applied, Ok(moved(&order, &Fact::Closed, &context)));
    }
}

#[test]
fn accept_makes_the_first_transition() {
    let at = datetime!(2026-07-21 10:30:00.25 UTC);
    let expire = datetime!(2026-07-21 12:30:00.999 UTC);
    let request = request(&sample());
    let (order, transition) = Order::accept(request.clone(), expire, SignType::Md5, at);
    let expected = Order {
        request,
        time_expire: datetime!(2026-07-21 12:30:00 UTC),
        sign_type: SignType::Md5,
        state: State::Created,
        seq: 1,
        gateway_message: None,
        created_at: at,
        updated_at: at,
    };
    assert_eq!(order, expected);
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

#[test]
fn refusal_opens_a_contradiction() {
    let order = order_in(StateName::Paid, &sample());
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
fn payable_order_keeps_the_newest_prepay() {
    let order = order_in(StateName::Payable, &sample());
    let first = prepay(PREPAY);
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

    // A repeated prepay keeps the time of its first issue.
    let again = apply(&order, first.clone(), NOW);
    assert_eq!(again.state, payable(first, REACHED_AT));

    // A writer that lost a race applies its older prepay again.
    let before = datetime!(2026-07-21 10:30:59 UTC);
    assert_eq!(apply(&order, newer, before), order);
}

//! Properties of every history, whichever facts repeat, overtake each other or are wrong.

use std::collections::BTreeSet;

use orders::testing::{
    ACCEPTED_AT, accepted, fen, order_in, payment, prepay, sample_with_sub_merchant, time_end,
    transaction,
};
use orders::{
    Applied, ApplyContext, Exception, ExceptionKind, Fact, Failure, Order, OrderView, Source,
    State, StateName, Step, event,
};
use proptest::collection::vec;
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use wechatpay_v2::{AppId, MchId, OutTradeNo, Payment, SignType};

/// The transitions of the table, and no others.
const ALLOWED: [(StateName, StateName); 12] = {
    use StateName::{Closed, Closing, Created, Failed, Paid, Payable};
    [
        (Created, Payable),
        (Created, Paid),
        (Created, Closing),
        (Created, Closed),
        (Created, Failed),
        (Payable, Paid),
        (Payable, Closing),
        (Payable, Closed),
        (Closing, Paid),
        (Closing, Closed),
        (Closed, Paid),
        (Failed, Paid),
    ]
};

/// A fact, as it is given to the machine.
#[derive(Clone, Debug)]
struct Input {
    fact: Fact,
    context: ApplyContext,
    /// Whether it is a payment that matches the order.
    matches: bool,
}

impl Input {
    fn payment(&self) -> Option<&Payment> {
        match &self.fact {
            Fact::Paid { payment, .. } => Some(payment),
            _ => None,
        }
    }

    /// The same fact, a minute later.
    fn later(&self) -> Self {
        let mut later = self.clone();
        later.context.at += Duration::MINUTE;
        later
    }
}

/// Makes a payment wrong in one of ten ways.
fn falsify(way: u8, payment: &mut Payment, sign_type: &mut SignType, context: &mut ApplyContext) {
    match way {
        0 => payment.mch_id = MchId::parse("1699000009").unwrap(),
        1 => payment.appid = AppId::parse("wxother").unwrap(),
        2 => payment.out_trade_no = OutTradeNo::parse("SO20260721A0002").unwrap(),
        3 => payment.total_fee = fen(payment.total_fee.get() - 1),
        4 => payment.total_fee = fen(payment.total_fee.get() + 1),
        5 => payment.fee_type = "HKD".to_owned(),
        6 => payment.sub_mch_id = None,
        7 => payment.sub_appid = None,
        8 => *sign_type = SignType::Md5,
        _ => context.booked_on = Some("SO20260721A0002".to_owned()),
    }
}

fn instants() -> impl Strategy<Value = OffsetDateTime> {
    (0..4 * 3_600_000_i64).prop_map(|ms| ACCEPTED_AT + Duration::milliseconds(ms))
}

fn contexts() -> impl Strategy<Value = ApplyContext> {
    let sources = [Source::Reply, Source::Notify, Source::Query, Source::Shop, Source::Operator];
    (instants(), prop::sample::select(sources.to_vec())).prop_map(|(at, source)| ApplyContext {
        at,
        source,
        booked_on: None,
    })
}

/// A payment under one of four transactions, matching or wrong. A transaction is one or the other:
/// WeChat does not report one payment in two ways.
fn payments() -> impl Strategy<Value = Input> {
    payments_with(prop_oneof![Just(None), (0..10_u8).prop_map(Some)])
}

fn matching_payments() -> impl Strategy<Value = Input> {
    payments_with(Just(None))
}

fn payments_with(wrongs: impl Strategy<Value = Option<u8>>) -> impl Strategy<Value = Input> {
    (0..4_u8, wrongs, instants(), 0..=9900_i64, any::<bool>(), contexts()).prop_map(
        |(id, wrong, ended, cash_fee, has_cash, mut context)| {
            let mut sign_type = SignType::HmacSha256;
            let group = wrong.map_or(0, |way| way + 1);
            let mut payment = Payment {
                transaction_id: transaction(&format!("42000098762026072100{group:02}{id}")),
                time_end: time_end(ended),
                cash_fee: has_cash.then(|| fen(cash_fee)),
                ..payment(&accepted(&sample_with_sub_merchant()))
            };
            if let Some(way) = wrong {
                falsify(way, &mut payment, &mut sign_type, &mut context);
            }
            let payment = Box::new(payment);
            let fact = Fact::Paid { payment, sign_type };
            let matches = wrong.is_none();
            Input { fact, context, matches }
        },
    )
}

fn others() -> impl Strategy<Value = Input> {
    let facts = prop_oneof![
        3 => (0..4_u8).prop_map(|n| Fact::PrepayIssued(prepay(&format!("wx{n}")))),
        1 => (0..3_u8).prop_map(|n| Fact::CreateRefused(Failure {
            err_code: format!("CODE{n}"),
            err_code_des: String::new(),
        })),
        1 => Just(Fact::CloseRequested),
        1 => Just(Fact::Closed),
    ];
    (facts, contexts()).prop_map(|(fact, context)| Input { fact, context, matches: false })
}

fn inputs() -> impl Strategy<Value = Input> {
    prop_oneof![payments(), others()]
}

/// The identity of an exception within an order.
type Identity = (ExceptionKind, Option<String>);

fn identity(exception: &Exception) -> Identity {
    let id = exception.transaction_id.as_ref().map(ToString::to_string);
    (exception.kind, id)
}

/// An order and the exceptions that its facts opened.
#[derive(Clone, Debug)]
struct History {
    order: Order,
    exceptions: BTreeSet<Identity>,
}

impl History {
    fn of(order: Order) -> Self {
        Self { order, exceptions: BTreeSet::new() }
    }

    fn apply(&mut self, input: &Input) -> Step {
        match self.order.apply(&input.fact, &input.context) {
            Ok(applied) => {
                self.exceptions.extend(applied.exception.iter().map(identity));
                self.order = applied.order;
                applied.step
            }
            Err(refusal) => {
                self.exceptions.insert(identity(&refusal.exception()));
                Step::Already
            }
        }
    }

    fn apply_all(&mut self, all: &[Input]) {
        for input in all {
            self.apply(input);
        }
    }

    fn booked(&self) -> Option<&Payment> {
        match &self.order.state {
            State::Paid(payment) => Some(payment),
            _ => None,
        }
    }

    /// The booked payment, and the exceptions about payments.
    fn money(&self) -> (Option<&Payment>, BTreeSet<&Identity>) {
        let about_money = |(kind, _): &&Identity| *kind != ExceptionKind::Contradiction;
        (self.booked(), self.exceptions.iter().filter(about_money).collect())
    }
}

fn starts() -> impl Strategy<Value = Order> {
    prop_oneof![
        3 => Just(accepted(&sample_with_sub_merchant())),
        2 => prop::sample::select(&StateName::ALL[..])
            .prop_map(|state| order_in(state, &sample_with_sub_merchant())),
    ]
}

proptest! {
    #![proptest_config(crate::proptest_config())]

    /// Every step is one of the table's, `seq` has no gap, `paid` is never left, and the rest of the
    /// order does not change.
    #[test]
    fn history_takes_only_transitions_of_the_table(start in starts(), all in vec(inputs(), 0..40)) {
        let mut history = History::of(start.clone());
        for input in &all {
            let before = history.order.clone();
            let step = history.apply(input);
            let now = &history.order;
            if let Step::Moved(transition) = step {
                let from = before.state.name();
                let to = now.state.name();
                prop_assert!(ALLOWED.contains(&(from, to)), "{from} to {to}");
                prop_assert_eq!((transition.from, transition.to), (Some(from), to));
                prop_assert_eq!(transition.seq, before.seq + 1);
                prop_assert_eq!(transition.fact, input.fact.kind());
                prop_assert_eq!((transition.at, now.updated_at), (input.context.at, input.context.at));
            } else {
                prop_assert_eq!(now.state.name(), before.state.name());
                prop_assert_eq!((now.seq, now.updated_at), (before.seq, before.updated_at));
            }
            prop_assert_eq!(now.seq - before.seq, i32::from(now.state.name() != before.state.name()));
            if let State::Paid(_) = before.state {
                prop_assert_eq!(now, &before);
            }
            prop_assert_eq!(
                (&now.request, now.time_expire, now.sign_type, now.created_at),
                (&start.request, start.time_expire, start.sign_type, start.created_at)
            );
        }
        // The longest history is created, payable, closing, closed, paid.
        prop_assert!(history.order.seq <= start.seq + 4);
    }

    #[test]
    fn differing_payment_moves_nothing(start in starts(), all in vec(inputs(), 1..40)) {
        let mut history = History::of(start);
        for input in &all {
            let before = history.order.clone();
            history.apply(input);
            let Some(payment) = input.payment().filter(|_| !input.matches) else { continue };
            prop_assert_eq!(&history.order, &before);
            let id = Some(payment.transaction_id.to_string());
            let known = history.exceptions.contains(&(ExceptionKind::AmountMismatch, id.clone()))
                || history.exceptions.contains(&(ExceptionKind::IdentityMismatch, id));
            prop_assert!(known, "no exception was opened");
        }
    }

    /// A payment that matches is booked, or an exception names the reason.
    #[test]
    fn matching_payment_is_booked_or_an_exception(start in starts(), all in vec(inputs(), 1..40)) {
        let mut history = History::of(start);
        history.apply_all(&all);
        for payment in all.iter().filter(|input| input.matches).filter_map(Input::payment) {
            let booked = history.booked().unwrap();
            let id = payment.transaction_id.to_string();
            let duplicate = (ExceptionKind::DuplicatePayment, Some(id));
            prop_assert_eq!(
                booked.transaction_id == payment.transaction_id,
                !history.exceptions.contains(&duplicate)
            );
        }
    }

    #[test]
    fn repeated_fact_does_nothing(
        start in starts(),
        all in vec(inputs(), 0..20),
        last in inputs(),
    ) {
        let mut history = History::of(start);
        history.apply_all(&all);
        history.apply(&last);
        let once = history.clone();
        prop_assert_eq!(history.apply(&last), Step::Already);
        prop_assert_eq!(&history.order, &once.order);
        // A minute later a prepay can have become the newest; nothing else changes.
        prop_assert_eq!(history.apply(&last.later()), Step::Already);
        if !matches!(last.fact, Fact::PrepayIssued(_)) {
            prop_assert_eq!(&history.order, &once.order);
        }
        prop_assert_eq!(&history.exceptions, &once.exceptions);
    }

    #[test]
    fn facts_repeated_later_change_no_money(
        start in starts(),
        all in vec((inputs(), any::<bool>()), 0..30),
    ) {
        let mut history = History::of(start);
        for (input, _) in &all {
            history.apply(input);
        }
        let once = history.clone();
        for (input, _) in all.iter().filter(|(_, again)| *again) {
            let step = history.apply(&input.later());
            prop_assert_eq!(step, Step::Already);
        }
        prop_assert_eq!(history.money(), once.money());
        prop_assert_eq!(history.order.seq, once.order.seq);
    }

    /// Copies of matching payments may arrive in any order after the first of each.
    #[test]
    fn order_of_duplicates_does_not_matter(
        start in starts(),
        firsts in vec(matching_payments(), 1..6),
        copies in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), contexts()), 0..12),
    ) {
        let mut plain = History::of(start.clone());
        plain.apply_all(&firsts);

        let mut mixed = firsts.clone();
        for (which, index, context) in copies {
            let copy = Input { context, ..which.get(&firsts).clone() };
            let first = mixed.iter().position(|input| input.fact == copy.fact).unwrap();
            let at = first + 1 + index.index(mixed.len() - first);
            mixed.insert(at, copy);
        }
        let mut history = History::of(start);
        history.apply_all(&mixed);
        prop_assert_eq!(history.money(), plain.money());
        prop_assert_eq!(history.order.seq, plain.order.seq);
    }

    /// Of several payments the first is booked, and each of the others is an exception.
    #[test]
    fn one_payment_is_booked_and_others_are_exceptions(
        all in vec(matching_payments(), 1..6),
    ) {
        let mut history = History::of(accepted(&sample_with_sub_merchant()));
        history.apply_all(&all);
        let booked = history.booked().unwrap().transaction_id.to_string();
        prop_assert_eq!(&booked, &all[0].payment().unwrap().transaction_id.to_string());
        let mut known: BTreeSet<String> =
            history.exceptions.iter().filter_map(|(_, id)| id.clone()).collect();
        prop_assert!(!known.contains(&booked));
        known.insert(booked);
        let ids = all.iter().filter_map(Input::payment).map(|p| p.transaction_id.to_string());
        prop_assert_eq!(known, ids.collect::<BTreeSet<_>>());
    }

    /// Neither `apply` nor the events panic, whatever WeChat signs.
    #[test]
    fn apply_never_panics(
        start in starts(),
        mut input in inputs(),
        total_fee in 0..=wechatpay_v2::Fen::MAX,
        fee_type in ".{0,20}",
        ended in 0..253_402_271_999_i64,
        at in 0..253_402_300_799_i64,
    ) {
        input.context.at = OffsetDateTime::from_unix_timestamp(at).unwrap();
        if let Fact::Paid { payment, .. } = &mut input.fact {
            payment.total_fee = fen(total_fee);
            payment.fee_type = fee_type;
            payment.time_end = time_end(OffsetDateTime::from_unix_timestamp(ended).unwrap());
        }
        match start.apply(&input.fact, &input.context) {
            Ok(Applied { order, step, exception }) => {
                let view = OrderView::of(&order, Vec::new(), None);
                if let Step::Moved(transition) = step {
                    let _ = event::of_transition(Uuid::nil(), &transition, &view);
                }
                if let Some(exception) = exception {
                    let key = order.key();
                    let at = input.context.at;
                    let _ = event::of_exception(Uuid::nil(), &exception, &key, Some(&view), at);
                }
            }
            Err(refusal) => prop_assert_eq!(refusal.exception().kind, ExceptionKind::Contradiction),
        }
    }
}

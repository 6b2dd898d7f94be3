//! What holds for every history, however facts repeat, overtake each other or lie.

#![allow(clippy::unwrap_used, reason = "a sample that does not parse fails the test")]

mod sample;

use std::collections::BTreeSet;

use orders::{
    Applied, ApplyContext, Exception, ExceptionKind, Fact, Failure, Order, OrderView, Source,
    State, StateName, Step, event,
};
use proptest::collection::vec;
use proptest::prelude::*;
use sample::{accepted, fen, order_in, payment, prepay, sub_body, time_end, transaction};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use wechatpay_v2::{AppId, MchId, OutTradeNo, Payment, SignType};

/// The transitions of design 5, and no others.
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

/// A fact as it is told to the machine.
#[derive(Clone, Debug)]
struct Told {
    fact: Fact,
    context: ApplyContext,
    /// Whether it is a payment that matches the order.
    right: bool,
}

impl Told {
    fn payment(&self) -> Option<&Payment> {
        match &self.fact {
            Fact::Paid { payment, .. } => Some(payment),
            _ => None,
        }
    }

    /// The same fact, told again a minute later.
    fn later(&self) -> Self {
        let mut later = self.clone();
        later.context.at += Duration::MINUTE;
        later
    }
}

/// Makes a payment wrong in one of ten ways.
fn spoil(way: u8, payment: &mut Payment, sign_type: &mut SignType, context: &mut ApplyContext) {
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
    (0..4 * 3_600_000_i64).prop_map(|ms| sample::ACCEPTED_AT + Duration::milliseconds(ms))
}

fn contexts() -> impl Strategy<Value = ApplyContext> {
    let sources = [Source::Reply, Source::Notify, Source::Query, Source::Shop, Source::Operator];
    (instants(), prop::sample::select(sources.to_vec())).prop_map(|(at, source)| ApplyContext {
        at,
        source,
        booked_on: None,
    })
}

/// A payment under one of four transactions, right or wrong. A transaction is either or: WeChat
/// does not say two things about one payment.
fn payments() -> impl Strategy<Value = Told> {
    payments_with(prop_oneof![Just(None), (0..10_u8).prop_map(Some)])
}

fn right_payments() -> impl Strategy<Value = Told> {
    payments_with(Just(None))
}

fn payments_with(wrongs: impl Strategy<Value = Option<u8>>) -> impl Strategy<Value = Told> {
    (0..4_u8, wrongs, instants(), 0..=9900_i64, any::<bool>(), contexts()).prop_map(
        |(id, wrong, ended, cash_fee, has_cash, mut context)| {
            let mut sign_type = SignType::HmacSha256;
            let group = wrong.map_or(0, |way| way + 1);
            let mut payment = Payment {
                transaction_id: transaction(&format!("42000098762026072100{group:02}{id}")),
                time_end: time_end(ended),
                cash_fee: has_cash.then(|| fen(cash_fee)),
                ..payment(&accepted(&sub_body()))
            };
            if let Some(way) = wrong {
                spoil(way, &mut payment, &mut sign_type, &mut context);
            }
            let payment = Box::new(payment);
            let fact = Fact::Paid { payment, sign_type };
            let right = wrong.is_none();
            Told { fact, context, right }
        },
    )
}

fn others() -> impl Strategy<Value = Told> {
    let facts = prop_oneof![
        3 => (0..4_u8).prop_map(|n| Fact::PrepayIssued(prepay(&format!("wx{n}")))),
        1 => (0..3_u8).prop_map(|n| Fact::CreateRefused(Failure {
            err_code: format!("CODE{n}"),
            err_code_des: String::new(),
        })),
        1 => Just(Fact::CloseRequested),
        1 => Just(Fact::Closed),
    ];
    (facts, contexts()).prop_map(|(fact, context)| Told { fact, context, right: false })
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![payments(), others()]
}

/// The identity of an exception within an order.
type Identity = (ExceptionKind, Option<String>);

fn identity(exception: &Exception) -> Identity {
    let id = exception.transaction_id.as_ref().map(ToString::to_string);
    (exception.kind, id)
}

/// An order and the exceptions that were opened on the way.
#[derive(Clone, Debug)]
struct Story {
    order: Order,
    exceptions: BTreeSet<Identity>,
}

impl Story {
    fn begin(order: Order) -> Self {
        Self { order, exceptions: BTreeSet::new() }
    }

    fn tell(&mut self, told: &Told) -> Step {
        match self.order.apply(&told.fact, &told.context) {
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

    fn tell_all(&mut self, all: &[Told]) {
        for told in all {
            self.tell(told);
        }
    }

    fn booked(&self) -> Option<&Payment> {
        match &self.order.state {
            State::Paid(payment) => Some(payment),
            _ => None,
        }
    }

    /// What finance sees: the payment that is booked, and the exceptions about payments.
    fn money(&self) -> (Option<&Payment>, BTreeSet<&Identity>) {
        let about_money = |(kind, _): &&Identity| *kind != ExceptionKind::Contradiction;
        (self.booked(), self.exceptions.iter().filter(about_money).collect())
    }
}

fn starts() -> impl Strategy<Value = Order> {
    prop_oneof![
        3 => Just(accepted(&sub_body())),
        2 => prop::sample::select(&StateName::ALL[..])
            .prop_map(|state| order_in(state, &sub_body())),
    ]
}

proptest! {
    #![proptest_config(sample::cases())]

    /// Every step is one of the table's, `seq` counts without a gap, `paid` is never left, and the
    /// rest of the order is what it was.
    #[test]
    fn a_history_only_takes_steps_of_the_table(start in starts(), all in vec(told(), 0..40)) {
        let mut story = Story::begin(start.clone());
        for told in &all {
            let before = story.order.clone();
            let step = story.tell(told);
            let now = &story.order;
            if let Step::Moved(transition) = step {
                let leap = (before.state.name(), now.state.name());
                prop_assert!(ALLOWED.contains(&leap), "{leap:?}");
                prop_assert_eq!((transition.from, transition.to), (Some(leap.0), leap.1));
                prop_assert_eq!(transition.seq, before.seq + 1);
                prop_assert_eq!(transition.fact, told.fact.kind());
                prop_assert_eq!((transition.at, now.updated_at), (told.context.at, told.context.at));
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
        // The longest way is created, payable, closing, closed, paid.
        prop_assert!(story.order.seq <= start.seq + 4);
    }

    #[test]
    fn a_payment_that_differs_moves_nothing(start in starts(), all in vec(told(), 1..40)) {
        let mut story = Story::begin(start);
        for told in &all {
            let before = story.order.clone();
            story.tell(told);
            let Some(payment) = told.payment().filter(|_| !told.right) else { continue };
            prop_assert_eq!(&story.order, &before);
            let id = Some(payment.transaction_id.to_string());
            let known = story.exceptions.contains(&(ExceptionKind::AmountMismatch, id.clone()))
                || story.exceptions.contains(&(ExceptionKind::IdentityMismatch, id));
            prop_assert!(known, "nobody is told");
        }
    }

    /// Design 10, 1: a payment that matches is booked, or an exception says why not.
    #[test]
    fn no_payment_is_silent(start in starts(), all in vec(told(), 1..40)) {
        let mut story = Story::begin(start);
        story.tell_all(&all);
        for payment in all.iter().filter(|told| told.right).filter_map(Told::payment) {
            let booked = story.booked().unwrap();
            let id = payment.transaction_id.to_string();
            let duplicate = (ExceptionKind::DuplicatePayment, Some(id));
            prop_assert_eq!(
                booked.transaction_id == payment.transaction_id,
                !story.exceptions.contains(&duplicate)
            );
        }
    }

    #[test]
    fn a_fact_that_is_told_twice_does_nothing_the_second_time(
        start in starts(),
        all in vec(told(), 0..20),
        last in told(),
    ) {
        let mut story = Story::begin(start);
        story.tell_all(&all);
        story.tell(&last);
        let once = story.clone();
        prop_assert_eq!(story.tell(&last), Step::Already);
        prop_assert_eq!(&story.order, &once.order);
        // A minute later a prepay can have become the newest; nothing else changes.
        prop_assert_eq!(story.tell(&last.later()), Step::Already);
        if !matches!(last.fact, Fact::PrepayIssued(_)) {
            prop_assert_eq!(&story.order, &once.order);
        }
        prop_assert_eq!(&story.exceptions, &once.exceptions);
    }

    #[test]
    fn facts_that_are_told_again_later_change_no_money(
        start in starts(),
        all in vec((told(), any::<bool>()), 0..30),
    ) {
        let mut story = Story::begin(start);
        let (all, again): (Vec<Told>, Vec<bool>) = all.into_iter().unzip();
        story.tell_all(&all);
        let once = story.clone();
        for told in all.iter().zip(again).filter(|(_, again)| *again).map(|(told, _)| told) {
            let step = story.tell(&told.later());
            prop_assert_eq!(step, Step::Already);
        }
        prop_assert_eq!(story.money(), once.money());
        prop_assert_eq!(story.order.seq, once.order.seq);
    }

    /// Copies of payments that match may arrive in any order behind the first of each.
    #[test]
    fn the_order_of_duplicates_does_not_matter(
        start in starts(),
        firsts in vec(right_payments(), 1..6),
        copies in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), contexts()), 0..12),
    ) {
        let mut plain = Story::begin(start.clone());
        plain.tell_all(&firsts);

        let mut mixed = firsts.clone();
        for (which, place, context) in copies {
            let copy = Told { context, ..which.get(&firsts).clone() };
            let first = mixed.iter().position(|told| told.fact == copy.fact).unwrap();
            let place = first + 1 + place.index(mixed.len() - first);
            mixed.insert(place, copy);
        }
        let mut story = Story::begin(start);
        story.tell_all(&mixed);
        prop_assert_eq!(story.money(), plain.money());
        prop_assert_eq!(story.order.seq, plain.order.seq);
    }

    /// Whichever of several payments comes first: one is booked, each of the others is told about.
    #[test]
    fn in_any_order_one_payment_is_booked_and_the_others_are_known(
        all in vec(right_payments(), 1..6),
    ) {
        let mut story = Story::begin(accepted(&sub_body()));
        story.tell_all(&all);
        let booked = story.booked().unwrap().transaction_id.to_string();
        prop_assert_eq!(&booked, &all[0].payment().unwrap().transaction_id.to_string());
        let mut known: BTreeSet<String> =
            story.exceptions.iter().filter_map(|(_, id)| id.clone()).collect();
        prop_assert!(!known.contains(&booked));
        known.insert(booked);
        let ids = all.iter().filter_map(Told::payment).map(|p| p.transaction_id.to_string());
        prop_assert_eq!(known, ids.collect::<BTreeSet<_>>());
    }

    /// Whatever WeChat signs, at whatever time: no panic here, nor in what is made of it.
    #[test]
    fn nothing_panics(
        start in starts(),
        told in told(),
        total_fee in 0..=wechatpay_v2::Fen::MAX,
        fee_type in ".{0,20}",
        ended in 0..253_402_271_999_i64,
        at in 0..253_402_300_799_i64,
    ) {
        let mut told = told;
        told.context.at = OffsetDateTime::from_unix_timestamp(at).unwrap();
        if let Fact::Paid { payment, .. } = &mut told.fact {
            payment.total_fee = fen(total_fee);
            payment.fee_type = fee_type;
            payment.time_end = time_end(OffsetDateTime::from_unix_timestamp(ended).unwrap());
        }
        match start.apply(&told.fact, &told.context) {
            Ok(Applied { order, step, exception }) => {
                let view = OrderView::of(&order, Vec::new(), None);
                if let Step::Moved(transition) = step {
                    let _ = event::of_transition(Uuid::nil(), &transition, &view);
                }
                if let Some(exception) = exception {
                    let key = order.key();
                    let at = told.context.at;
                    let _ = event::of_exception(Uuid::nil(), &exception, &key, Some(&view), at);
                }
            }
            Err(refusal) => prop_assert_eq!(refusal.exception().kind, ExceptionKind::Contradiction),
        }
    }
}

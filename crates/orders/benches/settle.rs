//! What settling one payment costs without I/O: the transition, the view, the event.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use orders::event::{self, Event};
use orders::{ApplyContext, Fact, Order, OrderView, StateName, Step, testing};
use uuid::Uuid;

fn settle(criterion: &mut Criterion) {
    let order = testing::order_in(StateName::Payable, &testing::sample());
    let paid = testing::paid(testing::payment(&order));
    let context = testing::context(testing::NOW);
    criterion.bench_function("apply a payment, build its view and event", |bencher| {
        bencher.iter(|| apply(black_box(&order), black_box(&paid), &context));
    });
}

fn apply(order: &Order, fact: &Fact, context: &ApplyContext) -> Event {
    let applied = order.apply(fact, context).expect("a payable order accepts a payment");
    let Step::Moved(transition) = applied.step else { panic!("the order did not move") };
    let view = OrderView::of(&applied.order, Vec::new(), None);
    event::of_transition(Uuid::from_u128(1), &transition, &view)
}

criterion_group!(benches, settle);
criterion_main!(benches);

//! Half of what the system can do, for minutes: whether memory stays flat, and whether anything is
//! late.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use services::process::ProcessId;
use simulator::PayOptions;
use tokio::time::{Instant, sleep};

use crate::bench::{Bench, DRAIN_TIMEOUT};
use crate::latency::Latencies;
use crate::load::{Load, NextRequest};
use crate::orders::Orders;
use crate::program::Program;
use crate::report::Row;
use crate::rows::creates::Callers;
use crate::shop_queue::Kind;
use crate::system::{Options, System};

const CALLERS: usize = 60;
const CONNECTIONS: usize = 64;
/// How often payable orders are paid and memory is read.
const INTERVAL: Duration = Duration::from_millis(250);
/// The share of the time until memory should be flat.
const SETTLING: u32 = 4;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    let within = bench.settings.soak;
    let system = System::start(&bench.settings, Options::default()).await?;
    let callers = Callers { count: CALLERS, within: bench.settings.within };
    let saturated = callers.create(&system, &Orders::of(&system)).await?;
    // Each order is paid, too, which costs about as much as its creation.
    let rate = saturated.answers.per_second() / 2.0 / 2.0;
    system.shop.take(Kind::Payable);

    let orders = Orders::of(&system);
    let sent: Arc<Sent> = Arc::default();
    let load = Load { to: system.private, connections: CONNECTIONS, expected: 202 };
    let requests = sent.requests(&orders);
    let mut memory =
        [Memory::of("worker", system.worker()), Memory::of("ingress", system.ingress())];
    let mut payments = Payments::default();
    let load = load.at_rate(rate, within, requests);
    let watch = async {
        let start = Instant::now();
        while start.elapsed() < within {
            sleep(INTERVAL).await;
            payments.pay(&system, &sent)?;
            let is_settled = start.elapsed() > within / SETTLING;
            memory.iter_mut().for_each(|memory| memory.read(is_settled));
        }
        anyhow::Ok(())
    };
    let (answers, watched) = tokio::join!(load, watch);
    let answers = answers?;
    watched?;
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    let made = orders.made();
    while payments.finished.len() < made && Instant::now() < deadline {
        sleep(INTERVAL).await;
        payments.pay(&system, &sent)?;
    }
    ensure!(!payments.finished.is_empty(), "no order was paid");
    let missing = made - payments.finished.len();
    let payable = Latencies::of(payments.payable);
    let finished = Latencies::of(payments.finished);
    system.remove().await?;

    for memory in memory {
        let name = format!("memory of the {}, end to a quarter of {within:?}", memory.name);
        let mut row = Row::new(name, "times", memory.growth());
        row.detail("MiB", memory.shown());
        bench.add(row);
    }
    let mut row =
        Row::new(format!("{rate:.0} orders/s created and paid, missing"), "orders", missing as f64);
    row.detail("accepted", &answers);
    row.detail("from the order to order.payable", &payable);
    row.detail("from the payment to order.paid", &finished);
    bench.add(row);
    Ok(())
}

/// When each order was sent, and which merchant's it is.
#[derive(Default)]
struct Sent(Mutex<HashMap<String, (Instant, usize)>>);

impl Sent {
    fn requests(self: &Arc<Self>, orders: &Arc<Orders>) -> NextRequest {
        let sent = Arc::clone(self);
        let orders = Arc::clone(orders);
        Arc::new(move || {
            let order = orders.next();
            sent.0.lock().unwrap().insert(order.number.clone(), (Instant::now(), order.merchant));
            Some(order.request())
        })
    }
}

/// The payments of a run and how long each step took.
#[derive(Default)]
struct Payments {
    begun: HashMap<String, Instant>,
    payable: Vec<Duration>,
    finished: Vec<Duration>,
}

impl Payments {
    /// Pays the orders that have become payable, and counts those that are paid.
    fn pay(&mut self, system: &System, sent: &Sent) -> Result<()> {
        for (number, at) in system.shop.take(Kind::Payable) {
            let Some((since, merchant)) = sent.0.lock().unwrap().remove(&number) else { continue };
            self.payable.push(at - since);
            let mch_id = &system.merchants[merchant].mch_id;
            let paid = system.simulator.pay(mch_id, &number, &PayOptions::default());
            paid.map_err(|error| anyhow!("{number}: {error}"))?;
            self.begun.insert(number, Instant::now());
        }
        for (number, at) in system.shop.take(Kind::Paid) {
            let begun = self.begun.remove(&number);
            self.finished.extend(begun.map(|begun| at.saturating_duration_since(begun)));
        }
        Ok(())
    }
}

/// The memory of a program: when it should be flat, at the end, and the most.
struct Memory {
    name: &'static str,
    process: Option<ProcessId>,
    settled: u64,
    last: u64,
    max: u64,
}

impl Memory {
    fn of(name: &'static str, program: Option<&Program>) -> Self {
        let process = program.and_then(Program::process);
        Self { name, process, settled: 0, last: 0, max: 0 }
    }

    fn read(&mut self, is_settled: bool) {
        self.last = self.process.map_or(0, ProcessId::resident_bytes);
        self.max = self.max.max(self.last);
        if !is_settled || self.settled == 0 {
            self.settled = self.last;
        }
    }

    fn growth(&self) -> f64 {
        self.last as f64 / self.settled.max(1) as f64
    }

    fn shown(&self) -> String {
        let [settled, last, max] =
            [self.settled, self.last, self.max].map(|bytes| bytes as f64 / MEBIBYTE);
        format!("{settled:.1} after a quarter, {last:.1} at the end, {max:.1} at most")
    }
}

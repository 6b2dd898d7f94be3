//! Honest shops and customers: orders that are created and paid at a fixed rate.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::{Shop, World};
use serde_json::Value;
use simulator::PayOptions;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// The longest wait for the last event. Longer than WeChat's repeats take here.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) struct Honest {
    world: Arc<World>,
    /// When the event of each order arrived.
    events: Arc<Mutex<HashMap<String, Instant>>>,
    paid: Mutex<Vec<(Shop, String)>>,
    _listening: AbortOnDropHandle<()>,
}

/// The times from each payment to its event, shortest first. `lost` counts payments without one.
pub(crate) struct Times {
    times: Vec<Duration>,
    lost: usize,
}

impl Honest {
    pub(crate) async fn start(world: &Arc<World>) -> Self {
        let config = world.environment.broker_config("load events");
        let mut events = broker::subscribe_events(&config, "order.paid.#").await.unwrap();
        let arrivals: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
        let recorded = Arc::clone(&arrivals);
        let listening = tokio::spawn(async move {
            while let Some(body) = events.next().await {
                let at = Instant::now();
                let event: Value = serde_json::from_slice(&body).unwrap();
                let number = event["out_trade_no"].as_str().unwrap().to_owned();
                recorded.lock().unwrap().entry(number).or_insert(at);
            }
        });
        let _listening = AbortOnDropHandle::new(listening);
        Self { world: Arc::clone(world), events: arrivals, paid: Mutex::default(), _listening }
    }

    pub(crate) fn paid(&self) -> Vec<(Shop, String)> {
        self.paid.lock().unwrap().clone()
    }

    /// Creates and pays `per_second` orders per second, and waits for the event of each.
    pub(crate) async fn pay(&self, per_second: u32, within: Duration) -> Times {
        let start = Instant::now();
        let mut customers = JoinSet::new();
        let all = per_second * u32::try_from(within.as_secs()).unwrap();
        for n in 0..all {
            sleep_until(start + Duration::from_secs(1) * n / per_second).await;
            let world = Arc::clone(&self.world);
            customers.spawn(async move {
                let shop = if n % 2 == 0 { world.md5_shop() } else { world.hmac_shop() };
                let number = Shop::number();
                world.create_payable(&shop.order(&number, 9900)).await;
                world.pay(&shop, &number, &PayOptions::default());
                (shop, number, Instant::now())
            });
        }
        let paid = customers.join_all().await;
        let orders = paid.iter().map(|(shop, number, _)| (shop.clone(), number.clone()));
        self.paid.lock().unwrap().extend(orders);
        self.wait_for(paid.iter().map(|(_, number, _)| number.as_str()).collect()).await;
        let events = self.events.lock().unwrap();
        let times =
            paid.iter().filter_map(|(_, number, at)| Some(events.get(number)?.duration_since(*at)));
        Times::of(times.collect(), paid.len())
    }

    async fn wait_for(&self, mut numbers: HashSet<&str>) {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        while !numbers.is_empty() && Instant::now() < deadline {
            numbers.retain(|number| !self.events.lock().unwrap().contains_key(*number));
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Times {
    fn of(mut times: Vec<Duration>, paid: usize) -> Self {
        times.sort();
        Self { lost: paid - times.len(), times }
    }

    pub(crate) fn lost(&self) -> usize {
        self.lost
    }

    /// Minimum, median, 90th percentile and maximum in milliseconds.
    fn marks(&self) -> [f64; 4] {
        let last = self.times.len().saturating_sub(1);
        [0, last / 2, last * 9 / 10, last]
            .map(|at| self.times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0))
    }

    /// The ratio of each mark to that of another measurement.
    pub(crate) fn ratio(&self, other: &Self) -> String {
        let [min, median, p90, max] = self.marks();
        let [other_min, other_median, other_p90, other_max] = other.marks();
        format!(
            "min {:.2}, median {:.2}, p90 {:.2}, max {:.2}",
            min / other_min,
            median / other_median,
            p90 / other_p90,
            max / other_max
        )
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [min, median, p90, max] = self.marks();
        let settled = self.times.len();
        let lost = self.lost;
        write!(
            f,
            "min {min:.1}, median {median:.1}, p90 {p90:.1}, max {max:.1} ({settled} settled, \
             {lost} lost)"
        )
    }
}

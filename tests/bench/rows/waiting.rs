//! Callers that wait for each answer, with a gateway that takes 200 ms.

use std::time::Duration;

use anyhow::Result;

use crate::bench::Bench;
use crate::orders::Orders;
use crate::peer::Parts;
use crate::report::Row;
use crate::rows::creates::Callers;
use crate::system::{Options, System};

pub(crate) const GATEWAY_DELAY: Duration = Duration::from_millis(200);
const CALLERS: [usize; 2] = [60, 400];

pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    for count in CALLERS {
        let callers = Callers { count, within: bench.settings.within };
        let options = Options { gateway_delay: GATEWAY_DELAY, ..Options::default() };
        let system = System::start(&bench.settings, options).await?;
        let ours = callers.create(&system, &Orders::of(&system)).await?;
        system.remove().await?;
        let name = format!("{count} at once, gateway 200 ms");
        let mut row = Row::new(name, "orders/s", ours.answers.per_second());
        // So many would be answered if nothing but the gateway took time.
        let callers_limit = count as f64 / GATEWAY_DELAY.as_secs_f64();
        let composed = bench.composed_create_limit().unwrap_or(f64::INFINITY);
        row.limit = Some(callers_limit.min(composed));
        row.detail("answers", &ours.answers);
        row.detail("an order", ours.cost.each(ours.orders));
        if let Some(peer) = &bench.peer {
            let peer = peer.start(Parts::Create(GATEWAY_DELAY)).await?;
            let orders = Orders::of_peer(&peer);
            let theirs = callers.load(peer.address, &peer.shop, &peer.meter(), &orders).await?;
            row.peer = Some(theirs.answers.per_second());
            row.detail("peer: answers", &theirs.answers);
            row.detail("peer: an order", theirs.cost.each(theirs.orders));
            peer.remove().await?;
        }
        bench.add(row);
    }
    Ok(())
}

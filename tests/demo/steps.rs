use std::fs::{self, File};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use harness::local_system::{Addresses, LocalSystem, MCH_ID};
use harness::run_folder::RunFolder;
use serde_json::Value;
use services::ports::free_address;

use crate::shop::{Order, PayParameters};

const LISTEN_TIMEOUT: Duration = Duration::from_secs(30);
const PAID_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn run(folder: &RunFolder) -> Result<()> {
    let key: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
    let namespace = format!("wxpay-demo-{}", fastrand::u16(..));
    let addresses = Addresses {
        simulator: free_address(),
        public: free_address(),
        private: free_address(),
        ops: free_address(),
    };
    let mut system = LocalSystem::new(folder.path(), addresses, &namespace, &key)?;
    let order = Order::new();
    let number = &order.out_trade_no;

    step(&format!("Starting simulator, worker and ingress (namespace {namespace})"));
    system.start().await?;
    let mut listener = Listener::start(&mut system, folder, number).await?;

    step(&format!("The shop asks for payment of 99.00 CNY, order {number}"));
    let created = order.create(&system).await?;
    println!("What the mini program passes to wx.requestPayment:");
    let pay = PayParameters::read(&created)?;
    pay.print();
    pay.verify(&key)?;
    println!("paySign verified by hand: ok");

    step("The customer pays");
    order.pay(&system).await?;
    let is_paid = async |system: &LocalSystem| order.is_paid(system).await;
    system.wait_until("the order is paid", PAID_TIMEOUT, is_paid).await?;
    let events = listener.wait_for_events().await?;

    step(&format!("What the shop has received on {namespace}.events"));
    print_events(&events)?;

    step("The order's history, as the operator sees it");
    let show = system.command("wxpay-worker", &["order", "show", MCH_ID, number])?.output()?;
    ensure!(show.status.success(), "order show failed: {show:?}");
    print!("{}", String::from_utf8_lossy(&show.stdout));

    step("Stopping");
    system.stop().await?;
    // The three things that no log may hold. The openid is known to the shop alone.
    check_logs(folder, &[&key, &pay.pay_sign, &order.openid])?;
    println!("no secret in the logs: ok");

    step("What has happened");
    print_summary(number, &namespace, &pay.package);
    Ok(())
}

fn step(title: &str) {
    println!("\n== {title}");
}

/// `wxpay-worker events listen`, which prints the events of the order until it is paid.
struct Listener {
    child: Child,
    events: std::path::PathBuf,
}

impl Listener {
    async fn start(system: &mut LocalSystem, folder: &RunFolder, number: &str) -> Result<Self> {
        let events = folder.path().join("events");
        let log = system.log("listener");
        let arguments = ["events", "listen", "--out-trade-no", number];
        let until = ["--until", "order.paid", "--timeout", "90"];
        let mut command = system.command("wxpay-worker", &arguments)?;
        command.args(until).stdout(File::create(&events)?).stderr(File::create(&log)?);
        let mut listener = Self { child: command.spawn()?, events };
        let is_bound = async |_: &LocalSystem| {
            let is_ready = fs::read_to_string(&log).is_ok_and(|text| text.contains("READY"));
            is_ready || listener.has_exited()
        };
        system.wait_until("the listener's queue is bound", LISTEN_TIMEOUT, is_bound).await?;
        ensure!(!listener.has_exited(), "the listener has exited before its queue was bound");
        Ok(listener)
    }

    fn has_exited(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The events, one JSON object a line. The listener's own timeout bounds the wait.
    async fn wait_for_events(&mut self) -> Result<Vec<Value>> {
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        ensure!(status.success(), "the listener has not received order.paid: {status}");
        let lines = fs::read_to_string(&self.events)?;
        lines.lines().map(|line| serde_json::from_str(line).context("not an event")).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn print_events(events: &[Value]) -> Result<()> {
    let text = |event: &Value, name: &str| event[name].as_str().map(str::to_owned);
    for event in events {
        let kind = text(event, "type").context("an event without a type")?;
        let before = text(event, "previous_state").unwrap_or_else(|| "nothing".to_owned());
        let after = text(event, "state").unwrap_or_default();
        println!("  {kind:<14} seq {}  {before} -> {after}", event["seq"]);
    }
    ensure!(events.iter().any(|event| event["type"] == "order.paid"), "no event order.paid");
    Ok(())
}

fn check_logs(folder: &RunFolder, secrets: &[&str]) -> Result<()> {
    for (name, log) in folder.logs() {
        if secrets.iter().any(|secret| log.contains(secret)) {
            bail!("{name} holds a secret");
        }
    }
    Ok(())
}

fn print_summary(number: &str, namespace: &str, package: &str) {
    println!(
        " 1. The shop posted order {number} to the ingress.
 2. The ingress, which has no key and no database, published it to RabbitMQ ({namespace}.orders)
    and waited for the broker's confirm.
 3. The worker stored the order, signed it and called unifiedorder at WeChat Pay (the simulator).
 4. WeChat Pay issued {package}; the order became payable.
 5. The shop got parameters that the mini program can pay with, in the answer to its request.
 6. The customer paid 99.00 CNY, and WeChat Pay notified the ingress.
 7. The ingress answered SUCCESS as soon as the notification was safe in {namespace}.notifications.
 8. The worker verified its signature and matched merchant, app, number, amount and currency.
 9. The order became paid, in one transaction with its history and its event.
10. The shop received order.paid on {namespace}.events."
    );
}

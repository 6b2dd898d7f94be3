//! WeChat's hosts: name, connection, TLS, answer, clock. No key is used and no order is named.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::select_ok;
use futures_util::join;
use time::OffsetDateTime;
use tokio::net::{TcpStream, lookup_host};
use wechatpay_v2::client::{Client, Probe, ProbeError, Timeouts};

use super::report::{Check, CheckStatus};
use super::{clock, within};

/// What the worker's own client waits for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Less than a call of the worker may take: there is nothing to decide about `GET /`.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A quarter of what a call of the worker may take. WeChat answers within some hundred
/// milliseconds; a shop waits for the whole of it.
const SLOW_ABOVE: Duration = Duration::from_secs(2);

pub(super) async fn checks(primary: String, backup: Option<String>) -> Vec<Check> {
    let other = async {
        match backup {
            Some(url) => {
                Host { name: "gateway.backup", url, down: CheckStatus::Warn }.checks().await
            }
            None => vec![Check::skipped("gateway.backup", "WXPAY_GATEWAY_BACKUP_URL is not set")],
        }
    };
    let primary = Host { name: "gateway.primary", url: primary, down: CheckStatus::Bad };
    let (mut checks, others) = join!(primary.checks(), other);
    checks.extend(others);
    checks
}

struct Host {
    name: &'static str,
    url: String,
    /// What it means when it cannot be used. Without the backup host nothing is lost yet.
    down: CheckStatus,
}

impl Host {
    async fn checks(self) -> Vec<Check> {
        let mut checks = Vec::new();
        let reached = self.reach(&mut checks).await;
        if reached.is_none() {
            let why = "the host is not reached";
            for rest in ["dns", "tcp", "tls", "answer", "clock"].into_iter().skip(checks.len()) {
                checks.push(Check::skipped(self.named(rest), why));
            }
        }
        checks
    }

    /// Goes as far as it gets; each step needs the one before.
    async fn reach(&self, checks: &mut Vec<Check>) -> Option<()> {
        let (scheme, authority) = self.url.split_once("://")?;
        let addresses = self.name_is_known(&place(scheme, authority), checks).await?;
        self.connects(addresses, checks).await?;
        let probe = self.answers(scheme == "https", checks).await?;
        checks.push(self.clock(&probe));
        Some(())
    }

    async fn name_is_known(&self, place: &str, checks: &mut Vec<Check>) -> Option<Vec<SocketAddr>> {
        let name = self.named("dns");
        if let Ok(address) = place.parse() {
            checks.push(Check::skipped(name, format!("{place} is an address, and no name")));
            return Some(vec![address]);
        }
        let host = place.rsplit_once(':').map_or(place, |(host, _)| host).to_owned();
        let asked = place.to_owned();
        let found = within(async move { lookup_host(asked).await.map(Vec::from_iter) }).await;
        let problem = match found {
            Ok(Ok(addresses)) if !addresses.is_empty() => {
                let count = addresses.len();
                checks.push(Check::ok(name, format!("{host} is known, addresses: {count}")));
                return Some(addresses);
            }
            Ok(Ok(_)) => "it has no address".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(problem) => problem,
        };
        let finding = format!("{host} is not found: {problem}");
        let remedy = "look at this machine's name servers (`getent hosts` with that name)";
        checks.push(Check::new(name, self.down, finding, remedy));
        None
    }

    async fn connects(&self, addresses: Vec<SocketAddr>, checks: &mut Vec<Check>) -> Option<()> {
        let begun = Instant::now();
        let attempts = addresses.into_iter().map(|address| Box::pin(TcpStream::connect(address)));
        let connected = tokio::time::timeout(CONNECT_WITHIN, select_ok(attempts)).await;
        let problem = match connected {
            Ok(Ok((stream, _))) => {
                let address = stream.peer_addr();
                let address = address.map(|address| address.to_string()).unwrap_or_default();
                let took = begun.elapsed().as_millis();
                let finding = format!("{address} took the connection in {took} ms");
                checks.push(Check::ok(self.named("tcp"), finding));
                return Some(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {} s", CONNECT_WITHIN.as_secs()),
        };
        let finding = format!("{} cannot be connected to: {problem}", self.url);
        let remedy = "open the way out to it: firewall, route, address";
        checks.push(Check::new(self.named("tcp"), self.down, finding, remedy));
        None
    }

    async fn answers(&self, is_tls: bool, checks: &mut Vec<Check>) -> Option<Probe> {
        let timeouts =
            Timeouts { connect: CONNECT_WITHIN, call: ANSWER_WITHIN, ..Timeouts::default() };
        let probed = match Client::with_timeouts(&self.url, None, timeouts) {
            Ok(client) => client.probe().await,
            Err(_) => Err(ProbeError::Connection),
        };
        let tls = self.named("tls");
        checks.push(match probed {
            _ if !is_tls => Check::skipped(tls, "an http:// host has none"),
            // TCP has just been seen to work.
            Err(ProbeError::Connection) => {
                let finding = format!("TLS with {} fails", self.url);
                let remedy = "look for a proxy in between, a wrong clock, missing CA certificates \
                              (the package ca-certificates)";
                Check::new(tls, self.down, finding, remedy)
            }
            Err(_) => Check::skipped(tls, "the host did not answer"),
            Ok(_) => Check::ok(tls, "the host's certificate is good"),
        });
        let name = self.named("answer");
        match probed {
            Ok(probe) => {
                checks.push(answered(name, &probe));
                Some(probe)
            }
            Err(ProbeError::Connection) if is_tls => None,
            Err(problem) => {
                let finding = format!("GET / of {}: {problem}", self.url);
                let remedy = "ask again in a minute; if it stays, look at the way out and at \
                              WeChat's notices";
                checks.push(Check::new(name, self.down, finding, remedy));
                None
            }
        }
    }

    fn clock(&self, probe: &Probe) -> Check {
        match probe.date {
            // It was cut to the second: on average there was half of one more.
            Some(date) => {
                let theirs = date + time::Duration::milliseconds(500);
                let ours = OffsetDateTime::now_utc();
                clock::judged(self.named("clock"), ours, theirs, "the gateway's")
            }
            None => Check::skipped(self.named("clock"), "the answer has no Date"),
        }
    }

    fn named(&self, check: &str) -> String {
        format!("{}.{check}", self.name)
    }
}

fn answered(name: String, probe: &Probe) -> Check {
    let (took, status) = (probe.elapsed.as_millis(), probe.status);
    let finding = format!("GET / was answered in {took} ms, connection included (HTTP {status})");
    let status = CheckStatus::of(probe.elapsed, SLOW_ABOVE, Duration::MAX);
    Check::new(
        name,
        status,
        finding,
        "shops wait that long for pay parameters: look at the way out",
    )
}

/// `host:port` of a base URL.
fn place(scheme: &str, authority: &str) -> String {
    let authority = authority.trim_end_matches('/');
    let has_port = authority.rsplit_once(']').map_or(authority, |(_, port)| port).contains(':');
    match (has_port, scheme) {
        (true, _) => authority.to_owned(),
        (false, "https") => format!("{authority}:443"),
        (false, _) => format!("{authority}:80"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_port_of_its_scheme_unless_it_says_another() {
        assert_eq!(place("https", "api.mch.weixin.qq.com"), "api.mch.weixin.qq.com:443");
        assert_eq!(place("http", "127.0.0.1/"), "127.0.0.1:80");
        assert_eq!(place("http", "localhost:8090/"), "localhost:8090");
        assert_eq!(place("https", "[2001:db8::1]"), "[2001:db8::1]:443");
        assert_eq!(place("https", "[2001:db8::1]:8443"), "[2001:db8::1]:8443");
    }

    #[test]
    fn an_answer_is_slow_above_two_seconds_and_never_worse() {
        let status = |elapsed_ms| {
            let elapsed = Duration::from_millis(elapsed_ms);
            answered("a".to_owned(), &Probe { status: 404, elapsed, date: None }).status
        };
        assert_eq!([40, 2_000].map(status), [CheckStatus::Ok; 2]);
        assert_eq!([2_001, 4_999].map(status), [CheckStatus::Warn; 2]);
    }
}

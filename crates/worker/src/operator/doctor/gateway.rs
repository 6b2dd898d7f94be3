//! WeChat's hosts: name, connection, TLS, answer, clock. No key is used and no order is named.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::select_ok;
use futures_util::join;
use time::OffsetDateTime;
use tokio::net::{TcpStream, lookup_host};
use wechatpay_v2::client::{Client, Probe, ProbeError, Timeouts};

use super::clock;
use super::report::{Check, CheckStatus};
use super::timeout::with_timeout;

/// The same as the worker's own client.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Less than the timeout of a call, because `GET /` needs no processing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A quarter of the timeout of a call. WeChat usually answers within some hundred milliseconds, and
/// the shop waits for all of it.
const SLOW_ABOVE: Duration = Duration::from_secs(2);

pub(super) async fn checks(primary: String, backup: Option<String>) -> Vec<Check> {
    let backup = async {
        match backup {
            Some(url) => {
                Host { name: "gateway.backup", url, unusable: CheckStatus::Warn }.checks().await
            }
            None => vec![Check::skipped("gateway.backup", "WXPAY_GATEWAY_BACKUP_URL is not set")],
        }
    };
    let primary = Host { name: "gateway.primary", url: primary, unusable: CheckStatus::Bad };
    let (mut checks, backup) = join!(primary.checks(), backup);
    checks.extend(backup);
    checks
}

struct Host {
    name: &'static str,
    url: String,
    /// The status when it cannot be used: without the backup host, everything still works.
    unusable: CheckStatus,
}

impl Host {
    async fn checks(self) -> Vec<Check> {
        let mut checks = Vec::new();
        let reached = self.reach(&mut checks).await;
        if reached.is_none() {
            let why = "the host cannot be reached";
            for rest in ["dns", "tcp", "tls", "answer", "clock"].into_iter().skip(checks.len()) {
                checks.push(Check::skipped(self.named(rest), why));
            }
        }
        checks
    }

    /// Each step needs the one before; the first that fails ends the checks.
    async fn reach(&self, checks: &mut Vec<Check>) -> Option<()> {
        let (scheme, authority) = self.url.split_once("://")?;
        let addresses = self.resolves(&host_and_port(scheme, authority), checks).await?;
        self.connects(addresses, checks).await?;
        let probe = self.answers(scheme == "https", checks).await?;
        checks.push(self.clock(&probe));
        Some(())
    }

    async fn resolves(&self, address: &str, checks: &mut Vec<Check>) -> Option<Vec<SocketAddr>> {
        let name = self.named("dns");
        if let Ok(socket) = address.parse() {
            checks.push(Check::skipped(name, format!("{address} is an address, not a name")));
            return Some(vec![socket]);
        }
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned();
        let address = address.to_owned();
        let lookup = async move { lookup_host(address).await.map(Vec::from_iter) };
        let problem = match with_timeout(lookup).await {
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
        let remedy = "check this machine's name servers (`getent hosts` with that name)";
        checks.push(Check::new(name, self.unusable, finding, remedy));
        None
    }

    async fn connects(&self, addresses: Vec<SocketAddr>, checks: &mut Vec<Check>) -> Option<()> {
        let begun = Instant::now();
        let attempts = addresses.into_iter().map(|address| Box::pin(TcpStream::connect(address)));
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, select_ok(attempts)).await;
        let problem = match connected {
            Ok(Ok((stream, _))) => {
                let address = stream.peer_addr();
                let address = address.map(|address| address.to_string()).unwrap_or_default();
                let took = begun.elapsed().as_millis();
                let finding = format!("{address} accepted the connection in {took} ms");
                checks.push(Check::ok(self.named("tcp"), finding));
                return Some(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
        };
        let finding = format!("{} cannot be connected to: {problem}", self.url);
        let remedy = "allow connections to it: firewall, route, address";
        checks.push(Check::new(self.named("tcp"), self.unusable, finding, remedy));
        None
    }

    async fn answers(&self, is_tls: bool, checks: &mut Vec<Check>) -> Option<Probe> {
        let timeouts =
            Timeouts { connect: CONNECT_TIMEOUT, call: ANSWER_TIMEOUT, ..Timeouts::default() };
        let probed = match Client::with_timeouts(&self.url, None, timeouts) {
            Ok(client) => client.probe().await,
            Err(_) => Err(ProbeError::Connection),
        };
        let tls = self.named("tls");
        checks.push(match probed {
            _ if !is_tls => Check::skipped(tls, "an http:// host has no TLS"),
            // The TCP connection worked just before.
            Err(ProbeError::Connection) => {
                let finding = format!("TLS with {} fails", self.url);
                let remedy = "check for a proxy in between, a wrong clock, missing CA certificates \
                              (the package ca-certificates)";
                Check::new(tls, self.unusable, finding, remedy)
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
                let remedy = "run doctor again in a minute; if this stays, check the network \
                              and WeChat's notices";
                checks.push(Check::new(name, self.unusable, finding, remedy));
                None
            }
        }
    }

    fn clock(&self, probe: &Probe) -> Check {
        match probe.date {
            // `Date` is cut to the second: on average half a second is missing.
            Some(date) => {
                let theirs = date + time::Duration::milliseconds(500);
                let ours = OffsetDateTime::now_utc();
                clock::compare(self.named("clock"), ours, theirs, "the gateway's")
            }
            None => Check::skipped(self.named("clock"), "the answer has no Date"),
        }
    }

    fn named(&self, check: &str) -> String {
        format!("{}.{check}", self.name)
    }
}

fn answered(name: String, probe: &Probe) -> Check {
    let took = probe.elapsed.as_millis();
    let code = probe.status;
    let finding = format!("GET / was answered in {took} ms, connection included (HTTP {code})");
    let status = CheckStatus::of(probe.elapsed, SLOW_ABOVE, Duration::MAX);
    let remedy = "shops wait this long for payment parameters: check the network";
    Check::new(name, status, finding, remedy)
}

/// `host:port` of a base URL.
fn host_and_port(scheme: &str, authority: &str) -> String {
    let authority = authority.trim_end_matches('/');
    let has_port = authority.rsplit_once(']').map_or(authority, |(_, port)| port).contains(':');
    if has_port {
        return authority.to_owned();
    }
    let port = if scheme == "https" { 443 } else { 80 };
    format!("{authority}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_defaults_to_the_one_of_the_scheme() {
        assert_eq!(host_and_port("https", "api.mch.weixin.qq.com"), "api.mch.weixin.qq.com:443");
        assert_eq!(host_and_port("http", "127.0.0.1/"), "127.0.0.1:80");
        assert_eq!(host_and_port("http", "localhost:8090/"), "localhost:8090");
        assert_eq!(host_and_port("https", "[2001:db8::1]"), "[2001:db8::1]:443");
        assert_eq!(host_and_port("https", "[2001:db8::1]:8443"), "[2001:db8::1]:8443");
    }

    #[test]
    fn answer_above_two_seconds_warns_and_is_never_bad() {
        let status = |elapsed_ms| {
            let elapsed = Duration::from_millis(elapsed_ms);
            answered("a".to_owned(), &Probe { status: 404, elapsed, date: None }).status
        };
        assert_eq!([40, 2_000].map(status), [CheckStatus::Ok; 2]);
        assert_eq!([2_001, 4_999].map(status), [CheckStatus::Warn; 2]);
    }
}

//! Which host a call goes to: the backup while the primary cannot be connected to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The primary and its backup, and whether the primary rests.
#[derive(Debug)]
pub(super) struct Hosts {
    primary: Host,
    backup: Option<Host>,
    rest: Duration,
    /// The primary could not be connected to: until then calls go past it.
    rests_until: Mutex<Option<Instant>>,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) url: String,
    sent: AtomicU64,
    unreachable: AtomicU64,
}

/// How one host was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostUse {
    /// Calls for which there was a connection, whatever came of it.
    pub sent: u64,
    /// Calls for which there was none.
    pub unreachable: u64,
}

impl Hosts {
    pub(super) fn new(primary: String, backup: Option<String>, rest: Duration) -> Self {
        let host = |url| Host { url, sent: AtomicU64::new(0), unreachable: AtomicU64::new(0) };
        let (primary, backup) = (host(primary), backup.map(host));
        Self { primary, backup, rest, rests_until: Mutex::default() }
    }

    /// The hosts in the order in which a call tries them. When the primary has rested, one call
    /// tries it again, and the others go past it until that one has had its connection.
    pub(super) fn in_order(&self, now: Instant) -> impl Iterator<Item = &Host> {
        let rests = self.backup.is_some() && self.rests(now);
        let primary = Some(&self.primary);
        let order = match rests {
            true => [self.backup.as_ref(), primary],
            false => [primary, self.backup.as_ref()],
        };
        order.into_iter().flatten()
    }

    pub(super) fn primary_url(&self) -> &str {
        &self.primary.url
    }

    pub(super) fn reached(&self, host: &Host) {
        host.sent.fetch_add(1, Ordering::Relaxed);
        if self.is_primary(host) {
            *self.rests_until() = None;
        }
    }

    pub(super) fn unreachable(&self, host: &Host, now: Instant) {
        host.unreachable.fetch_add(1, Ordering::Relaxed);
        if self.is_primary(host) {
            *self.rests_until() = Some(now + self.pause());
        }
    }

    pub(super) fn used(&self) -> Vec<HostUse> {
        let used = |host: &Host| HostUse {
            sent: host.sent.load(Ordering::Relaxed),
            unreachable: host.unreachable.load(Ordering::Relaxed),
        };
        [Some(&self.primary), self.backup.as_ref()].into_iter().flatten().map(used).collect()
    }

    fn rests(&self, now: Instant) -> bool {
        let mut rests_until = self.rests_until();
        match *rests_until {
            None => false,
            Some(until) if now < until => true,
            Some(_) => {
                // This call tries it; should it vanish, another will after the same rest.
                *rests_until = Some(now + self.pause());
                false
            }
        }
    }

    /// A quarter more or less, so that not every process tries in the same moment.
    fn pause(&self) -> Duration {
        let mut byte = [0];
        // Without chance they do, and nothing worse.
        let _ = getrandom::fill(&mut byte);
        self.rest * (192 + u32::from(byte[0]) / 2) / 256
    }

    fn is_primary(&self, host: &Host) -> bool {
        std::ptr::eq(host, &raw const self.primary)
    }

    fn rests_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(30);

    fn order(hosts: &Hosts, now: Instant) -> Vec<&str> {
        hosts.in_order(now).map(|host| &*host.url).collect()
    }

    fn pair() -> Hosts {
        Hosts::new("first".to_owned(), Some("second".to_owned()), REST)
    }

    #[test]
    fn a_primary_without_connection_rests_and_one_call_tries_it_again() {
        let (hosts, now) = (pair(), Instant::now());
        assert_eq!(order(&hosts, now), ["first", "second"]);
        hosts.unreachable(&hosts.primary, now);
        let later = now + REST * 74 / 100;
        assert_eq!(order(&hosts, later), ["second", "first"]);
        let rested = now + REST * 126 / 100;
        assert_eq!(order(&hosts, rested), ["first", "second"]);
        assert_eq!(order(&hosts, rested), ["second", "first"]);
        hosts.reached(&hosts.primary);
        assert_eq!(order(&hosts, rested), ["first", "second"]);
        let used = hosts.used();
        assert_eq!(used[0], HostUse { sent: 1, unreachable: 1 });
        assert_eq!(used[1], HostUse::default());
    }

    #[test]
    fn a_call_that_tried_and_vanished_is_followed_by_another() {
        let (hosts, now) = (pair(), Instant::now());
        hosts.unreachable(&hosts.primary, now);
        let rested = now + REST * 2;
        assert_eq!(order(&hosts, rested), ["first", "second"]);
        assert_eq!(order(&hosts, rested + REST * 2), ["first", "second"]);
    }

    #[test]
    fn a_host_that_is_alone_is_always_tried_and_a_dead_backup_never_rests() {
        let now = Instant::now();
        let alone = Hosts::new("first".to_owned(), None, REST);
        alone.unreachable(&alone.primary, now);
        assert_eq!(order(&alone, now), ["first"]);
        let hosts = pair();
        hosts.unreachable(hosts.backup.as_ref().unwrap(), now);
        assert_eq!(order(&hosts, now), ["first", "second"]);
    }
}

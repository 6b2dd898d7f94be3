//! Which host a call goes to: the primary, or the backup while the primary has a cooldown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Hosts {
    primary: Host,
    backup: Option<Host>,
    cooldown: Duration,
    /// Set when no connection to the primary could be made. Until then calls avoid it.
    cooldown_until: Mutex<Option<Instant>>,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) url: String,
    sent: AtomicU64,
    unreachable: AtomicU64,
}

/// How often one host was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostUse {
    /// Calls that had a connection, whatever their outcome.
    pub sent: u64,
    /// Calls for which no connection could be made.
    pub unreachable: u64,
}

impl Hosts {
    pub(super) fn new(primary: String, backup: Option<String>, cooldown: Duration) -> Self {
        Self {
            primary: Host::new(primary),
            backup: backup.map(Host::new),
            cooldown,
            cooldown_until: Mutex::default(),
        }
    }

    /// The hosts in the order in which a call tries them. After the cooldown one call tries the
    /// primary first; the others keep avoiding it until that call had a connection.
    pub(super) fn in_order(&self, now: Instant) -> impl Iterator<Item = &Host> {
        let order = if self.backup.is_some() && self.avoids_primary(now) {
            [self.backup.as_ref(), Some(&self.primary)]
        } else {
            [Some(&self.primary), self.backup.as_ref()]
        };
        order.into_iter().flatten()
    }

    pub(super) fn primary_url(&self) -> &str {
        &self.primary.url
    }

    pub(super) fn record_connected(&self, host: &Host) {
        host.sent.fetch_add(1, Ordering::Relaxed);
        if self.is_primary(host) {
            *self.cooldown_until() = None;
        }
    }

    pub(super) fn record_unreachable(&self, host: &Host, now: Instant) {
        host.unreachable.fetch_add(1, Ordering::Relaxed);
        if self.is_primary(host) {
            *self.cooldown_until() = Some(now + self.jittered_cooldown());
        }
    }

    pub(super) fn usage(&self) -> Vec<HostUse> {
        [Some(&self.primary), self.backup.as_ref()].into_iter().flatten().map(Host::usage).collect()
    }

    fn avoids_primary(&self, now: Instant) -> bool {
        let mut cooldown_until = self.cooldown_until();
        match *cooldown_until {
            None => false,
            Some(until) if now < until => true,
            Some(_) => {
                // This call tries the primary. If it is cancelled, another one does after the next
                // cooldown.
                *cooldown_until = Some(now + self.jittered_cooldown());
                false
            }
        }
    }

    /// Three to five quarters of the cooldown, so that processes do not all try at the same time.
    fn jittered_cooldown(&self) -> Duration {
        let mut byte = [0];
        // Without randomness they do try at the same time, which is harmless.
        let _ = getrandom::fill(&mut byte);
        self.cooldown * (192 + u32::from(byte[0]) / 2) / 256
    }

    fn is_primary(&self, host: &Host) -> bool {
        std::ptr::eq(host, &raw const self.primary)
    }

    fn cooldown_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.cooldown_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    fn new(url: String) -> Self {
        Self { url, sent: AtomicU64::new(0), unreachable: AtomicU64::new(0) }
    }

    fn usage(&self) -> HostUse {
        HostUse {
            sent: self.sent.load(Ordering::Relaxed),
            unreachable: self.unreachable.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(30);

    fn order(hosts: &Hosts, now: Instant) -> Vec<&str> {
        hosts.in_order(now).map(|host| &*host.url).collect()
    }

    fn primary_and_backup() -> Hosts {
        Hosts::new("first".to_owned(), Some("second".to_owned()), COOLDOWN)
    }

    #[test]
    fn one_call_tries_the_primary_after_its_cooldown() {
        let hosts = primary_and_backup();
        let now = Instant::now();
        assert_eq!(order(&hosts, now), ["first", "second"]);
        hosts.record_unreachable(&hosts.primary, now);
        let before_the_end = now + COOLDOWN * 74 / 100;
        assert_eq!(order(&hosts, before_the_end), ["second", "first"]);
        let after_the_end = now + COOLDOWN * 126 / 100;
        assert_eq!(order(&hosts, after_the_end), ["first", "second"]);
        assert_eq!(order(&hosts, after_the_end), ["second", "first"]);
        hosts.record_connected(&hosts.primary);
        assert_eq!(order(&hosts, after_the_end), ["first", "second"]);
        let usage = hosts.usage();
        assert_eq!(usage[0], HostUse { sent: 1, unreachable: 1 });
        assert_eq!(usage[1], HostUse::default());
    }

    #[test]
    fn another_call_tries_the_primary_if_the_first_was_cancelled() {
        let hosts = primary_and_backup();
        let now = Instant::now();
        hosts.record_unreachable(&hosts.primary, now);
        let after_the_end = now + COOLDOWN * 2;
        assert_eq!(order(&hosts, after_the_end), ["first", "second"]);
        assert_eq!(order(&hosts, after_the_end + COOLDOWN * 2), ["first", "second"]);
    }

    #[test]
    fn only_a_primary_with_a_backup_has_a_cooldown() {
        let now = Instant::now();
        let single = Hosts::new("first".to_owned(), None, COOLDOWN);
        single.record_unreachable(&single.primary, now);
        assert_eq!(order(&single, now), ["first"]);
        let hosts = primary_and_backup();
        hosts.record_unreachable(hosts.backup.as_ref().unwrap(), now);
        assert_eq!(order(&hosts, now), ["first", "second"]);
    }
}

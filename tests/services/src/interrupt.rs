//! Ctrl-C, SIGTERM and SIGHUP: they are recorded, and waits end early because of them.
//!
//! A program that does not call [`catch`] is never interrupted.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static RECEIVED: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// From now on the signals no longer end this process.
pub fn catch() -> io::Result<()> {
    let received = RECEIVED.get_or_init(Arc::default);
    for (signal, number) in [(SIGHUP, 1), (SIGINT, 2), (SIGTERM, 15)] {
        signal_hook::flag::register_usize(signal, Arc::clone(received), number)?;
    }
    Ok(())
}

/// A signal has come.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted {
    signal: u8,
}

impl Interrupted {
    /// The exit code that a shell gives to a program ended by the signal.
    pub fn exit_code(self) -> u8 {
        128 + self.signal
    }

    /// Ctrl-C reaches every process of the terminal, the other signals only this one.
    pub(crate) fn is_from_terminal(self) -> bool {
        i32::from(self.signal) == SIGINT
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted by signal {}", self.signal)
    }
}

impl std::error::Error for Interrupted {}

/// Fails if a signal has come.
pub(crate) fn check() -> Result<(), Interrupted> {
    let received = RECEIVED.get().map_or(0, |received| received.load(Ordering::Relaxed));
    match u8::try_from(received) {
        Ok(0) | Err(_) => Ok(()),
        Ok(signal) => Err(Interrupted { signal }),
    }
}

/// Waits for a short time. It fails if a signal has come, which ends the sleep early or not: no
/// caller waits longer than a fifth of a second.
pub(crate) fn pause(duration: Duration) -> Result<(), Interrupted> {
    check()?;
    sleep(duration);
    check()
}

/// The same while cleaning up, which nothing interrupts.
#[expect(clippy::disallowed_methods, reason = "there is no runtime here")]
pub(crate) fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

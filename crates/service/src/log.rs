//! Log lines on stderr: readable on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};
use std::panic;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

/// The crates of this workspace that log. Their lines hold no secret at any level.
const OUR_CRATES: [&str; 8] = [
    "broker",
    "ingress",
    "service",
    "simulator",
    "worker",
    "wxpay_ingress",
    "wxpay_simulator",
    "wxpay_worker",
];

/// Which lines are written (`WXPAY_LOG`), in the syntax of `tracing-subscriber`'s `EnvFilter`:
/// `info`, or `info,ingress=debug`.
#[derive(Clone, Debug)]
pub struct LogFilter(String);

impl LogFilter {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err("must be a level (error, warn, info, debug, trace), or several of \
                           target=level with commas between them"),
        }
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

/// Starts logging for this process. A second call changes nothing.
pub fn start(filter: &LogFilter) {
    let lines = if stderr().is_terminal() {
        fmt::layer().with_writer(stderr).boxed()
    } else {
        fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(stderr).boxed()
    };
    let wanted = EnvFilter::builder().parse_lossy(&filter.0);
    // The libraries see this level too, so that filtered lines cost them nothing.
    let most_verbose = wanted.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let harmless = filter_fn(move |line| *line.level() <= most_verbose && is_harmless(line));
    // These filter the whole registry, not one layer. Filters of one layer lose one of our lines
    // after each line that a library wrote through the crate `log` and that was refused.
    let filtered = registry().with(wanted).with(harmless.with_max_level_hint(most_verbose));
    if filtered.with(lines).try_init().is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
}

/// Whether a line may be written, if the filter allows it, too. Below `info` a library may log what
/// passes through it, and its next version may begin to. The AMQP client does so from `warn` on,
/// with returned messages, and at `trace` with whole frames.
#[must_use]
pub fn is_harmless(line: &Metadata<'_>) -> bool {
    let crate_name = line.target().split("::").next().unwrap_or_default();
    let most_verbose = if crate_name == "lapin" { Level::ERROR } else { Level::INFO };
    *line.level() <= most_verbose || OUR_CRATES.contains(&crate_name)
}

/// Logs only literal messages: a message made at run time may quote what was received.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let message = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("…");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(location, "panicked: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_is_a_level_or_targets_with_levels() {
        for good in ["info", "info,ingress=debug", "trace,lapin::channel=trace"] {
            assert!(LogFilter::parse(good).is_ok(), "{good}");
        }
        let refused = LogFilter::parse("s3cret=loud").unwrap_err();
        assert!(!refused.contains("s3cret"), "{refused}");
    }
}

//! Log lines: on stderr, for people when it is a terminal, as JSON otherwise.

use std::{
    io::{IsTerminal, stderr},
    panic,
};

use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{ParseError, filter_fn},
    fmt,
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

/// The crates that log and are ours: their lines hold no secret, whatever the level.
const OURS: [&str; 3] = ["broker", "worker", "wxpay_worker"];

/// Starts logging for this process. Once; a second call, from a second worker in one test process,
/// changes nothing.
///
/// # Errors
/// When `filter` is no filter of tracing-subscriber.
pub fn start_logging(filter: &str) -> Result<(), ParseError> {
    let wanted = EnvFilter::try_new(filter)?;
    // Said to the libraries, too, so that what nobody wants costs them nothing.
    let most = wanted.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let harmless = filter_fn(move |line| *line.level() <= most && is_harmless(line));
    let lines = if stderr().is_terminal() {
        fmt::layer().with_writer(stderr).boxed()
    } else {
        fmt::layer().json().flatten_event(true).with_writer(stderr).boxed()
    };
    // Filters of everything and not of one layer: those lose a line of ours after each that a
    // library wanted to write through the crate `log` and that was refused.
    let filtered = registry().with(wanted).with(harmless.with_max_level_hint(most));
    if filtered.with(lines).try_init().is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// Whether a line may be written, whatever the filter says. Below `info` a library may log what
/// passes through it, and the next version of it may begin to; the AMQP client does so from `warn`
/// on, with returned messages, and at `trace` with whole frames.
pub fn is_harmless(line: &Metadata<'_>) -> bool {
    let room = line.target().split("::").next().unwrap_or_default();
    let most = if room == "lapin" { Level::ERROR } else { Level::INFO };
    *line.level() <= most || OURS.contains(&room)
}

/// A message made at run time may quote what was received; a literal cannot.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let message = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("…");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(location, "panicked: {message}");
}

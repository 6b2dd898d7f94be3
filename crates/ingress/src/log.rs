//! Log lines: on stderr, for people when it is a terminal, as JSON otherwise.

use std::{
    io::{IsTerminal, stderr},
    panic,
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    fmt,
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

/// Which lines are written (`WXPAY_LOG`), in the syntax of `tracing-subscriber`'s `EnvFilter`:
/// `info`, or `info,ingress=debug`.
#[derive(Clone, Debug)]
pub struct LogFilter(String);

impl LogFilter {
    /// # Errors
    /// With the rule, when the text is no filter.
    pub fn parse(text: &str) -> Result<Self, String> {
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err("must be a level (error, warn, info, debug, trace), or several of \
                           target=level with commas between them"
                .to_owned()),
        }
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

/// Starts logging for this process. Once; a second call changes nothing.
pub fn init(filter: &LogFilter) {
    let lines = if stderr().is_terminal() {
        fmt::layer().with_writer(stderr).boxed()
    } else {
        let json = fmt::layer().json().flatten_event(true);
        json.with_writer(stderr).boxed()
    };
    let wanted = EnvFilter::builder().parse_lossy(&filter.0);
    let lines = lines.with_filter(wanted.and(filter_fn(is_harmless)));
    if registry().with(lines).try_init().is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
}

/// The AMQP client logs returned messages and frames with what is in them. No setting makes those
/// lines appear.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    *metadata.level() == Level::ERROR || !metadata.target().starts_with("lapin")
}

/// A message made at run time may quote what was received; a literal cannot.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let message = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("…");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(location, "panicked: {message}");
}

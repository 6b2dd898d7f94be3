use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Waits for Ctrl-C, SIGTERM or SIGHUP, and returns the exit code that a shell gives to a program
/// ended by that signal. If signals cannot be caught it never returns, and they end the program.
pub async fn interrupted() -> u8 {
    match first_signal().await {
        Ok(signal) => 128 + signal,
        Err(_) => std::future::pending().await,
    }
}

async fn first_signal() -> io::Result<u8> {
    // A start of servers runs on a thread of its own, which must end as well.
    services::interrupt::catch()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let signal = tokio::select! {
        _ = hangup.recv() => 1,
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    };
    Ok(signal)
}

//! The running gateway: its configuration, its state and its tasks. The state's mutex is never held
//! across an await.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Merchants};
use crate::error::ControlError;
use crate::faults::held::{HeldCall, WaitingCall};
use crate::state::State;

/// A running gateway. Clones share it.
#[derive(Clone)]
pub struct Simulator(Arc<Inner>);

struct Inner {
    config: Config,
    merchants: Merchants,
    state: Mutex<State>,
    http: reqwest::Client,
    sending: Semaphore,
    pending: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Shorter than an endpoint's usual one, so that a send rarely meets a closing connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Concurrent sends of notifications.
const SENDING_MAX: usize = 256;
/// Notifications that wait for their next send.
const PENDING_MAX: usize = 100_000;
/// Calls that wait to be released; beyond it, a call is not held.
const HELD_MAX: usize = 10_000;
/// How long the tasks may take to end after `stop`.
const STOP_GRACE: Duration = Duration::from_secs(3);

impl Simulator {
    pub(crate) fn new(config: Config, stop: CancellationToken) -> io::Result<Self> {
        if !Config::is_time_scale(config.time_scale) {
            return Err(io::Error::other("time_scale is out of range"));
        }
        // An error means that a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.notify_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(io::Error::other)?;
        let merchants = config.merchants.iter();
        let merchants = merchants.map(|m| (m.mch_id.clone(), Arc::new(m.clone())));
        Ok(Self(Arc::new(Inner {
            merchants: merchants.collect(),
            state: Mutex::new(State::new(config.orders_max)),
            http,
            sending: Semaphore::new(SENDING_MAX),
            pending: Arc::new(Semaphore::new(PENDING_MAX)),
            tasks: TaskTracker::new(),
            stop,
            config,
        })))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn merchants(&self) -> &Merchants {
        &self.0.merchants
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    /// Tracks every task, so that stopping can wait for them.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    pub(crate) fn stop_token(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// Waits until all tasks have ended, for `STOP_GRACE` at most.
    pub(crate) async fn wait_for_tasks(&self) {
        self.0.tasks.close();
        if tokio::time::timeout(STOP_GRACE, self.0.tasks.wait()).await.is_err() {
            tracing::warn!("stopped with connections still open");
        }
    }

    /// Bounds the notifications that wait for their next send.
    pub(crate) fn pending_permit(&self) -> Result<OwnedSemaphorePermit, ControlError> {
        let pending = Arc::clone(&self.0.pending).try_acquire_owned();
        pending.map_err(|_| ControlError::Busy)
    }

    /// Bounds the concurrent sends. Never `None`, because the semaphore is never closed.
    pub(crate) async fn sending_permit(&self) -> Option<SemaphorePermit<'_>> {
        self.0.sending.acquire().await.ok()
    }

    /// Waits until the call is released. `false` when the simulator stops first.
    pub(crate) async fn hold(&self, call: HeldCall) -> bool {
        let (release, released) = oneshot::channel();
        {
            let mut state = self.state();
            if state.waiting.len() >= HELD_MAX {
                return true;
            }
            state.waiting.push(WaitingCall { call, release });
        }
        self.0.stop.run_until_cancelled(released).await.is_some()
    }
}

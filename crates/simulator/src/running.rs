//! The core: what is configured, what is remembered, what runs. The state's mutex is never held
//! across an await.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::is_time_scale;
use crate::door::Merchants;
use crate::held::{Held, HeldCall};
use crate::notify::{Delivery, deliver};
use crate::state::State;
use crate::view::NotificationView;
use crate::{Config, ControlError};

/// A running gateway. Cheap to clone; all clones are the same gateway.
#[derive(Clone)]
pub struct Simulator(Arc<Core>);

struct Core {
    config: Config,
    merchants: Merchants,
    state: Mutex<State>,
    http: reqwest::Client,
    sending: Semaphore,
    pending: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Shorter than an endpoint's usual own, so that a send rarely meets a closing connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Sends of notifications at the same time.
const SENDING_MAX: usize = 256;
/// Notifications that wait for their next send.
const PENDING_MAX: usize = 100_000;
/// Calls that wait to be released; beyond, a call is not held.
const HELD_MAX: usize = 10_000;
/// How long what runs may take to end after `stop`.
const STOP_GRACE: Duration = Duration::from_secs(3);

impl Simulator {
    pub(crate) fn new(config: Config, stop: CancellationToken) -> io::Result<Self> {
        if !is_time_scale(config.time_scale) {
            return Err(io::Error::other("time_scale is out of range"));
        }
        // Failing means that a provider is installed already, which is as good.
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
        Ok(Self(Arc::new(Core {
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

    /// Everything that runs, so that stopping can wait for it.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// Waits until what runs has ended, or has had its time.
    pub(crate) async fn finish(&self) {
        self.0.tasks.close();
        if tokio::time::timeout(STOP_GRACE, self.0.tasks.wait()).await.is_err() {
            tracing::warn!("stopped with connections still open");
        }
    }

    /// A place among the notifications that wait.
    pub(crate) fn pending_permit(&self) -> Result<OwnedSemaphorePermit, ControlError> {
        let pending = Arc::clone(&self.0.pending).try_acquire_owned();
        pending.map_err(|_| ControlError::Busy)
    }

    /// A place among the sends; `None` never happens, because the semaphore is never closed.
    pub(crate) async fn sending_permit(&self) -> Option<SemaphorePermit<'_>> {
        self.0.sending.acquire().await.ok()
    }

    /// Starts to deliver a notification that is recorded.
    pub(crate) fn begin(&self, delivery: Delivery, pending: OwnedSemaphorePermit) {
        let (simulator, stop) = (self.clone(), self.0.stop.clone());
        self.0.tasks.spawn(async move {
            stop.run_until_cancelled(deliver(simulator, delivery)).await;
            drop(pending);
        });
    }

    /// Changes the record of a notification, if it is still kept.
    pub(crate) fn record(&self, delivery: &Delivery, change: impl FnOnce(&mut NotificationView)) {
        if let Some(record) = self.state().record_mut(&delivery.key, delivery.id) {
            change(record);
        }
    }

    /// Waits until the call is released. `false` when the simulator stops first.
    pub(crate) async fn hold(&self, call: HeldCall) -> bool {
        let (release, released) = oneshot::channel();
        {
            let mut state = self.state();
            if state.held.len() >= HELD_MAX {
                return true;
            }
            state.held.push(Held { call, release });
        }
        self.0.stop.run_until_cancelled(released).await.is_some()
    }
}

//! The task that owns a publisher's channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::connection::Connection;
use crate::connection::backoff::Backoff;
use crate::connection::session::{ConnectionState, Session};
use crate::error::{BrokerError, is_not_found};
use crate::error_deduplicator::ErrorDeduplicator;
use crate::publish::channel::PublishChannel;
use crate::publish::error::NotSentReason;
use crate::publish::replies::Replies;
use crate::publish::request::PublishRequest;

/// Written in one go before confirms are collected again.
const BATCH_MAX: usize = 256;
/// The library does not report every way in which a channel can end, so it is polled too.
const STATUS_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What the handles of a publisher can see of its task.
#[derive(Default)]
pub(super) struct PublishStatus {
    pub(super) in_flight: AtomicUsize,
    pub(super) channels_ended: AtomicU64,
}

pub(super) struct PublishTask {
    connection: Connection,
    requests: mpsc::Receiver<PublishRequest>,
    in_flight_max: usize,
    status: Arc<PublishStatus>,
    replies: Option<Replies>,
}

/// Why the task stopped using a channel.
#[derive(PartialEq, Eq)]
enum End {
    /// Every handle on the publisher has been dropped.
    Unused,
    Broken,
}

impl PublishTask {
    pub(super) fn new(
        connection: Connection,
        requests: mpsc::Receiver<PublishRequest>,
        in_flight_max: usize,
        status: Arc<PublishStatus>,
        replies: Option<Replies>,
    ) -> Self {
        let in_flight_max = in_flight_max.max(1);
        Self { connection, requests, in_flight_max, status, replies }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        let mut errors = ErrorDeduplicator::default();
        while let Some(session) = self.next_session().await {
            // While a channel is being opened, messages wait in the queue.
            let open = PublishChannel::open(&session, self.replies.clone());
            let opened = tokio::select! {
                opened = open => opened,
                () = self.connection.lost(&session) => continue,
            };
            match opened {
                Ok(channel) => {
                    errors.reset();
                    let since = Instant::now();
                    if self.serve(&session, channel).await == End::Unused {
                        return;
                    }
                    backoff.reset_after(since.elapsed());
                }
                Err(error) => self.log_error(&error, &mut errors),
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = self.connection.lost(&session) => {}
            }
        }
    }

    /// Waits for a session and refuses messages until there is one. `None` when every handle on the
    /// publisher has been dropped.
    async fn next_session(&mut self) -> Option<Session> {
        loop {
            tokio::select! {
                biased;
                session = self.connection.usable_session() => return Some(session),
                request = self.requests.recv() => {
                    request?.refuse(match self.connection.current_state() {
                        ConnectionState::Blocked => NotSentReason::Blocked,
                        ConnectionState::Down | ConnectionState::Up => NotSentReason::NoBroker,
                    });
                }
            }
        }
    }

    async fn serve(&mut self, session: &Session, mut channel: PublishChannel) -> End {
        let mut state = self.connection.state();
        let mut status_check = interval(STATUS_CHECK_INTERVAL);
        status_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut unused = false;
        while channel.is_usable() && self.connection.is_current(session) {
            // A blocked connection delivers what was written to it after the alarm, when its caller
            // has long been told otherwise. So nothing is written to it.
            let blocked = match *state.borrow_and_update() {
                ConnectionState::Up => false,
                ConnectionState::Blocked => true,
                ConnectionState::Down => break,
            };
            if blocked || channel.in_flight() == 0 {
                channel.reset_stall_timer();
            }
            let capacity = if blocked {
                BATCH_MAX
            } else {
                self.in_flight_max.saturating_sub(channel.in_flight()).min(BATCH_MAX)
            };
            tokio::select! {
                // The state first: after a change no caller may get the old state's answer.
                biased;
                _ = state.changed() => {}
                count = self.requests.recv_many(&mut batch, capacity), if capacity > 0 && !unused => {
                    unused = count == 0;
                    self.add_ready(&mut batch, capacity).await;
                    let blocked = *state.borrow() == ConnectionState::Blocked || blocked;
                    for request in batch.drain(..) {
                        if blocked {
                            request.refuse(NotSentReason::Blocked);
                        } else {
                            channel.write(request).await;
                        }
                    }
                }
                () = channel.next_event() => {}
                _ = status_check.tick() => {}
            }
            channel.collect();
            self.status.in_flight.store(channel.in_flight(), Ordering::Relaxed);
            if unused && channel.in_flight() == 0 {
                break;
            }
        }
        self.give_up(session, channel);
        if unused { End::Unused } else { End::Broken }
    }

    /// Lets the callers that are ready add their messages: written together, they cost the library
    /// and the broker fewer wake-ups.
    async fn add_ready(&mut self, batch: &mut Vec<PublishRequest>, capacity: usize) {
        tokio::task::yield_now().await;
        while batch.len() < capacity
            && let Ok(request) = self.requests.try_recv()
        {
            batch.push(request);
        }
    }

    fn give_up(&self, session: &Session, channel: PublishChannel) {
        self.status.in_flight.store(0, Ordering::Relaxed);
        self.status.channels_ended.fetch_add(1, Ordering::Relaxed);
        let Some(error) = channel.give_up() else {
            return;
        };
        // The supervisor logs the loss of the whole connection.
        if self.connection.is_current(session) {
            let connection = self.connection.name();
            tracing::warn!(connection, %error, "lost the publishing channel; opening a new one");
            if is_not_found(&error) {
                self.connection.recheck_topology();
            }
        }
    }

    fn log_error(&self, error: &BrokerError, errors: &mut ErrorDeduplicator) {
        if let Some(error) = errors.changed(error) {
            let connection = self.connection.name();
            tracing::error!(connection, "cannot open a publishing channel, retrying: {error}");
        }
    }
}

//! The task that owns a publisher's channel.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{NotSentReason, channel::PublishChannel, job::Job};
use crate::{
    BrokerError, Connection, ConnectionState, complaint::Complaint, connection::Session,
    delays::Delays, error::is_not_found, replies::Replies,
};

/// Written in one go before confirms are looked at again.
const BATCH_MAX: usize = 256;
/// The channel is also looked at when nothing happens on it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Actor {
    connection: Connection,
    jobs: mpsc::Receiver<Job>,
    in_flight_max: usize,
    in_flight: Arc<AtomicUsize>,
    replies: Option<Replies>,
}

/// Why a channel was left.
#[derive(PartialEq, Eq)]
enum Left {
    /// No handle on the publisher is left.
    Unused,
    Broken,
}

impl Actor {
    pub(super) fn new(
        connection: Connection,
        jobs: mpsc::Receiver<Job>,
        in_flight_max: usize,
        in_flight: Arc<AtomicUsize>,
        replies: Option<Replies>,
    ) -> Self {
        Self { connection, jobs, in_flight_max: in_flight_max.max(1), in_flight, replies }
    }

    pub(super) async fn run(mut self) {
        let (mut delays, mut complaint) = (Delays::new(), Complaint::default());
        while let Some(session) = self.next_session().await {
            // While a channel is being opened, messages wait in the queue.
            let open = PublishChannel::open(&session, self.replies.clone());
            let opened = tokio::select! {
                opened = open => opened,
                () = self.connection.lost(&session) => continue,
            };
            match opened {
                Ok(channel) => {
                    complaint.settled();
                    let since = Instant::now();
                    if self.serve(&session, channel).await == Left::Unused {
                        return;
                    }
                    delays.reset_after(since.elapsed());
                }
                Err(problem) => self.complain(&problem, &mut complaint),
            }
            tokio::select! {
                () = sleep(delays.next()) => {}
                () = self.connection.lost(&session) => {}
            }
        }
    }

    /// Waits for a connection; meanwhile nobody is kept waiting for it. `None` when no handle on
    /// the publisher is left.
    async fn next_session(&mut self) -> Option<Session> {
        loop {
            tokio::select! {
                biased;
                session = self.connection.usable_session() => return Some(session),
                job = self.jobs.recv() => job?.refuse(match self.connection.current_state() {
                    ConnectionState::Blocked => NotSentReason::Blocked,
                    ConnectionState::Down | ConnectionState::Up => NotSentReason::NoBroker,
                }),
            }
        }
    }

    async fn serve(&mut self, session: &Session, mut channel: PublishChannel) -> Left {
        let mut state = self.connection.state();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut unused = false;
        while channel.is_sound() && self.connection.is_current(session) {
            // What is written on a blocked connection arrives when the alarm is over, long after
            // its caller has been told something else (engineering, finding 3).
            let blocked = match *state.borrow_and_update() {
                ConnectionState::Up => false,
                ConnectionState::Blocked => true,
                ConnectionState::Down => break,
            };
            if blocked || channel.in_flight() == 0 {
                channel.excuse();
            }
            let room = match blocked {
                true => BATCH_MAX,
                false => self.in_flight_max.saturating_sub(channel.in_flight()).min(BATCH_MAX),
            };
            tokio::select! {
                // The state first: whoever has seen it change must not be answered by the old one.
                biased;
                _ = state.changed() => {}
                count = self.jobs.recv_many(&mut batch, room), if room > 0 && !unused => {
                    unused = count == 0;
                    for job in batch.drain(..) {
                        match blocked {
                            true => job.refuse(NotSentReason::Blocked),
                            false => channel.write(job).await,
                        }
                    }
                }
                () = channel.happen() => {}
                _ = look.tick() => {}
            }
            channel.collect();
            self.in_flight.store(channel.in_flight(), Ordering::Relaxed);
            if unused && channel.in_flight() == 0 {
                break;
            }
        }
        self.leave(session, channel);
        if unused { Left::Unused } else { Left::Broken }
    }

    fn leave(&self, session: &Session, channel: PublishChannel) {
        self.in_flight.store(0, Ordering::Relaxed);
        let Some(error) = channel.give_up() else {
            return;
        };
        // The link itself tells when it was the connection.
        if self.connection.is_current(session) {
            tracing::warn!(connection = self.connection.name(), %error, "lost the publishing channel");
            if is_not_found(&error) {
                self.connection.doubt_topology();
            }
        }
    }

    fn complain(&self, problem: &BrokerError, complaint: &mut Complaint) {
        if let Some(news) = complaint.news(problem) {
            let connection = self.connection.name();
            tracing::error!(connection, "cannot publish, and keep trying: {news}");
        }
    }
}

//! Sends requests on many connections, as fast as they are answered or at a fixed rate.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::http::HttpConnection;
use crate::latency::Latencies;

/// Makes the next request; `None`: there are no more.
pub(crate) type NextRequest = Arc<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

/// What became of the requests that ended within the measured time.
pub(crate) struct Answers {
    /// Of the answers with the expected status.
    pub(crate) latencies: Latencies,
    /// The other answers, by status; 0 is none.
    pub(crate) others: BTreeMap<u16, u64>,
    pub(crate) elapsed: Duration,
}

/// Where and how requests are sent.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) to: SocketAddr,
    pub(crate) connections: usize,
    /// The status that counts.
    pub(crate) expected: u16,
}

impl Answers {
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// The latencies, and other answers if there were any.
impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.latencies)?;
        for (status, count) in &self.others {
            write!(f, ", {count} answered {status}")?;
        }
        Ok(())
    }
}

impl Load {
    /// Each connection sends its next request when the last one is answered. What ends before
    /// `warm_up` is over is not counted.
    pub(crate) async fn saturate(
        self,
        warm_up: Duration,
        within: Duration,
        next: NextRequest,
    ) -> Result<Answers> {
        let start = Instant::now() + warm_up;
        let end = start + within;
        let mut connections = JoinSet::new();
        for _ in 0..self.connections {
            let next = Arc::clone(&next);
            connections.spawn(async move {
                let mut connection = HttpConnection::to(self.to);
                let mut ends = Vec::new();
                while Instant::now() < end
                    && let Some(request) = next()
                {
                    let sent = Instant::now();
                    let status = connection.send(&request).await.unwrap_or_default();
                    ends.push(Sent { due: sent, answered: Instant::now(), status });
                }
                ends
            });
        }
        self.collect(connections, start, end).await
    }

    /// Sends `rate` requests a second, each at its time. A latency counts from that time, not from
    /// when a connection was free, so that a server that stops for a while does not look fast.
    pub(crate) async fn at_rate(
        self,
        rate: f64,
        within: Duration,
        next: NextRequest,
    ) -> Result<Answers> {
        let start = Instant::now();
        let end = start + within;
        let between = Duration::from_secs_f64(self.connections as f64 / rate);
        let mut connections = JoinSet::new();
        for n in 0..self.connections {
            let next = Arc::clone(&next);
            let first = start + between.mul_f64(n as f64 / self.connections as f64);
            connections.spawn(async move {
                let mut connection = HttpConnection::to(self.to);
                let mut ends = Vec::new();
                let mut due = first;
                while due < end {
                    sleep_until(due).await;
                    let Some(request) = next() else { break };
                    let status = connection.send(&request).await.unwrap_or_default();
                    ends.push(Sent { due, answered: Instant::now(), status });
                    due += between;
                }
                ends
            });
        }
        let late = end + Duration::from_secs(3600);
        let mut answers = self.collect(connections, start, late).await?;
        answers.elapsed = within;
        Ok(answers)
    }

    async fn collect(
        self,
        mut connections: JoinSet<Vec<Sent>>,
        start: Instant,
        end: Instant,
    ) -> Result<Answers> {
        let mut latencies = Vec::new();
        let mut others = BTreeMap::new();
        let mut last = start;
        while let Some(ends) = connections.join_next().await {
            for sent in ends?.into_iter().filter(|it| it.answered >= start) {
                last = last.max(sent.answered.min(end));
                if sent.status != self.expected {
                    *others.entry(sent.status).or_default() += 1;
                } else if sent.answered <= end {
                    latencies.push(sent.answered - sent.due);
                }
            }
        }
        // Shorter than the given time when the requests ran out.
        let elapsed = (last - start).max(Duration::from_millis(1));
        Ok(Answers { latencies: Latencies::of(latencies), others, elapsed })
    }
}

struct Sent {
    due: Instant,
    answered: Instant,
    status: u16,
}

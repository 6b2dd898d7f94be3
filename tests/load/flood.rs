//! Posts forged notifications at a fixed rate on persistent connections.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::forger::{Forger, Forgery};

/// Slightly fewer than the ingress allows one source.
const CONNECTIONS: u32 = 200;
/// Longer than the ingress takes for any answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Flood {
    pub(crate) rate: u32,
    pub(crate) within: Duration,
}

/// How many requests got which answer.
#[derive(Default)]
pub(crate) struct Answers {
    counts: BTreeMap<String, u64>,
    within: Duration,
}

impl Flood {
    /// Posts until the time is over.
    pub(crate) async fn run(&self, to: SocketAddr, forger: &Arc<Forger>) -> Answers {
        let start = Instant::now();
        let mut streams = JoinSet::new();
        for n in 0..CONNECTIONS {
            let each = Duration::from_secs(1) * CONNECTIONS / self.rate;
            let first = start + Duration::from_secs(1) * n / self.rate;
            streams.spawn(stream(to, Arc::clone(forger), first, each, start + self.within));
        }
        let mut total = Answers::default();
        while let Some(answers) = streams.join_next().await {
            for (answer, count) in answers.unwrap() {
                *total.counts.entry(answer).or_default() += count;
            }
        }
        total.within = start.elapsed();
        total
    }
}

/// Posts one connection's share of the requests. A late request is sent at once.
async fn stream(
    to: SocketAddr,
    forger: Arc<Forger>,
    first: Instant,
    each: Duration,
    end: Instant,
) -> BTreeMap<String, u64> {
    let mut answers = BTreeMap::new();
    let mut due = first;
    let mut connection = None;
    while due < end && Instant::now() < end {
        sleep_until(due).await;
        due += each;
        let answer = post(&mut connection, to, &forger.next()).await;
        let answer = answer.unwrap_or_else(|| {
            connection = None;
            "no answer".to_owned()
        });
        if answer == "no answer" {
            sleep(Duration::from_millis(10)).await;
        }
        *answers.entry(answer).or_default() += 1;
    }
    answers
}

/// The status of the answer. `None` when there is none; the connection is then unusable.
async fn post(
    connection: &mut Option<TcpStream>,
    to: SocketAddr,
    Forgery { path, body }: &Forgery,
) -> Option<String> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(connect(to).await?),
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: forged\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.ok()?;
    let by = Instant::now() + ANSWER_TIMEOUT;
    let mut read = Vec::with_capacity(512);
    loop {
        if timeout_at(by, stream.read_buf(&mut read)).await.ok()?.ok()? == 0 {
            return None;
        }
        let text = str::from_utf8(&read).ok()?;
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.ends_with("</xml>")
        {
            let status = head.split(' ').nth(1)?.to_owned();
            if head.contains("connection: close") {
                *connection = None;
            }
            return Some(status);
        }
    }
}

async fn connect(to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).ok()?;
    let stream = socket.connect(to).await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent: u64 = self.counts.values().sum();
        let rate = sent as f64 / self.within.as_secs_f64();
        write!(f, "{sent} sent in {:.1} s, {rate:.0}/s", self.within.as_secs_f64())?;
        for (answer, count) in &self.counts {
            write!(f, "; {answer}: {count}")?;
        }
        Ok(())
    }
}

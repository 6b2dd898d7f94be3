//! A small HTTP/1.1 client: one connection that is kept alive, one request at a time. It shares the
//! cores with what it measures, so it does nothing else.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any server here takes for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const CONTENT_LENGTH: &str = "content-length:";

pub(crate) struct HttpConnection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    read: Vec<u8>,
}

impl HttpConnection {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self { address, stream: None, read: Vec::with_capacity(4096) }
    }

    /// Sends a request and returns the status of the answer. A connection that the server closed
    /// while it was idle is made again, so the request may be sent twice.
    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<u16> {
        let is_reused = self.stream.is_some();
        let answer = timeout(ANSWER_TIMEOUT, self.exchange(request)).await;
        match answer.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
            Ok(status) => Ok(status),
            Err(error) if is_reused && error.kind() != ErrorKind::TimedOut => {
                self.stream = None;
                let answer = timeout(ANSWER_TIMEOUT, self.exchange(request)).await;
                answer.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
            }
            Err(error) => {
                self.stream = None;
                Err(error)
            }
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                self.stream.insert(stream)
            }
        };
        stream.write_all(request).await?;
        self.read.clear();
        let head = loop {
            if stream.read_buf(&mut self.read).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break Head::parse(&self.read[..end])?;
            }
        };
        while self.read.len() < head.bytes + head.content_length {
            if stream.read_buf(&mut self.read).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        if head.closes {
            self.stream = None;
        }
        Ok(head.status)
    }
}

struct Head {
    status: u16,
    content_length: usize,
    closes: bool,
    /// Its length with the empty line.
    bytes: usize,
}

impl Head {
    fn parse(head: &[u8]) -> io::Result<Self> {
        let invalid = || io::Error::from(ErrorKind::InvalidData);
        let text = str::from_utf8(head).map_err(|_| invalid())?.to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        // Nothing that is measured answers in chunks.
        let length = text.lines().find_map(|line| line.strip_prefix(CONTENT_LENGTH));
        let content_length = length.and_then(|length| length.trim().parse().ok());
        Ok(Self {
            status: status.ok_or_else(invalid)?,
            content_length: content_length.ok_or_else(invalid)?,
            closes: text.contains("\r\nconnection: close"),
            bytes: head.len() + 4,
        })
    }
}

/// The bytes of a request. `headers` are whole lines, each with its end.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()
}

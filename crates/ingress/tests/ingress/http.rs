//! A client that can misbehave: requests are written as bytes, by hand.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Far above any wait here; reaching it is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(crate) struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

pub(crate) fn get(path: impl Into<String>) -> Request {
    Request { method: "GET", path: path.into(), headers: Vec::new(), body: Vec::new() }
}

pub(crate) fn post(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Request {
    Request { method: "POST", body: body.into(), ..get(path) }
}

impl Request {
    pub(crate) fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Request line and headers, the length of the body among them.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: test\r\n", self.method, self.path);
        head += &format!("content-length: {}\r\n", self.body.len());
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        head.into_bytes()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }

    pub(crate) async fn send(&self, to: SocketAddr) -> Answer {
        self.send_on(Connection::open(to).await).await
    }

    pub(crate) async fn send_from(&self, from: &str, to: SocketAddr) -> Answer {
        self.send_on(Connection::open_from(from, to).await).await
    }

    pub(crate) async fn send_on(&self, mut connection: Connection) -> Answer {
        connection.write(&self.bytes()).await;
        connection.answer().await
    }
}

pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

/// A TCP or TLS stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Connection {
    pub(crate) async fn open(to: SocketAddr) -> Self {
        let stream = timeout(DEADLINE, TcpStream::connect(to)).await;
        Self::over(stream.expect("connects in time").expect("connects"))
    }

    /// From another address of this machine.
    pub(crate) async fn open_from(from: &str, to: SocketAddr) -> Self {
        let from: IpAddr = from.parse().expect("an address");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(from, 0)).expect("an address of this machine");
        let stream = timeout(DEADLINE, socket.connect(to)).await;
        Self::over(stream.expect("connects in time").expect("connects"))
    }

    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), unread: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let written = timeout(DEADLINE, self.stream.write_all(bytes)).await;
        written.expect("is read from in time").expect("is read from");
    }

    /// Writes one byte after the other until the peer closes the connection.
    pub(crate) async fn drip(&mut self, byte: u8) -> std::io::Error {
        loop {
            if let Err(error) = self.stream.write_all(&[byte]).await {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        timeout(DEADLINE, self.try_answer()).await.expect("answers in time").expect("answers")
    }

    /// Writes without reading, until the peer closes the connection.
    pub(crate) async fn pour(&mut self, bytes: &[u8]) -> std::io::Error {
        loop {
            if let Err(error) = self.stream.write_all(bytes).await {
                return error;
            }
        }
    }

    /// `None` when the connection is closed instead, even before the request is written.
    pub(crate) async fn try_ask(&mut self, bytes: &[u8]) -> Option<Answer> {
        self.stream.write_all(bytes).await.ok()?;
        timeout(DEADLINE, self.try_answer()).await.expect("is answered or closed in time")
    }

    /// The statuses of all answers until the peer closes the connection.
    pub(crate) async fn statuses(&mut self) -> Vec<u16> {
        let mut statuses = Vec::new();
        let reading = async {
            while let Some(answer) = self.try_answer().await {
                statuses.push(answer.status);
            }
        };
        timeout(DEADLINE, reading).await.expect("is closed in time");
        statuses
    }

    /// `None` when the connection is closed without an answer.
    pub(crate) async fn try_answer(&mut self) -> Option<Answer> {
        let head_bytes = loop {
            match find(&self.unread, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.read_more().await?,
            }
        };
        let head = String::from_utf8(self.unread.drain(..head_bytes).collect()).expect("UTF-8");
        let mut answer = Answer::parse(&head);
        let length = answer.header("content-length").map_or(0, |n| n.parse().expect("a length"));
        while self.unread.len() < length {
            self.read_more().await?;
        }
        answer.body = self.unread.drain(..length).collect();
        Some(answer)
    }

    async fn read_more(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.unread).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }

    /// Waits until the peer closes the connection.
    pub(crate) async fn closed(&mut self) {
        let end = async { while self.read_more().await.is_some() {} };
        timeout(DEADLINE, end).await.expect("ends in time");
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn parse(head: &str) -> Self {
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.and_then(|status| status.parse().ok()).expect("a status"),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: Vec::new(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Asserts that it is `FAIL` for WeChat, with this status.
    #[track_caller]
    pub(crate) fn assert_fail(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("text/xml"));
        assert!(self.text().contains("<return_code><![CDATA[FAIL]]></return_code>"));
    }

    /// Asserts that it is a problem of this kind, and returns it.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:wxpay-orders:problem:{kind}"));
        assert_eq!(problem["status"], status);
        problem
    }

    /// The fields that a problem names.
    pub(crate) fn wrong_fields(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().expect("errors");
        errors.iter().map(|error| error["field"].as_str().expect("a name").to_owned()).collect()
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

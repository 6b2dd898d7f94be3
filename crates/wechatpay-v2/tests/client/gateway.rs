use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use wechatpay_v2::{Fields, Limits, parse_xml};

/// A gateway on the loopback that sends exactly the bytes of its reply.
pub(crate) struct Gateway {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What the gateway does with a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Sends the bytes and closes the connection.
    Close(Vec<u8>),
    /// Sends the bytes and waits for the next request on the same connection.
    Keep(Vec<u8>),
    /// Sends the bytes, then nothing, and leaves the connection open.
    Silence(Vec<u8>),
    /// Closes the connection before it reads anything.
    Disconnect,
}

impl Received {
    pub(crate) fn fields(&self) -> Fields {
        parse_xml(&self.body, Limits::MESSAGE).unwrap()
    }
}

impl Gateway {
    pub(crate) async fn start(reply: Reply) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), reply)
    }

    pub(crate) fn serve(listener: TcpListener, reply: Reply) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, reply.clone(), Arc::clone(&seen)));
            }
        });
        Self { url, received }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

/// A port that refuses connections for as long as the socket lives.
pub(crate) fn closed_port() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    (socket, url)
}

async fn serve(mut stream: TcpStream, reply: Reply, seen: Arc<Mutex<Vec<Received>>>) {
    if matches!(reply, Reply::Disconnect) {
        return;
    }
    while let Some(request) = read_request(&mut stream).await {
        seen.lock().unwrap().push(request);
        match &reply {
            Reply::Disconnect => return,
            Reply::Close(bytes) => {
                let _ = stream.write_all(bytes).await;
                return;
            }
            Reply::Keep(bytes) => stream.write_all(bytes).await.unwrap(),
            Reply::Silence(bytes) => {
                let _ = stream.write_all(bytes).await;
                // Ends when the client gives up.
                let _ = stream.read(&mut [0]).await;
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length: usize = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                let body = bytes.split_off(end + 4);
                return Some(Received { head, body });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// An HTTP answer with its length.
pub(crate) fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

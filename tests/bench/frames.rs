//! Counts AMQP frames, as a proxy between the programs and the broker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use harness::environment::amqp_address;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Type, channel and length of a frame.
const HEADER_BYTES: usize = 7;
/// "AMQP" and a version, which a client sends before its first frame.
const PREAMBLE_BYTES: usize = 8;

pub(crate) struct FrameCounter {
    pub(crate) address: SocketAddr,
    frames: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl FrameCounter {
    pub(crate) async fn start() -> Result<Self> {
        let broker = amqp_address();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let frames: Arc<AtomicU64> = Arc::default();
        let counter = Arc::clone(&frames);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, broker.clone(), Arc::clone(&counter)));
            }
        });
        Ok(Self { address, frames, _task: AbortOnDropHandle::new(task) })
    }

    /// The frames in both directions so far.
    pub(crate) fn count(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }
}

async fn forward(client: TcpStream, broker: String, frames: Arc<AtomicU64>) -> io::Result<()> {
    let broker = TcpStream::connect(broker).await?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let sent = copy(from_client, to_broker, Frames::after(PREAMBLE_BYTES), &frames);
    let received = copy(from_broker, to_client, Frames::after(0), &frames);
    tokio::try_join!(sent, received).map(drop)
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut counted: Frames,
    frames: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        frames.fetch_add(counted.count(&buffer[..length]), Ordering::Relaxed);
        to.write_all(&buffer[..length]).await?;
    }
}

/// Where a stream stands: how much of the current frame is still to come.
struct Frames {
    remaining: usize,
    header: Vec<u8>,
}

impl Frames {
    fn after(remaining: usize) -> Self {
        Self { remaining, header: Vec::with_capacity(HEADER_BYTES) }
    }

    /// How many frames begin in these bytes. One whose header is cut counts with its last byte.
    fn count(&mut self, mut bytes: &[u8]) -> u64 {
        let mut count = 0;
        while !bytes.is_empty() {
            let skipped = self.remaining.min(bytes.len());
            self.remaining -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEADER_BYTES - self.header.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let [_, _, _, length @ ..] = &self.header[..]
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                // The payload and the byte that ends the frame.
                self.remaining = u32::from_be_bytes(length) as usize + 1;
                self.header.clear();
                count += 1;
            }
        }
        count
    }
}

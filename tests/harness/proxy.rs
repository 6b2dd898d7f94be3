//! A TCP proxy with network faults: it can delay, throttle, stall, reset and refuse connections.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// Forwards each connection to a target, in the current mode.
pub struct Proxy {
    pub address: SocketAddr,
    /// Connections go to these in turn.
    targets: Arc<Mutex<Vec<String>>>,
    mode: watch::Sender<(Mode, Cuts)>,
    _task: AbortOnDropHandle<()>,
}

/// What happens to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// Requests pass; answers wait until the proxy is open again.
    AnswersDelayed,
    /// Half-open: nothing passes until the proxy is open again, and no side is notified.
    Stalled,
    /// Each piece passes after this delay.
    Slow(Duration),
    /// At most this many bytes a second pass in each direction.
    Throttled(u32),
    /// Connections are reset and new ones refused.
    Closed,
}

/// How often all connections were reset.
type Cuts = u64;

const PIECE: usize = 64 * 1024;

impl Proxy {
    pub async fn to(target: String, open: bool) -> Self {
        Self::start(vec![target], open).await
    }

    /// An open proxy whose connections go to each target in turn.
    pub async fn to_each(targets: impl IntoIterator<Item = String>) -> Self {
        Self::start(targets.into_iter().collect(), true).await
    }

    async fn start(targets: Vec<String>, open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, receiver) = watch::channel((if open { Mode::Open } else { Mode::Closed }, 0));
        let targets = Arc::new(Mutex::new(targets));
        let current = Arc::clone(&targets);
        let task = tokio::spawn(async move {
            while let Ok((inside, _)) = listener.accept().await {
                let target = {
                    let mut targets = current.lock().unwrap();
                    targets.rotate_left(1);
                    targets[0].clone()
                };
                tokio::spawn(forward(inside, target, receiver.clone()));
            }
        });
        Self { address, targets, mode, _task: AbortOnDropHandle::new(task) }
    }

    /// Sends new connections to another target.
    pub fn set_target(&self, target: String) {
        *self.targets.lock().unwrap() = vec![target];
    }

    pub fn set_mode(&self, mode: Mode) {
        self.mode.send_modify(|now| now.0 = mode);
    }

    pub fn open(&self) {
        self.set_mode(Mode::Open);
    }

    /// Lets requests pass and delays answers until the proxy is open again.
    pub fn delay_answers(&self) {
        self.set_mode(Mode::AnswersDelayed);
    }

    /// Resets every connection and refuses new ones.
    pub fn close(&self) {
        self.set_mode(Mode::Closed);
    }

    /// Resets every connection and accepts new ones.
    pub fn cut(&self) {
        self.mode.send_modify(|now| now.1 += 1);
    }
}

async fn forward(mut inside: TcpStream, target: String, mut mode: watch::Receiver<(Mode, Cuts)>) {
    let (now, cuts) = *mode.borrow_and_update();
    if now == Mode::Closed {
        return;
    }
    let Ok(mut outside) = TcpStream::connect(target).await else {
        return;
    };
    let cut = {
        let (mut from_client, mut to_client) = inside.split();
        let (mut from_server, mut to_server) = outside.split();
        tokio::select! {
            _ = copy(&mut from_client, &mut to_server, mode.clone(), false) => false,
            _ = copy(&mut from_server, &mut to_client, mode.clone(), true) => false,
            _ = mode.wait_for(|(mode, now)| *mode == Mode::Closed || *now != cuts) => true,
        }
    };
    if cut {
        // A reset instead of an orderly close.
        let _ = inside.set_zero_linger();
        let _ = outside.set_zero_linger();
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut mode: watch::Receiver<(Mode, Cuts)>,
    are_answers: bool,
) -> io::Result<()> {
    let stops = |mode: Mode| mode == Mode::Stalled || (are_answers && mode == Mode::AnswersDelayed);
    let mut bytes = vec![0; PIECE];
    loop {
        let read = from.read(&mut bytes).await?;
        // The end of a connection waits as its bytes do.
        let _ = mode.wait_for(|(mode, _)| !stops(*mode)).await;
        if read == 0 {
            return Ok(());
        }
        let mut left = &bytes[..read];
        while !left.is_empty() {
            let (now, _) = *mode.borrow_and_update();
            let piece = match now {
                Mode::Slow(by) => {
                    sleep(by).await;
                    left.len()
                }
                Mode::Throttled(rate) => {
                    sleep(Duration::from_millis(100)).await;
                    left.len().min(rate as usize / 10 + 1)
                }
                _ => left.len(),
            };
            to.write_all(&left[..piece]).await?;
            left = &left[piece..];
        }
    }
}

//! A TCP proxy that can be aimed elsewhere, shut, slowed down, made to keep what it is given to
//! itself, and opened again.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// Forwards to one address while it is open.
pub struct Proxy {
    pub address: SocketAddr,
    /// Taken in turn.
    targets: Arc<Mutex<Vec<String>>>,
    way: watch::Sender<(Way, Cuts)>,
    _task: AbortOnDropHandle<()>,
}

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They pass.
    Open,
    /// What is sent passes; what is answered waits until it is opened again.
    Silent,
    /// Nothing passes until it is opened again, and nobody is told: half-open.
    Still,
    /// Each piece passes so much later.
    Slow(Duration),
    /// So many bytes a second pass, in each direction.
    Narrow(u32),
    /// No connection lives.
    Shut,
}

/// How often everything was cut.
type Cuts = u64;

const PIECE: usize = 64 * 1024;

impl Proxy {
    pub async fn to(target: String, open: bool) -> Self {
        Self::start(vec![target], open).await
    }

    /// An open one, whose connections go to each of these in turn.
    pub async fn to_each(targets: impl IntoIterator<Item = String>) -> Self {
        Self::start(targets.into_iter().collect(), true).await
    }

    async fn start(targets: Vec<String>, open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, receiver) = watch::channel((if open { Way::Open } else { Way::Shut }, 0));
        let targets = Arc::new(Mutex::new(targets));
        let aimed = Arc::clone(&targets);
        let task = tokio::spawn(async move {
            while let Ok((inside, _)) = listener.accept().await {
                let target = {
                    let mut targets = aimed.lock().unwrap();
                    targets.rotate_left(1);
                    targets[0].clone()
                };
                tokio::spawn(forward(inside, target, receiver.clone()));
            }
        });
        Self { address, targets, way, _task: AbortOnDropHandle::new(task) }
    }

    /// Sends new connections elsewhere.
    pub fn aim(&self, target: String) {
        *self.targets.lock().unwrap() = vec![target];
    }

    /// What becomes of every byte from now on.
    pub fn set(&self, way: Way) {
        self.way.send_modify(|now| now.0 = way);
    }

    /// Lets connections through.
    pub fn open(&self) {
        self.set(Way::Open);
    }

    /// Lets through what is sent, and holds back what is answered until it is opened again.
    pub fn silence(&self) {
        self.set(Way::Silent);
    }

    /// Cuts every connection and refuses new ones.
    pub fn shut(&self) {
        self.set(Way::Shut);
    }

    /// Cuts every connection, and takes new ones at once.
    pub fn cut(&self) {
        self.way.send_modify(|now| now.1 += 1);
    }
}

async fn forward(mut inside: TcpStream, target: String, mut way: watch::Receiver<(Way, Cuts)>) {
    let (now, cuts) = *way.borrow_and_update();
    if now == Way::Shut {
        return;
    }
    let Ok(mut outside) = TcpStream::connect(target).await else {
        return;
    };
    let cut = {
        let (mut questions, mut answered) = inside.split();
        let (mut answers, mut asked) = outside.split();
        tokio::select! {
            _ = carry(&mut questions, &mut asked, way.clone(), false) => false,
            _ = carry(&mut answers, &mut answered, way.clone(), true) => false,
            _ = way.wait_for(|(way, now)| *way == Way::Shut || *now != cuts) => true,
        }
    };
    if cut {
        // Without the parting words of TCP.
        let _ = inside.set_zero_linger();
        let _ = outside.set_zero_linger();
    }
}

async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut way: watch::Receiver<(Way, Cuts)>,
    answers: bool,
) -> io::Result<()> {
    let held = |way: Way| way == Way::Still || (answers && way == Way::Silent);
    let mut bytes = vec![0; PIECE];
    loop {
        let read = from.read(&mut bytes).await?;
        // The end of a connection waits as its bytes do.
        let _ = way.wait_for(|(way, _)| !held(*way)).await;
        if read == 0 {
            return Ok(());
        }
        let mut left = &bytes[..read];
        while !left.is_empty() {
            let (now, _) = *way.borrow_and_update();
            let piece = match now {
                Way::Slow(by) => {
                    sleep(by).await;
                    left.len()
                }
                Way::Narrow(rate) => {
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

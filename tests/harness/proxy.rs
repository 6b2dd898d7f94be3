//! A TCP proxy that can be shut, made to keep the answers to itself, and opened again.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Forwards to one address while it is open.
pub struct Proxy {
    pub address: SocketAddr,
    way: watch::Sender<Way>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Silent,
    Shut,
}

impl Proxy {
    pub async fn to(target: String, open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, receiver) = watch::channel(if open { Way::Open } else { Way::Shut });
        let task = tokio::spawn(async move {
            while let Ok((inside, _)) = listener.accept().await {
                tokio::spawn(forward(inside, target.clone(), receiver.clone()));
            }
        });
        Self { address, way, _task: AbortOnDropHandle::new(task) }
    }

    /// Lets connections through.
    pub fn open(&self) {
        self.way.send_replace(Way::Open);
    }

    /// Lets through what is sent, and holds back what is answered until it is opened again.
    pub fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    /// Cuts every connection and refuses new ones.
    pub fn shut(&self) {
        self.way.send_replace(Way::Shut);
    }
}

async fn forward(mut inside: TcpStream, target: String, mut way: watch::Receiver<Way>) {
    if *way.borrow_and_update() == Way::Shut {
        return;
    }
    let Ok(mut outside) = TcpStream::connect(target).await else {
        return;
    };
    let (mut questions, answered) = inside.split();
    let (answers, mut asked) = outside.split();
    tokio::select! {
        _ = tokio::io::copy(&mut questions, &mut asked) => {}
        _ = answer(answers, answered, way.clone()) => {}
        _ = way.wait_for(|way| *way == Way::Shut) => {}
    }
}

async fn answer(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut way: watch::Receiver<Way>,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut bytes).await?;
        let _ = way.wait_for(|way| *way != Way::Silent).await;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..read]).await?;
    }
}

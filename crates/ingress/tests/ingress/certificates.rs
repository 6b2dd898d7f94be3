//! Certificates made for one test, and a client that verifies them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ingress::Tls;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use uuid::Uuid;

use crate::http::{Connection, DEADLINE};

/// The two files, in a folder of their own.
pub(crate) struct Files {
    folder: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    /// Writes a new pair and returns its certificate, too.
    pub(crate) fn new() -> (Self, CertificateDer<'static>) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.join(format!("tls-{}", Uuid::now_v7().simple()));
        fs::create_dir_all(&folder).expect("a folder");
        let cert = folder.join("cert.pem");
        let key = folder.join("key.pem");
        let files = Self { folder, cert, key };
        let certificate = files.renew();
        (files, certificate)
    }

    /// Writes a new pair and returns its certificate.
    pub(crate) fn renew(&self) -> CertificateDer<'static> {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
        fs::write(&self.cert, pair.cert.pem()).expect("is written");
        fs::write(&self.key, pair.signing_key.serialize_pem()).expect("is written");
        pair.cert.der().clone()
    }

    pub(crate) fn read(&self) -> Tls {
        Tls::read(&self.cert, &self.key).expect("a pair")
    }

    pub(crate) fn settings(&self) -> [&str; 2] {
        [&self.cert, &self.key].map(|path| path.to_str().expect("UTF-8"))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A client that trusts this certificate and no other.
pub(crate) struct Client {
    config: ClientConfig,
}

impl Client {
    pub(crate) fn trusting(cert: &CertificateDer<'static>) -> Self {
        Self::with_versions(cert, rustls::DEFAULT_VERSIONS)
    }

    pub(crate) fn with_versions(
        cert: &CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(cert.clone()).expect("a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(versions).expect("versions");
        Self { config: builder.with_root_certificates(roots).with_no_client_auth() }
    }

    pub(crate) fn offering(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        self
    }

    pub(crate) async fn handshake(&self, to: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(to).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        timeout(DEADLINE, connector.connect(name, stream)).await.expect("ends in time")
    }

    pub(crate) async fn open(&self, to: SocketAddr) -> Connection {
        Connection::over(self.handshake(to).await.expect("a handshake"))
    }
}

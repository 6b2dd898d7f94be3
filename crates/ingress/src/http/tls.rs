//! TLS on a listener, from PEM files.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

/// A certificate with its key, and where they were read. Clones share what [`Self::reread`] finds.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    cert: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

/// What every handshake from now on shows.
struct Current(RwLock<Arc<CertifiedKey>>);

/// Why files cannot be used. Never repeats what stands in them: a key may stand where a
/// certificate belongs.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTls {
    /// The file of the certificate.
    #[error("the file of the certificate {0}")]
    Certificate(Complaint),
    /// The file of the key.
    #[error("the file of the key {0}")]
    Key(Complaint),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Complaint {
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("is not a PEM file of a certificate and those that vouch for it")]
    NoCertificate,
    #[error("is not a PEM file of a private key (RSA, ECDSA or Ed25519, without a password)")]
    NoKey,
    #[error("is not the key of the certificate")]
    Mismatch,
}

impl Tls {
    /// Reads both files: the certificate followed by those that vouch for it, and its key.
    ///
    /// # Errors
    /// When a file cannot be used, or the two do not belong together.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, InvalidTls> {
        // The same that every other connection of ours uses, and the only one in the build.
        let provider = Arc::new(ring::default_provider());
        let current = Arc::new(Current(RwLock::new(read(cert, key, &provider)?)));
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider has both versions");
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&current) as _;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (cert, key) = (cert.to_owned(), key.to_owned());
        Ok(Self(Arc::new(Inner { cert, key, current, config: Arc::new(config) })))
    }

    /// Reads the files again; handshakes from now on show what they hold. Connections that are
    /// open stay as they are.
    ///
    /// # Errors
    /// As [`Self::read`]; what was read before is then still shown.
    pub fn reread(&self) -> Result<(), InvalidTls> {
        let Inner { cert, key, current, config } = &*self.0;
        let new = read(cert, key, config.crypto_provider())?;
        *current.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.config))
    }
}

/// Paths only.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries([&self.0.cert, &self.0.key]).finish()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

fn read(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, InvalidTls> {
    let complain = InvalidTls::Certificate;
    let pem = fs::read(cert).map_err(|error| complain(Complaint::Unreadable(error)))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| complain(Complaint::NoCertificate))?;

    let complain = InvalidTls::Key;
    let pem = fs::read(key).map_err(|error| complain(Complaint::Unreadable(error)))?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| complain(Complaint::NoKey))?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|_| complain(Complaint::NoKey))?;

    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) => Ok(Arc::new(pair)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(complain(Complaint::Mismatch)),
        Err(_) => Err(InvalidTls::Certificate(Complaint::NoCertificate)),
    }
}

//! TLS on a listener, from PEM files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::{fmt, fs, io};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// A certificate with its key, and the files they are read from. Clones share what
/// [`Self::try_reload`] finds.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    cert: PathBuf,
    key: PathBuf,
    current: Arc<CurrentCertificate>,
    config: Arc<ServerConfig>,
}

/// The certificate that every new handshake presents.
struct CurrentCertificate(RwLock<Arc<CertifiedKey>>);

/// Which file cannot be used. Never repeats its content: a key may stand where a certificate
/// belongs.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTls {
    #[error("the file of the certificate {0}")]
    Certificate(PemError),
    #[error("the file of the key {0}")]
    Key(PemError),
}

#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("is not a PEM file of a certificate followed by its chain")]
    NoCertificate,
    #[error("is not a PEM file of a private key (RSA, ECDSA or Ed25519, without a password)")]
    NoKey,
    #[error("is not the key of the certificate")]
    Mismatch,
}

impl Tls {
    /// Reads both files: the certificate followed by its chain, and its key.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, InvalidTls> {
        // The provider of every other connection, and the only one in the build.
        let provider = Arc::new(ring::default_provider());
        let certificate = read_certificate(cert, key, &provider)?;
        let current = Arc::new(CurrentCertificate(RwLock::new(certificate)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&current) as _;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider has both versions")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let inner =
            Inner { cert: cert.to_owned(), key: key.to_owned(), current, config: Arc::new(config) };
        Ok(Self(Arc::new(inner)))
    }

    /// Reads the files again; new handshakes present what they hold. Open connections stay as they
    /// are. After an error the old certificate stays in use.
    pub fn try_reload(&self) -> Result<(), InvalidTls> {
        let Inner { cert, key, current, config } = &*self.0;
        let certificate = read_certificate(cert, key, config.crypto_provider())?;
        *current.0.write().unwrap_or_else(PoisonError::into_inner) = certificate;
        Ok(())
    }

    /// The same for a listener that may have no TLS; logs the result.
    pub fn reload(listener: &'static str, tls: Option<&Self>) {
        match tls.map(Self::try_reload) {
            None => {}
            Some(Ok(())) => tracing::info!(listener, "reread the certificate"),
            Some(Err(error)) => {
                tracing::error!(listener, "the old certificate stays in use: {error}");
            }
        }
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.config))
    }
}

/// Prints the paths and no key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries([&self.0.cert, &self.0.key]).finish()
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for CurrentCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CurrentCertificate")
    }
}

fn read_certificate(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, InvalidTls> {
    let chain = read_chain(cert).map_err(InvalidTls::Certificate)?;
    let key = read_key(key).map_err(InvalidTls::Key)?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|_| InvalidTls::Key(PemError::NoKey))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) => Ok(Arc::new(pair)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(InvalidTls::Key(PemError::Mismatch)),
        Err(_) => Err(InvalidTls::Certificate(PemError::NoCertificate)),
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let pem = fs::read(path).map_err(PemError::Unreadable)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or(PemError::NoCertificate)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let pem = fs::read(path).map_err(PemError::Unreadable)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| PemError::NoKey)
}

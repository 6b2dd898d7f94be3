//! Whom we take for the broker, over TLS.

use std::{fs, io, path::Path};

use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use rustls::pki_types::{CertificateDer, pem::PemObject};

/// Believes the authorities in a PEM file and nobody else, or those of the system without one. The
/// file is read for each connection: one that is replaced is used from the next one on.
pub(crate) fn connector(authorities: Option<&Path>) -> io::Result<RustlsConnector> {
    let config = match authorities {
        None => RustlsConnectorConfig::new_with_native_certs()?,
        Some(file) => RustlsConnectorConfig::default().with_parsable_certificates(read(file)?),
    };
    config.connector_with_no_client_auth()
}

/// The certificates in a PEM file: at least one.
pub(crate) fn read(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = fs::read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let wrong = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(wrong("holds no certificate".into())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(error.to_string())),
    }
}

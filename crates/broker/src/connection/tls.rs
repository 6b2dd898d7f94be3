//! Which certificate authorities may sign the broker's certificate.

use std::fs;
use std::io;
use std::path::Path;

use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Accepts only the authorities in the PEM file, or those of the system without a file. The file is
/// read for each connection, so that a replaced file counts from the next connection on.
pub(super) fn connector(ca_file: Option<&Path>) -> io::Result<RustlsConnector> {
    let config = match ca_file {
        None => RustlsConnectorConfig::new_with_native_certs()?,
        Some(file) => {
            RustlsConnectorConfig::default().with_parsable_certificates(read_certificates(file)?)
        }
    };
    config.connector_with_no_client_auth()
}

/// The certificates in a PEM file: at least one.
pub(super) fn read_certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = fs::read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(invalid("holds no certificate".into())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(invalid(error.to_string())),
    }
}

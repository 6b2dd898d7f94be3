//! A private certificate authority and its certificates.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use uuid::Uuid;

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A server certificate with its key.
pub(super) struct Certificate {
    pub(super) der: Vec<u8>,
    pub(super) pem: String,
    pub(super) key: KeyPair,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // Two authorities with one name would differ in their signatures only.
        let name = Uuid::new_v4().simple().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// A valid certificate for this name.
    pub(super) fn certificate_for(&self, name: &str) -> Certificate {
        self.certificate_until(name, 4000)
    }

    /// A certificate for this name, valid until the first day of this year.
    pub(super) fn certificate_until(&self, name: &str, until: i32) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Certificate { der: certificate.der().to_vec(), pem: certificate.pem(), key }
    }
}

//! A certificate authority, and everything it signed.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tempfile::TempDir;

/// Certificates for one test, in a directory that is removed with this.
pub struct Certificates {
    /// Signed every identity below but `other_client`.
    pub ca: PathBuf,
    /// Has nothing to do with `ca`, though it signed `other_client`.
    pub other_ca: PathBuf,
    /// For `localhost` and `127.0.0.1`.
    pub server: Identity,
    /// Valid, but for `elsewhere.test` only.
    pub wrong_name: Identity,
    /// As `server`, but its time is over.
    pub expired: Identity,
    pub client: Identity,
    pub other_client: Identity,
    directory: TempDir,
}

/// A certificate and its private key, both as PEM files.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let into = directory.path();
        let (ca, issuer) = authority(into, "ca");
        let (other_ca, other_issuer) = authority(into, "other-ca");

        let here = ["localhost", "127.0.0.1"];
        let mut past = leaf("expired", &here, ExtendedKeyUsagePurpose::ServerAuth);
        past.not_before = date_time_ymd(2001, 1, 1);
        past.not_after = date_time_ymd(2002, 1, 1);
        let server = leaf("server", &here, ExtendedKeyUsagePurpose::ServerAuth);
        let wrong_name = leaf("wrong", &["elsewhere.test"], ExtendedKeyUsagePurpose::ServerAuth);
        let client = leaf("client", &[], ExtendedKeyUsagePurpose::ClientAuth);

        Self {
            server: sign(into, "server", &server, &issuer),
            wrong_name: sign(into, "wrong-name", &wrong_name, &issuer),
            expired: sign(into, "expired", &past, &issuer),
            client: sign(into, "client", &client, &issuer),
            other_client: sign(into, "other-client", &client, &other_issuer),
            ca,
            other_ca,
            directory,
        }
    }
}

fn authority(into: &Path, name: &str) -> (PathBuf, Issuer<'static, KeyPair>) {
    let mut params = named(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("a key pair");
    let certificate = params.self_signed(&key).expect("a certificate authority");
    let path = write(into, &format!("{name}.pem"), &certificate.pem());
    (path, Issuer::new(params, key))
}

fn leaf(name: &str, hosts: &[&str], usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = named(name, hosts);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

/// A subject of its own: one that equals its issuer's passes for self-signed.
fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).expect("host names and addresses");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn sign(into: &Path, name: &str, params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Identity {
    let key = KeyPair::generate().expect("a key pair");
    let certificate = params.signed_by(&key, issuer).expect("a signed certificate");
    Identity {
        certificate: write(into, &format!("{name}.pem"), &certificate.pem()),
        key: write(into, &format!("{name}.key"), &key.serialize_pem()),
    }
}

fn write(into: &Path, name: &str, text: &str) -> PathBuf {
    let path = into.join(name);
    fs::write(&path, text).expect("a writable temporary directory");
    path
}

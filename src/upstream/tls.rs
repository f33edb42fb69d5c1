//! TLS towards the server: what is trusted, what we show.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::config::{Address, UpstreamTls, Verify};

/// A mistake in a TLS section: the key without its section, and what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct TlsError {
    /// Such as `ca_file`.
    pub key: &'static str,
    #[allow(missing_docs)]
    pub problem: String,
}

impl TlsError {
    /// An error about `key`.
    pub fn new(key: &'static str, problem: impl ToString) -> Self {
        Self { key, problem: problem.to_string() }
    }
}

/// How to speak TLS to the server. One for all workers: they share its session tickets.
#[derive(Debug, Clone)]
pub struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl Tls {
    /// Reads the files `settings` name.
    ///
    /// # Errors
    /// The key whose file or value cannot be used.
    pub fn new(settings: &UpstreamTls, server: &Address) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::new("enabled", error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier(settings, provider)?);
        let config = match (&settings.cert_file, &settings.key_file) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates("cert_file", cert)?, private_key("key_file", key)?)
                .map_err(|error| TlsError::new("cert_file", error))?,
            _ => builder.with_no_client_auth(),
        };
        let name = match (settings.server_name.as_str(), server) {
            ("", Address::Tcp { host, .. }) => host.clone(),
            // Without a name to check, any will do: TLS wants one.
            ("", Address::Unix(_)) => "localhost".to_owned(),
            (name, _) => name.to_owned(),
        };
        let name = ServerName::try_from(name).map_err(|error| TlsError::new("server_name", error))?;
        Ok(Self { config: Arc::new(config), name })
    }
}

fn verifier(settings: &UpstreamTls, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if settings.verify == Verify::None {
        return Ok(Arc::new(Unverified { provider }));
    }
    let roots = Arc::new(roots(settings.ca_file.as_deref())?);
    let full = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| TlsError::new("ca_file", error))?;
    Ok(match settings.verify {
        Verify::Chain => Arc::new(AnyName { full }),
        Verify::Full | Verify::None => full,
    })
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates("ca_file", path)? {
                store.add(certificate).map_err(|error| TlsError::new("ca_file", error))?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(TlsError::new("ca_file", "the system has no trusted authorities; name a file"));
            }
        }
    }
    Ok(store)
}

/// The certificates of a PEM file; at least one.
///
/// # Errors
/// The file cannot be read, or holds none.
pub fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let problem = |error: String| TlsError::new(key, format!("{}: {error}", path.display()));
    let pem = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| problem(format!("not PEM: {error}")))?;
    if found.is_empty() { Err(problem("holds no certificate in PEM".to_owned())) } else { Ok(found) }
}

/// The private key of a PEM file.
///
/// # Errors
/// The file cannot be read, or holds none.
pub fn private_key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let problem = |error: String| TlsError::new(key, format!("{}: {error}", path.display()));
    let pem = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| problem("holds no private key in PEM".to_owned()))
}

/// `verify = "chain"`: all of `full` but the name.
#[derive(Debug)]
struct AnyName {
    full: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.full.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last: everything else was in order.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.full.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.full.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.full.supported_verify_schemes()
    }
}

/// `verify = "none"`: any certificate, but the server must own its key.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

//! One connection that asks one thing after another, over TCP or TLS.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Certificates, DEADLINE, frame_len, request};

pub(crate) struct Client {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Client {
    pub(crate) fn plain(port: u16) -> Self {
        Self { stream: Box::new(connect(port)), input: Vec::new() }
    }

    /// To a server that shows [`Certificates::server`].
    pub(crate) fn tls(port: u16, certificates: &Certificates) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(&certificates.ca).expect("a certificate");
        roots.add(ca).expect("an authority's certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider speaks TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a host name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("a configuration that fits");
        Self { stream: Box::new(StreamOwned::new(tls, connect(port))), input: Vec::new() }
    }

    /// Panics unless `bytes`, one request, are answered with `reply`: a fast wrong answer is worth nothing.
    pub(crate) fn ask(&mut self, bytes: &[u8], reply: &[u8]) {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).expect("the other side reads");
        self.input.clear();
        let mut chunk = [0; 16 << 10];
        while frame_len(&self.input).is_none() {
            let len = self.stream.read(&mut chunk).expect("an answer in time");
            assert!(len > 0, "the connection ends instead of a reply");
            self.input.extend_from_slice(&chunk[..len]);
        }
        assert!(self.input == reply, "{:?} for {:?}", self.input.escape_ascii(), bytes.escape_ascii());
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.ask(&request(&["SET", key, value]), b"+OK\r\n");
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a listening process");
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout that is not zero");
    stream
}

//! Clients on a TLS port that do not speak it to the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::siege::{Honest, KIB, MIB, Siege};
use super::support::{Certificates, DEADLINE, Identity, RedisServer, request, wait_until};

/// A proxy that speaks TLS, to those who show a certificate if `wants_certificates`.
fn siege(certificates: &Certificates, wants_certificates: bool, lines: &[&str]) -> Siege {
    let mut tls = vec![
        format!("listen.tls.cert_file = \"{}\"", certificates.server.certificate.display()),
        format!("listen.tls.key_file = \"{}\"", certificates.server.key.display()),
    ];
    if wants_certificates {
        tls.push(format!("listen.tls.client_ca_file = \"{}\"", certificates.ca.display()));
    }
    let lines: Vec<_> = tls.iter().map(String::as_str).chain(lines.iter().copied()).collect();
    let mut siege = Siege::unwatched(RedisServer::plain(), &lines);
    let (mut client, mut n) = (client(siege.port, certificates, &certificates.client), 0);
    let honest = Honest::asking(move || {
        n += 1;
        client.write_all(&request(&["INCR", "honest"])).expect("the proxy reads");
        let mut line = vec![0; format!(":{n}\r\n").len()];
        client.read_exact(&mut line).expect("a reply");
        assert_eq!(line, format!(":{n}\r\n").as_bytes());
    });
    siege.watch(honest);
    siege
}

/// Shows `identity`, which may be one the proxy does not know.
fn client(port: u16, certificates: &Certificates, identity: &Identity) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.ca).expect("a certificate")).expect("an authority");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions that are known")
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(&identity.certificate).expect("a certificate")],
            PrivateKeyDer::from_pem_file(&identity.key).expect("a key"),
        )
        .expect("a pair");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = ClientConnection::new(Arc::new(config), name).expect("a configuration that works");
    let socket = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("not zero");
    StreamOwned::new(tls, socket)
}

/// They hold a place each, until they are given up: then others come in.
#[test]
fn handshakes_that_never_end_are_given_up() {
    const CLIENTS: usize = 300;
    let certificates = Certificates::new();
    let siege = siege(&certificates, false, &["listen.max_clients = 301", "limits.auth_timeout = \"3s\""]);
    let begun = Instant::now();
    let mut crowd = siege.crowd(CLIENTS);
    let starts: [&[u8]; 4] =
        [b"", b"\x16", b"\x16\x03\x01\x40\x00", b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03aaaaaaaaaaaaaaaa"];
    for (client, start) in crowd.iter_mut().zip(starts.iter().cycle()) {
        client.send(start);
    }
    wait_until("no place is left", || {
        let _ = siege.enter().rest();
        siege.gone("too_many") > 0
    });
    for mut client in crowd {
        client.rest().expect("closed, with an alert at most");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    wait_until("each is counted", || siege.gone("tls") >= CLIENTS);
    siege.assert_peak_below(CLIENTS * 64 * KIB + 4 * MIB);
    let mut next = self::client(siege.port, &certificates, &certificates.client);
    next.write_all(b"PING\r\n").expect("a place");
    next.read_exact(&mut [0; 7]).expect("a reply");
}

#[test]
fn who_shows_no_certificate_is_closed() {
    let certificates = Certificates::new();
    let siege = siege(&certificates, true, &[]);
    for _ in 0..30 {
        let mut stranger = client(siege.port, &certificates, &certificates.other_client);
        let _ = stranger.write_all(b"PING\r\n");
        assert!(stranger.read_exact(&mut [0; 7]).is_err(), "not answered");
    }
    siege.wait_gone("tls", 30);
    siege.assert_peak_below(4 * MIB);
}

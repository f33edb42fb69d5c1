//! The operator's HTTP port.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | everything counted, for Prometheus |
//! | `/livez` | 200: the process runs |
//! | `/readyz` | 200 when every worker has a connection that is authenticated and answering, else 503 |

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{PrometheusHandle, PrometheusRecorder};
use metrics_process::Collector;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{interval, sleep};
use tracing::debug;

use crate::config::Address;
use crate::socket::UnixDoor;
use crate::upstream::Server;

/// Scrapes at a time; more wait.
const CONNECTIONS: usize = 32;

/// Of the file, where the port is a Unix socket.
const PERMISSIONS: u32 = 0o660;

/// A client that does not send a request in this time is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the port tells.
pub struct Admin {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    process: Collector,
    server: Arc<Server>,
    workers: usize,
}

/// The open port.
#[derive(Debug)]
pub enum Port {
    #[allow(missing_docs)]
    Tcp(TcpListener),
    #[allow(missing_docs)]
    Unix(UnixDoor),
}

impl Port {
    /// Starts listening.
    ///
    /// # Errors
    /// The system's: the address is in use, or not this machine's.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp { host, port } => TcpListener::bind((host.as_str(), *port)).await.map(Self::Tcp),
            Address::Unix(path) => UnixDoor::bind(path, PERMISSIONS).map(Self::Unix),
        }
    }

    /// Where it listens, if on TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

impl Admin {
    /// Ready means that `workers` workers are connected to `server`.
    pub fn new(recorder: PrometheusRecorder, server: Arc<Server>, workers: usize) -> Arc<Self> {
        let process = Collector::default();
        metrics::with_local_recorder(&recorder, || process.describe());
        Arc::new(Self { handle: recorder.handle(), recorder, process, server, workers })
    }

    /// Serves for ever.
    ///
    /// # Cancel safety
    /// Dropping this closes the port; answers under way are finished by their own tasks.
    pub async fn run(self: Arc<Self>, port: Port) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut upkeep = interval(Duration::from_secs(5));
        loop {
            let place = Arc::clone(&places).acquire_owned();
            tokio::select! {
                _ = upkeep.tick() => self.handle.run_upkeep(),
                (accepted, place) = async {
                    let place = place.await;
                    (port.accept().await, place)
                } => match accepted {
                    Ok(socket) => {
                        let admin = Arc::clone(&self);
                        tokio::spawn(async move {
                            admin.serve(socket).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        debug!(cause = %error, "cannot accept on the metrics port");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    async fn serve(self: Arc<Self>, socket: Box<dyn Socket>) {
        let answer = service_fn(move |request: Request<Incoming>| {
            let response = self.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        if let Err(error) = http.serve_connection(TokioIo::new(socket), answer).await {
            debug!(cause = %error, "metrics connection ended");
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match request.uri().path() {
            "/metrics" => self.metrics(),
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" if self.is_ready() => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the upstream is away\n"),
            _ => text(StatusCode::NOT_FOUND, "try /metrics, /livez or /readyz\n"),
        }
    }

    fn is_ready(&self) -> bool {
        self.server.ready_workers() >= self.workers
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        metrics::with_local_recorder(&self.recorder, || self.process.collect());
        let mut response = text(StatusCode::OK, self.handle.render());
        let prometheus = "text/plain; version=0.0.4; charset=utf-8";
        response.headers_mut().insert(CONTENT_TYPE, prometheus.parse().expect("a header value"));
        response
    }
}

/// Either kind of connection.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

impl Port {
    async fn accept(&self) -> io::Result<Box<dyn Socket>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(door) => Box::new(door.accept().await?),
        })
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

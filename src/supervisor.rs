//! What a service manager is told, and what it hands over: systemd's protocols.
//!
//! Without one, nothing is told and nothing is handed over.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// A listening socket the service manager has opened.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Inherited {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The socket handed over for clients, if there is one. To be called before there are other threads: it takes its
/// variables out of the environment.
///
/// # Errors
/// There is more than one, or one that is no listening stream socket.
pub fn inherited() -> io::Result<Option<Inherited>> {
    let mut sockets = ListenFd::from_env();
    match sockets.len() {
        0 => return Ok(None),
        1 => {}
        count => return Err(io::Error::other(format!("the service manager hands over {count} sockets, expected one"))),
    }
    if let Ok(Some(listener)) = sockets.take_tcp_listener(0) {
        return Ok(Some(Inherited::Tcp(listener)));
    }
    let problem = |error| io::Error::other(format!("the service manager's socket is neither TCP nor Unix: {error}"));
    sockets.take_unix_listener(0).map(|listener| listener.map(Inherited::Unix)).map_err(problem)
}

/// Clients can connect.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again; [`ready`] says that it has been.
pub fn reloading() {
    let mut state = vec![NotifyState::Reloading];
    state.extend(NotifyState::monotonic_usec_now());
    tell(&state);
}

/// No more clients are let in.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// A service manager that cannot be told will find out by itself.
fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

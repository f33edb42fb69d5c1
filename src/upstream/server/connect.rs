//! From nothing to a connection that is ready, and what is remembered of the attempt.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::{Established, Server, nonce};
use crate::resp::Protocol;
use crate::socket::Stream;
use crate::upstream::Kind;
use crate::upstream::access::Access;
use crate::upstream::error::ConnectError;
use crate::upstream::handshake::{self, Identity, Introduced, Introduction, Severed, Trace};
use crate::upstream::tracking::{Proof, Tracking, Untracked};

impl Server {
    /// Opens a connection and makes it ready; what is left of lost ones is severed before. Waits for its turn: after
    /// an attempt that failed the next is made by one for all, after a while that grows.
    ///
    /// # Errors
    /// Why there is none; it is logged here, once until it changes.
    ///
    /// # Cancel safety
    /// Dropping this closes whatever was opened.
    pub(in crate::upstream) async fn connect(&self, kind: Kind) -> Result<Established, ConnectError> {
        self.connect_as(kind, None).await
    }

    /// The same for a connection whose server is to tell of changes.
    pub(in crate::upstream) async fn connect_tracked(&self, kind: Kind) -> Result<Established, ConnectError> {
        self.connect_as(kind, self.own_key.as_deref()).await
    }

    async fn connect_as(&self, kind: Kind, own_key: Option<&str>) -> Result<Established, ConnectError> {
        let _turn = self.attempts.begin().await.ok_or(ConnectError::HeldOff)?;
        // Before the credentials: newer ones than these are never taken for these.
        let generation = self.generation();
        let access = self.access();
        let result = self.establish(&access, generation, kind, own_key).await;
        self.note(&result.as_ref().map(|(_, identity)| identity));
        if result.is_ok() {
            self.proven.fetch_max(generation, Ordering::Relaxed);
        }
        result.map(|(established, _)| established)
    }

    /// Makes a connection ready, on a socket that is new or has been `RESET`.
    pub(in crate::upstream) async fn introduce(
        &self,
        kind: Kind,
        condemned: &[Trace],
        stream: &mut Stream,
    ) -> Result<Introduced, ConnectError> {
        let access = self.access();
        let key = "upstream.password_file";
        let password = access.password.read().map_err(|problem| ConnectError::File { key, problem })?;
        let introduction = Introduction {
            username: &access.username,
            password: password.as_ref(),
            name: &access.name,
            kind,
            nonce: nonce(),
            condemned,
        };
        introduction.perform(stream).await.map_err(|error| match error {
            ConnectError::Database(text) if kind.db == self.db => {
                ConnectError::NotRedis(format!("upstream.db: the server has no such database ({text})"))
            }
            error => error,
        })
    }

    async fn establish(
        &self,
        access: &Access,
        generation: u64,
        kind: Kind,
        own_key: Option<&str>,
    ) -> Result<(Established, Identity), ConnectError> {
        let deadline = Instant::now() + access.dial.timeout;
        let socket = timeout_at(deadline, access.dial.open()).await.unwrap_or(Err(ConnectError::Timeout))?;
        let secured = timeout_at(deadline, access.dial.secure(socket)).await;
        let mut stream = secured.unwrap_or(Err(ConnectError::TlsTimeout))?;
        let condemned = self.condemned().clone();
        let introduced = timeout_at(deadline, self.introduce(kind, &condemned, &mut stream)).await;
        let introduced = introduced.unwrap_or(Err(ConnectError::Timeout)).map_err(|error| match &stream {
            // With TLS 1.3 a server refuses our certificate only now.
            Stream::Tls(_) if matches!(error, ConnectError::Closed) => error.with_tls(),
            Stream::Plain(_) | Stream::Tls(_) => error,
        })?;
        let Introduced { identity, trace, severed } = introduced;
        self.condemned().retain(|lost| !condemned.contains(lost));
        if severed.contains(&Severed::Denied) {
            self.may_sever.store(false, Ordering::Relaxed);
        } else if severed.contains(&Severed::Killed) {
            self.may_sever.store(true, Ordering::Relaxed);
        }
        for severed in severed {
            self.metrics.severs.add(severed.label());
        }
        // Where `INFO` is forbidden, so is `COMMAND`, most likely.
        if !trace.run_id.is_empty() && self.state().learned_run.as_ref() != Some(&trace.run_id) {
            // Asked once a run, whatever comes of it: a server whose list is no use is still of use.
            self.state().learned_run = Some(trace.run_id.clone());
            *self.catalogue() = Arc::default();
            let catalogue = timeout_at(deadline, handshake::catalogue(&mut stream, &nonce())).await;
            *self.catalogue() = Arc::new(catalogue.unwrap_or(Err(ConnectError::Timeout))?);
        }
        let tracking = match own_key.filter(|_| kind.protocol == Protocol::Resp3) {
            None => Tracking::Off { may_pass: false },
            Some(own_key) => {
                let tracked = match self.track(access, kind, &identity, &mut stream, own_key).await {
                    Ok(tracked) => tracked,
                    // It has left something unanswered, which is no reason to do without it: one more, not asked for that.
                    Err(error) => {
                        self.note_tracking(&Err(Untracked::Unproven(error)));
                        let again = Box::pin(self.establish(access, generation, kind, None)).await?;
                        let tracking = Tracking::Off { may_pass: true };
                        return Ok((Established { tracking, ..again.0 }, again.1));
                    }
                };
                self.note_tracking(&tracked);
                match tracked {
                    Ok(()) => Tracking::On { keeps_nil: identity.tells_of_creation() },
                    Err(untracked) => Tracking::Off { may_pass: untracked.may_pass() },
                }
            }
        };
        Ok((Established { stream, generation, trace, tracking }, identity))
    }

    /// Has the server tell this connection of changes, and proves that it does, with the help of another one.
    async fn track(
        &self,
        access: &Access,
        kind: Kind,
        identity: &Identity,
        stream: &mut Stream,
        own_key: &str,
    ) -> Result<Result<(), Untracked>, ConnectError> {
        if let Err(untracked) = identity.may_track() {
            return Ok(Err(untracked));
        }
        let other = async {
            let socket = access.dial.open().await?;
            let mut other = access.dial.secure(socket).await?;
            self.introduce(kind, &[], &mut other).await?;
            Ok(other)
        };
        // As long as any connection may take: the present one needs nothing meanwhile.
        let mut other = match timeout(access.dial.timeout, other).await.unwrap_or(Err(ConnectError::Timeout)) {
            Ok(other) => other,
            Err(error) => return Ok(Err(Untracked::Unproven(error))),
        };
        let proof = Proof { own_key, nonce: nonce() };
        timeout(access.dial.timeout, proof.perform(stream, &mut other)).await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// Counts it, and logs what is new.
    fn note_tracking(&self, tracked: &Result<(), Untracked>) {
        let mut state = self.state();
        let Err(untracked) = tracked else {
            if state.untracked.take().is_some() {
                info!("the server tells of changes now: sessions are held in memory");
            }
            return;
        };
        self.metrics.untracked.add(untracked.label());
        let cause = untracked.to_string();
        if state.untracked.as_ref() != Some(&cause) {
            match untracked.may_pass() {
                true => info!(cause, "not proven that the server tells of changes: reads are forwarded for a while"),
                false => warn!(cause, "the server tells of no changes: reads are forwarded, none answered from memory"),
            }
            state.untracked = Some(cause);
        }
    }

    /// Remembers how an attempt ended, and logs what is new.
    fn note(&self, result: &Result<&Identity, &ConnectError>) {
        let now = Instant::now();
        let mut state = self.state();
        match result {
            Ok(identity) => {
                self.metrics.connects.add("ok");
                // A connection in RESP2 has learned less.
                let known = state.identity.clone().filter(|_| identity.modules.is_empty());
                let identity = &known.unwrap_or_else(|| (*identity).clone());
                if state.trouble.take().is_some() || state.identity.as_ref() != Some(identity) {
                    let Identity { server, version, mode, modules: _ } = identity;
                    info!(address = %self.access().dial.address, server, version, mode, "upstream ready");
                }
                state.identity = Some(identity.clone());
                (state.away_since, state.trouble) = (None, None);
                self.attempts.succeeded();
                self.connected.notify_waiters();
            }
            // The server is well.
            Err(error) if error.own_word().is_some() => self.metrics.connects.add(error.label()),
            Err(error) => {
                self.metrics.connects.add(error.label());
                self.attempts.failed(error.is_configuration(), now, fastrand::f64());
                // Whoever has a connection keeps it.
                if self.ready_workers.load(Ordering::Relaxed) == 0 {
                    state.away_since.get_or_insert(now);
                }
                let trouble = error.to_string();
                if state.trouble.as_ref() != Some(&trouble) {
                    let retry = if error.is_configuration() { "every 30 s" } else { "with backoff" };
                    warn!(address = %self.access().dial.address, cause = trouble, retry, "upstream unavailable");
                    state.trouble = Some(trouble);
                }
            }
        }
    }
}

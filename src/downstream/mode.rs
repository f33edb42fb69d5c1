//! What a client may do next, and what is done with what it asks.
//!
//! Decided in values, without a socket or a clock; `client` carries it out.

use super::here;
use super::pin::Pin;
use crate::command::{Command, Local, PinReason, Route};

/// What a client connection may do next. `P` is its pinned connection, `()` in tests.
#[derive(Debug)]
pub(super) enum Mode<P> {
    /// → `Open` when the credentials are accepted.
    Unauthenticated,
    /// Requests may be multiplexed. → `Pinned` on `MULTI`, `WATCH`, `SUBSCRIBE`, a blocking command.
    Open,
    /// → `Open` when nothing is left on the connection; → `Lost`, `Aborted` or closed, when it is lost.
    Pinned { conn: P, pin: Pin },
    /// It is subscribed again on the next connection that is to be had. → `Pinned`, or closed if there is none.
    Lost { pin: Pin },
    /// The connection of a transaction was lost before `EXEC`. → `Open` on `EXEC`, `DISCARD`, `RESET`.
    Aborted,
}

/// What to do with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Answered here.
    Here(Local),
    /// On a connection shared with others.
    Forward,
    /// On a connection of its own, which it does not hold yet.
    CheckOut(PinReason),
    /// On the connection it holds.
    Through(Option<PinReason>),
    /// The same without its arguments, which the server refuses unread: they may hold a password.
    ThroughBlank,
    /// It holds a connection it does not need any more: give it back, decide again.
    CheckIn,
    /// Not before what is in flight is answered.
    Wait,
    /// An error, in Redis' words where it has some.
    Refuse(&'static str),
    /// The same in a transaction, whose `EXEC` must then answer `EXECABORT`.
    RefuseInTransaction,
    /// As Redis answers in a transaction.
    Queued,
    /// The transaction was not executed: `EXECABORT`.
    Abort,
    /// The transaction that was lost is given up: `OK`.
    Discard,
    /// A watch was lost; `UNWATCH` forgets it: `OK`.
    Unwatch,
}

/// Before `AUTH`.
pub(super) const NOAUTH: &str = "NOAUTH Authentication required.";

const REPLICATION: &str = "ERR a replica's stream does not pass through a proxy; connect to the server itself";
const DEBUGGER: &str = "ERR a debugger does not pass through a proxy; connect to the server itself";

/// What would leave something on a connection, or concern one that is not the client's own.
pub(super) const IN_TRANSACTION: &str = "ERR not allowed in a transaction through a proxy";

/// What to do with `command`. `in_flight` counts requests on shared connections; `is_doomed` says that a
/// watched key may have changed unseen.
pub(super) fn decide<P>(mode: &Mode<P>, command: &Command<'_>, in_flight: usize, is_doomed: bool) -> Decision {
    let route = match command.route() {
        Route::Here(Local::Client) => client_route(command),
        route => route,
    };
    match mode {
        Mode::Unauthenticated => match route {
            Route::Here(local @ (Local::Auth | Local::Hello | Local::Quit | Local::Reset)) => Decision::Here(local),
            _ => Decision::Refuse(NOAUTH),
        },
        Mode::Open => open(route, command, in_flight, is_doomed),
        Mode::Aborted => aborted(route, command),
        Mode::Pinned { pin, .. } => pinned(pin, route, command),
        Mode::Lost { .. } => Decision::Wait,
    }
}

fn open(route: Route, command: &Command<'_>, in_flight: usize, is_doomed: bool) -> Decision {
    match route {
        Route::Here(local) => Decision::Here(local),
        Route::Refuse => refuse(command),
        Route::Pin(_) if in_flight > 0 => Decision::Wait,
        Route::Pin(reason) => Decision::CheckOut(reason),
        Route::Forward if is_doomed && command.is("unwatch") => Decision::Unwatch,
        Route::Forward | Route::PinIfBlocking | Route::Script => Decision::Forward,
    }
}

fn aborted(route: Route, command: &Command<'_>) -> Decision {
    match route {
        Route::Here(local @ (Local::Quit | Local::Reset)) => Decision::Here(local),
        Route::Refuse => refuse(command),
        _ if command.is("exec") => Decision::Abort,
        _ if command.is("discard") => Decision::Discard,
        Route::Here(Local::Auth | Local::Hello | Local::Client) => Decision::Refuse(IN_TRANSACTION),
        _ if command.is("multi") => Decision::Refuse("ERR MULTI calls can not be nested"),
        _ if command.is("watch") => Decision::Refuse("ERR WATCH inside MULTI is not allowed"),
        _ => Decision::Queued,
    }
}

fn pinned(pin: &Pin, route: Route, command: &Command<'_>) -> Decision {
    let is_idle = pin.in_flight() == 0;
    if pin.is_in_transaction() && is_idle {
        return in_transaction(route, command);
    }
    match route {
        Route::Here(local @ (Local::Quit | Local::Reset)) if is_idle => Decision::Here(local),
        Route::Here(_) if !is_idle => Decision::Wait,
        Route::Here(Local::Select) if pin.asks_for_database() => Decision::Through(None),
        Route::Here(_) if pin.is_clear() => Decision::CheckIn,
        Route::Here(Local::Ping | Local::Echo | Local::Select) => Decision::Through(None),
        // The server refuses it, whatever it is, before it runs.
        Route::Here(Local::Auth | Local::Hello) if pin.is_subscribed_in_resp2() => Decision::ThroughBlank,
        Route::Here(_) if pin.is_subscribed_in_resp2() => Decision::Through(None),
        // Its connection is the client's own, but not its name, its password or the view of other clients.
        Route::Here(local) => Decision::Here(local),
        Route::Refuse => refuse(command),
        _ if pin.is_exclusive() => Decision::Wait,
        // What the replies will say decides whether this one may be sent.
        _ if pin.may_be_in_transaction() && leaves_something(route, command) => Decision::Wait,
        Route::Pin(reason) => Decision::Through(Some(reason)),
        Route::Forward | Route::PinIfBlocking | Route::Script if pin.is_clear() => Decision::CheckIn,
        Route::Forward | Route::PinIfBlocking | Route::Script => Decision::Through(None),
    }
}

/// Between `MULTI` and `EXEC`, everything before it answered.
fn in_transaction(route: Route, command: &Command<'_>) -> Decision {
    match route {
        // The server refuses it, and with it the transaction.
        _ if !command.has_its_arity() => Decision::Through(None),
        Route::Here(local @ (Local::Quit | Local::Reset)) => Decision::Here(local),
        Route::Here(Local::Ping | Local::Echo | Local::Select) => Decision::Through(None),
        Route::Here(Local::Client) if !here::client::fits(&command.request) => Decision::Through(None),
        // It would be answered for a connection that is not the client's.
        Route::Here(Local::Auth | Local::Hello | Local::Client) | Route::Refuse => Decision::RefuseInTransaction,
        Route::Pin(_) if leaves_something(route, command) => Decision::RefuseInTransaction,
        // `MULTI` and `WATCH` are for the server to refuse.
        Route::Pin(_) | Route::Forward | Route::PinIfBlocking | Route::Script => Decision::Through(None),
    }
}

/// Whether a command, run by `EXEC`, would leave something on its connection that no reply tells of.
fn leaves_something(route: Route, command: &Command<'_>) -> bool {
    match route {
        Route::Pin(PinReason::Subscription | PinReason::Monitor) => true,
        // `CLIENT CACHING` is over with the next command.
        Route::Pin(PinReason::Tracking) => command.request.is(1, "tracking"),
        _ => false,
    }
}

/// In the words that say what does not pass.
fn refuse(command: &Command<'_>) -> Decision {
    Decision::Refuse(if command.is("script") { DEBUGGER } else { REPLICATION })
}

/// Of `CLIENT`'s subcommands, those that need the server.
fn client_route(command: &Command<'_>) -> Route {
    let is = |word| command.request.is(1, word);
    if is("tracking") || is("caching") || is("trackinginfo") || is("getredir") {
        Route::Pin(PinReason::Tracking)
    } else if is("pause") || is("unpause") {
        Route::Pin(PinReason::Unknown)
    } else if is("help") {
        Route::Forward
    } else if here::client::knows(command.request.arg(1).unwrap_or_default()) {
        Route::Here(Local::Client)
    } else {
        // For the server to refuse, or to know.
        Route::Pin(PinReason::Unknown)
    }
}

#[cfg(test)]
mod tests;

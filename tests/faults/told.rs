//! What a client is told: what it says of the request, and what nobody should be told.

use std::time::Duration;

use super::super::history::{Entry, Moment, NEVER, Op, Reply, Told};
use super::super::{QUEUE_TIMEOUT, REPLY_TIMEOUT, SLACK, UNKNOWN};
use super::{Client, connect};

/// What is not executed.
const REFUSALS: [&str; 2] = ["LOADING ", "EXECABORT "];

impl Client<'_> {
    pub(super) fn listen(&mut self) -> Result<Reply, String> {
        let reply = self.wire.try_frame().map(|frame| Reply::parse(&frame));
        let at = self.now();
        match &reply {
            Err(end) => {
                if !end.starts_with("a close") || !self.may_close {
                    self.violated(format!("client {} got no reply, but {end}, at {at:?}", self.number));
                }
                self.wire = connect(self.number, self.scene.port);
            }
            Ok(Reply::Error(text)) if text != UNKNOWN && !REFUSALS.iter().any(|code| text.starts_with(code)) => {
                self.violated(format!("client {} was told {text}, at {at:?}", self.number));
            }
            Ok(_) => {}
        }
        reply
    }

    pub(super) fn violated(&mut self, what: String) {
        self.history.violations.push(what);
    }

    pub(super) fn record(&mut self, op: Op, invoked: Moment, reply: &Result<Reply, String>) {
        let blocks = if op == Op::Dequeue { self.scene.silence } else { Duration::ZERO };
        let told = match (op, reply) {
            // A watch that was lost is not forgotten before a transaction.
            (Op::PushBoth(_) | Op::ListBoth, Ok(Reply::Null)) => Told::NotExecuted,
            _ => self.judge(&format!("{op:?}"), invoked, reply, blocks),
        };
        let (client, told_at) = (self.number, self.now());
        let settled = match &told {
            // The server has it and takes its time, or cannot be told to forget it: nobody can know when it runs.
            Told::Unknown if told_at - invoked >= QUEUE_TIMEOUT.min(REPLY_TIMEOUT) => NEVER,
            Told::Closed => NEVER,
            // As without a proxy: its client is told at once, and closed.
            Told::Unknown if self.scene.may_close => NEVER,
            Told::Unknown | Told::Executed(_) | Told::NotExecuted => told_at,
        };
        self.history.entries.push(Entry { client, op, invoked, told_at, told, settled });
    }

    /// What a reply says of its request, which may wait for something for so long.
    pub(super) fn judge(
        &mut self,
        what: &str,
        invoked: Moment,
        reply: &Result<Reply, String>,
        blocks: Duration,
    ) -> Told {
        let waited = self.now() - invoked;
        let told = match reply {
            Err(_) => Told::Closed,
            Ok(Reply::Error(text)) if text == UNKNOWN => Told::Unknown,
            Ok(Reply::Error(_)) => Told::NotExecuted,
            Ok(reply) => Told::Executed(reply.clone()),
        };
        if told != Told::Closed && waited > QUEUE_TIMEOUT + REPLY_TIMEOUT + blocks + SLACK {
            self.violated(format!("{what} was told {told:?} after {waited:?}"));
        }
        told
    }
}

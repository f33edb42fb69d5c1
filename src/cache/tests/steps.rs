//! What happens next, told by a number: a union of strategies would take ten times as long as all that it generates.

use std::time::Duration;

use proptest::prelude::*;

use super::server::{KEYS, Kind, Request, Write};
use super::world::{CLIENTS, WORKERS};

/// What may happen next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A client reads.
    Read(usize, Kind, Vec<usize>),
    /// A client writes, on the shared connection.
    Write(usize, Write),
    /// A client takes a connection of its own for one request; it is executed; it is answered.
    Pin(usize, Request),
    ServePinned(usize),
    TellPinned(usize),
    /// A worker sends what it has to, as many requests as that.
    Send(usize, usize),
    /// The server executes as many of them.
    Serve(usize, usize),
    /// As many replies and pushes are read; long values come in pieces, perhaps.
    Hear(usize, usize, bool),
    /// Everything of a worker comes to an end.
    Settle(usize),
    /// Somebody writes past the proxy.
    Direct(Write),
    /// The server notices that a key is over.
    Notice(usize),
    /// It refuses fences from now on, or does not any more.
    Refuse(bool),
    Pass(Duration),
    /// The machine sleeps: its clock does not go on.
    Sleep(Duration),
    /// A connection is lost; the server executes so many more of its requests.
    Lose(usize, usize),
    /// There is another one, or a successor.
    Connect(usize),
    /// Reads have waited too long for a fence.
    GiveUp(usize),
}

/// A number, from which choices are taken one by one.
struct Choices(u64);

pub(super) fn step() -> impl Strategy<Value = Step> {
    any::<u64>().prop_map(|number| Choices(number).step()).no_shrink()
}

impl Choices {
    fn below(&mut self, most: usize) -> usize {
        let most = most as u64;
        let choice = self.0 % most;
        self.0 /= most;
        choice as usize
    }

    fn step(mut self) -> Step {
        let choice = self.below(128);
        let (client, worker) = (self.below(CLIENTS), self.below(WORKERS));
        let some = [1, 2, 3, usize::MAX][self.below(4)];
        match choice {
            0..40 => {
                let (kind, keys) = self.read();
                Step::Read(client, kind, keys)
            }
            40..46 => Step::Write(client, self.own_write()),
            46..50 => Step::Pin(client, self.pinned()),
            50..54 => Step::ServePinned(client),
            54..60 => Step::TellPinned(client),
            60..70 => Step::Send(worker, some),
            70..80 => Step::Serve(worker, some),
            80..90 => Step::Hear(worker, 1 + self.below(5), self.below(2) == 0),
            90..110 => Step::Settle(worker),
            110..114 if self.below(20) == 0 => Step::Direct(Write::Flush),
            110..114 => Step::Direct(self.write()),
            114..116 => Step::Notice(self.key()),
            116..124 => Step::Pass(self.length()),
            124..127 => Step::Connect(worker),
            _ => match self.below(8) {
                0 => Step::Refuse(self.below(2) == 0),
                1 => Step::GiveUp(worker),
                2 | 3 => Step::Sleep(self.length()),
                _ => Step::Lose(worker, self.below(4)),
            },
        }
    }

    /// The first key is asked for more often than the others.
    fn key(&mut self) -> usize {
        self.below(KEYS + 5).saturating_sub(5)
    }

    fn read(&mut self) -> (Kind, Vec<usize>) {
        let key = self.key();
        let alone = [Kind::StrLen, Kind::Exists, Kind::Ttl, Kind::PTtl];
        match self.below(12) {
            choice @ 0..4 => (alone[choice], vec![key]),
            4 => (Kind::MGet, vec![key]),
            5 => (Kind::MGet, vec![key, self.key()]),
            _ => (Kind::Get, vec![key]),
        }
    }

    fn write(&mut self) -> Write {
        let (key, choice) = (self.key(), self.below(10));
        match choice {
            0..3 => Write::Set(key, None),
            3..6 => Write::Set(key, Some(20 + self.below(2000) as u64)),
            6 | 7 => Write::Del(key),
            _ => Write::Script { key, is_declared: choice == 8 },
        }
    }

    /// One of a client of ours: what the server tells nobody of must be known here.
    fn own_write(&mut self) -> Write {
        match self.below(20) {
            0 => Write::Flush,
            1 => Write::Swap,
            _ => self.write(),
        }
    }

    fn pinned(&mut self) -> Request {
        if self.below(2) == 0 {
            return Request::Write(self.own_write());
        }
        let (kind, keys) = self.read();
        Request::Read(kind, keys)
    }

    fn length(&mut self) -> Duration {
        let most = [3000, 15_000, 30_000, 700_000][self.below(4)];
        Duration::from_micros(self.below(most) as u64)
    }
}

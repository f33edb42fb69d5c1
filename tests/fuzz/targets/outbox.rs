//! Replies in any order, whole and in pieces, for clients that read, mute, and go: each comes out exactly once,
//! in the order of its request, as a naive model says.

#![no_main]

use bytes::Bytes;
use cloakroom::outbox::{Form, Outbox, Slot};
use libfuzzer_sys::fuzz_target;

/// A request, and what has come for it.
struct Request {
    slot: Option<Slot>,
    is_muted: bool,
    reply: Vec<u8>,
    is_whole: bool,
}

/// Everything that was ever asked, oldest first.
#[derive(Default)]
struct Model {
    requests: Vec<Request>,
    /// How many of them have been wholly answered, together with all before them.
    released: usize,
    /// What the client has not taken.
    unread: Vec<u8>,
    is_muted: bool,
    is_closed: bool,
    /// How many had been asked when the client went.
    gone: usize,
}

fuzz_target!(|bytes: &[u8]| {
    let (outbox, mut model) = (Outbox::default(), Model::default());
    for (number, step) in bytes.chunks_exact(2).enumerate() {
        let [what, which] = *step else { unreachable!("chunks of two") };
        let text = format!("+{number}\r\n").into_bytes();
        match what % 12 {
            0 | 1 => {
                let slot = outbox.reserve();
                model.ask(Some(slot));
            }
            2 => {
                outbox.answer(|out| out.extend_from_slice(&text));
                model.ask(None);
                model.answer(model.requests.len() - 1, &text);
            }
            3 | 4 => model.deliver(which, &text, |slot| outbox.deliver(slot, &text, Form::AsIs)),
            5 => model.deliver(which, b"$-1\r\n", |slot| outbox.deliver(slot, b"_\r\n", Form::Resp2)),
            6 => model.deliver(which, b"-ERR x\r\n", |slot| outbox.fail(slot, "ERR x")),
            7 => {
                let (len, is_last) = (usize::from(which >> 1) * 300, which & 1 != 0);
                let piece = Bytes::from(vec![what; len]);
                // Only the oldest request is answered so; an orphaned reply ends where nobody waits.
                match model.requests.get(model.released) {
                    Some(Request { slot: Some(slot), .. }) => outbox.deliver_part(*slot, piece.clone(), is_last),
                    Some(Request { slot: None, .. }) => unreachable!("what is answered at once is not waited for"),
                    None => outbox.deliver_part(Slot::NONE, piece.clone(), is_last),
                }
                model.piece(&piece, is_last);
            }
            // Nothing is pushed while a reply comes in pieces: both come from the same connection.
            8 if !model.is_within_reply() => {
                outbox.push(&text);
                model.append(&text);
            }
            9 => {
                model.is_muted = which & 1 != 0;
                outbox.mute(model.is_muted);
            }
            10 if which == 255 => {
                outbox.close();
                model.close();
            }
            10 if which == 254 => {
                outbox.break_off();
                model.is_closed = true;
            }
            _ => {
                let most = usize::from(which) * usize::from(which);
                let mut taken = Vec::new();
                let result: Result<(), ()> = outbox.take(|bytes| {
                    taken.extend_from_slice(&bytes[..most.min(bytes.len())]);
                    Ok(taken.len())
                });
                assert_eq!(result, Ok(()));
                assert!(!taken.is_empty() || most == 0 || model.unread.is_empty(), "there is something to take");
                assert!(model.unread.starts_with(&taken), "not what comes next");
                model.unread.drain(..taken.len());
            }
        }
        assert_eq!(outbox.unread(), model.unread.len());
        assert_eq!(outbox.in_flight(), model.requests.len() - model.released);
        assert_eq!(outbox.is_closed(), model.is_closed);
        assert!((1..=32 + bytes.len()).contains(&outbox.window(1 << 20)));
    }
});

impl Model {
    fn ask(&mut self, slot: Option<Slot>) {
        let is_muted = self.is_muted;
        self.requests.push(Request { slot, is_muted, reply: Vec::new(), is_whole: false });
    }

    /// The reply for a slot, of the past or the present.
    fn deliver(&mut self, which: u8, reply: &[u8], deliver: impl FnOnce(Slot)) {
        let index = usize::from(which) % self.requests.len().max(1);
        let Some(Request { slot: Some(slot), .. }) = self.requests.get(index) else { return };
        deliver(*slot);
        self.answer(index, reply);
    }

    fn answer(&mut self, index: usize, reply: &[u8]) {
        let request = &mut self.requests[index];
        if request.is_whole || index < self.gone {
            return;
        }
        // An error cannot be written into a reply that has begun.
        if !request.reply.is_empty() {
            self.is_closed = true;
            return;
        }
        (request.reply, request.is_whole) = (reply.to_vec(), true);
        if index == self.released {
            self.release();
        }
    }

    fn piece(&mut self, piece: &[u8], is_last: bool) {
        let Some(request) = self.requests.get_mut(self.released) else { return };
        request.reply.extend_from_slice(piece);
        request.is_whole = is_last;
        if !request.is_muted {
            self.append(piece);
        }
        if is_last {
            self.released += 1;
            self.release();
        }
    }

    fn is_within_reply(&self) -> bool {
        self.requests.get(self.released).is_some_and(|request| !request.reply.is_empty())
    }

    fn release(&mut self) {
        while let Some(Request { reply, is_whole: true, is_muted, .. }) = self.requests.get(self.released) {
            let reply = if *is_muted { Vec::new() } else { reply.clone() };
            self.append(&reply);
            self.released += 1;
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        if !self.is_closed {
            self.unread.extend_from_slice(bytes);
        }
    }

    fn close(&mut self) {
        let asked = self.requests.len();
        (self.released, self.gone) = (asked, asked);
        (self.is_closed, self.is_muted) = (true, false);
        self.unread.clear();
    }
}

//! What a client is subscribed to, and how it is subscribed again when its connection is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::Pin;
use super::expected::{Expected, Then, Topic, What};
use crate::command::{Effect, PinReason};
use crate::outbox::Slot;
use crate::resp::{Protocol, encode, peek};

/// Bytes a name takes besides its own.
const BESIDES_NAME: usize = 48;

/// How much of each kind, and what.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    pub(super) channels: u64,
    pub(super) patterns: u64,
    pub(super) shards: u64,
    /// Kept where the client may be subscribed again.
    names: Option<Names>,
    /// Bytes of the names, and of the requests in flight that change them.
    pub(super) held: usize,
}

#[derive(Debug, Default)]
struct Names {
    channels: BTreeSet<Box<[u8]>>,
    patterns: BTreeSet<Box<[u8]>>,
    shards: BTreeSet<Box<[u8]>>,
}

/// A client is being subscribed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::downstream) struct Gap {
    /// When its connection was lost.
    pub(in crate::downstream) since: Instant,
    /// How often the one that replaced it was lost before everything was confirmed.
    pub(in crate::downstream) again: u32,
    /// Requests still to be answered.
    pub(super) left: usize,
}

impl Subscriptions {
    pub(super) fn count(&self, topic: Topic) -> u64 {
        match topic {
            Topic::Channel => self.channels,
            Topic::Pattern => self.patterns,
            Topic::Shard => self.shards,
        }
    }

    pub(super) fn are_none(&self) -> bool {
        self.channels + self.patterns + self.shards == 0
    }

    pub(super) fn are_remembered(&self) -> bool {
        self.names.is_some()
    }

    /// Takes in a confirmation; `None` if the frame is none.
    pub(super) fn confirm(&mut self, frame: &[u8]) -> Option<()> {
        let (topic, is_made) = match peek::first_word(frame)? {
            b"subscribe" => (Topic::Channel, true),
            b"unsubscribe" => (Topic::Channel, false),
            b"psubscribe" => (Topic::Pattern, true),
            b"punsubscribe" => (Topic::Pattern, false),
            b"ssubscribe" => (Topic::Shard, true),
            b"sunsubscribe" => (Topic::Shard, false),
            _ => return None,
        };
        // The count is of channels and patterns together; shards are counted apart.
        let count = peek::last_integer(frame)?;
        match topic {
            Topic::Channel => self.channels = count.saturating_sub(self.patterns),
            Topic::Pattern => self.patterns = count.saturating_sub(self.channels),
            Topic::Shard => self.shards = count,
        }
        // There is no name where there was nothing to unsubscribe from.
        let name = peek::elements(frame)?.nth(1).and_then(peek::word);
        if let (Some(names), Some(name)) = (&mut self.names, name) {
            let names = match topic {
                Topic::Channel => &mut names.channels,
                Topic::Pattern => &mut names.patterns,
                Topic::Shard => &mut names.shards,
            };
            let size = name.len() + BESIDES_NAME;
            match is_made {
                true if names.insert(name.into()) => self.held += size,
                false if names.remove(name) => self.held -= size,
                true | false => {}
            }
        }
        Some(())
    }
}

impl Pin {
    /// A pin whose subscriptions are remembered by name, so that the client can be subscribed again.
    pub(in crate::downstream) fn remembering(mut self) -> Self {
        self.subscriptions.names = Some(Names::default());
        self
    }

    /// Bytes held for what it remembers.
    pub(in crate::downstream) fn held(&self) -> usize {
        self.subscriptions.held
    }

    /// Until everything is confirmed that was subscribed to on a connection now lost.
    pub(in crate::downstream) fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// Whether messages may have been missed: something had been confirmed.
    pub(in crate::downstream) fn has_missed(&self) -> bool {
        self.expected.iter().any(|expected| expected.slot == Slot::NONE && expected.what.is_subscription())
    }

    /// What will be on the connection that replaces the lost one, once everything is sent: [`Self::send_again`].
    ///
    /// What was confirmed is subscribed to by requests of ours. What was in flight is sent behind them, less what has
    /// been confirmed of it: the client hears the rest.
    pub(in crate::downstream) fn again(self, protocol: Protocol, now: Instant) -> Self {
        let mut pin = Self::new(PinReason::Subscription, protocol, false).remembering();
        let names = self.subscriptions.names.unwrap_or_default();
        let commands = [("SUBSCRIBE", names.channels), ("PSUBSCRIBE", names.patterns), ("SSUBSCRIBE", names.shards)];
        for (command, names) in commands.iter().filter(|(_, names)| !names.is_empty()) {
            let words: Vec<_> = [command.as_bytes()].into_iter().chain(names.iter().map(|name| &**name)).collect();
            pin.expect_again(Slot::NONE, What::Subscribe(names.len()), &words, now);
        }
        for Expected { slot, what, request, .. } in self.expected.iter().filter(|expected| expected.is_again()) {
            let left = if let What::Subscribe(left) = what { *left } else { 0 };
            let words: Vec<_> = peek::elements(request).into_iter().flatten().filter_map(peek::word).collect();
            let (command, names) = words.split_at(words.len().min(1));
            let names = &names[names.len().saturating_sub(left)..];
            pin.expect_again(*slot, what.clone(), &[command, names].concat(), now);
        }
        let (since, again) = self.gap.map_or((now, 0), |gap| (gap.since, gap.again + 1));
        pin.gap = Some(Gap { since, again, left: pin.expected.len() });
        pin
    }

    /// Sends what [`Self::again`] has said, on the connection that replaces the lost one.
    pub(in crate::downstream) fn send_again(&mut self, mut send: impl FnMut(&[u8]), now: Instant) {
        for expected in &mut self.expected {
            expected.since = now;
            send(&expected.request);
        }
    }

    fn expect_again(&mut self, slot: Slot, what: What, words: &[&[u8]], since: Instant) {
        let mut request = Vec::new();
        encode::request(&mut request, words);
        self.expect(Expected {
            slot,
            effect: Effect::Read,
            what,
            since,
            patience: Some(Duration::ZERO),
            request: request.into(),
            hold: None,
            then: Then::default(),
        });
    }
}

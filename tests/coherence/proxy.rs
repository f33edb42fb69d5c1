//! The protocol: what a proxy does with a read, with a write, and with what it hears.
//!
//! ```text
//!             read misses              PTTL is answered,
//!             and is sent              and the lease is good
//!   Absent ────────────▶ Fetching ──────────────────────────▶ Valid ── hit, if that is proven
//!     ▲ ▲                   │ invalidation, write:              │
//!     │ └───── no lease ────┘ the lease is revoked              │
//!     └───────────── invalidation, write, deadline ─────────────┘
//!
//!   held, while writes are in flight: no hits and no leases, the server answers
//! ```
//!
//! Everything is said once, here; each line that looks at a [`Rule`] is one the protocol could not do without.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;

use crate::rules::{Rule, Rules};
use crate::server::{ClientId, Life, Link, Proof, Reply, Request, Time, Value};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Entry {
    #[default]
    Absent,
    /// → `Valid` when the fetch is answered, if `may_fill`; else → `Absent`.
    Fetching {
        /// The lease. An invalidation or a write revokes it; the fetch goes on, for whoever asked.
        may_fill: bool,
        /// Of the two replies, the first has come.
        value: Option<Value>,
        /// Who waits for it and needs no fence: nobody may.
        joined: Vec<ClientId>,
    },
    /// → `Absent` by an invalidation, by a write, in time, and with its connection.
    Valid { value: Value, deadline: Option<Time> },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// What `tracked` has filled: its generation's, for a new connection begins with `Absent`.
    pub entry: Entry,
    /// Writes in flight.
    pub holds: u8,
    /// `H`: when the newest request was sent that `tracked` has answered as a primary.
    pub proven: Option<Time>,
    /// Who must not be given a hit before a proof that was sent from now on.
    pub unproven: BTreeSet<ClientId>,
    /// Reads that would be hits, had they a proof.
    pub waiting: BTreeSet<ClientId>,
    /// Carries reads, writes, fences and invalidations, in the server's order.
    pub tracked: Link,
    /// The one before it, until its last reply.
    pub previous: Option<Link>,
    /// Clients whose script is under way.
    pub scripting: BTreeSet<ClientId>,
    /// Connections of single clients, for what cannot go over `tracked`. As good as another worker's.
    pub pinned: BTreeMap<ClientId, Link>,
    /// A connection for nothing but invalidations and fences, if a rule is broken.
    pub aside: Link,
}

/// One of the connections of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    Tracked,
    Previous,
    Pinned(ClientId),
    Aside,
}

#[derive(Clone, Debug)]
pub enum Answer {
    /// From the cache.
    Hit(Value),
    /// From the server.
    Value(Value),
    Done(Value),
    NotExecuted,
    Unknown,
}

pub type Answers = Vec<(ClientId, Answer)>;

/// As many as there are in any scene.
const CLIENTS: ClientId = 4;

impl Proxy {
    /// A client asks.
    pub fn read(&mut self, rules: Rules, client: ClientId, now: Time) -> Answers {
        if rules.staleness == 0 || !self.scripting.is_empty() && rules.has(Rule::FenceAfterScripts) {
            self.want_proof(client);
        }
        self.serve(rules, client, now)
    }

    /// A client asks over a connection of its own.
    pub fn read_pinned(&mut self, client: ClientId) {
        self.pinned.entry(client).or_default().sent.push_back(Request::Read { client });
    }

    /// The key is held before the first byte leaves.
    pub fn write(&mut self, rules: Rules, client: ClientId, value: Value, is_pinned: bool, now: Time) {
        if rules.has(Rule::HoldWhatIsWritten) {
            self.holds += 1;
            self.forget();
        }
        let proves = self.proof(now);
        let link = if is_pinned { self.pinned.entry(client).or_default() } else { &mut self.tracked };
        link.sent.push_back(Request::Write { client, value, proves });
    }

    /// A client's script writes, nobody knows what.
    pub fn script(&mut self, client: ClientId, value: Value, now: Time) {
        self.scripting.insert(client);
        let proves = self.proof(now);
        self.pinned.entry(client).or_default().sent.push_back(Request::Write { client, value, proves });
    }

    /// Whether a fence is needed: somebody waits, and none is under way.
    pub fn wants_fence(&self, rules: Rules) -> bool {
        let link = self.fenced(rules);
        !self.waiting.is_empty()
            && !link.sent.iter().any(|it| matches!(it, Request::Fence(_)))
            && !link.told.iter().any(|it| matches!(it, Reply::Fence(_) | Reply::Refused { client: None }))
    }

    pub fn fence(&mut self, rules: Rules, now: Time) {
        let fence = Request::Fence(self.proof(now));
        let link = if rules.has(Rule::OneConnection) { &mut self.tracked } else { &mut self.aside };
        link.sent.push_back(fence);
    }

    fn fenced(&self, rules: Rules) -> &Link {
        if rules.has(Rule::OneConnection) { &self.tracked } else { &self.aside }
    }

    /// The reader of a connection takes the next frame; all it means is done before the next.
    pub fn hear(&mut self, rules: Rules, line: Line, now: Time) -> Answers {
        let reply = self.link(line).told.pop_front().expect("something is told");
        let is_current = match line {
            Line::Tracked | Line::Aside => true,
            Line::Previous => !rules.has(Rule::NewGeneration),
            Line::Pinned(_) => false,
        };
        let mut answers = Vec::new();
        match reply {
            Reply::Value { client, value } => answers.push((client, Answer::Value(value))),
            Reply::Fetched { client, value } => {
                answers.push((client, Answer::Value(value)));
                if let Entry::Fetching { value: first, joined, .. } = &mut self.entry
                    && is_current
                {
                    *first = Some(value);
                    answers.extend(take(joined).into_iter().map(|client| (client, Answer::Value(value))));
                }
            }
            Reply::Ttl { sent, left } => {
                if let Entry::Fetching { may_fill, value, .. } = self.entry
                    && is_current
                {
                    let may_fill = may_fill || !rules.has(Rule::RevokeLeases);
                    let is_over = left == Life::Over && rules.has(Rule::FillTheLivingOnly);
                    let since = if rules.has(Rule::CountFromSending) { sent } else { now };
                    self.entry = match value {
                        Some(value) if may_fill && !is_over => Entry::Valid { value, deadline: left.deadline(since) },
                        _ => Entry::Absent,
                    };
                }
            }
            // Of an older connection it says nothing about what this one fills.
            Reply::Invalidation if line == Line::Previous => {}
            // There is no telling whether it was sent before or after the value that is under way.
            Reply::Invalidation if line == Line::Aside && matches!(self.entry, Entry::Fetching { .. }) => {}
            Reply::Invalidation => self.forget(),
            Reply::Done { client, value, .. } if self.scripting.remove(&client) => {
                answers.push((client, Answer::Done(value)));
                if rules.has(Rule::FenceAfterScripts) && rules.staleness > 0 {
                    (0..CLIENTS).for_each(|client| self.want_proof(client));
                }
            }
            Reply::Done { client, value, proves } => {
                self.release(rules);
                answers.push((client, Answer::Done(value)));
                if !rules.has(Rule::FillFromFetchesOnly) {
                    self.entry = Entry::Valid { value, deadline: None };
                }
                if line == Line::Tracked {
                    answers.extend(self.prove(rules, &proves, now));
                }
            }
            Reply::Refused { client: Some(client) } => {
                self.release(rules);
                answers.push((client, Answer::NotExecuted));
            }
            Reply::Fence(proof) if is_current => answers.extend(self.prove(rules, &proof, now)),
            Reply::Refused { client: None } if is_current => {
                self.forget();
                answers.extend(self.serve_waiting(rules, now));
            }
            Reply::Fence(_) | Reply::Refused { client: None } => {}
        }
        self.settle(rules, line);
        answers
    }

    /// The connection is gone, and another is there. What it had filled goes with it, and so does what it proved. Reads
    /// are asked again; of writes, which are left in `orphans`, nobody knows.
    pub fn lose(&mut self, rules: Rules, now: Time, orphans: &mut Vec<Value>) -> Answers {
        let lost = take(&mut self.tracked);
        let mut again = Vec::new();
        let mut answers = Vec::new();
        for request in lost.sent {
            match request {
                Request::Read { client } | Request::Fetch { client } => again.push(client),
                Request::Write { client, value, .. } => {
                    orphans.push(value);
                    answers.push((client, Answer::Unknown));
                }
                Request::Ttl { .. } | Request::Fence(_) => {}
            }
        }
        for reply in lost.told {
            match reply {
                Reply::Value { client, .. } | Reply::Fetched { client, .. } => again.push(client),
                Reply::Done { client, .. } | Reply::Refused { client: Some(client) } => {
                    answers.push((client, Answer::Unknown));
                }
                Reply::Ttl { .. } | Reply::Fence(_) | Reply::Invalidation | Reply::Refused { client: None } => {}
            }
        }
        answers.iter().for_each(|_| self.release(rules));
        self.begin_generation(rules);
        again.into_iter().for_each(|client| answers.extend(self.serve(rules, client, now)));
        answers.extend(self.serve_waiting(rules, now));
        answers
    }

    /// Another connection takes over; this one is left to answer what it has been asked.
    pub fn renew(&mut self, rules: Rules, now: Time) -> Answers {
        self.previous = Some(take(&mut self.tracked));
        self.begin_generation(rules);
        self.settle(rules, Line::Previous);
        self.serve_waiting(rules, now)
    }

    pub fn link(&mut self, line: Line) -> &mut Link {
        match line {
            Line::Tracked => &mut self.tracked,
            Line::Previous => self.previous.as_mut().expect("a previous connection"),
            Line::Pinned(client) => self.pinned.get_mut(&client).expect("a pinned connection"),
            Line::Aside => &mut self.aside,
        }
    }

    /// Those with something under way.
    pub fn lines(&self) -> impl Iterator<Item = (Line, &Link)> {
        let previous = self.previous.iter().map(|link| (Line::Previous, link));
        let pinned = self.pinned.iter().map(|(client, link)| (Line::Pinned(*client), link));
        [(Line::Tracked, &self.tracked), (Line::Aside, &self.aside)].into_iter().chain(previous).chain(pinned)
    }

    fn serve(&mut self, rules: Rules, client: ClientId, now: Time) -> Answers {
        self.waiting.remove(&client);
        if let Entry::Valid { deadline: Some(deadline), .. } = self.entry
            && deadline <= now
            && rules.has(Rule::KeepTime)
        {
            self.entry = Entry::Absent;
        }
        match &mut self.entry {
            Entry::Valid { value, .. } if self.holds == 0 => {
                let value = *value;
                if self.is_proven(rules, client, now) {
                    return vec![(client, Answer::Hit(value))];
                }
                self.waiting.insert(client);
            }
            Entry::Absent if self.holds == 0 => {
                self.entry = Entry::Fetching { may_fill: true, value: None, joined: Vec::new() };
                self.tracked.sent.extend([Request::Fetch { client }, Request::Ttl { sent: now }]);
            }
            Entry::Fetching { value: None, joined, .. } if !rules.has(Rule::FenceJoined) => joined.push(client),
            // With the fence behind the fetch it may be a hit.
            Entry::Fetching { may_fill: true, .. } if self.holds == 0 => {
                if !self.unproven.contains(&client) {
                    self.want_proof(client);
                }
                self.waiting.insert(client);
            }
            // Held, or overwritten while it is being fetched: the server answers.
            _ => self.tracked.sent.push_back(Request::Read { client }),
        }
        Vec::new()
    }

    fn serve_waiting(&mut self, rules: Rules, now: Time) -> Answers {
        let waiting = self.waiting.clone();
        waiting.into_iter().flat_map(|client| self.serve(rules, client, now)).collect()
    }

    /// The rule for hits: what is cached was right when it asked, or is not older than it may be.
    fn is_proven(&self, rules: Rules, client: ClientId, now: Time) -> bool {
        if !rules.has(Rule::ProveHits) {
            return true;
        }
        let is_recent = || self.proven.is_some_and(|at| now - at <= rules.staleness);
        !self.unproven.contains(&client) && (rules.staleness == 0 || is_recent())
    }

    /// From now on this client needs a proof; what is under way was sent too early for it.
    fn want_proof(&mut self, client: ClientId) {
        self.unproven.insert(client);
        for link in [&mut self.tracked, &mut self.aside] {
            let sent = link.sent.iter_mut().filter_map(|request| match request {
                Request::Write { proves, .. } | Request::Fence(proves) => Some(proves),
                Request::Read { .. } | Request::Fetch { .. } | Request::Ttl { .. } => None,
            });
            let told = link.told.iter_mut().filter_map(|reply| match reply {
                Reply::Done { proves, .. } | Reply::Fence(proves) => Some(proves),
                _ => None,
            });
            sent.chain(told).for_each(|proof| proof.clients.retain(|other| *other != client));
        }
    }

    /// What a request that is sent now will prove.
    fn proof(&self, now: Time) -> Proof {
        Proof { at: now, clients: self.unproven.iter().copied().collect() }
    }

    fn prove(&mut self, rules: Rules, proof: &Proof, now: Time) -> Answers {
        let from_sending = rules.has(Rule::CountFromSending);
        self.unproven.retain(|client| from_sending && !proof.clients.contains(client));
        if rules.staleness > 0 {
            self.proven = self.proven.max(Some(if from_sending { proof.at } else { now }));
        }
        self.serve_waiting(rules, now)
    }

    fn forget(&mut self) {
        match &mut self.entry {
            Entry::Absent => {}
            Entry::Fetching { may_fill, .. } => *may_fill = false,
            Entry::Valid { .. } => self.entry = Entry::Absent,
        }
    }

    fn release(&mut self, rules: Rules) {
        if rules.has(Rule::HoldWhatIsWritten) {
            self.holds -= 1;
        }
    }

    fn begin_generation(&mut self, rules: Rules) {
        if rules.has(Rule::NewGeneration) {
            self.entry = Entry::Absent;
            self.proven = None;
        }
    }

    /// What has been answered over a connection that is not `tracked` may be newer than what is cached.
    fn settle(&mut self, rules: Rules, line: Line) {
        match line {
            Line::Tracked | Line::Aside => {}
            Line::Previous => self.previous = self.previous.take().filter(|link| !link.is_idle()),
            Line::Pinned(client) => {
                self.pinned.remove(&client);
                if rules.has(Rule::FloorOfClients) && rules.staleness > 0 {
                    self.want_proof(client);
                }
            }
        }
    }
}

impl Life {
    fn deadline(self, since: Time) -> Option<Time> {
        match self {
            Self::For(left) => Some(since + left),
            Self::Endless | Self::Over => None,
        }
    }
}

impl Link {
    fn is_idle(&self) -> bool {
        self.sent.is_empty() && self.told.is_empty()
    }
}

//! Clients with something to do, and everything that may happen meanwhile, in every order.

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::history::History;
use crate::judge::Judge;
pub use crate::judge::Promise;
use crate::proxy::{Answer, Answers, Line, Proxy};
use crate::rules::{Rule, Rules};
use crate::server::{ClientId, Reply, Server, Time, Value};

/// What a client does, one thing after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Through this proxy.
    Read(usize),
    Write(usize, Value),
    /// Through this proxy, over a pinned connection.
    ReadPinned(usize),
    WritePinned(usize, Value),
    /// The same, of which the proxy does not know that it writes the key.
    Script(usize, Value),
    /// Past every proxy. It is answered at once.
    WriteDirectly(Value),
}

/// What is tried in every order.
#[derive(Clone, Debug)]
pub struct Scene {
    clients: Vec<Vec<Deed>>,
    proxies: usize,
    rules: Rules,
    /// How far the clock goes.
    ticks: Time,
    losses: u8,
    renewals: u8,
    has_failover: bool,
    expires: Option<Time>,
    has_history: bool,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct State {
    server: Server,
    proxies: Vec<Proxy>,
    clients: Vec<Client>,
    now: Time,
    losses: u8,
    renewals: u8,
    /// Writes of lost connections: the server may yet execute them, or never.
    orphans: Vec<Value>,
    judge: Judge,
    history: History,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Client {
    done: usize,
    is_waiting: bool,
    /// What the last read got from the cache.
    hit: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A client does what it has to do next.
    Begin(ClientId),
    /// The server executes the next request of a connection.
    Execute(usize, Line),
    /// A proxy reads the next frame from a connection.
    Hear(usize, Line),
    Fence(usize),
    Tick,
    /// The tracked connection is lost, and replaced.
    Lose(usize),
    /// The tracked connection is replaced, and then answers what it was asked.
    Renew(usize),
    /// The server executes a write of a lost connection.
    ExecuteOrphan(Value),
    /// Another server is the primary from now on, and this one is not told.
    FailOver,
}

const KEPT: &str = "every promise is kept";
const LINEARIZABLE: &str = "the other judge finds an order, too";
const USED: &str = "a value that was written is served from the cache";

impl Scene {
    /// With a staleness of 0, no clock, and nothing that goes wrong.
    pub fn of<const N: usize>(clients: [&[Deed]; N]) -> Self {
        let clients: Vec<_> = clients.into_iter().map(<[Deed]>::to_vec).collect();
        let proxies = clients.iter().flatten().filter_map(|deed| deed.proxy()).max().map_or(0, |last| last + 1);
        let rules = Rules { staleness: 0, broken: None };
        Self {
            clients,
            proxies,
            rules,
            ticks: 0,
            losses: 0,
            renewals: 0,
            has_failover: false,
            expires: None,
            has_history: false,
        }
    }

    /// With a clock that goes as far as two more than that.
    pub fn staleness(mut self, staleness: Time) -> Self {
        self.rules.staleness = staleness;
        self.ticks = staleness + 2;
        self
    }

    pub fn losses(mut self, losses: u8) -> Self {
        self.losses = losses;
        self
    }

    pub fn renewals(mut self, renewals: u8) -> Self {
        self.renewals = renewals;
        self
    }

    pub fn failover(mut self) -> Self {
        self.has_failover = true;
        self
    }

    /// When the value that is there from the beginning is gone.
    pub fn expires(mut self, at: Time) -> Self {
        self.expires = Some(at);
        self
    }

    /// For a staleness of 0.
    pub fn judged_twice(mut self) -> Self {
        self.has_history = true;
        self
    }

    pub fn without(mut self, rule: Rule) -> Self {
        self.rules.broken = Some(rule);
        self
    }

    /// Tries everything. It is nothing if the cache was never used.
    pub fn keeps_every_promise(self) {
        let checker = self.checker().spawn_bfs().join();
        eprintln!("{} states, {} steps deep", checker.unique_state_count(), checker.max_depth());
        checker.assert_properties();
    }

    /// Finds the shortest way to break a promise, which must be this one.
    pub fn breaks(self, promise: Promise) {
        let checker = self.clone().checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let path = checker.discovery(KEPT).expect("a promise is broken");
        let (broken, history) = (path.last_state().judge.broken, path.last_state().history.clone());
        eprintln!("{} states, and then:", checker.unique_state_count());
        path.into_actions().iter().for_each(|action| eprintln!("  {action:?}"));
        assert_eq!(broken, Some(promise));
        assert!(!self.has_history || !history.is_linearizable(), "the other judge is content");
    }

    /// Tells every tracked connection that is to be told of a write, and forgets it.
    fn tell(&self, state: &mut State) {
        for proxy in &mut state.proxies {
            if std::mem::take(&mut proxy.tracked.is_remembered) {
                let link = if self.rules.has(Rule::OneConnection) { &mut proxy.tracked } else { &mut proxy.aside };
                link.told.push_back(Reply::Invalidation);
            }
        }
    }

    fn begin(&self, state: &mut State, client: ClientId) {
        let done = state.clients[client].done;
        let deed = self.clients[client][done];
        state.history.ask((client, done), deed.written());
        state.clients[client] = Client { is_waiting: true, hit: None, ..state.clients[client] };
        let (rules, now) = (self.rules, state.now);
        let answers = match deed {
            Deed::Read(proxy) => {
                state.judge.begin(client, proxy);
                state.proxies[proxy].read(rules, client, now)
            }
            Deed::ReadPinned(proxy) => {
                state.judge.begin(client, proxy);
                state.proxies[proxy].read_pinned(client);
                Vec::new()
            }
            Deed::Write(proxy, value) => {
                state.proxies[proxy].write(rules, client, value, false, now);
                Vec::new()
            }
            Deed::WritePinned(proxy, value) => {
                state.proxies[proxy].write(rules, client, value, true, now);
                Vec::new()
            }
            Deed::Script(proxy, value) => {
                state.proxies[proxy].script(client, value, now);
                Vec::new()
            }
            Deed::WriteDirectly(value) => {
                state.server.past.push((value, now));
                // A server that is no longer the primary does not hear of it.
                if state.server.followed.is_none() {
                    self.tell(state);
                }
                vec![(client, Answer::Done(value))]
            }
        };
        self.answer(state, answers);
    }

    fn answer(&self, state: &mut State, answers: Answers) {
        for (client, answer) in answers {
            let it = &mut state.clients[client];
            let proxy = self.clients[client][it.done].proxy();
            match answer {
                Answer::Hit(value) | Answer::Value(value) => state.history.answer((client, it.done), Some(value)),
                Answer::Done(_) => state.history.answer((client, it.done), None),
                Answer::NotExecuted | Answer::Unknown => {}
            }
            it.is_waiting = false;
            it.done += 1;
            match answer {
                Answer::Hit(value) => {
                    it.hit = Some(value);
                    state.judge.hit(&state.server, client, value, self.rules.staleness, state.now);
                }
                Answer::Value(value) => state.judge.read(&state.server, client, value, self.rules.staleness),
                Answer::Done(value) => state.judge.acknowledge(&state.server, client, proxy, value),
                Answer::NotExecuted | Answer::Unknown => {}
            }
        }
    }
}

impl Deed {
    fn proxy(self) -> Option<usize> {
        match self {
            Self::Read(proxy)
            | Self::Write(proxy, _)
            | Self::ReadPinned(proxy)
            | Self::WritePinned(proxy, _)
            | Self::Script(proxy, _) => Some(proxy),
            Self::WriteDirectly(_) => None,
        }
    }

    fn written(self) -> Option<Value> {
        match self {
            Self::Read(_) | Self::ReadPinned(_) => None,
            Self::Write(_, value)
            | Self::WritePinned(_, value)
            | Self::Script(_, value)
            | Self::WriteDirectly(value) => Some(value),
        }
    }
}

impl Model for Scene {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            server: Server::new(self.expires),
            proxies: vec![Proxy::default(); self.proxies],
            clients: vec![Client::default(); self.clients.len()],
            now: 0,
            losses: 0,
            renewals: 0,
            orphans: Vec::new(),
            judge: Judge::of(self.clients.len(), self.proxies),
            history: if self.has_history { History::new() } else { History::default() },
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let clients = state.clients.iter().zip(&self.clients).enumerate();
        let idle = clients.filter(|(_, (client, deeds))| !client.is_waiting && client.done < deeds.len());
        let idle: Vec<_> = idle.map(|(client, _)| Action::Begin(client)).collect();
        let is_over = idle.is_empty() && state.clients.iter().all(|client| !client.is_waiting);
        if is_over || state.judge.broken.is_some() {
            return;
        }
        actions.extend(idle);
        for (number, proxy) in state.proxies.iter().enumerate() {
            for (line, link) in proxy.lines() {
                actions.extend((!link.sent.is_empty()).then_some(Action::Execute(number, line)));
                actions.extend((!link.told.is_empty()).then_some(Action::Hear(number, line)));
            }
            actions.extend(proxy.wants_fence(self.rules).then_some(Action::Fence(number)));
            actions.extend((state.losses < self.losses).then_some(Action::Lose(number)));
            let may_renew = state.renewals < self.renewals && proxy.previous.is_none();
            actions.extend(may_renew.then_some(Action::Renew(number)));
        }
        actions.extend(state.orphans.iter().map(|value| Action::ExecuteOrphan(*value)));
        actions.extend((state.now < self.ticks).then_some(Action::Tick));
        actions.extend((self.has_failover && state.server.followed.is_none()).then_some(Action::FailOver));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        let (rules, now) = (self.rules, state.now);
        let answers = match action {
            Action::Begin(client) => {
                self.begin(&mut state, client);
                Vec::new()
            }
            Action::Execute(proxy, line) => {
                let link = state.proxies[proxy].link(line);
                if state.server.execute(link, now, rules.has(Rule::FenceByWriting)) {
                    self.tell(&mut state);
                }
                Vec::new()
            }
            Action::Hear(proxy, line) => state.proxies[proxy].hear(rules, line, now),
            Action::Fence(proxy) => {
                state.proxies[proxy].fence(rules, now);
                Vec::new()
            }
            Action::Tick => {
                state.now += 1;
                state.server.expire(state.now);
                Vec::new()
            }
            Action::Lose(proxy) => {
                state.losses += 1;
                state.proxies[proxy].lose(rules, now, &mut state.orphans)
            }
            Action::Renew(proxy) => {
                state.renewals += 1;
                state.proxies[proxy].renew(rules, now)
            }
            Action::ExecuteOrphan(value) => {
                state.orphans.retain(|other| *other != value);
                if state.server.followed.is_none() {
                    state.server.past.push((value, now));
                    self.tell(&mut state);
                }
                Vec::new()
            }
            Action::FailOver => {
                state.server.followed = Some(state.server.past.len());
                Vec::new()
            }
        };
        self.answer(&mut state, answers);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |_: &Self, state: &State| state.judge.broken.is_none()),
            Property::always(LINEARIZABLE, |_: &Self, state: &State| {
                state.judge.broken.is_some() || state.history.is_linearizable()
            }),
            Property::sometimes(USED, |_: &Self, state: &State| {
                state.clients.iter().any(|client| client.hit.is_some_and(|value| value != 0))
            }),
        ]
    }
}

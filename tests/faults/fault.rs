//! What goes wrong, on the way and at the server, and how it is set right again.

use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::support::{Cut, Direction, Proxy, RedisServer, Relay};

/// The user the proxy is, where a password is wanted.
pub(crate) const USER: &str = "web";
pub(crate) const PASSWORD: &str = "right";

/// On the way. Each is over after a while.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NetworkFault {
    /// Every connection.
    Cut(Cut),
    CutOne(usize, Cut),
    /// In the middle of a request, a reply or a handshake, with or without TLS.
    CutAfter(usize, Direction, Cut),
    Blackhole,
    /// In one direction, and then the end.
    HalfBlackhole(Direction),
    /// For new connections.
    NoNewcomers,
    Trickle,
    Lag(Duration),
    /// Requests of a connection that is cut arrive all the same, later.
    LateBytes,
    /// The same with one connection, while others go on; and perhaps no new one gets through before.
    LateBytesOfOne {
        one: usize,
        newcomers: bool,
    },
}

/// At the server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ServerFault {
    Kill,
    Terminate,
    Stop,
    /// It reads its data again, and refuses everything meanwhile.
    Load,
    Sleep,
    CloseClients,
    Pause,
    TooManyClients,
    WrongPassword,
}

/// A fault, after so much peace, and for so long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned<F> {
    peace: Duration,
    fault: F,
    length: Duration,
}

impl<F> Planned<F> {
    fn new(random: &mut Rng, fault: F) -> Self {
        let most = if random.u8(0..8) == 0 { 1200 } else { 300 };
        let mut within = |most| Duration::from_millis(random.u64(0..most));
        Self { peace: within(200), fault, length: within(most) }
    }
}

impl Planned<NetworkFault> {
    pub(crate) fn any(random: &mut Rng) -> Self {
        let how = if random.bool() { Cut::Reset } else { Cut::Finish };
        let direction = if random.bool() { Direction::Requests } else { Direction::Replies };
        let (one, newcomers, bytes) = (random.usize(0..12), random.bool(), 1 << random.usize(2..14));
        let fault = match random.u8(0..16) {
            0 => NetworkFault::Cut(how),
            1..3 => NetworkFault::CutOne(one, how),
            3..6 => NetworkFault::CutAfter(random.usize(0..bytes), direction, how),
            6 => NetworkFault::Blackhole,
            7 => NetworkFault::HalfBlackhole(direction),
            8 => NetworkFault::NoNewcomers,
            9 => NetworkFault::Trickle,
            10 => NetworkFault::Lag(Duration::from_millis(random.u64(1..20))),
            11 | 12 => NetworkFault::LateBytes,
            _ => NetworkFault::LateBytesOfOne { one, newcomers },
        };
        Self::new(random, fault)
    }

    pub(crate) fn happen(&self, relay: &Relay) {
        thread::sleep(self.peace);
        // The oldest are shared by many, the newest are there, most likely.
        let number = |one: usize| {
            let connections = relay.connections();
            if one.is_multiple_of(2) { one / 2 % connections } else { connections.saturating_sub(one / 2 + 1) }
        };
        match self.fault {
            NetworkFault::Cut(how) => relay.cut(how),
            NetworkFault::CutOne(one, how) => relay.cut_one(number(one), how),
            NetworkFault::CutAfter(bytes, direction, how) => relay.cut_after(bytes, direction, how),
            NetworkFault::Blackhole => relay.stop(),
            NetworkFault::HalfBlackhole(direction) => relay.stop_direction(direction),
            NetworkFault::NoNewcomers => {
                relay.stop_newcomers();
                relay.cut(Cut::Reset);
            }
            NetworkFault::Trickle => relay.trickle(true),
            NetworkFault::Lag(lag) => relay.lag(lag),
            NetworkFault::LateBytes => {
                relay.delay();
                thread::sleep(self.length / 8);
                relay.cut(Cut::Reset);
            }
            NetworkFault::LateBytesOfOne { one, newcomers } => {
                let number = number(one);
                relay.delay_one(number);
                thread::sleep(self.length / 8);
                if !newcomers {
                    relay.stop_newcomers();
                }
                relay.cut_one(number, Cut::Finish);
            }
        }
        thread::sleep(self.length);
        if let NetworkFault::HalfBlackhole(_) = self.fault {
            relay.cut(Cut::Finish);
        }
        heal(relay);
    }
}

/// Everything passes, and what was late arrives.
fn heal(relay: &Relay) {
    relay.deliver();
    thread::sleep(Duration::from_millis(5));
    relay.forget_plan();
    relay.resume();
    relay.trickle(false);
    relay.lag(Duration::ZERO);
}

impl Planned<ServerFault> {
    pub(crate) fn any(random: &mut Rng, has_password: bool) -> Self {
        let fault = match random.u8(0..if has_password { 10 } else { 9 }) {
            0 | 1 => ServerFault::Kill,
            2 => ServerFault::Terminate,
            3 => ServerFault::Stop,
            4 => ServerFault::Load,
            5 => ServerFault::Sleep,
            6 => ServerFault::CloseClients,
            7 => ServerFault::Pause,
            8 => ServerFault::TooManyClients,
            _ => ServerFault::WrongPassword,
        };
        Self::new(random, fault)
    }

    /// Whether the server reads its data while it has clients.
    pub(crate) fn loads(&self) -> bool {
        matches!(self.fault, ServerFault::Load)
    }

    pub(crate) fn happen(&self, server: &mut RedisServer, proxy: &Proxy) {
        thread::sleep(self.peace);
        let millis = self.length.as_millis().to_string();
        match self.fault {
            ServerFault::Kill => {
                server.kill();
                thread::sleep(self.length);
                server.start();
            }
            ServerFault::Terminate => {
                server.stop();
                thread::sleep(self.length);
                server.start();
            }
            ServerFault::Stop => {
                server.pause();
                thread::sleep(self.length);
                server.resume();
            }
            ServerFault::Load => {
                // For each command it reads.
                let micros = (self.length.as_micros() / FILL as u128).to_string();
                server.cli(&["CONFIG", "SET", "key-load-delay", &micros]);
                assert_eq!(server.cli(&["DEBUG", "LOADAOF"]), "OK");
                server.cli(&["CONFIG", "SET", "key-load-delay", "0"]);
            }
            ServerFault::Sleep => {
                server.cli(&["DEBUG", "SLEEP", &self.length.as_secs_f64().to_string()]);
            }
            ServerFault::CloseClients => {
                server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
                server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            }
            ServerFault::Pause => {
                server.cli(&["CLIENT", "PAUSE", &millis, "WRITE"]);
                thread::sleep(self.length);
            }
            ServerFault::TooManyClients => {
                let mut operator = server.operator();
                assert_eq!(operator.ask("CONFIG SET maxclients 1"), "OK");
                operator.ask("CLIENT KILL TYPE normal");
                thread::sleep(self.length);
                assert_eq!(operator.ask("CONFIG SET maxclients 10000"), "OK");
            }
            ServerFault::WrongPassword => {
                server.cli(&["ACL", "SETUSER", USER, "resetpass", ">other"]);
                server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
                thread::sleep(self.length);
                server.cli(&["ACL", "SETUSER", USER, "resetpass", &format!(">{PASSWORD}")]);
                // A wrong password is not tried again so soon, unless somebody says that it was mended.
                proxy.signal("HUP");
            }
        }
    }
}

/// Keys that are there to be loaded.
const FILL: usize = 3000;

/// Fills the server with what takes time to load.
pub(crate) fn fill(server: &RedisServer) {
    let script = format!("for i = 1, {FILL} do redis.call('SET', 'fill:' .. i, i) end return 1");
    assert_eq!(server.cli(&["EVAL", &script, "0"]), "1");
}

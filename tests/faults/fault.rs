//! What goes wrong, on the way and at the server, and how it is set right again.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::REPLY_TIMEOUT;
use super::support::{Certificates, Cut, Direction, Proxy, RedisOptions, RedisServer, Relay};

/// The user the proxy is, where a password is wanted.
pub(crate) const USER: &str = "web";
pub(crate) const PASSWORD: &str = "right";

/// On the way. Each is over after a while.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NetworkFault {
    /// Every connection.
    Cut(Cut),
    CutOne(usize, Cut),
    /// In the middle of a request or a reply.
    CutAfter(usize, Direction, Cut),
    /// Every connection, and then each new one after so many bytes: in the handshake, of TLS or Redis, or soon after.
    CutNewcomers(usize, Direction, Cut),
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
    /// What is sent on the connections there are arrives when they have been given up. New ones are well.
    LongLag,
    /// Nothing passes until every connection has been given up.
    LongBlackhole,
}

/// At the server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ServerFault {
    Kill,
    Terminate,
    Stop,
    /// It stands still until every connection has been given up.
    LongStop,
    /// It reads its data again, and refuses everything meanwhile.
    Load,
    /// The same at its start: nobody is connected any more.
    LoadAtStart,
    Sleep,
    CloseClients,
    Pause,
    TooManyClients,
    WrongPassword,
    ExpiredCertificate,
}

/// A fault, after so much peace, and for so long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned<F> {
    peace: Duration,
    fault: F,
    length: Duration,
}

impl<F: Debug> Planned<F> {
    /// The fault's name alone.
    pub(crate) fn name(&self) -> String {
        format!("{:?}", self.fault).split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
    }

    fn new(random: &mut Rng, fault: F) -> Self {
        let most = if random.u8(0..8) == 0 { 1200 } else { 300 };
        let mut within = |most| Duration::from_millis(random.u64(0..most));
        Self { peace: within(200), fault, length: within(most) }
    }
}

/// A fault that outlasts `reply_timeout`, and then the wait for a late reply: connections are given up.
pub(crate) enum Silence {
    OnTheWay(Planned<NetworkFault>),
    AtTheServer(Planned<ServerFault>),
}

impl Silence {
    pub(crate) fn any(random: &mut Rng) -> Self {
        let peace = Duration::from_millis(random.u64(50..200));
        let length = LONGEST_SILENCE - Duration::from_millis(random.u64(0..1500));
        match random.u8(0..3) {
            0 => Self::OnTheWay(Planned { peace, fault: NetworkFault::LongLag, length }),
            1 => Self::OnTheWay(Planned { peace, fault: NetworkFault::LongBlackhole, length }),
            _ => Self::AtTheServer(Planned { peace, fault: ServerFault::LongStop, length }),
        }
    }
}

impl Planned<NetworkFault> {
    pub(crate) fn any(random: &mut Rng, is_tls: bool) -> Self {
        let how = if random.bool() { Cut::Reset } else { Cut::Finish };
        let direction = if random.bool() { Direction::Requests } else { Direction::Replies };
        let (one, newcomers, bytes) = (random.usize(0..12), random.bool(), 1 << random.usize(2..14));
        // Handshakes of TLS are longer.
        let fault = match random.u8(0..if is_tls { 19 } else { 17 }) {
            0 => NetworkFault::Cut(how),
            1..3 => NetworkFault::CutOne(one, how),
            3..6 => NetworkFault::CutAfter(random.usize(0..bytes), direction, how),
            6 => NetworkFault::Blackhole,
            7 => NetworkFault::HalfBlackhole(direction),
            8 => NetworkFault::NoNewcomers,
            9 => NetworkFault::Trickle,
            10 => NetworkFault::Lag(Duration::from_millis(random.u64(1..20))),
            11 | 12 => NetworkFault::LateBytes,
            13..16 => NetworkFault::LateBytesOfOne { one, newcomers },
            _ => NetworkFault::CutNewcomers(random.usize(0..HANDSHAKE), direction, how),
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
            NetworkFault::CutNewcomers(bytes, direction, how) => {
                relay.cut(Cut::Reset);
                let until = Instant::now() + self.length;
                while Instant::now() < until {
                    if !relay.has_plan() {
                        relay.cut_after(bytes, direction, how);
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            }
            NetworkFault::Blackhole | NetworkFault::LongBlackhole => relay.stop(),
            NetworkFault::LongLag => relay.delay(),
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
        if !matches!(self.fault, NetworkFault::CutNewcomers(..)) {
            thread::sleep(self.length);
        }
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
    pub(crate) fn any(random: &mut Rng, is_locked: bool) -> Self {
        let fault = match random.u8(0..if is_locked { 12 } else { 10 }) {
            0 | 1 => ServerFault::Kill,
            2 => ServerFault::Terminate,
            3 => ServerFault::Stop,
            4 => ServerFault::Load,
            5 => ServerFault::Sleep,
            6 => ServerFault::CloseClients,
            7 => ServerFault::Pause,
            8 => ServerFault::TooManyClients,
            9 => ServerFault::LoadAtStart,
            10 => ServerFault::WrongPassword,
            _ => ServerFault::ExpiredCertificate,
        };
        Self::new(random, fault)
    }

    /// Whether the server reads its data while it has clients.
    pub(crate) fn loads(&self) -> bool {
        matches!(self.fault, ServerFault::Load)
    }

    /// Whether the proxy waits for somebody to say that it was mended.
    pub(crate) fn holds_off(&self) -> bool {
        matches!(self.fault, ServerFault::WrongPassword | ServerFault::ExpiredCertificate)
    }

    pub(crate) fn happen(&self, server: &mut RedisServer, proxy: &Proxy, certificates: &Certificates) {
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
            ServerFault::Stop | ServerFault::LongStop => {
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
            ServerFault::LoadAtStart => {
                let length = self.length.clamp(Duration::from_millis(300), Duration::from_millis(1200));
                let delay =
                    |micros: u128| move |options: RedisOptions| options.config(format!("key-load-delay {micros}"));
                server.rewrite_file();
                server.reconfigure(delay(length.as_micros() / FILL as u128));
                server.kill();
                server.start();
                server.reconfigure(delay(0));
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
            ServerFault::ExpiredCertificate => {
                server.kill();
                server.reconfigure(|options| options.server_certificate(&certificates.expired));
                server.start();
                thread::sleep(self.length);
                server.stop();
                server.reconfigure(|options| options.server_certificate(&certificates.server));
                server.start();
                proxy.signal("HUP");
            }
        }
    }
}

/// Bytes in one direction within which a handshake ends, or soon after.
const HANDSHAKE: usize = 2500;

/// `reply_timeout`, the five seconds after which the proxy gives up a connection without the reply, and two more.
pub(crate) const LONGEST_SILENCE: Duration = REPLY_TIMEOUT.saturating_add(Duration::from_secs(5 + 2));

/// So that a server that is loading looks at its clients now and then.
pub(crate) const LOADS_IN_PIECES: &str = "loading-process-events-interval-bytes 1024";

/// Keys that are there to be loaded.
const FILL: usize = 3000;

/// Fills the server with what takes time to load.
pub(crate) fn fill(server: &RedisServer) {
    let script = format!("for i = 1, {FILL} do redis.call('SET', 'fill:' .. i, i) end return 1");
    assert_eq!(server.cli(&["EVAL", &script, "0"]), "1");
}

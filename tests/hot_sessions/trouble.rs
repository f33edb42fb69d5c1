//! What goes wrong beside what `tests/faults` has: with those who cache, and those who invalidate.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::fault::{Planned, ServerFault};
use super::support::{Certificates, Proxy, RedisServer, Wire, wait_until};
use super::talk::Scene;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Trouble {
    /// One that happens to any proxy.
    Server(Planned<ServerFault>),
    StopProxy(usize),
    /// A script that does not end, until it is killed.
    Busy,
    /// Every connection that is told of changes, or one of them.
    KillTracked {
        one: bool,
    },
    /// The server tells of nothing that expires until somebody asks.
    NoActiveExpiry,
    /// The configuration is read again: every connection is replaced.
    Reload(usize),
    /// The replica becomes the primary, and later the replica again.
    Failover,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Troubled {
    peace: Duration,
    trouble: Trouble,
    length: Duration,
}

/// Where trouble happens.
pub(crate) struct Place<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) server: &'a mut RedisServer,
    pub(crate) replica: Option<&'a RedisServer>,
    pub(crate) proxies: &'a [&'a Proxy],
    pub(crate) certificates: &'a Certificates,
}

impl Troubled {
    pub(crate) fn any(random: &mut Rng, has_replica: bool) -> Self {
        let trouble = match random.u8(0..16) {
            0..4 => Trouble::Server(server_fault(random)),
            4..6 => Trouble::StopProxy(random.usize(0..2)),
            6..8 => Trouble::Busy,
            8..11 => Trouble::KillTracked { one: random.bool() },
            11 => Trouble::NoActiveExpiry,
            12 => Trouble::Reload(random.usize(0..2)),
            _ if has_replica => Trouble::Failover,
            _ => Trouble::KillTracked { one: true },
        };
        let mut within = |most| Duration::from_millis(random.u64(0..most));
        Self { peace: within(250), trouble, length: within(500) }
    }

    pub(crate) fn name(&self) -> String {
        match self.trouble {
            Trouble::Server(fault) => fault.name(),
            other => format!("{other:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn happen(&self, place: &mut Place<'_>) {
        thread::sleep(self.peace);
        match self.trouble {
            Trouble::Server(fault) => fault.happen(place.server, place.proxies[0], place.certificates),
            Trouble::StopProxy(number) => {
                let proxy = place.proxies[number % place.proxies.len()];
                proxy.signal("STOP");
                thread::sleep(self.length);
                proxy.signal("CONT");
            }
            Trouble::Busy => self.be_busy(place.server),
            Trouble::KillTracked { one } => kill_tracked(place.server, one),
            Trouble::NoActiveExpiry => {
                place.server.cli(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
                thread::sleep(self.length * 2);
                place.server.cli(&["DEBUG", "SET-ACTIVE-EXPIRE", "1"]);
            }
            Trouble::Reload(number) => place.proxies[number % place.proxies.len()].signal("HUP"),
            Trouble::Failover => {
                let replica = place.replica.expect("planned where there is one");
                fail_over(place.scene, place.server, replica);
                thread::sleep(self.length);
                fail_over(place.scene, replica, place.server);
            }
        }
    }

    fn be_busy(&self, server: &RedisServer) {
        let mut cli = Command::new("redis-cli");
        let cli = cli.args(["-p", &server.port().to_string(), "EVAL", "while true do end", "0"]);
        let mut script = cli.stdout(std::process::Stdio::null()).spawn().expect("redis-cli runs");
        thread::sleep(self.length);
        // It may not have begun yet.
        wait_until("the script is killed", || {
            server.cli(&["SCRIPT", "KILL"]);
            script.try_wait().expect("the state of a child process").is_some()
        });
    }
}

fn server_fault(random: &mut Rng) -> Planned<ServerFault> {
    loop {
        let fault = Planned::<ServerFault>::any(random, false);
        // The server's log is what a schedule is judged by: it is not read again, entry by slow entry.
        if !["Load", "LoadAtStart"].contains(&fault.name().as_str()) {
            return fault;
        }
    }
}

fn kill_tracked(server: &RedisServer, one: bool) {
    let list = server.cli(&["CLIENT", "LIST"]);
    let is_tracked = |line: &&str| line.split(' ').any(|word| word.starts_with("flags=") && word.contains('t'));
    let ids = list.lines().filter(is_tracked).filter_map(|line| line.strip_prefix("id=")?.split(' ').next());
    for id in ids.take(if one { 1 } else { usize::MAX }) {
        server.cli(&["CLIENT", "KILL", "ID", id]);
    }
}

/// Nothing that is acknowledged is lost.
fn fail_over(scene: &Scene, from: &RedisServer, to: &RedisServer) {
    let mut operator = Wire::connect(from.port());
    wait_until("the replica is in step", || {
        let info = operator.ask("INFO replication");
        info.contains("role:master") && info.contains("state=online")
    });
    scene.moves.fetch_add(1, Ordering::SeqCst);
    wait_until("the failover begins", || {
        operator.ask(&format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 5000", to.port())).contains("+OK")
            || operator.ask("ROLE").contains("slave")
    });
    wait_until("the failover is over", || operator.ask("ROLE").contains("slave") && is_primary(to));
    scene.primary.store(to.port(), Ordering::SeqCst);
    scene.moves.fetch_add(1, Ordering::SeqCst);
}

fn is_primary(server: &RedisServer) -> bool {
    server.cli(&["ROLE"]).starts_with("master")
}

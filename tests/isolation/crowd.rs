//! Many clients at once, each doing everything, each knowing what is its own.

use std::thread;

use fastrand::Rng;

use super::House;
use crate::support::Wire;

const CLIENTS: u64 = 24;
const TURNS: usize = 150;

#[test]
fn in_a_crowd_each_client_gets_its_own_replies() {
    crowd("listen.workers = 1");
}

#[test]
fn in_a_crowd_over_several_workers_each_client_gets_its_own_replies() {
    crowd("listen.workers = 3");
}

/// Again and again one of them goes in the middle of something, and comes back.
fn crowd(workers: &str) {
    let house = House::with(&[workers, "limits.pinned = 12", "upstream.queue_timeout = \"15s\""]);
    let seed =
        std::env::var("CLOAKROOM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("CLOAKROOM_SEED={seed}");
    let port = house.port;
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || Guest::new(port, number, Rng::with_seed(seed.wrapping_add(number))).stay());
        }
    });
    house.wait_clients(0);
    house.wait_clean();
}

/// One client, which knows what each of its requests must be answered.
struct Guest {
    port: u16,
    name: String,
    rng: Rng,
    wire: Wire,
    is_resp3: bool,
    db: u32,
    count: u32,
}

impl Guest {
    fn new(port: u16, number: u64, rng: Rng) -> Self {
        let mut wire = Wire::connect(port);
        assert_eq!(wire.ask(&format!("SET g{number}:n 0")), "+OK");
        Self { port, name: format!("g{number}"), rng, wire, is_resp3: false, db: 0, count: 0 }
    }

    fn stay(mut self) {
        for turn in 0..TURNS {
            match self.rng.u32(0..12) {
                0 => self.choose_database(),
                1 => self.transact(),
                2 => self.watch(),
                3 => self.push_and_pop(),
                4 => self.subscribe(),
                5 => self.skip_replies(),
                6 => self.change_protocol(),
                7 => self.vanish(),
                8 => self.ask_for_scores(),
                _ => self.pipeline(turn),
            }
        }
    }

    /// A counter nobody else touches says how often it was raised.
    fn pipeline(&mut self, turn: usize) {
        let (name, db) = (&self.name, self.db);
        let lines = [
            format!("ECHO {name}-{turn}"),
            format!("SET {name}:db {db}"),
            format!("GET {name}:db"),
            "GET nobodys".into(),
        ];
        self.wire.say(&lines.each_ref().map(String::as_str));
        assert_eq!(self.wire.hear(), format!("{name}-{turn}"));
        assert_eq!(self.wire.hear(), "+OK");
        assert_eq!(self.wire.hear(), db.to_string());
        assert_eq!(self.wire.hear(), if self.is_resp3 { "_" } else { "$-1" });
    }

    fn choose_database(&mut self) {
        self.db = self.rng.u32(0..4);
        assert_eq!(self.wire.ask(&format!("SELECT {}", self.db)), "+OK");
    }

    fn transact(&mut self) {
        self.count += 1;
        let (name, count) = (&self.name, self.count);
        self.wire.say(&["MULTI", &format!("SET {name}:t {count}"), &format!("GET {name}:t"), "EXEC"]);
        assert_eq!(
            (self.wire.hear(), self.wire.hear(), self.wire.hear()),
            ("+OK".into(), "+QUEUED".into(), "+QUEUED".into())
        );
        let digits = count.to_string();
        assert_eq!(self.wire.hear(), format!("*2 +OK ${} {digits}", digits.len()));
    }

    fn watch(&mut self) {
        let name = &self.name;
        let lines =
            [format!("WATCH {name}:w"), format!("SET {name}:w 1"), "MULTI".into(), "PING".into(), "EXEC".into()];
        let lines = lines.each_ref().map(String::as_str);
        // Its own write breaks the watch; without it the transaction runs.
        let breaks = self.rng.bool();
        let lines: Vec<_> = lines.into_iter().filter(|line| breaks || !line.starts_with("SET")).collect();
        self.wire.say(&lines);
        (1..lines.len()).for_each(|_| drop(self.wire.hear()));
        let null = if self.is_resp3 { "_" } else { "*-1" };
        assert_eq!(self.wire.hear(), if breaks { null } else { "*1 +PONG" });
    }

    fn push_and_pop(&mut self) {
        self.count += 1;
        let (name, count) = (&self.name, self.count);
        self.wire.say(&[&format!("RPUSH {name}:l {count}"), &format!("BLPOP {name}:none {name}:l 0")]);
        assert_eq!(self.wire.hear(), ":1");
        let (key, value) = (format!("{name}:l"), count.to_string());
        assert_eq!(self.wire.hear(), format!("*2 ${} {key} ${} {value}", key.len(), value.len()));
    }

    fn subscribe(&mut self) {
        let (name, sign) = (&self.name, if self.is_resp3 { '>' } else { '*' });
        let word = |text: &str| format!("${} {text}", text.len());
        assert_eq!(self.wire.ask(&format!("SUBSCRIBE {name}")), format!("{sign}3 $9 subscribe {} :1", word(name)));
        let mut publisher = Wire::connect(self.port);
        assert_eq!(publisher.ask(&format!("PUBLISH {name} to-{name}")), ":1");
        assert_eq!(self.wire.hear(), format!("{sign}3 $7 message {} {}", word(name), word(&format!("to-{name}"))));
        assert_eq!(self.wire.ask("UNSUBSCRIBE"), format!("{sign}3 $11 unsubscribe {} :0", word(name)));
    }

    fn skip_replies(&mut self) {
        let name = &self.name;
        self.wire.say(&[
            "CLIENT REPLY SKIP",
            &format!("INCR {name}:s"),
            "CLIENT REPLY OFF",
            "GET x",
            "PING",
            "CLIENT REPLY ON",
        ]);
        assert_eq!(self.wire.hear(), "+OK");
        self.wire.expect_silence();
    }

    fn change_protocol(&mut self) {
        self.is_resp3 = !self.is_resp3;
        let hello = self.wire.ask(if self.is_resp3 { "HELLO 3" } else { "HELLO 2" });
        assert!(hello.starts_with(if self.is_resp3 { "%7" } else { "*14" }), "{hello}");
    }

    /// A reply that only a connection of its own protocol can give.
    fn ask_for_scores(&mut self) {
        let name = &self.name;
        self.wire.say(&[&format!("ZADD {name}:z 1.5 {name}"), &format!("ZSCORE {name}:z {name}"), "ECHO x"]);
        self.wire.hear();
        assert_eq!(self.wire.hear(), if self.is_resp3 { ",1.5" } else { "1.5" });
        assert_eq!(self.wire.hear(), "x");
    }

    /// Leaves in the middle of something, and comes again as a stranger.
    fn vanish(&mut self) {
        let name = &self.name;
        let list = format!("BLPOP {name}:none 0");
        let (get, set) = (format!("GET {name}:t"), format!("SET {name}:t never"));
        let lines: &[&str] = match self.rng.u32(0..7) {
            0 => &["MULTI", &set],
            1 => &["WATCH x"],
            2 => &["SUBSCRIBE x"],
            3 => &[&list],
            4 => &[&get, &get, &get],
            5 => &["CLIENT REPLY OFF"],
            _ => &["SELECT 9", "MONITOR"],
        };
        self.wire.say(lines);
        self.wire = Wire::connect(self.port);
        (self.is_resp3, self.db) = (false, 0);
    }
}

//! The faults, one by one: each is over when its function returns, and the server is there again.

use std::thread;
use std::time::{Duration, Instant};

use super::secret::Secret;
use super::support::{Cut, Direction, Proxy, RedisServer, Relay, wait_until};

/// For [`Fault::Loading`]: looks at its clients now and then while it reads, and takes its time.
pub(super) const LOADS_SLOWLY: [&str; 3] =
    ["enable-debug-command yes", "loading-process-events-interval-bytes 1024", "key-load-delay 100"];

/// Beyond `queue_timeout`, so that requests fail, and into the growing waits between attempts.
const OUTAGE: Duration = Duration::from_millis(2500);

/// Beyond `reply_timeout`, not so long that the connection is given up.
const STANDSTILL: Duration = Duration::from_millis(2500);

/// `reply_timeout`, and the five seconds after which a silent connection is given up.
const GIVEN_UP: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Before all of them.
    None,
    Kill,
    Terminate,
    Standstill,
    LongStandstill,
    Reset,
    FinishInReply,
    Blackhole,
    Slow,
    SingleBytes,
    MaxClients,
    Loading,
    WrongPassword,
    /// Not a fault, if all goes well: the server takes both passwords for a while.
    NewPassword,
}

impl Fault {
    pub(super) const OF_ANY_SERVER: [Self; 11] = [
        Self::Kill,
        Self::Terminate,
        Self::Standstill,
        Self::LongStandstill,
        Self::Reset,
        Self::FinishInReply,
        Self::Blackhole,
        Self::Slow,
        Self::SingleBytes,
        Self::MaxClients,
        Self::Loading,
    ];
    pub(super) const OF_A_LOCKED_SERVER: [Self; 10] = [
        Self::WrongPassword,
        Self::NewPassword,
        // Everybody logs in with the new one.
        Self::Kill,
        Self::Standstill,
        Self::Reset,
        Self::FinishInReply,
        Self::Blackhole,
        Self::SingleBytes,
        Self::MaxClients,
        Self::Terminate,
    ];

    /// Whether clients may be told of it.
    pub(super) fn is_noticed(self) -> bool {
        self != Self::NewPassword
    }
}

/// Everything behind the clients.
pub(super) struct Scene {
    pub(super) proxy: Proxy,
    relay: Relay,
    server: RedisServer,
    /// Where the server wants one.
    secret: Option<Secret>,
}

impl Scene {
    pub(super) fn new(server: RedisServer, lines: &[&str]) -> Self {
        let relay = Relay::to(&server.address());
        let proxy = Proxy::start(&format!(
            "listen.address = \"127.0.0.1:0\"\nlisten.workers = 2\nmetrics.address = \"127.0.0.1:0\"\n\
             log.format = \"json\"\nupstream.server = \"{}\"\nupstream.queue_timeout = \"500ms\"\n\
             upstream.reply_timeout = \"1s\"\n{}\n",
            relay.address(),
            lines.join("\n"),
        ));
        proxy.allow("upstream connection lost");
        proxy.allow("upstream unavailable");
        proxy.wait_ready();
        Self { proxy, relay, server, secret: None }
    }

    pub(super) fn with(self, secret: Secret) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// Returns when the fault is over.
    pub(super) fn undergo(&mut self, fault: Fault) {
        match fault {
            Fault::None => {}
            Fault::Kill => self.be_away(RedisServer::kill),
            Fault::Terminate => self.be_away(RedisServer::stop),
            Fault::Standstill => self.stand_still(STANDSTILL),
            Fault::LongStandstill => self.stand_still(GIVEN_UP),
            Fault::Reset => self.reset(),
            Fault::FinishInReply => self.finish_in_reply(),
            Fault::Blackhole => self.blackhole(),
            Fault::Slow => self.be_slow(),
            Fault::SingleBytes => self.single_bytes(),
            Fault::MaxClients => self.max_clients(),
            Fault::Loading => self.load(),
            Fault::WrongPassword => self.wrong_password(),
            Fault::NewPassword => self.new_password(),
        }
    }

    fn be_away(&mut self, lose: fn(&mut RedisServer)) {
        lose(&mut self.server);
        self.wait_lost();
        thread::sleep(OUTAGE);
        self.server.start();
    }

    fn stand_still(&self, length: Duration) {
        self.server.pause();
        thread::sleep(length);
        self.server.resume();
    }

    fn reset(&self) {
        for _ in 0..5 {
            self.lose_connections(|relay| relay.cut(Cut::Reset));
            // From idle and busy moments.
            thread::sleep(Duration::from_millis(150));
        }
    }

    fn finish_in_reply(&self) {
        for round in 0..8 {
            self.lose_connections(|relay| {
                relay.cut_after(500 + 300 * round, Direction::Replies, Cut::Finish);
                wait_until("a reply is cut", || !relay.has_plan());
            });
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn blackhole(&self) {
        self.relay.stop();
        thread::sleep(GIVEN_UP);
        self.relay.resume();
    }

    /// Every round trip takes a tenth of a second and more.
    fn be_slow(&self) {
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            self.relay.stop();
            thread::sleep(Duration::from_millis(100));
            self.relay.resume();
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn single_bytes(&self) {
        self.relay.trickle(true);
        thread::sleep(Duration::from_secs(2));
        // New connections, too.
        self.lose_connections(|relay| relay.cut(Cut::Finish));
        thread::sleep(Duration::from_secs(1));
        self.relay.flow();
    }

    fn max_clients(&self) {
        // Whoever sets the limit must be among those who may stay.
        let mut operator = self.server.operator();
        // With TLS there is no word of why.
        let result = if self.secret.is_some() { "closed" } else { "refused" };
        let refused = self.connects(result);
        assert_eq!(operator.ask("CONFIG SET maxclients 1"), "OK");
        operator.ask("CLIENT KILL TYPE normal");
        wait_until("the proxy is refused", || self.connects(result) > refused);
        thread::sleep(OUTAGE);
        assert_eq!(operator.ask("CONFIG SET maxclients 10000"), "OK");
    }

    fn load(&mut self) {
        self.server.cli(&["DEBUG", "POPULATE", "50000", "key", "100"]);
        self.server.rewrite_file();
        self.server.kill();
        self.wait_lost();
        self.server.start_loading();
        wait_until("the proxy is told to wait", || self.connects("loading") > 0);
        thread::sleep(OUTAGE);
        self.server.cli(&["CONFIG", "SET", "key-load-delay", "0"]);
        wait_until("the server is back", || self.server.cli(&["INFO"]).contains("\nloading:0\r"));
    }

    fn wrong_password(&self) {
        self.server.cli(&["ACL", "SETUSER", "web", "resetpass", ">another-password"]);
        self.server.cli(&["CLIENT", "KILL", "USER", "web"]);
        wait_until("the proxy is refused", || self.connects("auth") > 0);
        thread::sleep(OUTAGE);
        let password = self.secret.as_ref().expect("a locked server").password();
        self.server.cli(&["ACL", "SETUSER", "web", "resetpass", &format!(">{password}")]);
        // Otherwise it tries again after half a minute.
        self.proxy.signal("HUP");
    }

    /// The old one is worth nothing in the end, also to a server that starts again.
    fn new_password(&mut self) {
        let secret = self.secret.as_mut().expect("a locked server");
        let old = format!("<{}", secret.password());
        let new = "a-new-password";
        assert_eq!(self.server.cli(&["ACL", "SETUSER", "web", &format!(">{new}")]), "OK");
        secret.change(new);
        thread::sleep(OUTAGE);
        assert_eq!(self.server.cli(&["ACL", "SETUSER", "web", &old]), "OK");
        let user = secret.user();
        self.server.reconfigure(|options| options.without("user web").config(user));
        thread::sleep(OUTAGE);
    }

    fn wait_lost(&self) {
        wait_until("/readyz answers 503", || self.proxy.get("/readyz").0 == 503);
    }

    /// Returns when the proxy knows that it has lost its connections, or some of them.
    fn lose_connections(&self, lose: impl FnOnce(&Relay)) {
        let losses = || self.counted("cloakroom_upstream_losses_total{");
        let before = losses();
        lose(&self.relay);
        wait_until("the proxy loses a connection", || losses() > before);
        self.proxy.wait_ready();
    }

    /// Attempts to connect that ended so.
    fn connects(&self, result: &str) -> u64 {
        self.counted(&format!("cloakroom_upstream_connects_total{{result=\"{result}\"}}"))
    }

    /// The sum of the metrics whose name and labels begin so.
    fn counted(&self, beginning: &str) -> u64 {
        let metrics = self.proxy.get("/metrics").1;
        let lines = metrics.lines().filter(|line| line.starts_with(beginning));
        lines.map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count")).sum()
    }

    pub(super) fn assert_nobody_was_closed(&self) {
        let name = "cloakroom_client_disconnects_total{";
        let own = ["client", "quit"].map(|reason| self.counted(&format!("{name}reason=\"{reason}\"}}")));
        let metrics = self.proxy.get("/metrics").1;
        let lines: Vec<_> = metrics.lines().filter(|line| line.starts_with(name)).collect();
        assert_eq!(self.counted(name), own.iter().sum(), "{lines:#?}");
    }
}

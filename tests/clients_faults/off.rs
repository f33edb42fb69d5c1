//! `reconnect = "off"`: a client is as well off as its own way to reconnect, as it is without a proxy.

use super::support::RedisServer;
use super::*;

const FAULTS: [Fault; 4] = [Fault::Reset, Fault::FinishInReply, Fault::Kill, Fault::LongStandstill];

#[test]
fn with_reconnect_off_those_who_reconnect_come_back_and_no_others() {
    let mut scene = Scene::new(RedisServer::with().persistent().start(), &["upstream.reconnect = \"off\""]);
    let clients: Vec<_> = (0..2 * CLIENTS.len()).map(|number| Mutex::new(client(&scene, number))).collect();
    // Each is closed sometimes, and says so in words of its own.
    clients.iter().for_each(|client| lock(client).is_frank = false);
    let complaints = Mutex::default();
    // A session nobody has a cookie of yet would be none after a loss.
    at_once(&clients, |client| {
        client.go_on(&complaints);
        client.log_in(Fault::None)
    });
    let is_lost = |(number, _): &(usize, _)| CLIENTS[number % CLIENTS.len()].1 == NEVER_RECONNECTS;
    let (lost, kept): (Vec<_>, Vec<_>) = clients.into_iter().enumerate().partition(is_lost);
    let [lost, kept] = [lost, kept].map(|clients| clients.into_iter().map(|(_, client)| client).collect::<Vec<_>>());

    for fault in FAULTS {
        at_once(&kept, |client| client.log_in(fault));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _end = SetWhenDropped(&is_over);
            for client in &kept[..kept.len() / 2] {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        lock(client).go_on(&complaints);
                        thread::sleep(PACE);
                    }
                });
            }
            scene.undergo(fault);
            scene.proxy.wait_ready();
        });
        at_once(&kept, |client| client.comes_back(fault));
        at_once(&lost, Client::does_not_come_back);
    }
    let complaints = complaints.into_inner().expect("no thread panicked");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

impl Client {
    fn comes_back(&mut self, fault: Fault) -> Result<(), String> {
        let until = Instant::now() + RECOVERY;
        loop {
            match self.is_logged_in(Fault::None).and_then(|()| self.is_logged_in(fault)) {
                Err(problem) if problem.contains("is Error") && Instant::now() < until => thread::sleep(PACE),
                done => return done,
            }
        }
    }

    /// That is what it does with a server, too, that was away for a moment.
    fn does_not_come_back(&mut self) -> Result<(), String> {
        match self.talker.ask(&format!("read {}", self.login(Fault::None))) {
            Said::Error(_) => Ok(()),
            other => Err(format!("a client that never reconnects was told {other:.80?}")),
        }
    }
}

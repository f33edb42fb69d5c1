//! Whether the judge finds what is too old where it really is: with a replica that lags in the place of a proxy.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::history::{Clock, Through};
use super::judge::{Verdict, judge};
use super::reader::Reader;
use super::schedule::{log, start_server, tick};
use super::support::{RedisServer, Relay, wait_until};
use super::talk::Scene;
use super::timeline::timelines;
use super::writer::Writer;

#[test]
fn a_replica_that_lags_is_found_out() {
    let Verdict { wrong, shown, .. } = judged(Duration::ZERO, 100);
    assert_eq!(wrong, 0, "{}", shown.join("\n"));
    let Verdict { reads, wrong, .. } = judged(Duration::from_millis(300), 100);
    assert!(wrong > reads / 20, "{wrong} of {reads}");
}

/// Clients write to the server, and read from a replica that is so far behind and may be so old, in milliseconds.
fn judged(lag: Duration, staleness: u32) -> Verdict {
    let server = start_server(false);
    let relay = Relay::to(&server.address());
    let port = relay.address().rsplit(':').next().map(ToOwned::to_owned).expect("a port");
    let replica = RedisServer::with().config(format!("replicaof 127.0.0.1 {port}")).start();
    server.cli(&["SET", "in", "step"]);
    wait_until("the replica is in step", || replica.cli(&["GET", "in"]) == "step");
    server.cli(&["SET", "in", "touch"]);
    wait_until("the replica is told of what happens", || replica.cli(&["GET", "in"]) == "touch");
    relay.lag(lag);
    let scene = Scene {
        ports: [replica.port(); 2],
        primary: AtomicU16::new(server.port()),
        moves: AtomicU32::new(0),
        clock: Clock::new(),
        is_over: AtomicBool::new(false),
        tokens: AtomicU32::new(1),
        swaps: false,
    };
    let mut random = Rng::new();
    let (histories, ticks) = thread::scope(|scope| {
        let reader = Reader::new(&scene, Through::Proxy(0), 3_000, random.fork());
        let writers = [(); 2].map(|()| Writer::new(&scene, Through::Direct, 10_000, random.fork()));
        let ticker = scope.spawn(|| tick(&scene));
        let mut clients = vec![scope.spawn(move || reader.run())];
        clients.extend(writers.map(|writer| scope.spawn(move || writer.run())));
        thread::sleep(Duration::from_millis(1500));
        scene.is_over.store(true, Ordering::Relaxed);
        let histories: Vec<_> = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
        (histories, ticker.join().expect("no panic"))
    });
    let log = log(&server).expect("the whole log");
    judge(timelines(&log, &histories, &ticks, &scene.clock), &histories, staleness * 1000)
}

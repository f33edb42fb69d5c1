//! A client library: `redis`, in both protocols.

use std::thread;
use std::time::Duration;

use redis::{Client, Connection, ErrorKind, ServerErrorKind, Value};

use super::Place;
use crate::support::{self, Wire, wait_until};

impl Place {
    fn connect(&self, protocol: &str) -> Connection {
        let url = format!("redis://127.0.0.1:{}/?protocol={protocol}", self.proxy.port());
        let connection = Client::open(url).and_then(|client| client.get_connection()).expect("a connection");
        connection.set_read_timeout(Some(support::DEADLINE)).expect("not zero");
        connection
    }
}

#[test]
fn a_client_library_reads_and_writes() {
    let place = Place::new();
    for protocol in ["resp2", "resp3"] {
        let mut client = place.connect(protocol);
        let ok: Value = redis::cmd("SET").arg("k").arg(b"\0\r\n\xff").query(&mut client).expect("written");
        assert_eq!(ok, Value::Okay);
        let value: Vec<u8> = redis::cmd("GET").arg("k").query(&mut client).expect("read");
        assert_eq!(value, b"\0\r\n\xff");
        let none: Option<String> = redis::cmd("GET").arg("none").query(&mut client).expect("read");
        assert_eq!(none, None);
        let _: () = redis::cmd("HSET").arg("h").arg("a").arg(1).arg("b").arg(2).query(&mut client).expect("written");
        let map: std::collections::BTreeMap<String, i64> =
            redis::cmd("HGETALL").arg("h").query(&mut client).expect("read");
        assert_eq!(map.into_iter().collect::<Vec<_>>(), [("a".into(), 1), ("b".into(), 2)]);
        let error = redis::cmd("LPUSH").arg("k").arg(1).query::<Value>(&mut client).expect_err("the wrong type");
        assert_eq!(error.code(), Some("WRONGTYPE"));
        let score: f64 = redis::cmd("ZADD").arg("z").arg("INCR").arg(1.5).arg("m").query(&mut client).expect("written");
        assert_eq!(score.fract(), if protocol == "resp2" { 0.5 } else { 0.0 });
    }
}

#[test]
fn a_client_library_pipelines_and_transacts() {
    let place = Place::new();
    for protocol in ["resp2", "resp3"] {
        let mut client = place.connect(protocol);
        let mut pipe = redis::pipe();
        for n in 0..500 {
            pipe.cmd("SET").arg(format!("k{n}")).arg(n).ignore().cmd("GET").arg(format!("k{n}"));
        }
        let values: Vec<i64> = pipe.query(&mut client).expect("all of them");
        assert!(values.into_iter().eq(0..500));
        let (one, two): (i64, i64) =
            redis::pipe().atomic().cmd("INCR").arg("n").cmd("INCRBY").arg("n").arg(10).query(&mut client).expect("run");
        assert_eq!(two - one, 10);
        let watched: Value = redis::transaction(&mut client, &["w"], |client, pipe| {
            let before: i64 = redis::cmd("GET").arg("w").query::<Option<i64>>(client)?.unwrap_or(0);
            pipe.cmd("SET").arg("w").arg(before + 1).query(client)
        })
        .expect("nobody else writes");
        assert_eq!(watched, Value::Array(vec![Value::Okay]));
    }
}

#[test]
fn a_client_library_runs_scripts_by_their_digest() {
    const SCRIPT: &str = "return redis.call('GET', KEYS[1])";
    const DIGEST: &str = "d3c21d0c2b9ca22f82737626a27bcaf5d288f99f";
    let place = Place::new();
    for protocol in ["resp2", "resp3"] {
        let mut client = place.connect(protocol);
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut client).expect("forgotten");
        let unknown = redis::cmd("EVALSHA").arg(DIGEST).arg(1).arg("k").query::<Value>(&mut client);
        assert_eq!(unknown.expect_err("not loaded").kind(), ErrorKind::Server(ServerErrorKind::NoScript));
        let digest: String = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query(&mut client).expect("loaded");
        assert_eq!(digest, DIGEST);
        let _: () = redis::cmd("SET").arg("k").arg("v").query(&mut client).expect("written");
        // Whoever loaded it, it is there for all.
        let value: String =
            redis::cmd("EVALSHA").arg(&digest).arg(1).arg("k").query(&mut place.connect(protocol)).expect("run");
        assert_eq!(value, "v");
    }
}

#[test]
fn a_client_library_blocks_and_subscribes() {
    let place = Place::new();
    for protocol in ["resp2", "resp3"] {
        let (mut waiting, mut other) = (place.connect(protocol), place.connect(protocol));
        thread::scope(|scope| {
            let waiter =
                scope.spawn(move || redis::cmd("BLPOP").arg("l").arg(0).query::<(String, String)>(&mut waiting));
            let mut operator = Wire::connect(place.server.port());
            wait_until("it blocks", || {
                String::from_utf8_lossy(&operator.frame_of("INFO clients")).contains("blocked_clients:1")
            });
            let _: () = redis::cmd("RPUSH").arg("l").arg("x").query(&mut other).expect("written");
            assert_eq!(waiter.join().expect("no panic").expect("woken"), ("l".into(), "x".into()));
        });
        let nothing: Option<(String, String)> =
            redis::cmd("BLPOP").arg("l").arg(0.01).query(&mut other).expect("given up");
        assert_eq!(nothing, None);
        let mut subscriber = place.connect(protocol);
        let mut subscription = subscriber.as_pubsub();
        subscription.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
        subscription.subscribe("news").expect("subscribed");
        let heard: i64 = redis::cmd("PUBLISH").arg("news").arg("hello").query(&mut other).expect("published");
        assert_eq!(heard, 1);
        let message = subscription.get_message().expect("a message");
        assert_eq!(message.get_payload::<String>().expect("text"), "hello");
    }
}

//! Subscriptions that outlive their connection.

use super::*;

impl Bench {
    /// Where subscriptions are made again.
    fn eager(protocol: Protocol) -> Self {
        Self {
            pin: Pin::new(PinReason::Subscription, protocol, false).remembering(),
            ..Self::new(PinReason::Subscription, protocol)
        }
    }

    /// The connection is lost, and there is another. What is sent there first, in words.
    fn lose(&mut self) -> Vec<String> {
        assert_eq!(self.pin.lost().then, AfterLoss::Again);
        let protocol = self.pin.protocol;
        let pin = std::mem::replace(&mut self.pin, Pin::new(PinReason::Subscription, protocol, false));
        self.pin = pin.again(protocol, self.now);
        let words = |request: &[u8]| {
            let words = peek::elements(request).into_iter().flatten().filter_map(peek::word).collect::<Vec<_>>();
            words.join(&b' ').escape_ascii().to_string()
        };
        let mut sent = Vec::new();
        self.pin.send_again(|request| sent.push(words(request)), self.now);
        sent
    }
}

fn confirm(word: &str, name: &str, count: u64) -> String {
    format!("*3\r\n${}\r\n{word}\r\n${}\r\n{name}\r\n:{count}\r\n", word.len(), name.len())
}

#[test]
fn what_was_subscribed_to_is_subscribed_to_again() {
    let mut bench = Bench::eager(Protocol::Resp2);
    bench.send("SUBSCRIBE a b c");
    for (name, count) in [("a", 1), ("b", 2), ("c", 3)] {
        bench.hear(&confirm("subscribe", name, count));
    }
    bench.ask("PSUBSCRIBE p*", &confirm("psubscribe", "p*", 4));
    bench.ask("SSUBSCRIBE s", &confirm("ssubscribe", "s", 1));
    bench.ask("UNSUBSCRIBE b", &confirm("unsubscribe", "b", 3));
    bench.ask("UNSUBSCRIBE x", &confirm("unsubscribe", "x", 3));
    assert!(bench.pin.held() > 4 * 40);
    assert_eq!(bench.lose(), ["SUBSCRIBE a c", "PSUBSCRIBE p*", "SSUBSCRIBE s"]);
    assert!(bench.pin.has_missed());
    let frames = [
        confirm("subscribe", "a", 1),
        confirm("subscribe", "c", 2),
        confirm("psubscribe", "p*", 3),
        confirm("ssubscribe", "s", 1),
    ];
    for (index, frame) in frames.iter().enumerate() {
        assert!(bench.pin.gap().is_some(), "{index} confirmed");
        assert_eq!(bench.hear(frame).belongs, Belongs::Us, "the client has heard it before");
        let message = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n";
        assert_eq!(bench.hear(message).belongs, Belongs::Push);
    }
    assert_eq!(bench.pin.gap(), None);
    for topic in ["unsubscribe", "punsubscribe", "sunsubscribe"] {
        bench.send(topic);
        let names: &[(&str, u64)] = match topic {
            "unsubscribe" => &[("a", 2), ("c", 1)],
            "punsubscribe" => &[("p*", 0)],
            _ => &[("s", 0)],
        };
        for (name, count) in names {
            bench.hear(&confirm(topic, name, *count));
        }
    }
    assert!(bench.pin.is_clear());
    assert_eq!(bench.pin.held(), 0);
}

#[test]
fn what_was_in_flight_is_sent_again_less_what_was_confirmed() {
    let mut bench = Bench::eager(Protocol::Resp3);
    bench.ask("SUBSCRIBE a", &confirm("subscribe", "a", 1));
    let slot = bench.send("subscribe b c d");
    bench.hear(&confirm("subscribe", "b", 2));
    let (ping, unsubscribe) = (bench.send("PING"), bench.send("UNSUBSCRIBE"));
    let fates = bench.pin.lost().in_flight;
    assert_eq!(fates, [(slot, Fate::Again), (ping, Fate::NotExecuted), (unsubscribe, Fate::Again)]);
    assert_eq!(bench.lose(), ["SUBSCRIBE a b", "subscribe c d", "UNSUBSCRIBE"]);
    bench.hear(&confirm("subscribe", "a", 1));
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.lose(), ["SUBSCRIBE a", "SUBSCRIBE b", "subscribe c d", "UNSUBSCRIBE"], "and again");
    let gap = bench.pin.gap().expect("nothing is confirmed");
    assert_eq!((gap.since, gap.again), (bench.now - Duration::from_secs(1), 1));
    bench.hear(&confirm("subscribe", "a", 1));
    bench.hear(&confirm("subscribe", "b", 2));
    assert_eq!(bench.hear(&confirm("subscribe", "c", 3)).belongs, Belongs::Confirmation { slot, is_last: false });
    assert_eq!(bench.hear(&confirm("subscribe", "d", 4)).belongs, Belongs::Confirmation { slot, is_last: true });
    for (name, count) in [("a", 3), ("b", 2), ("c", 1), ("d", 0)] {
        let is_last = count == 0;
        let confirmation = Belongs::Confirmation { slot: unsubscribe, is_last };
        assert_eq!(bench.hear(&confirm("unsubscribe", name, count)).belongs, confirmation);
    }
    assert!(bench.pin.is_clear() && bench.pin.gap().is_none());
    assert_eq!(bench.pin.held(), 0);
}

/// However long there was no connection.
#[test]
fn what_is_sent_again_has_all_the_time_to_be_answered() {
    let mut bench = Bench::eager(Protocol::Resp2);
    bench.ask("SUBSCRIBE a", &confirm("subscribe", "a", 1));
    bench.lose();
    bench.now += Duration::from_secs(2);
    bench.pin.send_again(|_| {}, bench.now);
    assert_eq!(bench.pin.due(Duration::from_secs(1)), Some(bench.now + Duration::from_secs(1)));
}

#[test]
fn who_cannot_be_subscribed_again_must_see_the_gap() {
    for refusal in ["-NOPERM x\r\n", "-MOVED 1 127.0.0.1:7000\r\n"] {
        let mut bench = Bench::eager(Protocol::Resp2);
        bench.ask("SSUBSCRIBE a", &confirm("ssubscribe", "a", 1));
        bench.lose();
        assert_eq!(bench.hear(refusal).belongs, Belongs::Gap, "{refusal}");
    }
}

#[test]
fn only_who_is_subscribed_and_nothing_else_is_subscribed_again() {
    use AfterLoss::{Again, Close, Doomed, Open};
    let (ok, subscribed) = ("+OK\r\n", confirm("subscribe", "a", 1));
    let subscribe = ("SUBSCRIBE a", &*subscribed);
    let cases = [
        (vec![subscribe], Again),
        (vec![("SUBSCRIBE a", "")], Again),
        (vec![subscribe, ("UNSUBSCRIBE a", "")], Again),
        (vec![subscribe, ("SET a 1", "")], Again),
        (vec![subscribe, ("MULTI", ok), ("GET a", "+QUEUED\r\n"), ("EXEC", "")], Again),
        (vec![subscribe, ("UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n")], Open),
        (vec![subscribe, ("MULTI", "")], Close),
        (vec![subscribe, ("WATCH a", ok)], Close),
        (vec![subscribe, ("MONITOR", ok)], Close),
        (vec![("CLIENT TRACKING ON", ok), subscribe], Close),
        (vec![("WATCH a", ok)], Doomed),
    ];
    for (exchanges, then) in cases {
        let mut bench = Bench::eager(Protocol::Resp3);
        for (line, reply) in &exchanges {
            bench.send(line);
            if !reply.is_empty() {
                bench.hear(reply);
            }
        }
        assert_eq!(bench.pin.lost().then, then, "{exchanges:?}");
    }
}

//! Guessing takes time, and is seen.

use std::time::{Duration, Instant};

use super::siege::{PASSWORD, Siege};

const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.";

#[test]
fn a_wrong_password_is_answered_late_and_delays_nobody_else() {
    let siege = Siege::locked(&[]);
    let mut others = siege.crowd(20);
    let mut guesser = siege.enter();
    let asked = Instant::now();
    guesser.say(&["AUTH wrong-one", "AUTH default wrong-two", "HELLO 3 AUTH default wrong-three"]);
    for client in &mut others {
        assert_eq!(client.ask(&format!("AUTH {PASSWORD}")), "+OK");
        assert_eq!(client.ask("ECHO hello"), "hello");
    }
    assert!(asked.elapsed() < Duration::from_millis(900), "others waited {:?}", asked.elapsed());
    for _ in 0..3 {
        assert_eq!(guesser.hear(), WRONGPASS);
    }
    let lasted = asked.elapsed();
    assert!((1000..8000).contains(&lasted.as_millis()), "three guesses took {lasted:?}");
    assert_eq!(siege.metric("cloakroom_auth_failures_total"), 3.0);
    // Who knows it in the end is let in.
    assert_eq!(guesser.ask(&format!("AUTH {PASSWORD}")), "+OK");
    let number = guesser.ask("CLIENT ID").trim_start_matches(':').to_owned();
    assert_warned(&siege, &guesser.address(), &number, lasted);
}

/// A crowd that guesses is answered as late, and fills no log.
#[test]
fn a_crowd_that_guesses_is_no_faster_for_each_and_fills_no_log() {
    let siege = Siege::locked(&[]);
    siege.proxy.allow("\"level\":\"WARN\"");
    let asked = Instant::now();
    let mut crowd = siege.crowd(100);
    crowd.iter_mut().for_each(|client| client.say(&["AUTH wrong", "AUTH wrong"]));
    for client in &mut crowd {
        assert_eq!([client.hear(), client.hear()], [WRONGPASS, WRONGPASS]);
    }
    let lasted = asked.elapsed();
    assert!(lasted >= Duration::from_millis(500), "{lasted:?}");
    assert_eq!(siege.metric("cloakroom_auth_failures_total"), 200.0);
    let warnings = siege.proxy.logs().iter().filter(|line| line.contains("\"level\":\"WARN\"")).count();
    assert!((1..=lasted.as_secs() as usize + 2).contains(&warnings), "{warnings} lines in {lasted:?}");
}

/// A guesser who goes before it is told leaves nothing behind.
#[test]
fn who_does_not_wait_for_the_answer_is_gone_at_once() {
    let siege = Siege::locked(&[]);
    siege.proxy.allow("\"level\":\"WARN\"");
    for _ in 0..20 {
        let mut crowd = siege.crowd(20);
        crowd.iter_mut().for_each(|client| client.say(&["AUTH wrong"]));
    }
    siege.wait_clients(1);
    assert_eq!(siege.enter().ask(&format!("AUTH {PASSWORD}")), "+OK");
}

/// One line a second at most, with who and from where, and nothing of what was tried.
fn assert_warned(siege: &Siege, peer: &str, number: &str, lasted: Duration) {
    siege.proxy.allow(peer);
    let logs = siege.proxy.logs();
    let warnings: Vec<_> = logs.iter().filter(|line| line.contains("\"level\":\"WARN\"")).collect();
    assert!(!warnings.is_empty() && warnings.len() <= lasted.as_secs() as usize + 2, "{warnings:#?}");
    for line in &warnings {
        assert!(line.contains(peer) && line.contains(&format!("\"client\":{number}")), "{line}");
    }
    for secret in ["wrong", "default", PASSWORD] {
        assert!(!logs.iter().any(|line| line.contains(secret)), "{secret} is in the log: {logs:#?}");
    }
}

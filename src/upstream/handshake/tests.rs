use tokio::io::duplex;

use super::*;
use crate::resp::Protocol;

const HELLO: &str = "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:3\r\n\
                     $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";

const INFO: &str = "=34\r\ntxt:# Server\r\nrun_id:abc\r\nos:Linux\r\n";

/// Runs the handshake against a server that says `replies` and closes.
async fn against(replies: &str) -> Result<Introduced, ConnectError> {
    against_as(replies, &[]).await.0
}

/// The same with connections to sever; also what was sent.
async fn against_as(replies: &str, condemned: &[Trace]) -> (Result<Introduced, ConnectError>, String) {
    let (mut ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(replies.as_bytes()).await.expect("room");
    theirs.shutdown().await.expect("open");
    let kind = Kind { protocol: Protocol::Resp3, db: 2 };
    let password = SecretString::from("secret");
    let nonce = "once".to_owned();
    let introduction = Introduction { username: "u", password: Some(&password), name: "n", kind, nonce, condemned };
    let result = introduction.perform(&mut ours).await;
    drop(ours);
    let mut sent = String::new();
    theirs.read_to_string(&mut sent).await.expect("text");
    assert!(sent.contains("AUTH\r\n$1\r\nu\r\n$6\r\nsecret\r\n$7\r\nSETNAME"), "{sent}");
    (result, sent)
}

#[tokio::test]
async fn what_was_lost_in_the_same_run_is_severed_before_anything_else() {
    let killed = format!("{HELLO}{INFO}:1\r\n+OK\r\n+PONG\r\n$4\r\nonce\r\n");
    let untouched = format!("{HELLO}{INFO}+OK\r\n+PONG\r\n$4\r\nonce\r\n");
    let denied = format!("{HELLO}{INFO}-NOPERM this user has no permissions\r\n+OK\r\n+PONG\r\n$4\r\nonce\r\n");
    let no_info = format!("{HELLO}-NOPERM no\r\n+OK\r\n+PONG\r\n$4\r\nonce\r\n");
    for (replies, run_id, severed, is_asked) in [
        (&killed, "abc", Severed::Killed, true),
        (&untouched, "another", Severed::Gone, false),
        (&denied, "abc", Severed::Denied, true),
        (&no_info, "abc", Severed::Denied, false),
    ] {
        let predecessor = Trace { id: 42, run_id: run_id.to_owned() };
        let (introduced, sent) = against_as(replies, &[predecessor]).await;
        assert_eq!(introduced.expect("ready").severed, [severed]);
        assert_eq!(sent.contains("KILL\r\n$2\r\nID\r\n$2\r\n42\r\n"), is_asked, "{sent}");
    }
}

#[tokio::test]
async fn a_server_that_answers_every_step_is_ready() {
    let introduced = against(&format!("{HELLO}{INFO}+OK\r\n+PONG\r\n$4\r\nonce\r\n")).await.expect("ready");
    assert_eq!(introduced.identity.version, "7.0.15");
    assert_eq!(introduced.trace, Trace { id: 3, run_id: "abc".to_owned() });
}

/// It cannot save, and still answers reads: all sessions would be lost to those who only want to see them.
#[tokio::test]
async fn a_server_that_refuses_writes_is_ready() {
    let misconf = "-MISCONF Redis is configured to save RDB snapshots\r\n";
    assert!(against(&format!("{HELLO}{INFO}+OK\r\n{misconf}$4\r\nonce\r\n")).await.is_ok());
    assert!(against(&format!("{HELLO}{INFO}+OK\r\n{misconf}{misconf}")).await.is_err());
}

#[tokio::test]
async fn each_wrong_step_is_told_apart() {
    let replica = HELLO.replace("$6\r\nmaster", "$7\r\nreplica");
    let cases = [
        ("-WRONGPASS invalid username-password pair or user is disabled.\r\n".to_owned(), "auth", "WRONGPASS"),
        ("-NOAUTH HELLO must be called with\r\n".to_owned(), "auth", "wants a password"),
        ("-ERR unknown command 'HELLO'\r\n".to_owned(), "not_redis", "Redis 6 or newer"),
        ("-ERR max number of clients reached\r\n".to_owned(), "refused", "max number"),
        ("HTTP/1.1 400 Bad Request\r\n".to_owned(), "not_redis", "HTTP"),
        ("\x15\x03\x03\0\x02".to_owned(), "tls", "speaks TLS"),
        ("+OK\r\n".to_owned(), "not_redis", "greeting"),
        (replica, "replica", "replica"),
        (format!("{HELLO}-BUSY Redis is busy running a script\r\n"), "busy", "running a script"),
        (String::new(), "closed", "closed"),
        (format!("{HELLO}{INFO}-ERR DB index is out of range\r\n"), "database", "out of range"),
        (
            format!("{HELLO}{INFO}-NOPERM this user has no permissions to run the 'select' command\r\n"),
            "auth",
            "SELECT",
        ),
        (format!("{HELLO}{INFO}+OK\r\n-LOADING Redis is loading the dataset in memory\r\n"), "loading", "loading"),
        (format!("{HELLO}{INFO}+OK\r\n+PONG\r\n$5\r\nother\r\n"), "not_redis", "its own text"),
        (format!("{HELLO}{INFO}+OK\r\n"), "closed", "closed"),
        (format!("{HELLO}{INFO}+OK\r\n+PONG\r\n$4\r\nonce\r\n+more\r\n"), "not_redis", "more than"),
    ];
    for (replies, label, text) in cases {
        let error = against(&replies).await.expect_err("not ready");
        assert_eq!(error.label(), label, "{replies}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

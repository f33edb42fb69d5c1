use tokio::io::duplex;

use super::*;
use crate::resp::Protocol;

const HELLO: &str = "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:3\r\n\
                     $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";

/// Runs the handshake against a server that says `replies` and closes.
async fn against(replies: &str) -> Result<(Identity, BytesMut), ConnectError> {
    let (mut ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(replies.as_bytes()).await.expect("room");
    theirs.shutdown().await.expect("open");
    let kind = Kind { protocol: Protocol::Resp3, db: 2 };
    let password = SecretString::from("secret");
    let introduction =
        Introduction { username: "u", password: Some(&password), name: "n", kind, nonce: "once".to_owned() };
    let result = introduction.perform(&mut ours).await;
    let mut sent = vec![0; introduction.requests().len()];
    theirs.read_exact(&mut sent).await.expect("everything at once");
    assert!(String::from_utf8_lossy(&sent).contains("AUTH\r\n$1\r\nu\r\n$6\r\nsecret\r\n$7\r\nSETNAME"));
    result
}

#[tokio::test]
async fn a_server_that_answers_every_step_is_ready() {
    let (identity, rest) = against(&format!("{HELLO}+OK\r\n$4\r\nonce\r\n+more")).await.expect("ready");
    assert_eq!(identity.version, "7.0.15");
    assert_eq!(&rest[..], b"+more", "bytes behind the handshake are not lost");
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
        (String::new(), "closed", "closed"),
        (format!("{HELLO}-ERR DB index is out of range\r\n"), "not_redis", "no such database"),
        (format!("{HELLO}-NOPERM this user has no permissions to run the 'select' command\r\n"), "auth", "SELECT"),
        (format!("{HELLO}+OK\r\n-LOADING Redis is loading the dataset in memory\r\n"), "loading", "loading"),
        (format!("{HELLO}+OK\r\n$5\r\nother\r\n"), "not_redis", "its own text"),
        (format!("{HELLO}+OK\r\n"), "closed", "closed"),
    ];
    for (replies, label, text) in cases {
        let error = against(&replies).await.expect_err("not ready");
        assert_eq!(error.label(), label, "{replies}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

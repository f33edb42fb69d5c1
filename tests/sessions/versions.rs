//! The rules hold in front of every server there is: their scripts use nothing that some of them lack.

use super::support::{Proxy, RedisServer, ServerProgram, Wire};

/// What one client asks, one after the other, and what it is answered.
const TOLD: &[(&str, &str)] = &[
    ("SET session:1 v", "+OK"),
    ("TTL session:1", ":86400"),
    ("GETSET session:1 w", "v"),
    ("HSET session:h f 1 g 2", ":2"),
    ("HINCRBY session:h f 9007199254740992", ":9007199254740993"),
    ("HINCRBYFLOAT session:h g 0.5", "2.5"),
    ("SET session:n 9007199254740992", "+OK"),
    ("INCR session:n", ":9007199254740993"),
    ("ZADD session:z 1.5 a", ":1"),
    ("RPUSH session:l a b", ":2"),
    ("XADD session:x 1-1 f v", "1-1"),
    ("INCR session:h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("MSET session:a 1 other 2", "+OK"),
    ("PERSIST session:a", ":0"),
    ("RENAME session:a session:b", "+OK"),
    ("EVAL return(redis.call('SET',KEYS[1],'v')) 1 session:s", "+OK"),
    ("MULTI", "+OK"),
    ("APPEND session:1 x", "+QUEUED"),
    ("PERSIST session:1", "+QUEUED"),
    ("EXEC", "*2 :2 :0"),
    ("SETEX expires:1 100 v", "+OK"),
    ("SETEX session:1 10 v", "+OK"),
    ("EXPIRE expires:1 200", ":1"),
    ("TTL session:1", ":200"),
    ("DEL session:1 session:h nothing", ":2"),
    ("SET session:1 late", "+OK"),
    ("HSET session:h f late", ":1"),
    ("EXISTS session:1 session:h", ":0"),
    ("GET session:1", "$-1"),
    ("SET session:1 new", "+OK"),
    ("GET session:1", "new"),
    ("UNLINK session:1", ":1"),
    ("SET session:1 late EX 10", "+OK"),
    ("EXISTS session:1", ":0"),
];

#[test]
fn every_server_keeps_the_rules() {
    let programs = ServerProgram::all();
    assert!(!programs.is_empty());
    for program in programs {
        let server = RedisServer::with().program(&program).start();
        let rules = ["[[session]]", "profile = \"catalyst\"", "reopen = \"read\"", "max_lifetime = \"48h\""];
        let proxy = Proxy::with(&server, &rules);
        // Old ones lose invalidations.
        proxy.allow("the server tells of no changes");
        for hello in ["", "HELLO 3"] {
            server.cli(&["FLUSHALL"]);
            let mut client = Wire::connect(proxy.port());
            if !hello.is_empty() {
                client.ask(hello);
            }
            for (line, reply) in TOLD {
                let expected = if *reply == "$-1" && !hello.is_empty() { "_" } else { *reply };
                assert_eq!(client.ask(line), expected, "{program}: {hello} {line}");
            }
            for key in server.cli(&["KEYS", "*"]).lines().filter(|key| *key != "other") {
                assert_ne!(server.cli(&["PTTL", key]), "-1", "{program}: {key}");
            }
        }
    }
}

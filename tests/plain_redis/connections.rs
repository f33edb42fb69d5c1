//! What concerns the client's own connection: protocol, database, name, replies.

use super::compare::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "ping and echo",
        requests: r#"
            PING
            PING text
            PING a b
            ping
            ECHO text
            ECHO
            ECHO a b
            PiNg x
        "#,
    },
    Case {
        name: "hello",
        requests: r#"
            HELLO
            HELLO 2
            HGETALL none
            HELLO 3
            HGETALL none
            HELLO
            HELLO 4
            HELLO 1
            HELLO 0
            HELLO -3
            HELLO 03
            HELLO three
            HELLO ""
            HELLO 3 FOO
            HELLO 3 AUTH
            HELLO 3 AUTH default
            HELLO 3 AUTH default anything
            HELLO 3 AUTH nobody anything
            HELLO 2 AUTH nobody anything
            HGETALL none
            HELLO 3 SETNAME
            HELLO 3 SETNAME me
            CLIENT GETNAME
            HELLO 2 SETNAME "not valid"
            CLIENT GETNAME
            HGETALL none
            HELLO 2 AUTH default x SETNAME other
            CLIENT GETNAME
            HELLO 3 SETNAME last SETNAME one
            CLIENT GETNAME
            HELLO 2 "SET\r\nNAME" x
            hello 3 setname lower
            HELLO 2 SETNAME ""
            CLIENT GETNAME
        "#,
    },
    Case {
        name: "auth without a password",
        requests: r#"
            AUTH
            AUTH secret
            AUTH default secret
            AUTH nobody secret
            AUTH a b c
            AUTH ""
            AUTH "" ""
            PING
        "#,
    },
    Case {
        name: "databases",
        requests: r#"
            SET a zero
            SELECT 1
            GET a
            SET a one
            SELECT 0
            GET a
            SELECT 15
            DBSIZE
            SELECT 16
            SELECT -1
            SELECT x
            SELECT ""
            SELECT 01
            SELECT 99999999999999999999
            SELECT
            SELECT 1 2
            DBSIZE
            SELECT 1
            GET a
            SELECT 1
            FLUSHDB
            SELECT 0
            GET a
            MULTI
            SELECT 3
            SET m multi
            EXEC
            GET m
            MULTI
            SELECT 99
            SET m again
            EXEC
            GET m
            MULTI
            SELECT 4
            DISCARD
            GET m
            WATCH m
            SELECT 5
            SET w watching
            UNWATCH
            GET w
            SELECT 6
            BLPOP none 0.01
            SET n six
            RESET
            GET n
            GET a
        "#,
    },
    Case {
        name: "client names and numbers",
        requests: r#"
            CLIENT GETNAME
            CLIENT SETNAME me
            CLIENT GETNAME
            CLIENT SETNAME "not valid"
            CLIENT SETNAME "not\nvalid"
            CLIENT SETNAME "\xff"
            CLIENT GETNAME
            CLIENT SETNAME ""
            CLIENT GETNAME
            CLIENT SETNAME
            CLIENT SETNAME a b
            CLIENT GETNAME x
            ~ CLIENT ID
            CLIENT ID x
            ? CLIENT INFO
            CLIENT INFO x
            ? CLIENT LIST
            ? CLIENT LIST TYPE normal
            CLIENT LIST TYPE foo
            CLIENT LIST TYPE
            CLIENT LIST FOO
            CLIENT LIST ID
            CLIENT LIST ID x
            CLIENT LIST ID 0
            CLIENT LIST ID 99999999
            CLIENT LIST TYPE replica
            CLIENT LIST TYPE master
            CLIENT LIST TYPE pubsub
            CLIENT NO-EVICT ON
            CLIENT NO-EVICT OFF
            CLIENT NO-EVICT x
            CLIENT NO-EVICT
            CLIENT NO-EVICT on off
            CLIENT GETREDIR
            CLIENT TRACKINGINFO
            CLIENT TRACKINGINFO x
            CLIENT CACHING YES
            CLIENT TRACKING
            CLIENT TRACKING x
            CLIENT TRACKING OFF
            CLIENT TRACKING ON OPTIN OPTOUT
            CLIENT TRACKING ON REDIRECT 99999999
            CLIENT KILL
            CLIENT KILL 1.2.3.4:5
            CLIENT KILL ID 0
            CLIENT KILL ID x
            CLIENT KILL ID 99999999
            CLIENT KILL ADDR 1.2.3.4:5
            CLIENT KILL LADDR 1.2.3.4:5
            CLIENT KILL USER nobody
            CLIENT KILL TYPE foo
            CLIENT KILL TYPE replica
            CLIENT KILL TYPE master
            CLIENT KILL TYPE pubsub
            CLIENT KILL FOO x
            CLIENT KILL ID 99999999 SKIPME
            CLIENT KILL ID 99999999 SKIPME maybe
            CLIENT KILL ID 99999999 SKIPME yes
            CLIENT UNBLOCK
            CLIENT UNBLOCK 99999999
            CLIENT UNBLOCK -1 ERROR
            CLIENT UNBLOCK x
            CLIENT UNBLOCK x FOO
            CLIENT UNBLOCK 1 ERROR TIMEOUT
            CLIENT UNPAUSE
            CLIENT PAUSE
            CLIENT PAUSE x
            CLIENT PAUSE 1
            CLIENT PAUSE 1 WRITE
            CLIENT PAUSE 1 FOO
            CLIENT
            CLIENT FOO
            CLIENT "foo bar" x
            CLIENT REPLY
            CLIENT REPLY FOO
            CLIENT REPLY ON
        "#,
    },
    Case {
        name: "replies switched off and on",
        requests: r#"
            SET a 1
            =0 CLIENT REPLY OFF
            =0 SET a 2
            =0 GET a
            =0 FOO
            =0 PING
            =0 SELECT 1
            =0 SELECT 0
            =0 HELLO 9
            =0 CLIENT REPLY SKIP
            =0 CLIENT REPLY FOO
            CLIENT REPLY ON
            GET a
            =0 CLIENT REPLY SKIP
            =0 SET a 3
            GET a
            =0 CLIENT REPLY SKIP
            =0 PING
            PING
            =0 CLIENT REPLY SKIP
            =0 CLIENT REPLY SKIP
            =0 PING
            GET a
            =0 CLIENT REPLY SKIP
            =0 BLPOP none 0.01
            GET a
            =0 CLIENT REPLY SKIP
            =0 FOO
            GET a
            =0 CLIENT REPLY SKIP
            =0 SELECT 2
            DBSIZE
            =0 CLIENT REPLY OFF
            =0 MULTI
            =0 SET b 1
            =0 EXEC
            =0 WATCH b
            =0 UNWATCH
            CLIENT REPLY ON
            GET b
            =0 CLIENT REPLY OFF
            RESET
            GET a
        "#,
    },
    Case {
        name: "reset",
        requests: r#"
            CLIENT SETNAME me
            SELECT 3
            HELLO 3
            SET a 1
            RESET
            CLIENT GETNAME
            GET a
            HGETALL none
            RESET x
            MULTI
            SET a 2
            RESET
            EXEC
            GET a
            WATCH a
            RESET
            =1 SUBSCRIBE c
            RESET
            GET a
            MONITOR
            RESET
            PING
        "#,
    },
    Case { name: "quit with more behind it", requests: "SET a 1\nQUIT\nGET a\nPING" },
    Case { name: "quit in another case, with arguments", requests: "quit now\nPING" },
    Case { name: "quit in a transaction", requests: "MULTI\nSET a 1\nQUIT" },
    Case { name: "quit while subscribed", requests: "SUBSCRIBE a\nQUIT" },
    Case { name: "quit while watching", requests: "WATCH a\nQUIT" },
    Case { name: "quit while monitoring", requests: "MONITOR\nQUIT" },
];

/// A server and a proxy that ask for the same password. Short ones: Redis closes a client that has not
/// authenticated and leaves 1 KiB of replies unread, and all at once some of them are.
pub const WITH_PASSWORD: &[Case] = &[
    Case {
        name: "commands before auth",
        requests: "PING\nGET a\nSELECT 1\nPING a b\nMULTI\nSUBSCRIBE a\nCLIENT SETNAME x\nCOMMAND",
    },
    Case { name: "hello before auth", requests: "HELLO\nHELLO 3\nHELLO 3 SETNAME x" },
    Case { name: "wrong hellos before auth", requests: "HELLO 9\nHELLO x\nHELLO 3 AUTH default wrong\nHELLO 3 FOO" },
    Case {
        name: "wrong auth",
        requests: "AUTH\nAUTH wrong\nAUTH default wrong\nAUTH nobody secret\nAUTH a b c\nRESET\nPING",
    },
    Case {
        name: "auth",
        requests: r#"
            AUTH secret
            PING
            SET a 1
            AUTH wrong
            GET a
            HELLO 3 AUTH default secret SETNAME me
            CLIENT GETNAME
            RESET
            GET a
            PING
            AUTH default secret
            GET a
            HELLO
        "#,
    },
    Case { name: "quit before auth", requests: "QUIT" },
    Case {
        name: "hello with credentials",
        requests: "HELLO 3 AUTH default secret\nHGETALL none\nRESET\nHELLO 2 AUTH default secret\nPING",
    },
];

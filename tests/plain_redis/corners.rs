//! Where two rules meet: arity and state, replies switched off and what is sent all the same, one's own connection
//! and the server's.

use super::compare::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "what does not fit its arity in a transaction",
        requests: r#"
            MULTI
            SET a 1
            RESET x
            EXEC
            GET a
            MULTI
            AUTH
            EXEC
            MULTI
            CLIENT
            EXEC
            MULTI
            CLIENT FOO
            EXEC
            MULTI
            CLIENT ID x
            EXEC
            MULTI
            SUBSCRIBE
            EXEC
            MULTI
            MONITOR x
            EXEC
            MULTI
            GET
            DISCARD
            GET a
        "#,
    },
    Case {
        name: "after an exec with arguments there is no transaction",
        requests: r#"
            MULTI
            SET a 1
            EXEC x
            CLIENT GETNAME
            HELLO 3
            GET a
            SELECT 1
            SUBSCRIBE c
            UNSUBSCRIBE c
            EXEC
            MULTI
            GET a
            EXEC
        "#,
    },
    Case {
        name: "what does not fit its arity while subscribed",
        requests: r#"
            SUBSCRIBE a
            ECHO
            ECHO a b
            AUTH
            CLIENT
            CLIENT FOO
            CLIENT ID x
            CLIENT TRACKING
            CLIENT GETNAME x
            SELECT
            GET
            FOO
            RESET x
            MULTI x
            PING
            UNSUBSCRIBE
            PING
        "#,
    },
    Case {
        name: "confirmations of subscriptions while replies are off",
        requests: r#"
            =0 CLIENT REPLY SKIP
            =2 SUBSCRIBE a b
            =0 CLIENT REPLY SKIP
            UNSUBSCRIBE a
            UNSUBSCRIBE b
            =0 CLIENT REPLY OFF
            =0 GET x
            =2 PSUBSCRIBE a* b*
            SSUBSCRIBE s
            =0 PING
            SUNSUBSCRIBE s
            =2 PUNSUBSCRIBE
            =0 GET x
            CLIENT REPLY ON
            PING
        "#,
    },
    Case {
        name: "messages while replies are off",
        requests: r#"
            HELLO 3
            SUBSCRIBE a
            =0 CLIENT REPLY OFF
            =1 PUBLISH a x
            SUBSCRIBE b
            =1 PUBLISH b y
            =0 CLIENT REPLY SKIP
            CLIENT REPLY ON
            =0 CLIENT REPLY SKIP
            =1 PUBLISH a z
            PING
        "#,
    },
    Case {
        name: "invalidations while replies are off",
        requests: r#"
            HELLO 3
            CLIENT TRACKING ON
            GET a
            =0 CLIENT REPLY OFF
            =1 SET a 1
            =0 GET a
            =1 SET a 2
            CLIENT REPLY ON
            GET a
            =0 CLIENT REPLY SKIP
            =1 SET a 3
            PING
        "#,
    },
    Case {
        name: "what else may be skipped",
        requests: r#"
            =0 CLIENT REPLY SKIP
            =0 RESET
            PING
            =0 CLIENT REPLY SKIP
            =0 HELLO 3
            HGETALL none
            =0 CLIENT REPLY SKIP
            =0 MULTI
            GET a
            EXEC
            =0 CLIENT REPLY SKIP
            =0 WATCH a
            UNWATCH
            =0 CLIENT REPLY SKIP
            =0 EVAL "return 1" 0
            PING
        "#,
    },
    Case {
        name: "caching is for one command",
        requests: r#"
            HELLO 3
            CLIENT TRACKING ON OPTIN
            CLIENT CACHING YES
            ECHO x
            GET a
            SET a 1
            CLIENT CACHING YES
            PING
            GET a
            SET a 2
            CLIENT CACHING YES
            CLIENT GETNAME
            CLIENT TRACKINGINFO
            GET a
            =2 SET a 3
            CLIENT CACHING YES
            MULTI
            GET a
            EXEC
            =2 SET a 4
            MULTI
            CLIENT CACHING YES
            GET a
            EXEC
            =2 SET a 5
            CLIENT CACHING FOO
            CLIENT CACHING
            CLIENT CACHING NO
            PING
        "#,
    },
    Case {
        name: "caching otherwise",
        requests: r#"
            HELLO 3
            CLIENT CACHING YES
            CLIENT TRACKING ON
            CLIENT CACHING YES
            CLIENT TRACKING OFF
            CLIENT TRACKING ON OPTOUT
            CLIENT CACHING YES
            CLIENT CACHING NO
            ECHO x
            GET a
            =2 SET a 1
        "#,
    },
    Case {
        name: "redirections that are none",
        requests: r#"
            CLIENT TRACKING ON REDIRECT abc
            CLIENT TRACKING ON REDIRECT
            CLIENT TRACKING ON REDIRECT 0
            CLIENT TRACKING ON REDIRECT -1
            CLIENT TRACKING ON REDIRECT 99999999
            CLIENT TRACKING OFF REDIRECT 99999999
            CLIENT TRACKING FOO REDIRECT 1 x
            CLIENT TRACKING ON BCAST PREFIX REDIRECT
            CLIENT TRACKINGINFO
            CLIENT TRACKING OFF
            CLIENT TRACKINGINFO
        "#,
    },
    Case {
        name: "who has published in a transaction selects",
        requests: r#"
            HELLO 3
            SUBSCRIBE a
            MULTI
            PUBLISH a x
            SELECT 99
            =2 EXEC
            GET k
            MULTI
            SELECT 3
            PUBLISH a y
            SET k three
            =2 EXEC
            UNSUBSCRIBE a
            GET k
            SELECT 99
            SELECT 0
            GET k
        "#,
    },
    Case {
        name: "killing oneself while subscribed",
        requests: "HELLO 3\nSUBSCRIBE a\nCLIENT KILL TYPE pubsub SKIPME no\nPING",
    },
    Case {
        name: "filters that are wrong together",
        requests: r#"
            CLIENT KILL TYPE normal FOO
            CLIENT KILL SKIPME
            CLIENT KILL ID 0 x
            CLIENT KILL SKIPME yes ID 99999999
            CLIENT KILL ID 99999999 ID x
            CLIENT KILL a b c
            CLIENT KILL TYPE NORMAL ID 99999999
            CLIENT KILL USER nobody TYPE pubsub
            CLIENT KILL ID -5
            CLIENT KILL ID 99999999999999999999
            CLIENT KILL ADDR "" LADDR ""
            CLIENT LIST ID 99999999 99999999
            CLIENT LIST ID 99999999 x
            CLIENT LIST ID -1
            CLIENT LIST ID 1.5
            CLIENT LIST TYPE pubsub x
        "#,
    },
    Case { name: "what the debugger refuses itself", requests: "SCRIPT DEBUG\nGET a" },
    Case {
        name: "attributes and pushes of the server's",
        requests: "DEBUG PROTOCOL ATTRIB\nPING\n=1 DEBUG PROTOCOL MAP\nCLIENT TRACKING ON\nDEBUG PROTOCOL ATTRIB\nPING\nDEBUG ERROR \"MY error\"",
    },
    Case {
        name: "one protocol after the other, whatever is under way",
        requests: r#"
            ZADD z 1.5 m
            ZRANGE z 0 -1 WITHSCORES
            HELLO 3
            ZRANGE z 0 -1 WITHSCORES
            HELLO 2
            WATCH z
            HELLO 3
            ZSCORE z m
            SUBSCRIBE a
            HELLO 2
            PING
            UNSUBSCRIBE a
            ZSCORE z m
            CLIENT TRACKING ON
            HELLO 3
            GET k
            =2 SET k 1
            HELLO 2
            GET k
            SET k 2
            BLPOP none 0.01
            HELLO 3
            BLPOP none 0.01
            MULTI
            ZRANGE z 0 -1 WITHSCORES
            EXEC
            RESET
            ZRANGE z 0 -1 WITHSCORES
            BLPOP none 0.01
        "#,
    },
];

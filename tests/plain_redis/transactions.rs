//! `MULTI`, `EXEC`, `DISCARD`, `WATCH`, and every way to do them wrong.

use super::compare::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "transactions",
        requests: r#"
            MULTI
            EXEC
            MULTI
            SET a 1
            GET a
            INCR a
            HGETALL none
            LPUSH a x
            ZADD z 1.5 m
            ZRANGE z 0 -1 WITHSCORES
            GET none
            LPOP none 2
            BLPOP none 0
            XREAD BLOCK 0 STREAMS none 0
            PING
            PING text
            ECHO x
            EVAL "return {1,{2}}" 0
            EXEC
            GET a
        "#,
    },
    Case {
        name: "transactions given up",
        requests: r#"
            MULTI
            SET a 1
            DISCARD
            GET a
            DISCARD
            EXEC
            EXEC x
            DISCARD x
            MULTI x
            MULTI
            MULTI
            SET a 2
            EXEC
            GET a
        "#,
    },
    Case {
        name: "transactions with a mistake in the queue",
        requests: r#"
            MULTI
            SET a 1
            FOO
            SET b 2
            EXEC
            GET a
            MULTI
            SET a
            EXEC
            MULTI
            PING a b
            EXEC
            MULTI
            ECHO
            EXEC
            MULTI
            SELECT
            EXEC
            MULTI
            WATCH a
            SET a 3
            EXEC
            GET a
            MULTI
            FOO
            DISCARD
            PING
            MULTI
            SELECT x
            EXEC
        "#,
    },
    Case {
        name: "exec and discard with arguments inside a transaction",
        requests: r#"
            MULTI
            SET a 1
            EXEC x
            SET b 2
            EXEC
            GET a
            GET b
            MULTI
            SET a 1
            DISCARD x
            SET b 2
            EXEC
            GET b
        "#,
    },
    Case {
        name: "watching",
        requests: r#"
            WATCH a
            MULTI
            SET a 1
            EXEC
            WATCH a
            SET a 2
            MULTI
            SET a 3
            EXEC
            GET a
            WATCH a b
            SET b 2
            UNWATCH
            MULTI
            SET a 4
            EXEC
            WATCH
            UNWATCH x
            UNWATCH
            WATCH a
            WATCH b
            GET a
            INCR b
            MULTI
            EXEC
            WATCH a
            MULTI
            UNWATCH
            SET a 5
            EXEC
            WATCH a
            MULTI
            SET a 6
            DISCARD
            GET a
            WATCH none
            EXPIRE none 10
            MULTI
            PING
            EXEC
        "#,
    },
    Case {
        name: "commands of the connection inside a transaction",
        requests: r#"
            MULTI
            SELECT 2
            PING
            ECHO x
            EXEC
            SET a 1
            SELECT 0
            GET a
        "#,
    },
    Case { name: "reset inside a transaction", requests: "SELECT 1\nMULTI\nSET a 1\nRESET\nGET a\nEXEC" },
    Case { name: "a script debugger inside a transaction", requests: "MULTI\nSCRIPT EXISTS x\nEXEC" },
    Case {
        name: "a whole session in one transaction",
        requests: r#"
            MULTI
            SET session:1 data EX 100
            EXPIRE session:1 200
            TTL session:1
            DEL session:1
            GET session:1
            EXEC
            EXISTS session:1
        "#,
    },
];

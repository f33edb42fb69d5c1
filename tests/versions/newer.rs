//! What servers have learnt since Redis 7.0. One that has not learnt it says so, which is compared as well.

use crate::compare::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "expiry of fields",
        requests: r#"
            HSET h a 1 b 2 c 3
            HEXPIRE h 1000 FIELDS 2 a none
            HEXPIRE h 1000 NX FIELDS 1 a
            HEXPIRE h 5 GT FIELDS 1 a
            HPEXPIRE h 2000000 XX FIELDS 1 a
            HPEXPIREAT h 99999999999999 FIELDS 1 b
            HEXPIREAT h 99999999998 FIELDS 1 b
            ~ HTTL h FIELDS 3 a b c
            ~ HPTTL h FIELDS 2 a none
            HEXPIRETIME h FIELDS 2 b c
            HPEXPIRETIME h FIELDS 1 b
            HPERSIST h FIELDS 3 a c none
            HTTL h FIELDS 1 a
            HEXPIRE h 0 FIELDS 1 a
            HPEXPIREAT h 1 FIELDS 1 none
            HGETALL h
            HGETDEL h FIELDS 2 b none
            HLEN h
            HSETEX h EX 1000 FIELDS 2 d 4 e 5
            HSETEX h FNX KEEPTTL FIELDS 1 d 6
            HSETEX h FXX PERSIST FIELDS 1 d 6
            HGETEX h FIELDS 2 d none
            HGETEX h PERSIST FIELDS 1 e
            HGETEX h PX 1000000 FIELDS 1 e
            ~ HTTL h FIELDS 2 d e
            HGETEX h EX 0 FIELDS 1 e
            HMGET h c d e
            HSCAN h 0 NOVALUES
            HEXPIRE none 10 FIELDS 1 a
            HTTL none FIELDS 1 a
            HGETDEL none FIELDS 1 a
            HGETEX none FIELDS 1 a
            HPERSIST none FIELDS 1 a
            HEXPIRE h
            HEXPIRE h x FIELDS 1 a
            HEXPIRE h 10 FIELDS 2 a
            HEXPIRE h 10 FOO 1 a
            HEXPIRE h -1 FIELDS 1 a
            SET s x
            HEXPIRE s 10 FIELDS 1 a
            HGETEX s FIELDS 1 a
            HSETEX s FIELDS 1 a b
            MULTI
            HSETEX t EX 1000 FIELDS 1 f v
            HGETEX t FIELDS 1 f
            HTTL t FIELDS 1 none
            HGETDEL t FIELDS 1 f
            EXEC
            EXISTS t
            WATCH h
            HEXPIRE h 1000 FIELDS 1 c
            MULTI
            HPERSIST h FIELDS 1 c
            EXEC
        "#,
    },
    Case {
        name: "values set and deleted on a condition",
        requests: r#"
            SET k old
            SET k new IFEQ other
            GET k
            SET k new IFEQ old
            GET k
            SET k newer IFEQ new GET
            SET k newest IFEQ none GET
            SET k x IFNE newer
            SET k x IFNE other
            SET none x IFEQ y
            SET k x IFEQ x NX
            SET k x IFEQ
            DELIFEQ k other
            DELIFEQ k x
            DELIFEQ none x
            DELIFEQ k
            SET k v
            DIGEST k
            DIGEST none
            SET k w IFDEQ 0000000000000000
            DELEX k IFEQ w
            DELEX k IFEQ v
            DELEX none
            DELEX k FOO x
            RPUSH l x
            DELIFEQ l x
            DELEX l IFEQ x
            DIGEST l
            SET l x IFEQ y
            MSETEX 2 a 1 b 2 EX 1000
            MSETEX 2 a 1 b 2 NX
            MSETEX 1 c 3 XX
            MSETEX 2 a
            MSETEX x a 1
            MGET a b c
            ~ TTL a
            MULTI
            SET k 1
            SET k 2 IFEQ 1
            DELIFEQ k 2
            EXEC
        "#,
    },
    Case {
        name: "new options of old commands",
        requests: r#"
            ZADD z 1 a 2 b 3.5 c
            ZRANK z b
            ZRANK z b WITHSCORE
            ZREVRANK z c WITHSCORE
            ZRANK z none WITHSCORE
            ZREVRANK none c WITHSCORE
            ZRANK z b FOO
            ZRANK z b WITHSCORE x
            ZSCAN z 0 NOSCORES
            SCAN 0 TYPE string
            SCAN 0 TYPE foo
            HSET h f v
            HSCAN h 0 NOVALUES
            SETBIT b1 1 1
            SETBIT b2 2 1
            BITCOUNT b1 0
            BITOP DIFF d b1 b2
            BITOP DIFF1 d b1 b2
            BITOP ANDOR d b1 b2
            BITOP ONE d b1 b2
            GET d
            GEOADD g 13.36 38.11 Palermo 15.08 37.50 Catania
            GEOSEARCH g BYPOLYGON 4 12 36 16 36 16 39 12 39 ASC
            XADD x 1-1 f v
            XADD x 1-2 f w
            XREAD STREAMS x +
            XREAD STREAMS none +
            XREAD BLOCK 1 STREAMS x +
            XREAD BLOCK 1 STREAMS none +
            XTRIM x MAXLEN 1 KEEPREF
            XTRIM x MAXLEN 1 ACKED
            XADD x DELREF 1-3 f v
            XADD x KEEPREF MAXLEN 5 1-4 f v
            EXPIRE z 1000 GT
            FLUSHALL ASYNC
            SORT_RO none BY nosort GET #
            SINTERCARD 1 none LIMIT 0
            SUNIONCARD 1 none
            INCREX k
            BLMPOP 0.01 1 none LEFT COUNT 2
            LCS a b WITHMATCHLEN
            OBJECT FREQ none
            PFCOUNT none
            COMMAND GETKEYSANDFLAGS SET a b
            COMMAND COUNT x
            PUBSUB SHARDNUMSUB
        "#,
    },
    Case {
        name: "deliveries acknowledged and deleted at once",
        requests: r#"
            XADD s 1-1 f a
            XADD s 1-2 f b
            XADD s 1-3 f c
            XGROUP CREATE s g 0
            XREADGROUP GROUP g c COUNT 2 STREAMS s >
            XACKDEL s g IDS 1 1-1
            XACKDEL s g KEEPREF IDS 2 1-1 1-3
            XACKDEL s g ACKED IDS 1 1-2
            XDELEX s IDS 1 1-2
            XDELEX s DELREF IDS 2 1-2 1-3
            XDELEX s ACKED IDS 1 9-9
            XDELEX none IDS 1 1-1
            XDELEX s IDS x 1-1
            XDELEX s FOO
            XACKDEL none g IDS 1 1-1
            XLEN s
            XCFGSET s IDMP-DURATION 5
            XADD s 2-1 f d
            XREADGROUP GROUP g d COUNT 1 CLAIM 0 STREAMS s >
            MULTI
            XACKDEL s g IDS 1 2-1
            XLEN s
            EXEC
        "#,
    },
    Case {
        name: "sets of vectors",
        requests: r#"
            VADD v VALUES 2 1 0 a
            VADD v VALUES 2 0 1 b
            VADD v VALUES 2 0 1 b
            VADD v VALUES 3 0 1 2 c
            VADD v VALUES 2 1 1 d SETATTR "{\"n\":1}"
            VADD v VALUES 2 1 x d
            VADD v
            VCARD v
            VDIM v
            VEMB v a
            VGETATTR v d
            VSETATTR v a "{\"n\":2}"
            VISMEMBER v a
            VISMEMBER v none
            VSIM v VALUES 2 1 0
            VSIM v VALUES 2 1 0 WITHSCORES
            VSIM v ELE a WITHSCORES COUNT 2
            VSIM v ELE a WITHSCORES WITHATTRIBS
            VSIM v ELE a FILTER ".n > 1"
            VSIM v ELE none
            VSIM none ELE a
            VSIM v VALUES 2 1 0 NOTHREAD
            VRANGE v - +
            ? VINFO v
            VRANDMEMBER none
            VREM v a
            VREM v a
            TYPE v
            OBJECT ENCODING v
            SET s x
            VCARD s
            VADD s VALUES 1 1 a
            MULTI
            VADD w VALUES 2 1 0 a
            VSIM w ELE a WITHSCORES
            VREM w a
            EXEC
            VCARD w
            DEL v
            VCARD v
        "#,
    },
    Case {
        name: "what the server tells of itself since",
        requests: r#"
            WAITAOF 0 0 0
            WAITAOF 0 0 1
            WAITAOF 1 0 1
            WAITAOF x 0 0
            WAITAOF 0 0
            COMMANDLOG LEN slow
            COMMANDLOG LEN large-request
            COMMANDLOG GET 5 large-reply
            COMMANDLOG RESET slow
            COMMANDLOG FOO
            COMMANDLOG
            CLUSTER SLOT-STATS SLOTSRANGE 0 1
            CLUSTER SLOT-STATS
            CLUSTER LINKS
            CLUSTERSCAN 0
            HOTKEYS FOO
            SCRIPT SHOW 0000000000000000000000000000000000000000
            ACL DRYRUN default GET a
            ACL DRYRUN nobody GET a
            ACL CAT hash x
            LATENCY HISTOGRAM none
            CONFIG GET none-such another
            MODULE LIST x
            FUNCTION STATS
            PING
        "#,
    },
    Case {
        name: "what clients say of themselves since",
        requests: r#"
            CLIENT SETINFO LIB-NAME me
            CLIENT SETINFO lib-ver 1.2.3
            CLIENT SETINFO LIB-NAME ""
            CLIENT SETINFO LIB-NAME "not valid"
            CLIENT SETINFO FOO x
            CLIENT SETINFO LIB-NAME
            CLIENT SETINFO LIB-NAME a b
            CLIENT SETINFO
            CLIENT NO-TOUCH ON
            CLIENT NO-TOUCH OFF
            CLIENT NO-TOUCH x
            CLIENT NO-TOUCH
            CLIENT NO-EVICT ON
            CLIENT CAPA redirect
            CLIENT CAPA
            CLIENT IMPORT-SOURCE ON
            CLIENT IMPORT-SOURCE OFF
            CLIENT KILL MAXAGE 1000000
            CLIENT KILL MAXAGE x
            CLIENT KILL MAXAGE 0
            CLIENT KILL ID 99999998 99999999
            CLIENT KILL ID 99999999 MAXAGE 100000
            CLIENT KILL NAME nobody
            CLIENT KILL NAME nobody SKIPME yes
            CLIENT KILL NOT-ID 99999999 NAME nobody
            CLIENT KILL DB 14
            CLIENT KILL IP 1.2.3.4
            CLIENT KILL FLAGS M
            CLIENT KILL IDLE 1000000
            CLIENT KILL LIB-NAME nothing
            CLIENT KILL CAPA r
            CLIENT LIST NAME nobody
            CLIENT LIST USER nobody
            CLIENT LIST ADDR 1.2.3.4:5
            CLIENT LIST LADDR 1.2.3.4:5
            CLIENT LIST SKIPME yes TYPE pubsub
            CLIENT LIST MAXAGE 1000000
            CLIENT LIST IDLE 1000000
            CLIENT LIST FLAGS M
            CLIENT LIST LIB-NAME nothing
            CLIENT LIST LIB-VER nothing
            CLIENT LIST DB 14
            CLIENT LIST IP 1.2.3.4
            CLIENT LIST CAPA r
            CLIENT LIST NOT-NAME nobody TYPE pubsub
            CLIENT LIST TYPE pubsub ID 1
            CLIENT LIST ID 99999998 99999999
            PING
        "#,
    },
];

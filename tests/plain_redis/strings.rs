//! Strings, in all they can hold, and what says that something else is there.

use super::compare::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "strings",
        requests: r#"
            GET none
            SET s hello
            GET s
            SET s other NX
            SET s other XX
            SET none other XX
            SET s third GET
            SET new value GET
            SET s fourth NX GET
            SET s v EX 100
            SET s v KEEPTTL
            SET s v EX
            SET s v EX 0
            SET s v EX abc
            SET s v PX -1
            SET s v EX 100 PX 100
            SET s v NX XX
            SET s v SOMETHING
            SET s v EXAT 99999999999
            EXPIRETIME s
            SET s v PXAT 99999999999999
            PEXPIRETIME s
            SET s
            GET
            GET a b
            APPEND s more
            APPEND fresh x
            STRLEN s
            STRLEN none
            GETRANGE s 0 -2
            GETRANGE s 5 2
            GETRANGE none 0 -1
            GETRANGE s a b
            SUBSTR s 1 2
            SETRANGE s 2 ZZ
            SETRANGE none 3 x
            GET none
            SETRANGE s -1 x
            SETRANGE s 536870912 x
            GETSET s next
            GETSET unknown v
            GETDEL s
            GETDEL s
            GETEX unknown EX 100
            GETEX unknown PERSIST
            GETEX nobody
            GETEX unknown EX 0
            GETEX unknown FOO
            SETNX s 1
            SETNX s 2
            SETEX s 100 v
            SETEX s 0 v
            SETEX s x v
            PSETEX s 100000 v
            PSETEX s -5 v
            MSET a 1 b 2 c ""
            MSET a
            MSET a 1 b
            MGET a nothing b c
            MSETNX a 1 d 2
            MSETNX e 1 f 2
            LCS a b
            LCS a nothing
            MSET k1 ohmytext k2 mynewtext
            LCS k1 k2
            LCS k1 k2 LEN
            LCS k1 k2 IDX
            LCS k1 k2 IDX MINMATCHLEN 4 WITHMATCHLEN
            LCS k1 k2 IDX LEN
        "#,
    },
    Case {
        name: "numbers in strings",
        requests: r#"
            INCR n
            INCRBY n 41
            INCRBY n x
            DECR n
            DECRBY n 50
            DECRBY n -9223372036854775808
            GET n
            SET n 9223372036854775807
            INCR n
            SET n abc
            INCR n
            INCRBYFLOAT n 1
            SET n 10.50
            INCRBYFLOAT n 0.1
            INCRBYFLOAT n 3.0e3
            INCRBYFLOAT n nan
            INCRBYFLOAT n inf
            INCRBYFLOAT fresh 0.1
            INCRBYFLOAT fresh -0.1
            GET n
            INCR
            INCRBY n
        "#,
    },
    Case {
        name: "bytes of every kind",
        requests: r#"
            SET "a\x00b" "nul\x00nul"
            GET "a\x00b"
            SET "a\r\nb" "x\r\ny"
            GET "a\r\nb"
            MGET "a\x00b" "a\r\nb"
            SET "" empty-key
            GET ""
            SET e ""
            GET e
            HSET "h\r\n" "f\x00" "v\r\n$5\r\nhello"
            HGETALL "h\r\n"
            SET "\xff\xfe\xfd" "\x80\x81"
            GET "\xff\xfe\xfd"
            KEYS "a\x00*"
            ECHO "+OK\r\n"
            ECHO ""
            PING ""
            PING "\r\n"
            SET "_\r\n" "_\r\n"
            GET "_\r\n"
            LPUSH "l" "*1\r\n$4\r\nPING\r\n" ">2\r\n"
            LRANGE l 0 -1
            GETRANGE "a\r\nb" 0 1
            FOO "\r\n" "b"
            "FO\r\nO" x
            "" x
            "" "" ""
            CLIENT "\r\n"
            DEL "a\x00b" "a\r\nb" ""
        "#,
    },
    Case {
        name: "the wrong type",
        requests: r#"
            SET s x
            RPUSH l x
            SADD set x
            HSET h f x
            ZADD z 1 x
            XADD st 1-1 f x
            GET l
            GETSET l x
            GETDEL h
            GETEX z
            SET l x GET
            APPEND set x
            INCR h
            STRLEN st
            GETRANGE l 0 1
            SETRANGE h 0 x
            GETBIT l 1
            BITCOUNT l
            BITFIELD l GET u8 0
            MGET s l h none
            LPUSH s x
            LPOP s
            LPOP s 2
            LRANGE s 0 -1
            LLEN h
            LMPOP 1 s LEFT
            HGET s f
            HGETALL l
            HMGET s a b
            HSET set a b
            HRANDFIELD s
            SADD s x
            SMEMBERS h
            SINTER set s
            SPOP l
            SRANDMEMBER l 3
            ZADD s 1 x
            ZRANGE s 0 -1
            ZSCORE h x
            ZRANK l x
            ZMSCORE l x
            ZPOPMIN s
            XADD s * a b
            XLEN l
            XRANGE s - +
            XREAD STREAMS s 0
            PFADD l x
            PFADD s x
            PFCOUNT s
            GEOADD s 1 1 x
            GEOPOS l x
            SORT s
            SORT h
            RENAME none x
            COPY none x
            OBJECT ENCODING none
        "#,
    },
];

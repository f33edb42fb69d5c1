//! Sorted sets, geo, streams, bits, HyperLogLog: what replies with scores, ids and nested arrays.

use super::compare::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "sorted sets",
        requests: r#"
            ZADD z 1 a 2.5 b 3 c
            ZADD z NX 9 a 4 d
            ZADD z XX CH 9 d 1 none
            ZADD z GT CH 1 d
            ZADD z LT CH 1 d
            ZADD z INCR 2.5 a
            ZADD z NX INCR 1 a
            ZADD z XX INCR 1 none
            ZADD z NX XX 1 a
            ZADD z GT LT 1 a
            ZADD z x a
            ZADD z 1
            ZADD z nan a
            ZADD inf inf plus -inf minus 0 zero 1e300 big 1e-300 small 0.1 tenth
            ZRANGE inf 0 -1 WITHSCORES
            ZSCORE inf plus
            ZSCORE inf minus
            ZSCORE inf big
            ZSCORE inf small
            ZSCORE inf tenth
            ZSCORE inf none
            ZSCORE none a
            ZMSCORE z a none b
            ZMSCORE none a
            ZCARD z
            ZCARD none
            ZCOUNT z -inf +inf
            ZCOUNT z (1 3
            ZCOUNT z x y
            ZINCRBY z 1.5 a
            ZINCRBY z x a
            ZINCRBY inf -inf plus
            ZRANK z a
            ZRANK z none
            ZRANK none a
            ZREVRANK z a
            ZREVRANK z none
            ZRANGE z 0 -1
            ZRANGE z 0 -1 WITHSCORES
            ZRANGE z 0 -1 REV WITHSCORES
            ZRANGE z 1 3 BYSCORE LIMIT 0 1 WITHSCORES
            ZRANGE z - + BYLEX
            ZRANGE z 0 -1 BYSCORE BYLEX
            ZRANGE z 0 -1 LIMIT 0 1
            ZRANGE none 0 -1 WITHSCORES
            ZREVRANGE z 0 -1
            ZREVRANGE z 0 -1 WITHSCORES
            ZRANGEBYSCORE z -inf +inf
            ZRANGEBYSCORE z -inf +inf WITHSCORES LIMIT 1 2
            ZREVRANGEBYSCORE z +inf -inf WITHSCORES
            ZRANGEBYSCORE z x 1
            ZADD lex 0 a 0 b 0 c 0 d
            ZRANGEBYLEX lex - +
            ZRANGEBYLEX lex [b (d
            ZRANGEBYLEX lex b d
            ZREVRANGEBYLEX lex + -
            ZLEXCOUNT lex - +
            ZREMRANGEBYLEX lex [a [a
            ZREMRANGEBYRANK lex 0 0
            ZREMRANGEBYSCORE lex 5 6
            ZRANGESTORE dest z 0 1
            ZRANGE dest 0 -1 WITHSCORES
            ZADD y 10 a 20 x
            ZUNION 2 z y
            ZUNION 2 z y WITHSCORES
            ZUNION 2 z y WEIGHTS 2 0.5 AGGREGATE MAX WITHSCORES
            ZUNION 0 z
            ZUNION x z
            ZINTER 2 z y WITHSCORES
            ZINTER 2 z none WITHSCORES
            ZINTERCARD 2 z y
            ZINTERCARD 2 z y LIMIT 1
            ZDIFF 2 z y
            ZDIFF 2 z y WITHSCORES
            ZUNIONSTORE d 2 z y
            ZINTERSTORE d 2 z y
            ZDIFFSTORE d 2 z y
            ZREM z a none
            ZPOPMIN z
            ZPOPMIN z 1
            ZPOPMAX z 2
            ZPOPMAX none
            ZPOPMAX none 3
            ZPOPMIN y 0
            ZPOPMIN y -1
            ZMPOP 2 none y MIN
            ZMPOP 1 y MAX COUNT 9
            ZMPOP 1 none MIN
            ZMPOP 1 y SIDE
            ZADD one 1.5 only
            ZRANDMEMBER one
            ZRANDMEMBER one 4
            ZRANDMEMBER one -2
            ZRANDMEMBER one 1 WITHSCORES
            ZRANDMEMBER one -2 WITHSCORES
            ZRANDMEMBER none
            ZRANDMEMBER none 2
            ZRANDMEMBER none 2 WITHSCORES
            ZSCAN one 0
            ZSCAN none 0
            ZSCAN inf 0 MATCH * COUNT 100
        "#,
    },
    Case {
        name: "geo",
        requests: r#"
            GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
            GEOADD g NX 1 1 Palermo
            GEOADD g XX CH 13.5 38.2 Palermo
            GEOADD g 200 100 Nowhere
            GEOADD g 1 x a
            GEODIST g Palermo Catania
            GEODIST g Palermo Catania km
            GEODIST g Palermo None
            GEODIST none a b
            GEODIST g Palermo Catania parsecs
            GEOHASH g Palermo None
            GEOHASH none a
            GEOPOS g Palermo None Catania
            GEOPOS none a
            GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC
            GEOSEARCH g FROMMEMBER Palermo BYBOX 400 400 km ASC WITHCOORD WITHDIST WITHHASH COUNT 2
            GEOSEARCH g FROMMEMBER None BYRADIUS 1 m
            GEOSEARCH none FROMLONLAT 0 0 BYRADIUS 1 m
            GEOSEARCH g FROMLONLAT 15 37 BYRADIUS -1 km
            GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST
            ZRANGE d 0 -1 WITHSCORES
            GEORADIUS g 15 37 200 km WITHDIST WITHCOORD WITHHASH
            GEORADIUS_RO g 15 37 200 km COUNT 1 ASC
            GEORADIUSBYMEMBER g Palermo 200 km
            GEORADIUSBYMEMBER_RO g Palermo 200 km WITHDIST
            GEORADIUS none 15 37 200 km
            GEORADIUS g 15 37 200 km STORE e
        "#,
    },
    Case {
        name: "streams",
        requests: r#"
            XADD s 1-1 a 1
            XADD s 1-2 b 2 c 3
            XADD s 2-* d 4
            XADD s 1-1 e 5
            XADD s 0-0 e 5
            XADD s x e 5
            XADD s 3-1 odd
            XADD none NOMKSTREAM 1-1 a b
            XADD s MAXLEN 100 4-1 f 6
            XADD s MAXLEN ~ 100 LIMIT 10 5-1 f 6
            ~ XADD clock * a b
            XLEN s
            XLEN none
            XRANGE s - +
            XRANGE s 1-2 2 COUNT 1
            XRANGE none - +
            XRANGE s x +
            XREVRANGE s + - COUNT 2
            XREAD STREAMS s 0
            XREAD COUNT 1 STREAMS s none 0 0
            XREAD STREAMS s $
            XREAD STREAMS none 0
            XREAD STREAMS s
            XREAD COUNT x STREAMS s 0
            XGROUP CREATE s g 0
            XGROUP CREATE s g 0
            XGROUP CREATE none g 0
            XGROUP CREATE made g $ MKSTREAM
            XGROUP CREATECONSUMER s g alice
            XGROUP CREATECONSUMER s g alice
            XGROUP SETID s g 0
            XGROUP FOO
            XGROUP HELP
            XREADGROUP GROUP g alice COUNT 2 STREAMS s >
            XREADGROUP GROUP g alice STREAMS s 0
            XREADGROUP GROUP g bob STREAMS s >
            XREADGROUP GROUP g bob STREAMS s >
            XREADGROUP GROUP g bob NOACK STREAMS s >
            XREADGROUP GROUP nobody c STREAMS s >
            XREADGROUP GROUP g c STREAMS none >
            XPENDING s g
            XPENDING made g
            ~ XPENDING s g - + 10
            XPENDING s g - + 10 nobody
            XPENDING s none
            XACK s g 1-1 9-9
            XACK none g 1-1
            XACK s g x
            XCLAIM s g carol 0 1-2
            XCLAIM s g carol 0 1-2 JUSTID
            XCLAIM s g carol 0 9-9
            XCLAIM s g carol x 1-2
            XAUTOCLAIM s g dave 0 0
            XAUTOCLAIM s g dave 0 0 JUSTID
            XAUTOCLAIM none g dave 0 0
            XDEL s 1-1 9-9
            XDEL none 1-1
            XTRIM s MAXLEN 2
            XTRIM s MINID 3
            XTRIM s FOO 3
            XSETID s 9-9
            XSETID s 9-9 ENTRIESADDED 100 MAXDELETEDID 1-1
            XSETID s 1-1
            XSETID none 1-1
            XINFO STREAM s
            ~ XINFO STREAM s FULL
            XINFO STREAM none
            XINFO GROUPS s
            XINFO GROUPS made
            ~ XINFO CONSUMERS s g
            XINFO CONSUMERS s none
            XINFO HELP
            XINFO FOO
            XGROUP DELCONSUMER s g alice
            XGROUP DESTROY s g
            XGROUP DESTROY s g
            XREAD STREAMS block 0
        "#,
    },
    Case {
        name: "bits",
        requests: r#"
            SETBIT b 7 1
            SETBIT b 7 0
            SETBIT b x 1
            SETBIT b 7 2
            SETBIT b 4294967296 1
            GETBIT b 7
            GETBIT none 9
            SET s foobar
            BITCOUNT s
            BITCOUNT s 1 1
            BITCOUNT s 5 30 BIT
            BITCOUNT s 1
            BITCOUNT none
            BITPOS s 1
            BITPOS s 0 2 -1
            BITPOS s 1 7 15 BIT
            BITPOS none 1
            BITPOS none 0
            BITPOS s 2
            SET t abcdef
            BITOP AND d s t
            GET d
            BITOP OR d s t
            BITOP XOR d s t
            BITOP NOT d s
            BITOP NOT d s t
            BITOP NAND d s
            BITFIELD f INCRBY i5 100 1 GET u4 0
            BITFIELD f OVERFLOW FAIL INCRBY u2 102 3 INCRBY u2 102 3
            BITFIELD f SET u8 #1 255 GET u8 #1
            BITFIELD f GET u64 0
            BITFIELD f
            BITFIELD_RO f GET u8 0
            BITFIELD_RO f SET u8 0 1
            BITFIELD_RO none GET u8 0
        "#,
    },
    Case {
        name: "hyperloglog",
        requests: r#"
            PFADD h a b c
            PFADD h a
            PFADD h2
            PFCOUNT h
            PFCOUNT h h2 none
            PFCOUNT none
            PFMERGE m h h2
            PFCOUNT m
            PFDEBUG ENCODING h
            PFDEBUG DECODE h
            PFDEBUG FOO h
            PFDEBUG ENCODING none
            GET h
        "#,
    },
];

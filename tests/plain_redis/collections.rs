//! Hashes, lists, sets, and what blocks until there is something in them.

use super::compare::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "hashes",
        requests: r#"
            HSET h a 1 b 2
            HSET h a 3 c 4
            HSET h a
            HSET h a 1 b
            HGET h a
            HGET h none
            HGET none a
            HMSET h d 5 e 6
            HMSET h d
            HMGET h a none c
            HMGET none a b
            HGETALL h
            HGETALL none
            HKEYS h
            HKEYS none
            HVALS h
            HVALS none
            HLEN h
            HLEN none
            HEXISTS h a
            HEXISTS h z
            HDEL h a z
            HDEL none a
            HINCRBY h b 5
            HINCRBY h b x
            HINCRBYFLOAT h b 0.5
            HINCRBYFLOAT h b x
            HINCRBY h b 1
            HSTRLEN h b
            HSTRLEN h zz
            HSETNX h b 1
            HSETNX h y 1
            HSCAN h 0
            HSCAN h 0 MATCH c* COUNT 100
            HSCAN h x
            HSCAN none 0
            DEL h
            HSET h only one
            HRANDFIELD h
            HRANDFIELD h 1
            HRANDFIELD h 5
            HRANDFIELD h -2
            HRANDFIELD h 1 WITHVALUES
            HRANDFIELD h -2 WITHVALUES
            HRANDFIELD h 0
            HRANDFIELD none
            HRANDFIELD none 3
            HRANDFIELD none 3 WITHVALUES
            HRANDFIELD h a
            HRANDFIELD h 1 FOO
        "#,
    },
    Case {
        name: "lists",
        requests: r#"
            RPUSH l a b c
            LPUSH l z
            LPUSH l
            LPUSHX l y
            LPUSHX none y
            RPUSHX l d
            RPUSHX none y
            LRANGE l 0 -1
            LRANGE l 5 10
            LRANGE l -100 100
            LRANGE none 0 -1
            LRANGE l a b
            LLEN l
            LLEN none
            LINDEX l 0
            LINDEX l -1
            LINDEX l 99
            LINDEX none 0
            LSET l 0 first
            LSET l 99 x
            LSET none 0 x
            LINSERT l BEFORE b aa
            LINSERT l AFTER zzz aa
            LINSERT none BEFORE a b
            LINSERT l UNDER b aa
            LREM l 1 aa
            LREM l 0 none
            LREM none 0 x
            LTRIM l 0 3
            LTRIM none 0 1
            LPOS l a
            LPOS l none
            LPOS none a
            LPOS l a RANK 0
            RPUSH p a b a b a
            LPOS p a COUNT 0
            LPOS p a COUNT 2 RANK -1
            LPOS p zz COUNT 0
            LPOS none a COUNT 0
            LPOS p a MAXLEN 1
            LPOP l
            LPOP l 2
            LPOP l 0
            LPOP none
            LPOP none 0
            LPOP none 2
            LPOP l -1
            LPOP l x
            RPOP p
            RPOP p 2
            RPOP p 0
            RPOP none
            RPOP none 5
            RPOP none x
            RPOPLPUSH p q
            RPOPLPUSH none q
            LMOVE p q LEFT RIGHT
            LMOVE none q LEFT LEFT
            LMOVE p q UP LEFT
            LMPOP 2 none p LEFT
            LMPOP 1 none LEFT
            LMPOP 2 none q RIGHT COUNT 10
            LMPOP 0 q LEFT
            LMPOP 1 q MIDDLE
            LMPOP 1 q LEFT COUNT 0
            RPUSH sortme 3 1 2
            SORT sortme
            SORT sortme DESC LIMIT 0 2
            SORT sortme BY nosort
            SORT sortme ALPHA
            SORT_RO sortme
            SORT_RO sortme STORE x
            SORT none
            MSET w_1 10 w_2 5 o_1 one
            SORT sortme BY w_* GET o_* GET #
            SORT sortme STORE sorted
            LRANGE sorted 0 -1
            RPUSH words b a c
            SORT words
            SORT words ALPHA DESC
        "#,
    },
    Case {
        name: "blocking commands that find something, or give up",
        requests: r#"
            RPUSH l a b c d e f
            BLPOP l 0
            BLPOP none l 1
            BRPOP l 0
            BRPOP none 0.01
            BLPOP none other 0.01
            BLPOP l -1
            BLPOP l x
            BLPOP l
            BLMOVE l m LEFT RIGHT 0
            BLMOVE none m LEFT RIGHT 0.01
            BLMOVE l m LEFT SIDEWAYS 0
            BRPOPLPUSH l m 0
            BRPOPLPUSH none m 0.01
            BLMPOP 0.01 1 l LEFT COUNT 5
            BLMPOP 0.01 1 none LEFT
            BLMPOP 0.01 0 none LEFT
            ZADD z 1 a 2 b 3 c 4 d
            BZPOPMIN z 0
            BZPOPMAX none z 0
            BZPOPMIN none 0.01
            BZPOPMAX none 0.01
            BZMPOP 0.01 1 z MIN
            BZMPOP 0.01 1 z MAX COUNT 9
            BZMPOP 0.01 2 none nothing MIN
            SET s x
            BLPOP s 0
            BLPOP none s 0
            BZPOPMIN s 0
            BLMOVE s m LEFT LEFT 0
            WAIT 0 10
            WAIT 1 1
            WAIT x 1
            LRANGE m 0 -1
            XADD st 1-1 a b
            XREAD BLOCK 10 STREAMS st 0
            XREAD BLOCK 10 STREAMS st $
            XREAD COUNT 1 BLOCK 10 STREAMS st none 1-1 0
            XREAD BLOCK -1 STREAMS st 0
            XREAD BLOCK x STREAMS st 0
            XGROUP CREATE st g 0
            XREADGROUP GROUP g c BLOCK 10 STREAMS st >
            XREADGROUP GROUP g c BLOCK 10 STREAMS st >
            XREADGROUP GROUP none c BLOCK 10 STREAMS st >
            GET s
        "#,
    },
    Case {
        name: "sets",
        requests: r#"
            SADD s a b c
            SADD s a
            SADD s
            SADD n 1 2 3
            SCARD s
            SCARD none
            SISMEMBER s a
            SISMEMBER s z
            SISMEMBER none z
            SMISMEMBER s a z b
            SMISMEMBER none a b
            SMEMBERS s
            SMEMBERS n
            SMEMBERS none
            SREM s c zz
            SREM none a
            SADD t b c
            SINTER s t
            SINTER s none
            SINTERCARD 2 s t
            SINTERCARD 2 s t LIMIT 1
            SINTERCARD 0 s
            SINTERCARD x s
            SINTERCARD 3 s t
            SUNION s t
            SUNION none nothing
            SDIFF s t
            SDIFF none s
            SINTERSTORE d s t
            SINTERSTORE d s none
            SUNIONSTORE d s t
            SDIFFSTORE d s t
            SMEMBERS d
            SMOVE s t a
            SMOVE s t zz
            SMOVE none t a
            SSCAN n 0
            SSCAN s 0 MATCH * COUNT 10
            SSCAN none 0
            SSCAN s x
            DEL s
            SADD s only
            SRANDMEMBER s
            SRANDMEMBER s 5
            SRANDMEMBER s -2
            SRANDMEMBER s 0
            SRANDMEMBER none
            SRANDMEMBER none 2
            SRANDMEMBER s x
            SPOP s 0
            SPOP s
            SPOP s
            SPOP none 3
            SADD s only
            SPOP s 10
            SPOP s -1
            SPOP s x
        "#,
    },
];

//! The keyspace, expiry, scripts and functions, what the server tells of itself, and every type it can speak.

use super::compare::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "keys",
        requests: r#"
            MSET a 1 b 2 c 3
            EXISTS a b none a
            EXISTS
            TYPE a
            TYPE none
            DEL a none
            UNLINK b none
            TOUCH c none
            RENAME c d
            RENAME none x
            RENAMENX d e
            SET f 1
            RENAMENX e f
            KEYS *
            KEYS none*
            SCAN 0
            SCAN 0 MATCH e* COUNT 100 TYPE string
            SCAN 0 COUNT 0
            SCAN x
            SCAN 0 FOO
            COPY e g
            COPY e g
            COPY e g REPLACE
            COPY e e
            COPY e e DB 1
            COPY e e DB 99
            MOVE e 1
            MOVE e 1
            MOVE none 1
            MOVE f 0
            MOVE f 99
            MOVE f x
            DBSIZE
            DUMP f
            DUMP none
            RESTORE r 0 "\x00\x011\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00"
            RESTORE f 0 x
            RESTORE-ASKING r 0 x
            OBJECT ENCODING f
            OBJECT REFCOUNT none
            ~ OBJECT IDLETIME f
            OBJECT FREQ f
            OBJECT HELP
            OBJECT FOO
            OBJECT
            OBJECT ENCODING
            SWAPDB 0 1
            KEYS *
            SWAPDB 0 99
            SWAPDB 0 x
            FLUSHDB
            RANDOMKEY
            SET only x
            RANDOMKEY
            DEL only
            SCAN 0
            KEYS *
            FLUSHDB ASYNC
            FLUSHDB FOO
            FLUSHALL SYNC
            FLUSHALL FOO
            DBSIZE x
        "#,
    },
    Case {
        name: "expiry",
        requests: r#"
            SET a 1
            TTL a
            PTTL a
            TTL none
            PTTL none
            EXPIRETIME a
            EXPIRETIME none
            PEXPIRETIME none
            EXPIRE a 100
            TTL a
            ~ PTTL a
            ~ EXPIRETIME a
            EXPIRE a 50 NX
            EXPIRE a 50 XX
            EXPIRE a 10 GT
            EXPIRE a 10 LT
            EXPIRE a 10 NX XX
            EXPIRE a 10 FOO
            EXPIRE a x
            EXPIRE a 9223372036854775807
            EXPIRE none 10
            PEXPIRE a 100000
            EXPIREAT a 99999999999
            EXPIRETIME a
            PEXPIREAT a 99999999999999
            PEXPIRETIME a
            PERSIST a
            PERSIST a
            PERSIST none
            EXPIRE a -1
            GET a
            SET b 1
            EXPIREAT b 1
            EXISTS b
            SET c 1 PX 1
            DEBUG SLEEP 0.01
            GET c
            TTL c
        "#,
    },
    Case {
        name: "every type in both protocols",
        requests: r#"
            DEBUG PROTOCOL STRING
            DEBUG PROTOCOL INTEGER
            DEBUG PROTOCOL DOUBLE
            DEBUG PROTOCOL NULL
            DEBUG PROTOCOL ARRAY
            DEBUG PROTOCOL SET
            DEBUG PROTOCOL MAP
            DEBUG PROTOCOL BIGNUM
            DEBUG PROTOCOL TRUE
            DEBUG PROTOCOL FALSE
            DEBUG PROTOCOL VERBATIM
            DEBUG PROTOCOL FOO
            EVAL "return 1" 0
            EVAL "return 'text'" 0
            EVAL "return nil" 0
            EVAL "return false" 0
            EVAL "return true" 0
            EVAL "return {}" 0
            EVAL "return {1,{2,{3,{}}},'x',false}" 0
            EVAL "return {ok='fine'}" 0
            EVAL "return {err='MY own error'}" 0
            EVAL "return redis.error_reply('x')" 0
            EVAL "return redis.status_reply('x')" 0
            EVAL "return {double=3.5}" 0
            EVAL "redis.setresp(3) return {map={a=1}}" 0
            EVAL "redis.setresp(3) return {set={a=true}}" 0
            EVAL "redis.setresp(3) return {double=1e10}" 0
            EVAL "redis.setresp(3) return {big_number='123456789012345678901234567890'}" 0
            EVAL "redis.setresp(3) return true" 0
            EVAL "redis.setresp(3) return false" 0
            EVAL "redis.setresp(3) return {verbatim_string={string='text',format='txt'}}" 0
            HSET h a 1
            SADD s a
            ZADD z 1.5 a
            EVAL "redis.setresp(3) return redis.call('HGETALL','h')" 0
            EVAL "redis.setresp(3) return redis.call('SMEMBERS','s')" 0
            EVAL "redis.setresp(3) return redis.call('ZSCORE','z','a')" 0
            EVAL "redis.setresp(3) return redis.call('ZRANGE','z',0,-1,'WITHSCORES')" 0
            EVAL "redis.setresp(3) return redis.call('GET','none')" 0
            EVAL "redis.setresp(2) return redis.call('HGETALL','h')" 0
            EVAL "return redis.call('HGETALL','h')" 0
            EVAL "return redis.call('ZSCORE','z','a')" 0
            EVAL "return {1,nil,3}" 0
        "#,
    },
    Case {
        name: "scripts",
        requests: r##"
            EVAL "return {KEYS[1],ARGV[1]}" 1 k v
            EVAL "return redis.call('SET',KEYS[1],ARGV[1])" 1 k v
            EVAL "return redis.call('GET',KEYS[1])" 1 k
            EVAL "return redis.call('LPUSH',KEYS[1],1)" 1 k
            EVAL "return redis.pcall('LPUSH',KEYS[1],1)" 1 k
            EVAL "return redis.call('FOO')" 0
            EVAL "return redis.call('GET')" 0
            EVAL "return redis.call('SUBSCRIBE','a')" 0
            EVAL "return redis.call('MULTI')" 0
            EVAL "syntax error here" 0
            EVAL "error('boom')" 0
            EVAL "return x" 0
            EVAL "return 1" -1
            EVAL "return 1" 2 k
            EVAL "return 1" x
            EVAL "return redis.call('SELECT',1)" 0
            EVAL "return redis.call('BLPOP','none',0)" 0
            EVALSHA aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0
            EVALSHA short 0
            SCRIPT LOAD "return 7"
            SCRIPT EXISTS 63143b6f8007b98c53ca2149822777b3566f9241 none
            EVALSHA 63143b6f8007b98c53ca2149822777b3566f9241 0
            EVALSHA_RO 63143b6f8007b98c53ca2149822777b3566f9241 0
            EVAL_RO "return redis.call('GET',KEYS[1])" 1 k
            EVAL_RO "return redis.call('SET',KEYS[1],1)" 1 k
            SCRIPT FLUSH
            SCRIPT FLUSH FOO
            SCRIPT KILL
            SCRIPT FOO
            SCRIPT
            SCRIPT HELP
            SCRIPT LOAD "bad syntax"
            FUNCTION LOAD "#!lua name=lib\nredis.register_function('f', function(keys, args) return {keys[1], args[1]} end)"
            FUNCTION LOAD "#!lua name=lib\nredis.register_function('f', function(keys, args) return 1 end)"
            FUNCTION LOAD REPLACE "#!lua name=lib\nredis.register_function{function_name='f', callback=function(keys, args) return args[1] end, flags={'no-writes'}}"
            FUNCTION LOAD "no shebang"
            FCALL f 0 hello
            FCALL f 1 k hello
            FCALL_RO f 0 hello
            FCALL none 0
            FCALL f x
            FUNCTION LIST
            FUNCTION LIST WITHCODE LIBRARYNAME lib
            FUNCTION STATS
            FUNCTION DUMP
            FUNCTION DELETE lib
            FUNCTION DELETE lib
            FUNCTION KILL
            FUNCTION LIST
            FUNCTION HELP
            FUNCTION FOO
        "##,
    },
    Case {
        name: "what the server tells of itself",
        requests: r#"
            COMMAND COUNT
            COMMAND INFO get set none
            COMMAND DOCS get
            COMMAND GETKEYS MSET a 1 b 2
            COMMAND GETKEYS PING
            COMMAND GETKEYSANDFLAGS SET a 1
            COMMAND LIST FILTERBY PATTERN xa*
            COMMAND FOO
            COMMAND HELP
            ? COMMAND
            ? COMMAND DOCS
            CONFIG GET maxmemory
            CONFIG GET none
            CONFIG GET *max-*-entries* timeout
            CONFIG SET maxmemory 0
            CONFIG SET none 0
            CONFIG SET maxmemory
            CONFIG GET
            CONFIG RESETSTAT
            CONFIG REWRITE
            CONFIG HELP
            CONFIG FOO
            ACL WHOAMI
            ACL CAT
            ACL CAT scripting
            ACL LIST
            ACL USERS
            ACL GETUSER default
            ACL GETUSER none
            ACL DRYRUN default GET a
            ACL LOG RESET
            ACL LOG
            ACL HELP
            ACL FOO
            MEMORY USAGE none
            MEMORY USAGE
            MEMORY DOCTOR
            MEMORY HELP
            MEMORY FOO
            SLOWLOG RESET
            SLOWLOG LEN
            SLOWLOG GET
            SLOWLOG HELP
            LATENCY RESET
            LATENCY LATEST
            LATENCY HISTORY event
            LATENCY DOCTOR
            LATENCY HELP
            MODULE LIST
            MODULE HELP
            MODULE FOO
            CLUSTER INFO
            CLUSTER FOO
            READONLY
            READWRITE
            ASKING
            ROLE
            ~ TIME
            ~ LASTSAVE
            LOLWUT VERSION 1 1 1
            LOLWUT
            ? INFO
            ? INFO server clients
            INFO nothing
            INFO modules
            DEBUG HELP
            DEBUG FOO
            DEBUG JMAP
            DEBUG SLEEP 0
            PUBSUB CHANNELS
            PUBSUB NUMSUB
            PUBSUB NUMSUB a b
            PUBSUB NUMPAT
            PUBSUB SHARDCHANNELS
            PUBSUB SHARDNUMSUB a
            PUBSUB FOO
            PUBSUB HELP
            PUBLISH nobody listens
            SPUBLISH nobody listens
            PUBLISH a
        "#,
    },
    Case {
        name: "what is no command",
        requests: r#"
            FOO
            FOO a b c
            foo "with space" 'x'
            GETT x
            "" ""
            "GET x"
            "get\r\n"
            averyveryveryveryveryveryveryveryveryverylongnamethatisnocommandatallandgoesonandonandonforlongerthanonehundredandtwentyeightbytesdefinitely x
            FOO aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b
            SET
            set k
            get
            MSET
            HELLO
            XADD
            EVAL
            OBJECT FREQ
            CONFIG
            CLIENT|ID
            config|get x
            GET|x
            PING
        "#,
    },
];

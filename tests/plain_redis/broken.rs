//! Bytes as no client library would send them: inline requests, and what is no request at all.

/// Well formed, one way or another.
pub fn inline() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    INLINE.iter().map(|(name, bytes)| (*name, [bytes, QUIT].concat()))
}

/// What Redis answers with an error, or with nothing, and a close. What follows must have no effect.
pub fn broken() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    BROKEN.iter().map(|(name, bytes)| (*name, [bytes, QUIT].concat()))
}

/// The same with replies off. Redis closes only who has a reply to come: at once, for all is sent at once.
pub fn silent() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let starts = [("off", &b"PING\r\nCLIENT REPLY OFF\r\n"[..]), ("skipped", b"PING\r\nCLIENT REPLY SKIP\r\n")];
    starts.into_iter().flat_map(|(name, start)| {
        [&b"*x\r\n"[..], b"*1\r\n+\r\n", b"SET a \"b\r\n"].map(|end| (name, [start, end, QUIT].concat()))
    })
}

/// Lines without an end.
pub fn endless() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    ENDLESS.iter().map(|(name, start, byte)| (*name, [start, &[*byte; 70_000][..]].concat()))
}

const QUIT: &[u8] = b"*1\r\n$4\r\nQUIT\r\n";

const INLINE: &[(&str, &[u8])] = &[
    ("a line", b"PING\r\n"),
    ("a line without a carriage return", b"PING\n"),
    ("empty lines", b"\r\n\r\n\nPING\r\n"),
    ("lines of spaces", b"   \r\n \t \r\nPING\r\n"),
    ("spaces all over", b"   SET   a    b   \r\n  GET a\r\n"),
    ("tabs", b"SET\ta\tb\r\nGET\ta\r\n"),
    ("double quotes", b"SET a \"b c\"\r\nGET a\r\n"),
    ("single quotes", b"SET a 'b c'\r\nGET a\r\n"),
    ("escapes in double quotes", b"ECHO \"\\x41\\x0d\\x0a\\n\\r\\t\\b\\a\\\\\\\"\\q\"\r\n"),
    ("escapes that are not whole", b"ECHO \"\\xZZ\\x4\"\r\n"),
    ("escapes in single quotes", b"ECHO '\\'\\n\\x41'\r\n"),
    ("quotes inside a word", b"ECHO a\"b\"\r\nECHO a'b c'\r\n"),
    ("empty quotes", b"ECHO \"\"\r\nECHO ''\r\n"),
    ("a quoted command", b"\"PING\" 'text'\r\n"),
    ("bytes beyond ASCII", b"ECHO \xc3\xa9\xff\r\n"),
    ("blanks that end no word", b"SET\x0ba b\r\nECHO a\x0cb\r\n"),
    ("blanks between words", b"\x0cECHO \x0b a \x0c\r\nECHO \x0c'a'\x0b\r\n"),
    ("a carriage return inside", b"ECHO a\rb\r\n"),
    ("two carriage returns", b"ECHO a\r\r\n"),
    ("both kinds of requests", b"PING\r\n*1\r\n$4\r\nPING\r\nECHO x\r\n*2\r\n$4\r\nECHO\r\n$1\r\ny\r\n"),
    ("arrays of nothing", b"*0\r\n*-1\r\n*-100\r\nPING\r\n"),
    ("an empty string for a command", b"*1\r\n$0\r\n\r\nPING\r\n"),
    ("empty lines between arrays", b"*1\r\n$4\r\nPING\r\n\r\n\r\n*1\r\n$4\r\nPING\r\n"),
    ("an unknown command", b"FOO 'a b' c\r\n"),
    ("a transaction", b"MULTI\r\nSET a 1\r\nEXEC\r\nGET a\r\n"),
    ("a transaction with an unknown command", b"MULTI\r\nFOO\r\nEXEC\r\nGET a\r\n"),
    ("blocking", b"BLPOP a 0.01\r\nPING\r\n"),
    ("what looks like HTTP and is a key", b"SET / x\r\nGET /\r\n"),
];

const BROKEN: &[(&str, &[u8])] = &[
    ("a count that is no number", b"*abc\r\n"),
    ("no count", b"*\r\n"),
    ("a count with a space", b"* 1\r\n$4\r\nPING\r\n"),
    ("a count with a plus", b"*+1\r\n$4\r\nPING\r\n"),
    ("a count with a leading zero", b"*01\r\n$4\r\nPING\r\n"),
    ("a count that is too large", b"*2147483648\r\n"),
    ("a count of many digits", b"*99999999999999999999\r\n"),
    ("an argument that is no string", b"*1\r\nPING\r\n"),
    ("an argument that is a number", b"*2\r\n$3\r\nGET\r\n:1\r\n"),
    ("an argument that is an array", b"*2\r\n$3\r\nGET\r\n*1\r\n$1\r\na\r\n"),
    ("an argument that begins with a byte beyond ASCII", b"*1\r\n\xff\r\n"),
    ("an empty line for an argument", b"*1\r\n\r\n"),
    ("a length that is no number", b"*1\r\n$abc\r\n"),
    ("no length", b"*1\r\n$\r\n"),
    ("a negative length", b"*1\r\n$-1\r\n"),
    ("a length with a leading zero", b"*1\r\n$04\r\nPING\r\n"),
    ("a length that is too large", b"*1\r\n$536870913\r\n"),
    ("a length of many digits", b"*1\r\n$99999999999999999999\r\n"),
    ("something wrong after something right", b"SET a 1\r\nGET a\r\n*x\r\nSET a 2\r\n"),
    ("something wrong after what is slow to answer", b"BLPOP none 0.01\r\nFOO\r\n*x\r\nSET a 2\r\n"),
    ("something wrong right after what blocks", b"MULTI\r\nSET a 1\r\nEXEC\r\nBLPOP none 0.05\r\n*x\r\nSET a 2\r\n"),
    ("something wrong in a transaction", b"MULTI\r\nSET a 1\r\n*1\r\n+\r\nEXEC\r\n"),
    ("something wrong while watching", b"WATCH a\r\n*1\r\n+\r\n"),
    ("something wrong while subscribed", b"SUBSCRIBE a\r\n*1\r\n+\r\n"),
    ("something wrong while monitoring", b"MONITOR\r\n*1\r\n+\r\n"),
    ("an open double quote", b"SET a \"b\r\n"),
    ("an open single quote", b"SET a 'b\r\n"),
    ("a quote that does not end a word", b"SET \"a\"b c\r\n"),
    ("a POST", b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("a header line", b"Host: localhost\r\n"),
];

/// How it begins, and how it goes on.
const ENDLESS: &[(&str, &[u8], u8)] = &[
    ("an endless inline request", b"PING ", b'a'),
    ("an endless count", b"*", b'1'),
    ("an endless length", b"*1\r\n$", b'1'),
];

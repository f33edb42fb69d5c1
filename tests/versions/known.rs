//! Where a client can tell the proxy from a server that is not Redis 7.0: what is answered here is answered in the
//! words of 7.0, and with what 7.0 can do.
//!
//! `docs/differences.md` says so; here is what it comes to. What is neither here nor the same is a mistake.

use std::collections::BTreeSet;

use crate::compare::Pace;
use crate::report::{Answer, Difference, Differences};
use crate::support::{ServerProgram, shown};

/// A request, and both answers as [`shown`] shows them. A text that ends in `...` is compared up to there.
struct Known {
    is_of: fn(&ServerProgram) -> bool,
    request: &'static str,
    redis: &'static str,
    cloakroom: &'static str,
}

const fn row(
    is_of: fn(&ServerProgram) -> bool,
    request: &'static str,
    redis: &'static str,
    cloakroom: &'static str,
) -> Known {
    Known { is_of, request, redis, cloakroom }
}

/// Answers of the proxy that stand below more than once.
const NOT_AUTHENTICATED: &str =
    "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH ...";
const NO_SUBCOMMAND: &str = "-ERR unknown subcommand ...";
const SYNTAX: &str = "-ERR syntax error";
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.";

#[rustfmt::skip]
const KNOWN: &[Known] = &[
    // Wording.
    row(is_before_7, "CLIENT ...", "-ERR Unknown subcommand or wrong number of arguments ...", "..."),
    row(is_before_7, "CLIENT KILL", SYNTAX, "-ERR wrong number of arguments for 'client|kill' command"),
    row(is_before_7, "CLIENT KILL ID x", "-ERR value is not an integer or out of range", "-ERR client-id should be greater than 0"),
    row(is_6_0, "AUTH ...", "-WRONGPASS invalid username-password pair", WRONGPASS),
    row(is_6_0, "HELLO ...", "-WRONGPASS invalid username-password pair", WRONGPASS),
    row(is_6_0, "HELLO ...", "-NOPROTO unsupported protocol version", "-ERR Protocol version is not an integer or out of range"),
    row(is_7_2_or_later, "HELLO...", "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH ...", NOT_AUTHENTICATED),
    row(is_valkey_8_1_or_later, "CLIENT KILL ID x", SYNTAX, "-ERR client-id should be greater than 0"),
    row(is_valkey_8_1_or_later, "CLIENT LIST ID x", SYNTAX, "-ERR Invalid client ID"),
    row(is_valkey_8_1_or_later, "CLIENT UNBLOCK 1 ERROR TIMEOUT", ":0", "-ERR unknown subcommand or wrong number ..."),

    // Inline requests: it forgets a byte 255, and takes quotes as a shell does.
    row(is_valkey_8_1_or_later, "all of it", r"$2 \xc3\xa9 +OK", r"$3 \xc3\xa9\xff +OK"),
    row(is_valkey_9_or_later, "all of it", r"$1 a $2 a\x0b +OK", "$1 a $1 a +OK"),
    row(is_valkey_9_or_later, "all of it", "+OK +OK", "-ERR Protocol error: unbalanced quotes in request"),

    // What the server cannot do yet, and the proxy can.
    row(is_6_0, "CLIENT INFO", "-", "..."),
    row(is_6_0, "CLIENT LIST ID ...", SYNTAX, "..."),
    row(is_6_0, "CLIENT KILL LADDR ...", SYNTAX, ":0"),
    row(is_6_2, "RESET", "-NOAUTH Authentication required.", "+RESET"),
    row(is_7_0, "CLIENT NO-TOUCH...", NO_SUBCOMMAND, "..."),
    row(is_7_0, "CLIENT SETINFO...", NO_SUBCOMMAND, "..."),

    // What the server can do, and the proxy cannot.
    row(is_7_4_or_later, "CLIENT KILL MAXAGE ...", "...", SYNTAX),
    row(is_7_4_or_later, "CLIENT KILL ID 99999999 MAXAGE ...", ":0", SYNTAX),
    row(is_valkey_8_1_or_later, "CLIENT LIST ID 0", "-ERR client-id should be greater than 0", "..."),
    row(is_valkey_8_1_or_later, "CLIENT LIST ...", "...", SYNTAX),
    row(is_valkey_8_1_or_later, "CLIENT KILL ID 99999998 99999999", ":0", SYNTAX),
    row(is_valkey_9_or_later, "CLIENT KILL ...", ":...", SYNTAX),
];

fn is_before_7(program: &ServerProgram) -> bool {
    program.version < [7, 0, 0]
}

fn is_6_0(program: &ServerProgram) -> bool {
    program.version < [6, 2, 0]
}

fn is_6_2(program: &ServerProgram) -> bool {
    is_before_7(program) && !is_6_0(program)
}

fn is_7_0(program: &ServerProgram) -> bool {
    !is_before_7(program) && program.version < [7, 2, 0]
}

fn is_7_2_or_later(program: &ServerProgram) -> bool {
    program.version >= [7, 2, 0]
}

/// Valkey has left Redis at 7.2, and took this over in 8.0.
fn is_7_4_or_later(program: &ServerProgram) -> bool {
    program.version >= [7, 4, 0]
}

fn is_redis_8_or_later(program: &ServerProgram) -> bool {
    !program.is_valkey && program.version >= [8, 0, 0]
}

fn is_valkey_8_0_or_later(program: &ServerProgram) -> bool {
    program.is_valkey && program.version >= [8, 0, 0]
}

fn is_valkey_8_1_or_later(program: &ServerProgram) -> bool {
    program.is_valkey && program.version >= [8, 1, 0]
}

fn is_valkey_9_or_later(program: &ServerProgram) -> bool {
    program.is_valkey && program.version >= [9, 0, 0]
}

/// What these servers must not be told, because the comparison could not go on.
pub fn unsaid(program: &ServerProgram) -> fn(&str, Pace) -> bool {
    fn is_random(request: &str) -> bool {
        request == "LOLWUT"
    }
    /// It is no filter there: every client is killed, our own and the proxy's.
    fn kills_all(request: &str) -> bool {
        request == "CLIENT KILL ID 0"
    }
    /// A failed `AUTH` or `HELLO ... AUTH`.
    fn is_wrong_password(request: &str) -> bool {
        ["AUTH nobody", "AUTH default wrong", "AUTH wrong", "AUTH \"\" \"\""].iter().any(|text| request.contains(text))
    }
    match program {
        // It has neither `RESET` nor `HELLO` without a version: what comes behind them differs too.
        _ if is_6_0(program) => {
            |request, _| is_random(request) || kills_all(request) || ["RESET", "RESET x", "HELLO"].contains(&request)
        }
        _ if is_before_7(program) => |request, _| is_random(request) || kills_all(request),
        // They give no answer to a failed `AUTH` while answers to what came before it wait to be written.
        _ if is_7_2_or_later(program) && !is_valkey_9_or_later(program) => {
            |request, pace| is_random(request) || pace == Pace::Pipelined && is_wrong_password(request)
        }
        _ => |request, _| is_random(request),
    }
}

/// Whether a case is none for this server, because it cannot follow itself.
pub fn is_untold(case: &str, program: &ServerProgram) -> bool {
    /// They end in silence without `RESET`; its invalidations stand inside other replies; it forgets that replies
    /// are off.
    const IN_6_0: [&str; 4] =
        ["replies switched off and on", "reset", "messages to oneself", "invalidations by oneself"];
    /// It neither answers what is no request nor closes the connection, if it had to come back to it.
    const IN_8: [&str; 2] = ["something wrong after what is slow to answer", "something wrong right after what blocks"];
    is_6_0(program) && IN_6_0.contains(&case) || is_redis_8_or_later(program) && IN_8.contains(&case)
}

/// Rows that have been needed.
#[derive(Default)]
pub struct Needed(BTreeSet<usize>);

impl Needed {
    /// Leaves in `differences` what is not known of `program`.
    pub fn sort_out(&mut self, differences: &mut Differences, program: &ServerProgram) {
        differences.retain(|difference| {
            let known = KNOWN.iter().position(|known| (known.is_of)(program) && known.fits(difference));
            self.0.extend(known);
            known.is_none()
        });
    }

    /// A row that none of these servers needs is out of date.
    pub fn expect_all(&self, programs: &[ServerProgram]) {
        let rows =
            KNOWN.iter().enumerate().filter(|(at, known)| !self.0.contains(at) && programs.iter().any(known.is_of));
        let unneeded: Vec<_> = rows.map(|(_, known)| (known.request, known.redis)).collect();
        assert!(unneeded.is_empty(), "no such differences any more: {unneeded:?}");
    }
}

impl Known {
    fn fits(&self, difference: &Difference) -> bool {
        let is = |text: &str, pattern: &str| match pattern.strip_suffix("...") {
            Some(start) => text.starts_with(start),
            None => text == pattern,
        };
        is(difference.request, self.request)
            && is(&text(&difference.redis), self.redis)
            && is(&text(&difference.cloakroom), self.cloakroom)
    }
}

fn text(answer: &Answer) -> String {
    match answer {
        Ok(bytes) => shown(bytes).replace("\\'", "'"),
        Err(end) => end.clone(),
    }
}

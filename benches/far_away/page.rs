//! What one page of a web application costs that asks for its session again and again.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::place::{Kind, Place};
use crate::support::request;
use crate::table::{self, Column, Ratio, Sample, median};

/// Seconds of a busy measurement.
const SPELL: Duration = Duration::from_secs(1);
/// Before a lone page: longer than anything is good for without being confirmed.
const SILENCE: Duration = Duration::from_millis(250);
const LONE_PAGES: usize = 8;

const SID: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a page asks for, one thing after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// What `Catalyst::Plugin::Session::Store::Redis` sends for a page that only reads: a `PING` before each `GET`,
    /// and the expiry four times.
    Catalyst,
    /// Ten of `expires:`, `session:` and `flash:`; there is no flash.
    TenGets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One page after another.
    Busy,
    /// Each page comes after a silence.
    Lone,
}

/// A page at a pace.
pub(crate) type Case = (Page, Pace);

pub(crate) const CASES: [Case; 4] = [
    (Page::Catalyst, Pace::Busy),
    (Page::Catalyst, Pace::Lone),
    (Page::TenGets, Pace::Busy),
    (Page::TenGets, Pace::Lone),
];

#[derive(Debug, Clone)]
pub(crate) struct Cost {
    /// Microseconds, the median of the pages.
    time: f64,
    /// Per page, as is the next.
    requests: f64,
    round_trips: f64,
}

const COLUMNS: [Column<Cost>; 3] = [
    Column { heading: "page µs", of: |cost| Some(cost.time), decimals: 0 },
    Column { heading: "upstream requests", of: |cost| Some(cost.requests), decimals: 2 },
    Column { heading: "upstream round trips", of: |cost| Some(cost.round_trips), decimals: 2 },
];

const RATIOS: [Ratio<Cost>; 2] = [
    Ratio { heading: "page ÷ direct", of: COLUMNS[0].of, row: Kind::Direct.name(), by: COLUMNS[0].of },
    Ratio { heading: "page ÷ forwarding", of: COLUMNS[0].of, row: Kind::Forwarding.name(), by: COLUMNS[0].of },
];

pub(crate) fn title((page, pace): Case) -> String {
    let page = match page {
        Page::Catalyst => "A Catalyst page (5 PING, 4 GET expires:, 1 GET session:)",
        Page::TenGets => "Ten GETs (4 expires:, 4 session:, 2 flash:, which is not there)",
    };
    let pace = match pace {
        Pace::Busy => "page after page".to_owned(),
        Pace::Lone => format!("a page every {} ms", SILENCE.as_millis()),
    };
    format!("{page}, {pace}")
}

pub(crate) fn fill(place: &Place<'_>) {
    let mut server = place.neighbour();
    server.set(&format!("session:{SID}"), &session());
    server.set(&format!("expires:{SID}"), EXPIRES);
}

pub(crate) fn measure(place: &Place<'_>, (page, pace): Case, round: u32) -> Sample<Cost> {
    let asked = page.asked();
    let mut client = place.client();
    for _ in 0..4 {
        view(&mut client, &asked);
    }
    let before = (place.requests(), place.round_trips());
    let mut times = Vec::new();
    let until = Instant::now() + SPELL;
    let is_on = |pages: usize| match pace {
        Pace::Busy => Instant::now() < until,
        Pace::Lone => pages < LONE_PAGES,
    };
    while is_on(times.len()) {
        if pace == Pace::Lone {
            thread::sleep(SILENCE);
        }
        let start = Instant::now();
        view(&mut client, &asked);
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    // Counted before the server is asked, which takes a while.
    let round_trips = place.round_trips() - before.1;
    let requests = place.requests() - before.0;
    let per_page = |count: u64| count as f64 / times.len() as f64;
    let (requests, round_trips) = (per_page(requests), per_page(round_trips));
    let values = Cost { time: median(times).expect("a page at least"), requests, round_trips };
    Sample { round, row: place.kind.name(), values }
}

pub(crate) fn tables(samples: &[Sample<Cost>]) {
    table::print(&Kind::ALL.map(Kind::name), &COLUMNS, &RATIOS, samples);
}

fn view(client: &mut Client, asked: &[(Vec<u8>, Vec<u8>)]) {
    for (request, reply) in asked {
        client.ask(request, reply);
    }
}

impl Page {
    /// Requests and their replies.
    fn asked(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let get = |prefix: &str, reply: String| (request(&["GET", &format!("{prefix}:{SID}")]), reply.into_bytes());
        let bulk = |value: &str| format!("${}\r\n{value}\r\n", value.len());
        let ping = || (request(&["PING"]), b"+PONG\r\n".to_vec());
        let expires = || get("expires", bulk(EXPIRES));
        let session = || get("session", bulk(&session()));
        let flash = || get("flash", "$-1\r\n".to_owned());
        match self {
            Self::Catalyst => {
                let gets = [expires(), expires(), session(), expires(), expires()];
                gets.into_iter().flat_map(|get| [ping(), get]).collect()
            }
            Self::TenGets => {
                let (first, again) = ([expires(), session(), flash()], [expires(), session()]);
                [&first[..], &again, &again, &first].concat()
            }
        }
    }
}

const EXPIRES: &str = "1767225600";

/// Base64 in lines, as Catalyst stores it.
fn session() -> String {
    format!("{}\n", "BQsDAAAAAQoKMTc2NzIy".repeat(4)).repeat(6)
}

//! How long a command may wait for what others do.

use std::time::Duration;

use super::Command;
use crate::resp::decimal;

/// A year: whoever waits longer, waits for ever.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Command<'_> {
    /// The time after which a command that blocks is answered in any case, as it says itself; `None` if that may be
    /// never, or is not known.
    pub fn longest_block(&self) -> Option<Duration> {
        let request = &self.request;
        let arg = |index| request.arg(index);
        let last = request.len().checked_sub(1)?;
        let length = match self.row()?.name {
            "blpop" | "brpop" | "blmove" | "brpoplpush" | "bzpopmin" | "bzpopmax" => seconds(arg(last)?),
            "blmpop" | "bzmpop" => seconds(arg(1)?),
            "wait" => millis(arg(2)?),
            "xread" | "xreadgroup" => {
                // A group or a stream of that name would be another number: then nothing is known.
                let mut places = (1..last).filter(|index| request.is(*index, "block"));
                let place = places.next().filter(|_| places.next().is_none())?;
                millis(arg(place + 1)?)
            }
            _ => None,
        };
        length.filter(|length| !length.is_zero() && *length < LONGEST)
    }
}

fn seconds(text: &[u8]) -> Option<Duration> {
    Duration::try_from_secs_f64(str::from_utf8(text).ok()?.parse().ok()?).ok()
}

fn millis(text: &[u8]) -> Option<Duration> {
    decimal(text).and_then(|count| u64::try_from(count).ok()).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use crate::command::Commands;
    use crate::resp::encode;
    use crate::resp::request::Parser;

    fn longest(line: &str) -> Option<u128> {
        let (mut bytes, mut parser) = (Vec::new(), Parser::default());
        encode::request(&mut bytes, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        let command = Commands::default().understand(parser.known(&bytes).expect("a request"));
        command.longest_block().map(|length| length.as_millis())
    }

    #[test]
    fn a_command_says_how_long_it_blocks() {
        for (line, millis) in [
            ("BLPOP a b 0.5", Some(500)),
            ("brpoplpush a b 2", Some(2000)),
            ("BLMPOP 1.5 1 a LEFT", Some(1500)),
            ("WAIT 1 100", Some(100)),
            ("XREAD BLOCK 50 STREAMS s $", Some(50)),
            ("XREADGROUP GROUP block me BLOCK 50 STREAMS s >", None),
            ("XREAD STREAMS s 0", None),
            ("BLPOP a 0", None),
            ("BLPOP a soon", None),
            ("BLPOP a -1", None),
            ("BLPOP a inf", None),
            ("BLPOP a 1e300", None),
            ("XREAD BLOCK", None),
            ("GET a", None),
        ] {
            assert_eq!(longest(line), millis, "{line}");
        }
    }
}

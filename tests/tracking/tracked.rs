//! A tracked connection, and what it hears.

use crate::support::{Wire, shown};

/// Nothing has this name. `DEL` of it is how the proxy asks how fresh its cached values are.
pub const FENCE: &str = "DEL fence:absent";

/// A RESP3 connection whose server keeps a table of what it has read after `CLIENT CACHING YES`.
pub struct Tracked(pub Wire);

impl Tracked {
    pub fn connect(port: u16) -> Self {
        Self::connect_with(port, "OPTIN")
    }

    /// With the options of `CLIENT TRACKING ON`.
    pub fn connect_with(port: u16, options: &str) -> Self {
        let mut wire = Wire::connect_resp3(port);
        assert_eq!(wire.ask(&format!("CLIENT TRACKING ON {options}")), "+OK");
        Self(wire)
    }

    /// A read the server remembers: its reply.
    pub fn read(&mut self, line: &str) -> String {
        assert_eq!(self.0.ask("CLIENT CACHING YES"), "+OK");
        self.0.ask(line)
    }

    /// Says it all at once, and a fence behind it: what comes before the fence is answered.
    pub fn heard(&mut self, lines: &[&str]) -> Vec<String> {
        self.0.say(&[lines, &[FENCE]].concat());
        let mut heard = Vec::new();
        let mut replies = 0;
        loop {
            let frame = self.0.frame();
            let is_push = frame.starts_with(b">");
            if !is_push && replies == lines.len() {
                assert_eq!(shown(&frame), ":0", "the fence");
                return heard;
            }
            replies += usize::from(!is_push);
            heard.push(if is_push { invalidation(&frame) } else { shown(&frame) });
        }
    }

    /// What the server has told by now, and no reply is awaited.
    pub fn told(&mut self) -> Vec<String> {
        self.heard(&[])
    }

    /// Waits for the next push.
    pub fn wait(&mut self) -> String {
        invalidation(&self.0.frame())
    }
}

/// `inv(k)`, or `inv(all)` for the push that names no key.
fn invalidation(frame: &[u8]) -> String {
    let text = shown(frame);
    match text.strip_prefix(">2 $10 invalidate ") {
        Some("_") => "inv(all)".into(),
        Some(keys) => {
            let keys: Vec<_> = keys.split(' ').skip(1).filter(|word| !word.starts_with('$')).collect();
            format!("inv({})", keys.join(" "))
        }
        None => text,
    }
}

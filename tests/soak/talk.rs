//! Requests that are sent together, and beside them, to the byte, the replies they must have.

use std::io::Write as _;

use crate::support::shown;

/// What one burst of a client says, and must be told.
#[derive(Default)]
pub(crate) struct Talk {
    pub(crate) requests: Vec<u8>,
    pub(crate) replies: Vec<u8>,
    /// For each request that is answered, where it ends, and where its reply does.
    pub(crate) ends: Vec<(usize, usize)>,
    pub(crate) is_resp3: bool,
    transaction: Option<Queued>,
}

/// What `EXEC` will answer.
#[derive(Default)]
struct Queued {
    count: usize,
    replies: Vec<u8>,
}

impl Talk {
    /// One more request, and the reply to it.
    pub(crate) fn ask(&mut self, request: &[u8], reply: &[u8]) {
        self.requests.extend_from_slice(request);
        match &mut self.transaction {
            None => self.replies.extend_from_slice(reply),
            Some(queued) => {
                queued.count += 1;
                queued.replies.extend_from_slice(reply);
                self.replies.extend_from_slice(b"+QUEUED\r\n");
            }
        }
        self.ends.push((self.requests.len(), self.replies.len()));
    }

    /// A request that is not answered.
    pub(crate) fn tell(&mut self, request: &[u8]) {
        self.requests.extend_from_slice(request);
    }

    /// A request, and that its reply is not wanted.
    pub(crate) fn skip(&mut self, request: &[u8]) {
        self.tell(b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n");
        self.tell(request);
    }

    pub(crate) fn multi(&mut self) {
        self.ask(b"*1\r\n$5\r\nMULTI\r\n", b"+OK\r\n");
        self.transaction = Some(Queued::default());
    }

    pub(crate) fn exec(&mut self) {
        let queued = self.transaction.take().expect("a transaction");
        let reply = [format!("*{}\r\n", queued.count).as_bytes(), &queued.replies].concat();
        self.ask(b"*1\r\n$4\r\nEXEC\r\n", &reply);
    }

    /// `EXEC` or `DISCARD` of what is not to run.
    pub(crate) fn abandon(&mut self, request: &[u8], reply: &[u8]) {
        self.transaction = None;
        self.ask(request, reply);
    }

    /// Forgets what was said and heard.
    pub(crate) fn clear(&mut self) {
        self.requests.clear();
        self.replies.clear();
        self.ends.clear();
        self.transaction = None;
    }

    pub(crate) fn null(&self) -> &'static [u8] {
        if self.is_resp3 { b"_\r\n" } else { b"$-1\r\n" }
    }

    pub(crate) fn null_array(&self) -> &'static [u8] {
        if self.is_resp3 { b"_\r\n" } else { b"*-1\r\n" }
    }

    /// `bytes` came behind the first `heard` bytes of the replies: what is wrong about them, if anything is.
    pub(crate) fn judge(&self, heard: usize, bytes: &[u8]) -> Result<(), String> {
        let due = &self.replies[heard..];
        if due.get(..bytes.len()) == Some(bytes) {
            return Ok(());
        }
        let wrong = heard + due.iter().zip(bytes).take_while(|(due, byte)| due == byte).count();
        let number = self.ends.partition_point(|(_, end)| *end <= wrong);
        let (request, reply) = number.checked_sub(1).map_or((0, 0), |before| self.ends[before]);
        let Some(&(request_end, reply_end)) = self.ends.get(number) else {
            return Err(format!("behind its last reply it was told {}", shown(&bytes[wrong - heard..])));
        };
        // What was right of this reply may have come before.
        let said = [&self.replies[reply..wrong], &bytes[wrong - heard..]].concat();
        Err(format!(
            "request {number} of {}, {:.300}\n  must be answered {:.300}\n  was answered     {:.300}",
            self.ends.len(),
            shown(&self.requests[request..request_end]),
            shown(&self.replies[reply..reply_end]),
            shown(&said),
        ))
    }
}

/// A string as it stands in a frame.
pub(crate) fn bulk(text: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(text.len() + 16);
    write!(frame, "${}\r\n", text.len()).expect("memory");
    frame.extend_from_slice(text);
    frame.extend_from_slice(b"\r\n");
    frame
}

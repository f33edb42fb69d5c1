//! One user's browser: a cookie, and answers such as `200 alice`.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::application::Application;
use super::support::DEADLINE;

/// A clone is the same cookie in another hand.
#[derive(Debug, Clone, Default)]
pub(super) struct Browser {
    cookie: Option<String>,
}

/// A request that is not answered yet.
pub(super) struct Request<'a> {
    stream: TcpStream,
    application: &'a Application,
    line: String,
}

impl Browser {
    /// `line` is such as `GET /name`.
    pub(super) fn ask(&mut self, application: &Application, line: &str) -> String {
        self.begin(application, line).answer(self)
    }

    pub(super) fn begin<'a>(&self, application: &'a Application, line: &str) -> Request<'a> {
        let mut stream = TcpStream::connect(("127.0.0.1", application.port)).expect("the application listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket takes a timeout");
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let request =
            format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{cookie}Content-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the application reads");
        Request { stream, application, line: line.to_owned() }
    }
}

impl Request<'_> {
    /// Which may be a new cookie for `browser`, too.
    pub(super) fn answer(self, browser: &mut Browser) -> String {
        let (application, line) = (self.application, self.line.clone());
        self.answer_if_any(browser).unwrap_or_else(|| {
            panic!("no answer to {line}; `make test` installs what it needs:\n{}", application.last_words())
        })
    }

    /// `None` when the application ends before it answers, or says nothing.
    pub(super) fn answer_if_any(mut self, browser: &mut Browser) -> Option<String> {
        let mut reply = Vec::new();
        // What has come before an error is judged.
        let _ = self.stream.read_to_end(&mut reply);
        let reply = String::from_utf8_lossy(&reply);
        let (head, body) = reply.split_once("\r\n\r\n")?;
        let headers = head.lines().filter_map(|line| line.split_once(": "));
        let cookies = headers.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        for (_, cookie) in cookies {
            browser.cookie = cookie.split(';').next().map(str::to_owned);
        }
        let status = head.split(' ').nth(1)?;
        Some(format!("{status} {body}"))
    }
}

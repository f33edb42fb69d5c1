//! A page that asks a service when it has read its session, and writes it when the service has answered.

use std::net::{TcpListener, TcpStream};

use super::application::Application;
use super::browser::{Browser, Request};
use super::support::wait_until;

/// It has read its session, and waits.
pub(super) struct SlowPage<'a> {
    request: Request<'a>,
    /// The page goes on when this is closed.
    asked: TcpStream,
}

impl<'a> SlowPage<'a> {
    /// `line` is such as `POST /slow-visit`. Returns when the application has read the session.
    pub(super) fn begin(browser: &Browser, application: &'a Application, line: &str) -> Self {
        let service = TcpListener::bind("127.0.0.1:0").expect("a free port");
        service.set_nonblocking(true).expect("a listener need not block");
        let port = service.local_addr().expect("a bound listener has an address").port();
        let request = browser.begin(application, &format!("{line}?service={port}"));
        let mut asked = None;
        wait_until("the page asks the service", || {
            asked = service.accept().ok();
            asked.is_some()
        });
        Self { request, asked: asked.expect("it has just been set").0 }
    }

    /// Returns when the application has written the session, and answered.
    pub(super) fn finish(self) -> String {
        drop(self.asked);
        self.request.answer(&mut Browser::default())
    }
}

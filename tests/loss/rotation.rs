//! The server's password is changed while clients ask: the server takes both for a while, the file is replaced, the
//! old one is withdrawn.
//!
//! ```text
//! ACL SETUSER web >new ─▶ password_file ─▶ ACL SETUSER web <old ─▶ CLIENT KILL: only the new one is left
//! ```

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::support::{Certificates, Proxy, RedisServer, Wire, stays_so, wait_until};
use super::{NOT_EXECUTED, UNKNOWN, proxy};

const CLIENTS: usize = 8;

const OLD: &str = "old-barley-4712";
const NEW: &str = "new-barley-4713";

/// Also when all connections are lost afterwards: they are made again with the new one.
#[test]
fn a_new_password_is_noticed_by_nobody() {
    rotate(|_, _| {});
}

#[test]
fn a_new_password_is_soon_that_of_every_connection() {
    rotate(|server, before| {
        wait_until("all connections are younger", || {
            let now = connections(server);
            !now.is_empty() && now.iter().all(|id| *id > before)
        });
    });
}

/// Changes the password, and lets `then` look: at the server, and the newest connection before the change.
/// No client may be told of anything until then; and when all connections are cut, only of that.
fn rotate(then: impl FnOnce(&RedisServer, u64)) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("password");
    replace(&file, OLD);
    let user = format!("user web on >{OLD} ~* &* +@all");
    let server = RedisServer::with().password("operator").config(user).start();
    let password = format!("upstream.password_file = \"{}\"", file.display());
    let proxy = proxy(&server.address(), &["upstream.username = \"web\"", &password]);
    let (errors, is_over) = (Mutex::default(), AtomicBool::new(false));

    let counted = thread::scope(|scope| {
        let _end = SetWhenDropped(&is_over);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, errors, is_over) = (Wire::connect(proxy.port()), &errors, &is_over);
                scope.spawn(move || ask(number, client, errors, is_over))
            })
            .collect();
        wait_until("they ask", || server.cli(&["EXISTS", "counter:7"]) == "1");
        let before = *connections(&server).iter().max().expect("some connections");

        assert_eq!(server.cli(&["ACL", "SETUSER", "web", &format!(">{NEW}")]), "OK");
        replace(&file, NEW);
        assert_eq!(server.cli(&["ACL", "SETUSER", "web", &format!("<{OLD}")]), "OK");
        then(&server, before);
        let told = || errors.lock().expect("no panic").clone();
        stays_so("nobody is told of anything", Duration::from_secs(1), || told().is_empty());

        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        proxy.wait_ready();
        let asked = || server.cli(&["GET", "counter:0"]);
        let then = asked();
        wait_until("they are served again", || asked() != then);
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("a client that is served")).collect::<Vec<_>>()
    });

    let errors: Vec<String> = errors.into_inner().expect("no panic");
    let is_of_the_cut = |error: &String| [NOT_EXECUTED, UNKNOWN].contains(&error.as_str());
    assert!(errors.iter().all(is_of_the_cut), "{errors:#?}");
    let metrics = proxy.get("/metrics").1;
    let refused = metrics.lines().find(|line| line.starts_with("cloakroom_upstream_connects_total{result=\"auth\"}"));
    assert!(refused.is_none_or(|line| line.ends_with(" 0")), "{refused:?}");
    for (number, (sure, unsure)) in counted.into_iter().enumerate() {
        let count: u32 = server.cli(&["GET", &format!("counter:{number}")]).parse().expect("a count");
        assert!((sure..=sure + unsure).contains(&count), "client {number}: {count} of {sure}, and perhaps {unsure}");
    }
}

/// Asks this and that until it is over. How often it surely counted, and how often perhaps.
fn ask(number: usize, mut client: Wire, errors: &Mutex<Vec<String>>, is_over: &AtomicBool) -> (u32, u32) {
    let (mut sure, mut unsure) = (0, 0);
    let complain = |error: &str| errors.lock().expect("no panic").push(error.to_owned());
    while !is_over.load(Ordering::Relaxed) {
        let key = format!("k{number}");
        client.say(&[&format!("SET {key} {sure}"), &format!("GET {key}"), &format!("INCR counter:{number}")]);
        let [set, get, incr] = [client.hear(), client.hear(), client.hear()];
        if set == "+OK" && !get.starts_with('-') && get != sure.to_string() {
            complain(&format!("{get} instead of {sure}"));
        }
        match incr.as_str() {
            UNKNOWN => unsure += 1,
            NOT_EXECUTED => {}
            count if count.starts_with(':') => sure += 1,
            other => complain(other),
        }
        client.say(&["MULTI", &format!("INCR {key}:counter"), "EXEC"]);
        let exec = [client.hear(), client.hear(), client.hear()][2].clone();
        // Between `MULTI` and `EXEC`, and nothing ran.
        let exec = if exec.starts_with("-EXECABORT") { NOT_EXECUTED.to_owned() } else { exec };
        [set, get, incr, exec].iter().filter(|reply| reply.starts_with('-')).for_each(|reply| complain(reply));
        thread::sleep(Duration::from_millis(2));
    }
    (sure, unsure)
}

/// The numbers of the proxy's connections, which only grow.
fn connections(server: &RedisServer) -> Vec<u64> {
    let list = server.cli(&["CLIENT", "LIST"]);
    let lines = list.lines().filter(|line| line.contains(" user=web "));
    lines.map(|line| line["id=".len()..].split(' ').next().and_then(|id| id.parse().ok()).expect("a number")).collect()
}

/// Whoever reads the file finds all of one or the other.
fn replace(file: &Path, password: &str) {
    let new = file.with_extension("new");
    fs::write(&new, password).and_then(|()| fs::rename(&new, file)).expect("a writable temporary directory");
}

/// Ends the clients also when something fails.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Not tried again for half a minute, unless somebody mends it.
#[test]
fn an_authority_that_is_put_right_is_trusted_at_once() {
    let certificates = Certificates::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("ca.pem");
    replace(&file, &fs::read_to_string(&certificates.other_ca).expect("a certificate"));
    let server = RedisServer::with().tls(&certificates).start();
    let proxy = Proxy::start(&format!(
        "listen.address = \"127.0.0.1:0\"\nmetrics.address = \"127.0.0.1:0\"\nlog.format = \"json\"\n\
         upstream.server = \"{}\"\nupstream.tls.enabled = true\nupstream.tls.ca_file = \"{}\"\n",
        server.address(),
        file.display(),
    ));
    proxy.allow("upstream unavailable");
    proxy.wait_for_log("not trusted", Duration::from_secs(10));
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("GET k"), NOT_EXECUTED);
    // Half a file is no certificate: what was read before stays in force, and the next is looked at again.
    proxy.allow("file has changed and cannot be used");
    replace(&file, "-----BEGIN CERTIFICATE-----\n");
    proxy.wait_for_log("cannot be used", Duration::from_secs(10));
    replace(&file, &fs::read_to_string(&certificates.ca).expect("a certificate"));
    let mended = Instant::now();
    proxy.wait_ready();
    assert!(mended.elapsed() < Duration::from_secs(10), "after {:?}", mended.elapsed());
    assert_eq!(client.ask("SET k v"), "+OK");
}

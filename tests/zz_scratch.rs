//! scratch
mod support;
use support::*;

#[test]
fn redis_variants() {
    let certs = Certificates::new();
    let mut p = RedisServer::plain();
    assert_eq!(p.cli(&["SET", "a", "b"]), "OK");
    p.restart();
    assert_eq!(p.cli(&["GET", "a"]), "");
    p.pause();
    p.resume();
    assert_eq!(p.cli(&["PING"]), "PONG");
    p.kill();
    p.start();
    let u = RedisServer::with().unix_socket().password("sesame").start();
    println!("{} {}", u.address(), u.cli(&["PING"]));
    let mut t = RedisServer::with().tls(&certs).client_certificates().user("cloak", "room").persistent().start();
    assert_eq!(t.cli(&["SET", "a", "b"]), "OK");
    println!("{}", t.cli(&["ACL", "LIST"]));
    t.kill();
    t.start();
    assert_eq!(t.cli(&["GET", "a"]), "b");
    println!("{}", t.cli(&["NOPE"]));
    let e = RedisServer::with().tls(&certs).server_certificate(&certs.expired).start();
    assert_eq!(e.cli(&["PING"]), "PONG");
    for (name, c) in [("server", &certs.server), ("wrong", &certs.wrong_name), ("expired", &certs.expired), ("client", &certs.client), ("other", &certs.other_client)] {
        let out = std::process::Command::new("openssl").args(["verify", "-x509_strict", "-verify_hostname", "localhost", "-CAfile"]).arg(&certs.ca).arg(&c.certificate).output().unwrap();
        println!("{name}: {}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    }
    let out = std::process::Command::new("openssl").args(["verify", "-CAfile"]).arg(&certs.other_ca).arg(&certs.other_client.certificate).output().unwrap();
    println!("other by other: {}", String::from_utf8_lossy(&out.stdout));
}

#[test]
#[should_panic(expected = "redis-server did not start")]
fn bad() { RedisServer::with().config("nonsense here").start(); }

#[test]
fn fake_proxy() {
    use std::os::unix::fs::PermissionsExt;
    let d = tempfile::tempdir().unwrap();
    let f = d.path().join("fake");
    std::fs::write(&f, "#!/usr/bin/python3\nimport sys,http.server\nprint('{\"level\":\"INFO\",\"message\":\"listening\",\"address\":\"127.0.0.1:4242\"}',file=sys.stderr,flush=True)\nclass H(http.server.BaseHTTPRequestHandler):\n  def do_GET(s):\n    s.send_response(200); s.end_headers(); s.wfile.write(b'hi')\n  def log_message(*a): pass\nh=http.server.HTTPServer(('127.0.0.1',0),H)\nprint('{\"level\":\"INFO\",\"message\":\"admin listening\",\"address\":\"127.0.0.1:%d\"}'%h.server_port,file=sys.stderr,flush=True)\nprint('{\"level\":\"WARN\",\"message\":\"odd\"}',file=sys.stderr,flush=True)\nh.serve_forever()\n").unwrap();
    std::fs::set_permissions(&f, std::fs::Permissions::from_mode(0o755)).unwrap();
    let p = Proxy::start_binary(&f, "");
    assert_eq!(p.port(), 4242);
    p.wait_ready();
    assert_eq!(p.get("/x"), (200, "hi".into()));
    p.wait_for_log("odd", DEADLINE);
    p.allow("odd");
    let mut p = p;
    if std::env::var("X").is_ok() { p.signal("TERM"); println!("{:?}", p.wait_exit()); }
}

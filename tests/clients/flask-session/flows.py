"""Proves that a Flask application keeps its users' sessions through the proxy as it does in Redis itself.

The application (app.py) runs under gunicorn, in two processes of four threads; what follows only
knows its HTTP.

  sessions  the life of a login, from the first visit to the refusal of its old cookie
  restart   the server behind the proxy restarts; the application does not, and loses nobody
"""

import http.client
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))


class Browser:
    """One user's browser: a cookie, and answers such as (200, b"alice")."""

    def __init__(self, port, cookie=None):
        self.port, self.cookie = port, cookie

    def copy(self):
        """The same cookie in another hand, to be tried after this browser has been given a new one."""
        return Browser(self.port, self.cookie)

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Cookie": self.cookie} if self.cookie else {})
            reply = connection.getresponse()
            for cookie in reply.headers.get_all("Set-Cookie", []):
                self.cookie = cookie.split(";")[0]
            return reply.status, reply.read()
        except OSError as error:
            return 0, str(error).encode()
        finally:
            connection.close()


NOBODY = (401, b"nobody")


def sessions(port, _workers):
    alice, bob = Browser(port), Browser(port)

    same(alice.ask("GET", "/name"), NOBODY, "a stranger is not logged in")
    alice.ask("POST", "/login?name=alice")
    same(alice.ask("GET", "/name"), (200, b"alice"), "a login is remembered")

    visits = [alice.ask("POST", "/visit") for _ in range(20)]
    same(visits, [(200, b"%d" % (i + 1)) for i in range(20)], "each of 20 requests in a row sees the write before it")

    bob.ask("POST", "/login?name=bob")
    same(bob.ask("POST", "/visit"), (200, b"1"), "a second user has a session of his own")
    same(alice.ask("POST", "/visit"), (200, b"21"), "the first user's session is untouched by it")

    every_byte = bytes(range(256)) + b"\r\n$-1\r\n*1\r\n+OK\r\n"
    alice.ask("PUT", "/note", every_byte)
    same(alice.ask("GET", "/note"), (200, every_byte), "a value of every byte, and of protocol, comes back as it was")
    large = os.urandom(100_000)
    alice.ask("PUT", "/note", large)
    same(alice.ask("GET", "/note"), (200, large), "a value of 100 KB comes back as it was")

    names = {alice.cookie: (200, b"alice"), bob.cookie: (200, b"bob"), None: NOBODY}
    crowd = [Browser(port, cookie) for cookie in list(names) * 2 + [alice.cookie, bob.cookie]]
    same(at_once(crowd, lambda one, _: one.copy().ask("GET", "/name")), [names[one.cookie] for one in crowd],
         "each of 8 parallel requests is answered with its own session")
    guests = [Browser(port) for _ in range(8)]
    at_once(guests, lambda one, i: one.ask("POST", f"/login?name=guest{i}"))
    same(at_once(guests, lambda one, _: one.ask("GET", "/name")), [(200, b"guest%d" % i) for i in range(8)],
         "8 parallel logins are 8 sessions")

    former = alice.copy()
    alice.ask("POST", "/change-id")
    same(alice.cookie != former.cookie, True, "the session id can be changed")
    same([alice.ask("POST", "/visit"), alice.ask("GET", "/note")], [(200, b"22"), (200, large)],
         "the data is found under the new id")
    same(former.ask("GET", "/name"), NOBODY, "the old id is refused")
    alice.ask("PUT", "/note", b"short")
    same(alice.ask("GET", "/note"), (200, b"short"), "a short value replaces a long one")

    stale = alice.copy()
    same(alice.ask("POST", "/logout"), (200, b"bye"), "a user can log out")
    same([stale.copy().ask("GET", "/name"), stale.copy().ask("POST", "/visit")], [NOBODY, NOBODY],
         "the cookie of a logged-out session is refused")
    same(bob.ask("POST", "/visit"), (200, b"2"), "the other user is still logged in")
    stale.ask("POST", "/login?name=carol")
    same([stale.ask("GET", "/name"), stale.ask("POST", "/visit")], [(200, b"carol"), (200, b"1")],
         "a browser with a stale cookie can log in again, and starts anew")


def restart(port, workers):
    before = workers()
    alice, carol = Browser(port), Browser(port)
    alice.ask("POST", "/login?name=alice")
    alice.ask("PUT", "/note", b"kept")
    same(alice.ask("GET", "/name"), (200, b"alice"), "a login is remembered")

    restarted = threading.Thread(target=sys.stdin.readline, daemon=True)
    restarted.start()
    print("restart")
    meanwhile = []
    while restarted.is_alive():
        meanwhile.append(alice.ask("GET", "/name"))
        time.sleep(0.1)
    print(f"# meanwhile: {sum(map(failed, meanwhile))} of {len(meanwhile)} requests failed")
    same([answer for answer in meanwhile if answer != (200, b"alice") and not failed(answer)], [],
         "a request in between is served or fails, but logs nobody out")

    same(eventually(alice, "GET", "/name"), (200, b"alice"), "the same processes serve the same session again")
    same(alice.ask("GET", "/note"), (200, b"kept"), "with its data")
    alice.ask("PUT", "/note", b"new")
    same(alice.ask("GET", "/note"), (200, b"new"), "and write it again")
    carol.ask("POST", "/login?name=carol")
    same(carol.ask("GET", "/name"), (200, b"carol"), "a new login works")
    stale = alice.copy()
    alice.ask("POST", "/logout")
    same(stale.ask("GET", "/name"), NOBODY, "a logout works")
    same(workers(), before, "the application's processes are those they were")


def at_once(browsers, ask):
    with ThreadPoolExecutor(len(browsers)) as threads:
        return list(threads.map(ask, browsers, range(len(browsers))))


def eventually(browser, method, path):
    """The first answer that is not a failure of the application, at most 20 seconds from now."""
    start = time.monotonic()
    while failed(answer := browser.ask(method, path)) and time.monotonic() < start + 20:
        time.sleep(0.1)
    print(f"# served again after {time.monotonic() - start:.2f} s")
    return answer


def failed(answer):
    return answer[0] >= 500


facts = []


def same(actual, expected, fact):
    facts.append(actual == expected)
    print(f"{'ok' if facts[-1] else 'not ok'} {len(facts)} - {fact}")
    if not facts[-1]:
        print(f"#   expected {str(expected)[:300]}\n#   got      {str(actual)[:300]}")


def main(flow):
    gunicorn = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "gunicorn", "--chdir", HERE, "--bind", "127.0.0.1:0",
         "--workers", "2", "--threads", "4", "--no-control-socket", "app:app"],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    port = None
    while port is None:
        line = gunicorn.stderr.readline()
        sys.stderr.write(line)
        if not line:
            sys.exit("the application does not start")
        if listening := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line):
            port = int(listening[1])
    # What else it has to say is for the reader of a failure.
    threading.Thread(target=lambda: sys.stderr.writelines(gunicorn.stderr), daemon=True).start()

    def workers():
        with open(f"/proc/{gunicorn.pid}/task/{gunicorn.pid}/children") as children:
            return children.read().split()

    while len(workers()) < 2:
        time.sleep(0.05)
    try:
        flow(port, workers)
    finally:
        gunicorn.terminate()
        gunicorn.wait()
    print(f"1..{len(facts)}")
    sys.exit(0 if facts and all(facts) else 1)


FLOWS = {"sessions": sessions, "restart": restart}
if len(sys.argv) != 2 or sys.argv[1] not in FLOWS:
    sys.exit("usage: run sessions|restart")
main(FLOWS[sys.argv[1]])

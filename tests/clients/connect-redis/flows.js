// Proves that an Express application keeps its users' sessions through the proxy as it does in Redis
// itself. The application (app.js) runs as a process of its own; what follows only knows its HTTP.
//
//   sessions  the life of a login, from the first visit to the refusal of its old cookie
//   restart   the server behind the proxy restarts; the application does not, and loses nobody
"use strict";

const { spawn } = require("node:child_process");
const { randomBytes } = require("node:crypto");
const { once } = require("node:events");
const readline = require("node:readline");
const { setTimeout: pause } = require("node:timers/promises");

/** One user's browser: a cookie, and answers such as "200 alice", with one character per byte. */
class Browser {
  constructor(base, cookie = "") {
    Object.assign(this, { base, cookie });
  }

  /** The same cookie in another hand, to be tried after this browser has been given a new one. */
  copy() {
    return new Browser(this.base, this.cookie);
  }

  async ask(method, path, body) {
    const headers = this.cookie ? { cookie: this.cookie } : {};
    try {
      const reply = await fetch(this.base + path, { method, headers, body, signal: AbortSignal.timeout(15_000) });
      // At most one cookie is set; `getSetCookie` is younger than the node of Debian 12.
      const cookie = reply.headers.get("set-cookie");
      if (cookie) this.cookie = cookie.split(";")[0];
      return `${reply.status} ${Buffer.from(await reply.arrayBuffer()).toString("latin1")}`;
    } catch (error) {
      return error.name === "TimeoutError" ? "no answer" : `closed: ${error.cause ?? error.message}`;
    }
  }
}

async function sessions(base) {
  const [alice, bob] = [new Browser(base), new Browser(base)];

  is(await alice.ask("GET", "/name"), "401 nobody", "a stranger is not logged in");
  await alice.ask("POST", "/login?name=alice");
  is(await alice.ask("GET", "/name"), "200 alice", "a login is remembered");

  const visits = [];
  for (let i = 0; i < 20; i++) visits.push(await alice.ask("POST", "/visit"));
  is(visits, Array.from({ length: 20 }, (_, i) => `200 ${i + 1}`), "each of 20 requests in a row sees the write before it");

  await bob.ask("POST", "/login?name=bob");
  is(await bob.ask("POST", "/visit"), "200 1", "a second user has a session of his own");
  is(await alice.ask("POST", "/visit"), "200 21", "the first user's session is untouched by it");

  const bytes = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, i) => i)), Buffer.from("\r\n$-1\r\n*1\r\n+OK\r\n")]);
  await alice.ask("PUT", "/note", bytes);
  is(await alice.ask("GET", "/note"), `200 ${bytes.toString("latin1")}`, "a value of every byte, and of protocol, comes back as it was");
  const large = randomBytes(100_000);
  await alice.ask("PUT", "/note", large);
  is(await alice.ask("GET", "/note"), `200 ${large.toString("latin1")}`, "a value of 100 KB comes back as it was");

  const crowd = [alice, bob, new Browser(base), alice, bob, alice, bob, new Browser(base)];
  const names = { [alice.cookie]: "200 alice", [bob.cookie]: "200 bob", "": "401 nobody" };
  is(await Promise.all(crowd.map((one) => one.ask("GET", "/name"))), crowd.map((one) => names[one.cookie]),
    "each of 8 parallel requests is answered with its own session");
  const guests = Array.from({ length: 8 }, () => new Browser(base));
  await Promise.all(guests.map((one, i) => one.ask("POST", `/login?name=guest${i}`)));
  is(await Promise.all(guests.map((one) => one.ask("GET", "/name"))), guests.map((_, i) => `200 guest${i}`),
    "8 parallel logins are 8 sessions");

  const former = alice.copy();
  await alice.ask("POST", "/change-id");
  is(alice.cookie !== former.cookie, true, "the session id can be changed");
  is([await alice.ask("POST", "/visit"), await alice.ask("GET", "/note")], ["200 22", `200 ${large.toString("latin1")}`],
    "the data is found under the new id");
  is(await former.ask("GET", "/name"), "401 nobody", "the old id is refused");
  await alice.ask("PUT", "/note", "short");
  is(await alice.ask("GET", "/note"), "200 short", "a short value replaces a long one");

  const stale = alice.copy();
  is(await alice.ask("POST", "/logout"), "200 bye", "a user can log out");
  is([await stale.ask("GET", "/name"), await stale.ask("POST", "/visit")], ["401 nobody", "401 nobody"],
    "the cookie of a logged-out session is refused");
  is(await bob.ask("POST", "/visit"), "200 2", "the other user is still logged in");
  await stale.ask("POST", "/login?name=carol");
  is([await stale.ask("GET", "/name"), await stale.ask("POST", "/visit")], ["200 carol", "200 1"],
    "a browser with a stale cookie can log in again, and starts anew");
}

async function restart(base, app) {
  const [alice, carol] = [new Browser(base), new Browser(base)];
  await alice.ask("POST", "/login?name=alice");
  await alice.ask("PUT", "/note", "kept");
  is(await alice.ask("GET", "/name"), "200 alice", "a login is remembered");

  let restarted = false;
  const input = readline.createInterface({ input: process.stdin });
  for (const event of ["line", "close"]) input.once(event, () => (restarted = true));
  console.log("restart");
  const during = [];
  for (; !restarted; await pause(100)) during.push(await alice.ask("GET", "/name"));
  input.close();
  console.log(`# meanwhile: ${during.filter(failed).length} of ${during.length} requests failed`);
  is(during.filter((answer) => answer !== "200 alice" && !failed(answer)), [], "a request in between is served or fails, but logs nobody out");

  is(await eventually(alice, "GET", "/name"), "200 alice", "the same process serves the same session again");
  is(await alice.ask("GET", "/note"), "200 kept", "with its data");
  await alice.ask("PUT", "/note", "new");
  is(await alice.ask("GET", "/note"), "200 new", "and writes it again");
  await carol.ask("POST", "/login?name=carol");
  is(await carol.ask("GET", "/name"), "200 carol", "a new login works");
  const stale = alice.copy();
  await alice.ask("POST", "/logout");
  is(await stale.ask("GET", "/name"), "401 nobody", "a logout works");
  is(app.exitCode, null, "the application is the process it was");
}

/** The first answer that is not a failure of the application, at most 20 seconds from now. */
async function eventually(browser, method, path) {
  const start = Date.now();
  let answer;
  do {
    answer = await browser.ask(method, path);
    if (!failed(answer)) break;
    await pause(100);
  } while (Date.now() < start + 20_000);
  console.log(`# served again after ${Date.now() - start} ms`);
  return answer;
}

/** Express closes the HTTP connection when a session could be read but its expiry not renewed. */
function failed(answer) {
  return answer.startsWith("5") || answer.startsWith("closed");
}

const tried = { facts: 0, failures: 0 };

function is(actual, expected, fact) {
  const passed = JSON.stringify(actual) === JSON.stringify(expected);
  tried.facts++;
  if (!passed) tried.failures++;
  console.log(`${passed ? "ok" : "not ok"} ${tried.facts} - ${fact}`);
  if (!passed) console.log(`#   expected ${JSON.stringify(expected).slice(0, 300)}\n#   got      ${JSON.stringify(actual).slice(0, 300)}`);
}

async function main(flow) {
  process.exitCode = 1; // should the application end, and with it all there is to wait for
  const app = spawn("setpriv", ["--pdeathsig", "TERM", process.execPath, `${__dirname}/app.js`], { stdio: ["ignore", "pipe", "inherit"] });
  app.once("exit", (code, signal) => (code || signal !== "SIGTERM") && console.log(`# the application ended: ${code ?? signal}`));
  const [greeting] = await once(readline.createInterface({ input: app.stdout }), "line");
  await flow(`http://127.0.0.1:${greeting.split(" ").at(-1)}`, app);
  app.kill();
  console.log(`1..${tried.facts}`);
  process.exit(tried.failures === 0 && tried.facts > 0 ? 0 : 1);
}

const flow = { sessions, restart }[process.argv[2]];
if (!flow) {
  console.error("usage: run sessions|restart");
  process.exit(2);
}
main(flow);

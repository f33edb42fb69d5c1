// An ordinary Express application with its sessions in Redis: express-session, connect-redis, and
// node-redis speaking RESP3. Everything is at its default, only the address is set.
"use strict";

const { connect } = require("node:net");

const express = require("express");
const session = require("express-session");
const { RedisStore } = require("connect-redis");
const { createClient } = require("redis");

const redis = createClient({ socket: { host: process.env.REDIS_HOST, port: Number(process.env.REDIS_PORT) } });
// Without a listener, the first lost connection would end the process.
redis.on("error", (error) => console.error(`redis: ${error.message}`));

const app = express();
app.use(session({ store: new RedisStore({ client: redis }), secret: "not one", resave: false, saveUninitialized: false }));

app.post("/login", (req, res) => {
  req.session.member = { name: req.query.name, visits: 0, note: "" };
  res.send("welcome");
});

app.use((req, res, next) => (req.session.member ? next() : res.status(401).send("nobody")));

const sendName = (req, res) => res.send(req.session.member.name);
const countVisit = (req, res) => res.send(String(++req.session.member.visits));

/** Another service of this machine is asked first; that takes as long as it takes. */
const askService = (req, res, next) => connect(Number(req.query.service), "127.0.0.1").resume().once("close", () => next());

app.get("/name", sendName);
app.get("/slow-name", askService, sendName);
app.post("/visit", countVisit);
app.post("/slow-visit", askService, countVisit);

// A session is JSON, so bytes travel as the characters 0 to 255: escapes and UTF-8 on the wire.
app.put("/note", express.raw({ type: () => true, limit: "1mb" }), (req, res) => {
  req.session.member.note = req.body.toString("latin1");
  res.send("noted");
});

app.get("/note", (req, res) => res.type("application/octet-stream").send(Buffer.from(req.session.member.note, "latin1")));

app.post("/change-id", (req, res, next) => {
  const { member } = req.session;
  req.session.regenerate((error) => {
    if (error) return next(error);
    req.session.member = member;
    res.send("changed");
  });
});

app.post("/logout", (req, res, next) => req.session.destroy((error) => (error ? next(error) : res.send("bye"))));

redis.connect().then(() => {
  const server = app.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
});

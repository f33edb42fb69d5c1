"""An ordinary Flask application with its sessions in Redis.

Flask-Session on redis-py, which speaks RESP3. Everything is at its default, only the address is set.
"""

import os

from flask import Flask, Response, abort, request, session
from flask_session import Session
from redis import Redis

app = Flask(__name__)
app.config["SESSION_TYPE"] = "redis"
app.config["SESSION_REDIS"] = Redis(host=os.environ["REDIS_HOST"], port=int(os.environ["REDIS_PORT"]))
Session(app)


@app.before_request
def refuse_strangers():
    if request.path != "/login" and "name" not in session:
        abort(Response("nobody", 401))


@app.post("/login")
def log_in():
    session.update(name=request.args["name"], visits=0, note=b"")
    return "welcome"


@app.get("/name")
def name():
    return session["name"]


@app.post("/visit")
def visit():
    session["visits"] += 1
    return str(session["visits"])


@app.put("/note")
def write_note():
    session["note"] = request.get_data()
    return "noted"


@app.get("/note")
def read_note():
    return Response(session["note"], mimetype="application/octet-stream")


@app.post("/change-id")
def change_id():
    app.session_interface.regenerate(session)
    return "changed"


@app.post("/logout")
def log_out():
    session.clear()
    return "bye"

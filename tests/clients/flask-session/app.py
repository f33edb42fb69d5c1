"""An ordinary Flask application with its sessions in Redis.

Flask-Session on redis-py, which speaks RESP3. Everything is at its default, only the address is set.
"""

import os
from socket import create_connection

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


@app.get("/slow-name")
def slow_name():
    ask_service()
    return name()


@app.post("/visit")
def visit():
    session["visits"] += 1
    return str(session["visits"])


@app.post("/slow-visit")
def slow_visit():
    ask_service()
    return visit()


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


def ask_service():
    """Another service of this machine; that takes as long as it takes."""
    with create_connection(("127.0.0.1", int(request.args["service"]))) as service:
        service.recv(1)

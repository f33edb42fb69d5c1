"""The application in this very process, on a free port, which it prints. See ../serve."""

import logging

from werkzeug.serving import make_server

from app import app

# A line for each request says nothing new.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port)
server.serve_forever()

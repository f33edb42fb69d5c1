"""The application in this very process, asked without a network of its own; see ../talk."""

import sys
from collections import defaultdict

from app import app

browsers = defaultdict(app.test_client)
for line in sys.stdin:
    what, name, *text = line.split()
    browser = browsers[name]
    reply = browser.post(f"/login?name={text[0]}") if what == "write" else browser.get("/name")
    match reply.status_code:
        case 401:
            print("nothing")
        case 200:
            print("ok" if what == "write" else f"value {reply.text}")
        case status:
            print(f"error {status}")

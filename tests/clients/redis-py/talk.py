"""redis-py, see ../talk."""

import os
import sys

from redis import Redis, RedisError

address = {"host": os.environ["REDIS_HOST"], "port": int(os.environ["REDIS_PORT"])}
patience = {"socket_timeout": float(os.environ["REDIS_TIMEOUT"])} if "REDIS_TIMEOUT" in os.environ else {}
redis = Redis(**address, **patience, decode_responses=True)
for line in sys.stdin:
    what, name, *text = line.split()
    try:
        if what == "write":
            redis.set(f"session:{name}", text[0], ex=3600)
            print("ok")
        else:
            value = redis.get(f"session:{name}")
            print("nothing" if value is None else f"value {value}")
    except RedisError as error:
        print("error", type(error).__name__, " ".join(str(error).split()))

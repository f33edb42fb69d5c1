// express-session's store on node-redis, see ../talk.
"use strict";

const { RedisStore } = require("connect-redis");
const readline = require("node:readline");
const { createClient } = require("redis");

async function main() {
  const redis = createClient({ socket: { host: process.env.REDIS_HOST, port: Number(process.env.REDIS_PORT) } });
  // Without a listener, the first lost connection would end the process.
  redis.on("error", (error) => console.error(`redis: ${error.message}`));
  const store = new RedisStore({ client: redis });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [what, name, text] = line.split(" ");
    try {
      if (!redis.isOpen) await redis.connect();
      if (what === "write") {
        await store.set(name, { cookie: {}, text });
        console.log("ok");
      } else {
        const session = await store.get(name);
        console.log(session ? `value ${session.text}` : "nothing");
      }
    } catch (error) {
      console.log(`error ${error.message}`);
    }
  }
  redis.destroy();
}

main();

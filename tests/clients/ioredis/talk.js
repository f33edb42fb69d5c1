// ioredis, see ../talk.
"use strict";

const { Redis } = require("ioredis");
const readline = require("node:readline");

async function main() {
  const redis = new Redis({ host: process.env.REDIS_HOST, port: Number(process.env.REDIS_PORT), lazyConnect: true });
  redis.on("error", (error) => console.error(`redis: ${error.message}`));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [what, name, text] = line.split(" ");
    try {
      if (what === "write") {
        await redis.setex(`session:${name}`, 3600, text);
        console.log("ok");
      } else {
        const value = await redis.get(`session:${name}`);
        console.log(value === null ? "nothing" : `value ${value}`);
      }
    } catch (error) {
      console.log(`error ${error.message}`);
    }
  }
  redis.disconnect();
}

main();

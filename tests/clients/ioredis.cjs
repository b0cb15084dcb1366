// What somebody does who has ioredis: calls, a pipeline, an error, messages of changes.
const Redis = require("ioredis");

async function main(port) {
  const redis = new Redis({ port, connectionName: "ioredis" });
  const subscriber = new Redis({ port });
  const message = new Promise((resolve) => subscriber.on("message", (_, text) => resolve(text)));
  await subscriber.subscribe("/accounts/bob/balance");
  const left = await redis.fcall("transfer", 0, "alice", "bob", 5);
  const pipeline = redis.pipeline();
  for (const text of ["a", "b", "c"]) pipeline.fcall("add_note", 0, text);
  const lengths = (await pipeline.exec()).map(([, value]) => value);
  const failed = await redis.fcall("transfer", 0, "alice", "bob", 500).catch((error) => error.message);
  const notes = await redis.call("CAIRN.GET", "/notes");
  const item = JSON.parse(await message);
  const pong = await redis.ping();
  await Promise.all([redis.quit(), subscriber.quit()]);
  return { left, lengths, failed, notes: JSON.parse(notes), after: item.changes[0].after, pong };
}

main(Number(process.argv[2])).then((told) => console.log(JSON.stringify(told)));

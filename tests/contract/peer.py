"""The other interpreter's side of the contract tests: one JSON task a line, one answer a line."""

import binascii
import json
import sys

sys.path.insert(0, sys.argv[1])

from pbal_protocol import aead, config, errors, frames, kdf, modbus, records
from pbal_protocol.radio import records as radio_records

radio_records.add(records.RECORDS)

assert sys.implementation.name == "micropython"


def hexed(data):
    return binascii.hexlify(data).decode()


def build(name, fields):
    for cls in records.RECORDS.values():
        if name == cls.NAME:
            for field in cls.FIELDS:  # JSON carries bytes as hex
                if field[1] in ("8s", "*"):
                    fields[field[0]] = binascii.unhexlify(fields[field[0]])
            return cls(**fields)
    raise ValueError(name)


def encode(t):
    return hexed(build(t["name"], t["fields"]).encode())


def decode(t):
    found = records.decode_all(binascii.unhexlify(t["payload"]))
    return [[r.NAME, r.as_dict(), hexed(r.encode())] for r in found]


def ends(t, cls):
    return cls(binascii.unhexlify(t["key"]), t["kind"], t["site"], t["address"])


def seal(t):
    return hexed(ends(t, frames.Sealer).seal(t["counter"], binascii.unhexlify(t["payload"])))


def open_(t):
    return hexed(ends(t, frames.Opener).open(binascii.unhexlify(t["frame"])))


def odd(t):
    """Encode a Telemetry whose va_v is a value that JSON cannot carry."""
    value = {
        "nan": float("nan"),
        "inf": float("inf"),
        "true": True,
        "none": None,
        "text": "230",
        "missing": 0,
        "bytes": b"1",
    }[t["value"]]
    return hexed(records.Telemetry(**{t["field"]: value}).encode())


def keys(t):
    up, down = kdf.node_keys(binascii.unhexlify(t["root"]), t["site"], t["address"])
    return [hexed(up), hexed(down), hexed(kdf.group_key(binascii.unhexlify(t["root"]), t["site"]))]


def ccm(t):
    cipher = aead.Ccm(binascii.unhexlify(t["key"]), t["tag_len"])
    nonce, aad, text = [binascii.unhexlify(t[k]) for k in ("nonce", "aad", "text")]
    sealed = cipher.seal(nonce, aad, text)
    assert cipher.open(nonce, aad, sealed) == text
    return hexed(sealed)


def crc(t):
    return modbus.crc16(binascii.unhexlify(t["data"]))


def serve(t):
    """Feed chunks to a decoder, with a silence after each one that ends in "|"."""
    rx = modbus.RtuServer(t["unit"])
    found = []
    for chunk in t["chunks"]:
        data = binascii.unhexlify(chunk.rstrip("|"))
        at = 0
        while at < len(data):
            at = rx.feed(data, at, len(data))
            if rx.length:
                found.append(hexed(rx.buf[: rx.length]))
        if chunk.endswith("|") and rx.silence():
            found.append(hexed(rx.buf[: rx.length]))
    return [found, [rx.bad_crc, rx.malformed, rx.stale, rx.others]]


def setting(t):
    return config.check(t["key"], t["value"])


TASKS = {
    "encode": encode,
    "decode": decode,
    "seal": seal,
    "open": open_,
    "odd": odd,
    "keys": keys,
    "ccm": ccm,
    "crc": crc,
    "serve": serve,
    "setting": setting,
}

while True:
    line = sys.stdin.readline()
    if not line:
        break
    task = json.loads(line)
    try:
        answer = TASKS[task["task"]](task)
    except errors.PbalError as e:
        answer = {"error": type(e).__name__}
    print(json.dumps(answer))

"""The payload codec for ChirpStack, made from the declarations: protocol/pbal_uplink/chirpstack.js.

ChirpStack calls `decodeUplink(input)` with `input.bytes`, `input.fPort` and takes `data` or
`errors`; `encodeDownlink(input)` gives the bytes of a downlink (ChirpStack 4, device profiles,
codec; the same functions as in LoRa Alliance TS013-1.0.0). The code is ECMAScript 5, so that the
engines of ChirpStack 3 (goja) and 4 (QuickJS) run it.
"""

from pbal_controller.documents import dump_json
from pbal_uplink import VERSION, Event, Field, Message, State, Summary, brief, compact

UP_PORT, DOWN_PORT = 10, 11
_SIZES = {"B": 1, "H": 2, "h": 2, "I": 4, "i": 4, "Q": 8, "8s": 8}

_CODE = """\
// Decodes pbal's uplinks for ChirpStack. Made by `python -m pbal_tools.uplinkdoc`; do not edit.
// The fields, their units and ranges: docs/uplink.md. Numbers of 64 bits are 16 hex digits.
var UP_PORT = @UP@;
var DOWN_PORT = @DOWN@;
var SUMMARY = @SUMMARY@;
var PACKED = @PACKED@;

function bitsAt(bytes, at, count) {
  var value = 0;
  for (var i = at; i < at + count; i++) {
    value = value * 2 + ((bytes[i >> 3] >> (7 - (i & 7))) & 1);
  }
  return value;
}

function exact(value) {
  // Steps are decimal fractions: 0.1 * 3 is 0.3.
  return Math.round(value * 1000) / 1000;
}

function decodeSummary(bytes) {
  if (bytes.length !== SUMMARY.size) {
    throw new Error("summary: " + bytes.length + " bytes, not " + SUMMARY.size);
  }
  var out = {}, at = 8;
  SUMMARY.fields.forEach(function (f) {
    var code = bitsAt(bytes, at, f.bits);
    at += f.bits;
    if (f.optional && code === Math.pow(2, f.bits) - 1) {
      out[f.name] = null;
    } else if (code < f.bottom || code > f.top) {
      throw new Error("summary: " + f.name + " has code " + code);
    } else {
      out[f.name] = exact(f.low + code * f.step);
    }
  });
  if (bitsAt(bytes, at, 8 * SUMMARY.size - at)) {
    throw new Error("summary: its last bits are not zero");
  }
  return out;
}

function hex(bytes) {
  return bytes.map(function (b) { return ("0" + b.toString(16)).slice(-2); }).join("");
}

function text(bytes) {
  return decodeURIComponent(bytes.map(function (b) { return "%" + hex([b]); }).join(""));
}

function whole(bytes, signed) {
  var value = 0;
  for (var i = bytes.length - 1; i >= 0; i--) {
    value = value * 256 + bytes[i];
  }
  var end = Math.pow(2, 8 * bytes.length);
  return signed && value >= end / 2 ? value - end : value;
}

function decodePacked(message, bytes) {
  var out = {}, at = 1, present = -1, optional = 0;
  if (bytes.length < message.size || bytes.length !== message.size + bytes[message.size - 1]) {
    throw new Error(message.name + ": " + bytes.length + " bytes");
  }
  if (message.present) {
    present = whole(bytes.slice(1, 5), false);
    at = 5;
  }
  message.fields.forEach(function (f) {
    var raw = bytes.slice(at, at + f.size);
    at += f.size;
    if (f.kind === "text") {
      out[f.name] = text(bytes.slice(at));
    } else if (f.kind === "bytes") {
      out[f.name] = hex(raw);
    } else if (f.size === 8) {
      out[f.name] = hex(raw.reverse());
    } else {
      out[f.name] = exact(whole(raw, f.signed) / f.divisor);
    }
    if (f.optional) {
      if (!(Math.floor(present / Math.pow(2, optional)) % 2)) {
        out[f.name] = null;
      }
      optional += 1;
    }
  });
  return out;
}

function decodeUplink(input) {
  var bytes = Array.prototype.slice.call(input.bytes);
  if (input.fPort !== UP_PORT) {
    return { errors: ["fPort " + input.fPort + ": pbal sends on " + UP_PORT] };
  }
  try {
    if (bytes[0] === SUMMARY.form) {
      return { data: { kind: "Summary", fields: decodeSummary(bytes) } };
    }
    for (var i = 0; i < PACKED.length; i++) {
      if (bytes[0] === PACKED[i].form) {
        return { data: { kind: PACKED[i].name, fields: decodePacked(PACKED[i], bytes) } };
      }
    }
    return { errors: ["form " + (bytes.length ? bytes[0] : "none") + " is not known"] };
  } catch (error) {
    return { errors: [String(error.message || error)] };
  }
}

// data.hex: what pbal made for a site, such as a part of a sealed command.
function encodeDownlink(input) {
  var digits = String((input.data || {}).hex || "");
  if (!/^([0-9a-fA-F]{2})+$/.test(digits)) {
    return { errors: ["data.hex must hold pairs of hex digits"] };
  }
  return {
    fPort: DOWN_PORT,
    bytes: digits.match(/../g).map(function (d) { return parseInt(d, 16); })
  };
}
"""


def _summary() -> dict[str, object]:
    rows = [
        {
            "name": field.name, "bits": place.bits, "step": place.step, "low": place.low,
            "optional": field.optional, "bottom": compact.bottom(field, place),
            "top": compact.top(field, place),
        }
        for field, place in compact.fields()
    ]  # fmt: skip
    return {"form": VERSION << 4 | Summary.ID, "size": compact.SIZE, "fields": rows}


def _field(field: Field) -> dict[str, object]:
    kind = "text" if field.is_text else "bytes" if field.is_bytes else "number"
    return {
        "name": field.name, "kind": kind, "size": _SIZES.get(field.code, 1),
        "signed": field.low < 0, "divisor": field.divisor, "optional": field.optional,
    }  # fmt: skip


def _packed(cls: type[Message]) -> dict[str, object]:
    fields = [_field(field) for field in cls.DECLARED if field.name != "site"]
    return {
        "name": cls.NAME, "form": VERSION << 4 | cls.ID, "size": cls.WIRE.SIZE - 4,
        "present": bool(cls.OPTIONAL), "fields": fields,
    }  # fmt: skip


def chirpstack_js() -> str:
    """The text of the codec."""
    assert set(brief.FORMS.values()) == {Summary, Event, State}
    out = _CODE.replace("@UP@", str(UP_PORT)).replace("@DOWN@", str(DOWN_PORT))
    out = out.replace("@SUMMARY@", dump_json(_summary(), indent=1))
    return out.replace("@PACKED@", dump_json([_packed(Event), _packed(State)], indent=1))

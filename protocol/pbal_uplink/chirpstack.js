// Decodes pbal's uplinks for ChirpStack. Made by `python -m pbal_tools.uplinkdoc`; do not edit.
// The fields, their units and ranges: docs/uplink.md. Numbers of 64 bits are 16 hex digits.
var UP_PORT = 10;
var DOWN_PORT = 11;
var SUMMARY = {
 "form": 17,
 "size": 50,
 "fields": [
  {
   "name": "start_s",
   "bits": 26,
   "step": 60.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 67108863
  },
  {
   "name": "length_s",
   "bits": 6,
   "step": 60.0,
   "low": 0.0,
   "optional": false,
   "bottom": 1,
   "top": 60
  },
  {
   "name": "ia_mean_a",
   "bits": 11,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 2047
  },
  {
   "name": "ib_mean_a",
   "bits": 11,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 2047
  },
  {
   "name": "ic_mean_a",
   "bits": 11,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 2047
  },
  {
   "name": "in_mean_a",
   "bits": 11,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 2047
  },
  {
   "name": "ia_max_a",
   "bits": 11,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 2047
  },
  {
   "name": "ib_max_a",
   "bits": 11,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 2047
  },
  {
   "name": "ic_max_a",
   "bits": 11,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 2047
  },
  {
   "name": "in_max_a",
   "bits": 11,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 2047
  },
  {
   "name": "va_min_v",
   "bits": 8,
   "step": 0.75,
   "low": 130.0,
   "optional": true,
   "bottom": 0,
   "top": 254
  },
  {
   "name": "vb_min_v",
   "bits": 8,
   "step": 0.75,
   "low": 130.0,
   "optional": true,
   "bottom": 0,
   "top": 254
  },
  {
   "name": "vc_min_v",
   "bits": 8,
   "step": 0.75,
   "low": 130.0,
   "optional": true,
   "bottom": 0,
   "top": 254
  },
  {
   "name": "va_mean_v",
   "bits": 8,
   "step": 0.75,
   "low": 130.0,
   "optional": true,
   "bottom": 0,
   "top": 254
  },
  {
   "name": "vb_mean_v",
   "bits": 8,
   "step": 0.75,
   "low": 130.0,
   "optional": true,
   "bottom": 0,
   "top": 254
  },
  {
   "name": "vc_mean_v",
   "bits": 8,
   "step": 0.75,
   "low": 130.0,
   "optional": true,
   "bottom": 0,
   "top": 254
  },
  {
   "name": "va_max_v",
   "bits": 8,
   "step": 0.75,
   "low": 130.0,
   "optional": true,
   "bottom": 0,
   "top": 254
  },
  {
   "name": "vb_max_v",
   "bits": 8,
   "step": 0.75,
   "low": 130.0,
   "optional": true,
   "bottom": 0,
   "top": 254
  },
  {
   "name": "vc_max_v",
   "bits": 8,
   "step": 0.75,
   "low": 130.0,
   "optional": true,
   "bottom": 0,
   "top": 254
  },
  {
   "name": "vuf_percent",
   "bits": 7,
   "step": 0.1,
   "low": 0.0,
   "optional": true,
   "bottom": 0,
   "top": 126
  },
  {
   "name": "pvur_percent",
   "bits": 7,
   "step": 0.1,
   "low": 0.0,
   "optional": true,
   "bottom": 0,
   "top": 126
  },
  {
   "name": "ea_import_kwh",
   "bits": 12,
   "step": 0.2,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 3274
  },
  {
   "name": "eb_import_kwh",
   "bits": 12,
   "step": 0.2,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 3274
  },
  {
   "name": "ec_import_kwh",
   "bits": 12,
   "step": 0.2,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 3274
  },
  {
   "name": "ea_export_kwh",
   "bits": 10,
   "step": 0.5,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 1023
  },
  {
   "name": "eb_export_kwh",
   "bits": 10,
   "step": 0.5,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 1023
  },
  {
   "name": "ec_export_kwh",
   "bits": 10,
   "step": 0.5,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 1023
  },
  {
   "name": "load_mean_percent",
   "bits": 7,
   "step": 2.0,
   "low": 0.0,
   "optional": true,
   "bottom": 0,
   "top": 126
  },
  {
   "name": "load_max_percent",
   "bits": 7,
   "step": 2.0,
   "low": 0.0,
   "optional": true,
   "bottom": 0,
   "top": 126
  },
  {
   "name": "hotspot_c",
   "bits": 7,
   "step": 2.0,
   "low": -40.0,
   "optional": true,
   "bottom": 0,
   "top": 126
  },
  {
   "name": "losses_avoided_wh",
   "bits": 11,
   "step": 10.0,
   "low": -10230.0,
   "optional": true,
   "bottom": 0,
   "top": 2046
  },
  {
   "name": "losses_method",
   "bits": 2,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 1
  },
  {
   "name": "homes",
   "bits": 9,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 511
  },
  {
   "name": "homes_alive",
   "bits": 9,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 511
  },
  {
   "name": "homes_fresh",
   "bits": 9,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 511
  },
  {
   "name": "homes_quarantined",
   "bits": 9,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 511
  },
  {
   "name": "rs485_percent",
   "bits": 6,
   "step": 2.0,
   "low": 0.0,
   "optional": true,
   "bottom": 0,
   "top": 50
  },
  {
   "name": "lora_percent",
   "bits": 6,
   "step": 2.0,
   "low": 0.0,
   "optional": true,
   "bottom": 0,
   "top": 50
  },
  {
   "name": "udp_percent",
   "bits": 6,
   "step": 2.0,
   "low": 0.0,
   "optional": true,
   "bottom": 0,
   "top": 50
  },
  {
   "name": "confirmed",
   "bits": 4,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 15
  },
  {
   "name": "refused",
   "bits": 4,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 15
  },
  {
   "name": "failed",
   "bits": 4,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 15
  },
  {
   "name": "expired",
   "bits": 4,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 15
  },
  {
   "name": "disagreed",
   "bits": 4,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 15
  },
  {
   "name": "autonomous",
   "bits": 4,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 15
  },
  {
   "name": "complete_percent",
   "bits": 5,
   "step": 4.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 25
  },
  {
   "name": "mode",
   "bits": 2,
   "step": 1.0,
   "low": 0.0,
   "optional": false,
   "bottom": 0,
   "top": 3
  }
 ]
};
var PACKED = [
 {
  "name": "Event",
  "form": 18,
  "size": 38,
  "present": false,
  "fields": [
   {
    "name": "event_id",
    "kind": "number",
    "size": 8,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "at_s",
    "kind": "number",
    "size": 4,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "kind",
    "kind": "number",
    "size": 1,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "severity",
    "kind": "number",
    "size": 1,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "address",
    "kind": "number",
    "size": 2,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "code",
    "kind": "number",
    "size": 1,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "outcome",
    "kind": "number",
    "size": 1,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "from_phase",
    "kind": "number",
    "size": 1,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "to_phase",
    "kind": "number",
    "size": 1,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "command_id",
    "kind": "number",
    "size": 8,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "arg0",
    "kind": "number",
    "size": 4,
    "signed": true,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "arg1",
    "kind": "number",
    "size": 4,
    "signed": true,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "detail",
    "kind": "text",
    "size": 1,
    "signed": false,
    "divisor": 1,
    "optional": false
   }
  ]
 },
 {
  "name": "State",
  "form": 19,
  "size": 51,
  "present": true,
  "fields": [
   {
    "name": "at_s",
    "kind": "number",
    "size": 4,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "version",
    "kind": "number",
    "size": 4,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "words",
    "kind": "number",
    "size": 1,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "config_hash",
    "kind": "bytes",
    "size": 8,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "capabilities",
    "kind": "number",
    "size": 4,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "mode",
    "kind": "number",
    "size": 1,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "homes",
    "kind": "number",
    "size": 2,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "rated_kva",
    "kind": "number",
    "size": 4,
    "signed": false,
    "divisor": 10,
    "optional": true
   },
   {
    "name": "phase_limit_a",
    "kind": "number",
    "size": 2,
    "signed": false,
    "divisor": 10,
    "optional": true
   },
   {
    "name": "max_moving_percent",
    "kind": "number",
    "size": 1,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "window_s",
    "kind": "number",
    "size": 2,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "uptime_s",
    "kind": "number",
    "size": 4,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "backlog",
    "kind": "number",
    "size": 4,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "thinned",
    "kind": "number",
    "size": 4,
    "signed": false,
    "divisor": 1,
    "optional": false
   },
   {
    "name": "name",
    "kind": "text",
    "size": 1,
    "signed": false,
    "divisor": 1,
    "optional": false
   }
  ]
 }
];

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

"""The numbers in messages and their names."""

from __future__ import annotations

# Summary.mode, State.mode, Command.mode
MODE_RUN, MODE_DRY_RUN, MODE_HOLD, MODE_STANDS_DOWN = 0, 1, 2, 3
MODES = {
    MODE_RUN: "run",
    MODE_DRY_RUN: "dry-run",
    MODE_HOLD: "hold",
    MODE_STANDS_DOWN: "stands-down",
}

# Summary.losses_method
LOSSES_NOT_KNOWN, LOSSES_FIRST_PHASES = 0, 1
LOSSES = {LOSSES_NOT_KNOWN: "not-known", LOSSES_FIRST_PHASES: "first-phases"}

# Event.kind
KIND_NODE = 1
KIND_SWITCHING = 2
KIND_QUARANTINE = 3
KIND_RELEASED = 4
KIND_STAND_DOWN = 5
KIND_ANSWER = 6
KIND_THINNED = 7
KIND_OVERLOAD = 8
KIND_RESIDUAL = 9  # the transformer's meter and the homes differ persistently
KIND_DOUBT = 10  # a home's word does not fit
KIND_AUDIT = 11  # the end of the audit log, for HQ to keep: NUMBER:LINK in detail
KINDS = {
    KIND_NODE: "node",
    KIND_SWITCHING: "switching",
    KIND_QUARANTINE: "quarantine",
    KIND_RELEASED: "released",
    KIND_STAND_DOWN: "stand-down",
    KIND_ANSWER: "answer",
    KIND_THINNED: "thinned",
    KIND_OVERLOAD: "overload",
    KIND_RESIDUAL: "residual",
    KIND_DOUBT: "doubt",
    KIND_AUDIT: "audit",
}

# Event.code of a node's event, as on the wire (docs/wire.md); a test holds it to the wire's table.
NODE_EVENTS = {
    1: "boot",
    2: "welded",
    3: "autonomous transfer",
    4: "power return",
    5: "transfer interrupted",
    6: "meter fault",
    7: "meter ok",
    8: "lockout cleared",
    9: "auth failures",
    10: "config changed",
    11: "phase lost",
    12: "safe mode",
    13: "crash",
    14: "watchdog",
    15: "sense fault",
    16: "flash error",
    17: "update started",
    18: "update done",
    19: "update failed",
    20: "inrush",
    21: "defect",
    22: "clock moved",
    23: "counters spent",
    24: "contact fault",
    25: "writes refused",
}

# Event.severity, as on the wire to the nodes
INFO, WARNING, ALARM = 0, 1, 2
SEVERITIES = {INFO: "info", WARNING: "warning", ALARM: "alarm"}

# Event.outcome: how a switching or a command of HQ ended
OUTCOME_NONE = 0
OUTCOME_CONFIRMED = 1
OUTCOME_REFUSED = 2
OUTCOME_FAILED = 3
OUTCOME_EXPIRED = 4
OUTCOME_DISAGREED = 5
OUTCOME_DONE = 6
OUTCOMES = {
    OUTCOME_NONE: "none",
    OUTCOME_CONFIRMED: "confirmed",
    OUTCOME_REFUSED: "refused",
    OUTCOME_FAILED: "failed",
    OUTCOME_EXPIRED: "expired",
    OUTCOME_DISAGREED: "disagreed",
    OUTCOME_DONE: "done",
}

PHASES = {0: "open", 1: "A", 2: "B", 3: "C"}

# Command.kind
COMMAND_MODE, COMMAND_LIMITS, COMMAND_REBIRTH, COMMAND_ROLLOUT, COMMAND_READING = 1, 2, 3, 4, 5
COMMANDS = {
    COMMAND_MODE: "mode",
    COMMAND_LIMITS: "limits",
    COMMAND_REBIRTH: "rebirth",
    COMMAND_ROLLOUT: "rollout",
    COMMAND_READING: "reading",
}

# Bits of State.capabilities
CAPABILITY_METER = 0x0001
CAPABILITY_COMMANDS = 0x0010
CAPABILITIES = {
    CAPABILITY_METER: "meter",  # the transformer has a meter of its own
    0x0002: "rating",  # its rated power is configured: loading and hot spot are known
    0x0004: "losses",  # its resistance is configured: losses avoided are known
    0x0008: "rollouts",  # it brings releases to the nodes
    CAPABILITY_COMMANDS: "commands",  # it takes commands of HQ
}

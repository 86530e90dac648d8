"""The meanings of `Event.code`: one table for the controller and the tools.

A node never loads this. An event that is added to names.py needs a row here; a test checks that.
"""

from pbal_protocol import names


class Kind:
    """One number.

    `word` is its name in the controller's API, in files and in logs, and never changes. `says` is
    what happened, in a few words. `arg0` and `arg1` say what the arguments are, "" for none.
    """

    def __init__(self, code: int, word: str, says: str, arg0: str = "", arg1: str = "") -> None:
        self.code = code
        self.word = word
        self.says = says
        self.arg0 = arg0
        self.arg1 = arg1


KINDS = (
    Kind(names.EVENT_BOOT, "boot", "the node started", "reset cause", "boots"),
    Kind(
        names.EVENT_WELDED,
        "welded",
        "a contact did not open: locked out",
        "phase",
        "the phase that was meant",
    ),
    Kind(
        names.EVENT_AUTONOMOUS_TRANSFER,
        "autonomous-transfer",
        "left a sick phase by itself",
        "from phase",
        "to phase",
    ),
    Kind(
        names.EVENT_POWER_RETURN,
        "power-return",
        "closed again after an outage or a reset",
        "from phase, 0 when open",
        "to phase",
    ),
    Kind(
        names.EVENT_TRANSFER_INTERRUPTED,
        "transfer-interrupted",
        "a transfer was cut short",
        "from phase",
        "to phase",
    ),
    Kind(names.EVENT_METER_FAULT, "meter-fault", "the meter gives no reading", "readings failed"),
    Kind(names.EVENT_METER_OK, "meter-ok", "the meter gives readings again"),
    Kind(
        names.EVENT_LOCKOUT_CLEARED,
        "lockout-cleared",
        "a person cleared the lock-out",
        "phase",
    ),
    Kind(
        names.EVENT_AUTH_FAILURES,
        "auth-failures",
        "frames came that no key opens, or wrong secrets at the console",
        "how many",
        "0 frames, 1 the console",
    ),
    Kind(names.EVENT_CONFIG_CHANGED, "config-changed", "a setting was changed", "key", "value"),
    Kind(
        names.EVENT_PHASE_LOST,
        "phase-lost",
        "the present phase left its band",
        "phase",
        "its voltage in 0.1 V",
    ),
    Kind(
        names.EVENT_SAFE_MODE,
        "safe-mode",
        "started in safe mode",
        "crashes in a row",
    ),
    Kind(
        names.EVENT_CRASH,
        "crash",
        "the start before ended by an error, or a part failed in safe mode",
        "reset cause, -1 for a part",
        "crashes in a row",
    ),
    Kind(names.EVENT_WATCHDOG, "watchdog", "the watchdog reset the node", "", "boots"),
    Kind(
        names.EVENT_SENSE_FAULT,
        "sense-fault",
        "a voltage sensor proves nothing",
        "phase, or the faulty ones (docs/safety.md)",
        "output in 0.1 V (docs/safety.md)",
    ),
    Kind(
        names.EVENT_FLASH_ERROR,
        "flash-error",
        "a record in flash is damaged or cannot be written",
        "damaged copies",
    ),
    Kind(
        names.EVENT_UPDATE_STARTED,
        "update-started",
        "restarts into another application",
        "version that runs",
        "version that comes",
    ),
    Kind(
        names.EVENT_UPDATE_DONE,
        "update-done",
        "the other application has proven itself",
        "version",
        "slot",
    ),
    Kind(
        names.EVENT_UPDATE_FAILED,
        "update-failed",
        "an update was given up",
        "why (see update failures)",
        "slot",
    ),
    Kind(
        names.EVENT_INRUSH,
        "inrush",
        "closed into more than the rated current",
        "how often so far",
        "current in 0.1 A",
    ),
    Kind(
        names.EVENT_DEFECT,
        "defect",
        "an error was caught; it concerns one record alone",
        "256 * place + kind of the error (docs/safety.md)",
        "how many since the start",
    ),
    Kind(
        names.EVENT_CLOCK_MOVED,
        "clock-moved",
        "a proven time moved the clock",
        "seconds the clock moved",
        "seconds that proven time is ahead of it",
    ),
    Kind(
        names.EVENT_COUNTERS_SPENT,
        "counters-spent",
        "no frame counters are left: new keys are needed",
        "whose counters: 1 up, 2 down, 3 group",
    ),
    Kind(
        names.EVENT_CONTACT_FAULT,
        "contact-fault",
        "a contact does not do as it is told",
        "phase",
        "1 it fell open, 2 it does not close",
    ),
    Kind(
        names.EVENT_WRITES_REFUSED,
        "writes-refused",
        "more was to be written to flash than the ration allows",
        "writes since the start",
        "how many were refused so far",
    ),
)

SEVERITIES = {names.INFO: "info", names.WARNING: "warning", names.ALARM: "alarm"}

_WORDS = {kind.code: kind.word for kind in KINDS}
_SAYS = {kind.code: kind.says for kind in KINDS}


def word(code: int) -> str:
    """The word of an event; its number in digits for one of a later version."""
    return _WORDS.get(code) or str(code)


def says(code: int) -> str:
    """What happened, in a few words; "" for an event of a later version."""
    return _SAYS.get(code, "")


def severity(number: int) -> str:
    """The severity of an event as a word."""
    return SEVERITIES.get(number) or str(number)

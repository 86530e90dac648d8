"""The meanings of the bits of `flags`: one table for the controller and the tools.

A node never loads this. A flag that is added to names.py needs a row here; a test checks that.
"""

from pbal_protocol import names

# The severity.
NORMAL = "normal"  # normal operation
NOTE = "note"  # ends by itself, or the controller handles it
FAULT = "fault"  # a person must look at the home

# The effect on moving the home.
FREE = "free"
HELD_BACK = "held back"  # the controller does not move the home while the flag is set
REFUSED = "refused"  # the node itself refuses, whoever commands it


class Flag:
    """One bit.

    `word` is its name in the controller's API, in files and in logs, and never changes. `says` is
    true of a node that has it, and completes "The node ". `reason` says why the home may not be
    moved, "" for a flag that does not matter there. `remedy` says what to do about a fault.
    """

    def __init__(
        self,
        bit: int,
        word: str,
        severity: str,
        moving: str,
        says: str,
        reason: str = "",
        remedy: str = "",
    ) -> None:
        self.bit = bit
        self.word = word
        self.severity = severity
        self.moving = moving
        self.says = says
        self.reason = reason
        self.remedy = remedy
        self.marked = severity == NORMAL and moving == REFUSED  # set on purpose by a person


# In order of priority: the first flag that is set gives the reason.
FLAGS = (
    Flag(
        names.FLAG_FIXED,
        "fixed",
        NORMAL,
        REFUSED,
        "is marked as never to be moved",
        "fixed at the node",
    ),
    Flag(names.FLAG_OPTED_OUT, "opted-out", NORMAL, REFUSED, "has opted out", "opted out"),
    Flag(
        names.FLAG_LOCKOUT,
        "lockout",
        FAULT,
        REFUSED,
        "is locked out: a contact welded",
        "locked out",
        "Replace the relay on site.",
    ),
    Flag(
        names.FLAG_SAFE_MODE,
        "safe-mode",
        FAULT,
        REFUSED,
        "is in safe mode: it crashed again and again",
        "in safe mode",
        "pbal node status --dark, on site.",
    ),
    Flag(
        names.FLAG_SENSE_FAULT,
        "sense-fault",
        FAULT,
        HELD_BACK,
        "cannot trust its voltages: a sensor is faulty, or the output does not follow its phase",
        "voltage sensing faulty",
        "Check the sensing wires.",
    ),
    Flag(
        names.FLAG_METER_FAULT,
        "meter-fault",
        FAULT,
        HELD_BACK,
        "gets no answer of its meter",
        "meter faulty",
        "Check the meter's supply and wires.",
    ),
    Flag(
        names.FLAG_UNSYNCED,
        "unsynced",
        NOTE,
        REFUSED,
        "has no site time yet",
        "clock not set",
    ),
    Flag(
        names.FLAG_EVENTS_PENDING,
        "events-pending",
        NORMAL,
        FREE,
        "has events that nobody acknowledged yet",
    ),
    Flag(
        names.FLAG_AUTONOMOUS,
        "autonomous",
        NORMAL,
        FREE,
        "chose its present phase by a local rule",
    ),
)

FAULTS = 0  # the bits of all faults
for _flag in FLAGS:
    if _flag.severity == FAULT:
        FAULTS |= _flag.bit
del _flag


def found(bits: int) -> "list[Flag]":
    """The flags that are set, in the table's order."""
    return [flag for flag in FLAGS if bits & flag.bit]


def faults(bits: int) -> "list[Flag]":
    """The flags that are set and need a person on site."""
    return found(bits & FAULTS)


def words(bits: int) -> "list[str]":
    """The words of the flags that are set, by bit."""
    return [flag.word for flag in sorted(found(bits), key=lambda flag: flag.bit)]


def faults_of(told: "list[str]") -> "list[Flag]":
    """The faults among words, as the controller's API gives them; unknown words are ignored."""
    return [flag for flag in FLAGS if flag.severity == FAULT and flag.word in told]


def not_moved(bits: int) -> str:
    """Why a home with these flags may not be moved, "" when it may."""
    for flag in found(bits):
        if flag.moving != FREE:
            return flag.reason
    return ""

"""The meanings of `state`: one table for the controller and the tools.

A node never loads this. A state that is added to names.py needs a row here; a test checks that.
"""

from pbal_protocol import names


class State:
    """One number.

    `word` is its name in the controller's API, in files and in logs, and never changes. `says` is
    what is true of a node in it, and completes "The node ".
    """

    def __init__(self, number: int, word: str, says: str) -> None:
        self.number = number
        self.word = word
        self.says = says


STATES = (
    State(names.STATE_BOOT, "boot", "has proven nothing yet, also not which contact stayed closed"),
    State(names.STATE_OPEN, "open", "has all contacts open, at rest"),
    State(
        names.STATE_CLOSED, "closed", "has one contact closed and its output proven live, at rest"
    ),
    State(names.STATE_WAITING, "waiting", "accepted a command and waits for a quieter moment"),
    State(names.STATE_OPENING, "opening", "opens, and proves the output dead"),
    State(names.STATE_DEAD_TIME, "dead-time", "waits the dead time; the output is dead"),
    State(names.STATE_CLOSING, "closing", "closes, and proves the output live"),
    State(names.STATE_RETURN, "return", "waits for good voltage after power came back"),
    State(names.STATE_LOCKOUT, "lockout", "has a welded contact: a person must come"),
    State(names.STATE_SAFE, "safe", "is in safe mode, all open: a contact is in doubt"),
)

_WORDS = {state.number: state.word for state in STATES}


def word(number: int) -> str:
    """The word of a state; the number in digits for one of a later version."""
    return _WORDS.get(number) or str(number)

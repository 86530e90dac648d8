"""Orders to sites: asked for by one person, approved by a second where the kind needs it, signed.

rules   which kind needs which permission, and which a second person
orders  the states of an order;  signer: HQ's command key;  dispatch: what is due to be sent
"""

from pbal_hq.commands.dispatch import CHANNEL, Due, Send, dispatch, take_answers
from pbal_hq.commands.orders import (
    LONGEST_S,
    SHORTEST_S,
    Command,
    approve,
    ask,
    lapse,
    listed,
    withdraw,
)
from pbal_hq.commands.rules import Wish, needs_second, permission
from pbal_hq.commands.signer import Signer, make_key

__all__ = [
    "CHANNEL",
    "LONGEST_S",
    "SHORTEST_S",
    "Command",
    "Due",
    "Send",
    "Signer",
    "Wish",
    "approve",
    "ask",
    "dispatch",
    "lapse",
    "listed",
    "make_key",
    "needs_second",
    "permission",
    "take_answers",
    "withdraw",
]

"""What programs of ours do alike on a host.

logs        how a long-running one logs
stopping    that it stops when it is told to
cancelling  that a cancellation which got lost is brought back
findings    what one says that looks over the computer
tables      the base of tables that people write, and what is wrong with one
words       what they print alike
"""

from pbal_host import findings
from pbal_host.cancelling import check_cancelled
from pbal_host.findings import Finding, Level
from pbal_host.logs import JsonFormatter, Ration, TextFormatter, set_up
from pbal_host.stopping import until_stopped
from pbal_host.words import counted, silence_stdout

__all__ = [
    "Finding",
    "JsonFormatter",
    "Level",
    "Ration",
    "TextFormatter",
    "check_cancelled",
    "counted",
    "findings",
    "set_up",
    "silence_stdout",
    "until_stopped",
]

"""What every long-running program of ours does on a host: log, and stop when it is told to."""

from pbal_host.cancelling import check_cancelled
from pbal_host.logs import JsonFormatter, Ration, TextFormatter, set_up
from pbal_host.stopping import until_stopped

__all__ = ["JsonFormatter", "Ration", "TextFormatter", "check_cancelled", "set_up", "until_stopped"]

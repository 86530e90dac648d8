"""Certificates for sites: the first with a one-time token, renewed, revoked at once."""

from pbal_hq.enrol.issuing import Given, Issuing, Refused
from pbal_hq.enrol.revoking import Outcome, pid_file, revoke, write_list
from pbal_hq.enrol.server import Ration, serve
from pbal_hq.enrol.setup import Made, set_up

__all__ = [
    "Given",
    "Issuing",
    "Made",
    "Outcome",
    "Ration",
    "Refused",
    "pid_file",
    "revoke",
    "serve",
    "set_up",
    "write_list",
]

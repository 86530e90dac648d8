"""Many transformers on one computer that report to an HQ, as its load.

tokens   the sites and their one-time tokens, as `pbal-hq site import` writes them; enrolment
figures  what a made-up transformer reports for a window
site     one site's session: the controller's own Sparkplug node over MQTT
load     all of them together, and what became of their messages
"""

from pbal_tools.fleetload.figures import Street
from pbal_tools.fleetload.load import Fleet, Plan
from pbal_tools.fleetload.tokens import Enrolled, enrol_all, read_tokens

__all__ = ["Enrolled", "Fleet", "Plan", "Street", "enrol_all", "read_tokens"]

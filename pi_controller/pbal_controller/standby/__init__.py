"""A second controller of the same site: a lease on the buses, and what the two tell each other."""

from pbal_controller.standby.lease import Lease, Role
from pbal_controller.standby.member import LeaseLost, Member, ask_to_take

__all__ = ["Lease", "LeaseLost", "Member", "Role", "ask_to_take"]

"""HQ on one computer: certificates, a real broker, and a host application that listens."""

from pbal_sim.hq.broker import Broker, free_port, program
from pbal_sim.hq.host import HOST, Host
from pbal_sim.hq.pki import Pki, now

__all__ = ["HOST", "Broker", "Host", "Pki", "free_port", "now", "program"]

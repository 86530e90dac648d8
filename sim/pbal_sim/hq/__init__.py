"""HQ on one computer: certificates, real broker and database, and a Sparkplug host."""

from pbal_sim.hq.broker import Broker, program
from pbal_sim.hq.host import HOST, Host
from pbal_sim.hq.pki import Pki, now
from pbal_sim.hq.ports import free_port
from pbal_sim.hq.postgres import Postgres
from pbal_sim.hq.postgres import program as postgres_program

__all__ = [
    "HOST",
    "Broker",
    "Host",
    "Pki",
    "Postgres",
    "free_port",
    "now",
    "postgres_program",
    "program",
]

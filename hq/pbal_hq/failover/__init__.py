"""A database that outlives a machine: PostgreSQL under Patroni and etcd, and its backups.

members    the machines of the cluster, what may be chosen of them
files      what each of them needs, written from `templates/`
balancer   several instances of the portal behind HAProxy
prove      a backup restored beside the database, opened and counted
"""

from pbal_hq.failover.balancer import balancer
from pbal_hq.failover.files import APPLICATION, PATRONI_PORT, cluster_pki, write
from pbal_hq.failover.members import Cluster, Member, Place, Watchdog, read_member
from pbal_hq.failover.prove import kept, prove

__all__ = [
    "APPLICATION",
    "PATRONI_PORT",
    "Cluster",
    "Member",
    "Place",
    "Watchdog",
    "balancer",
    "cluster_pki",
    "kept",
    "prove",
    "read_member",
    "write",
]

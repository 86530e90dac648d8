"""A database that outlives a machine: PostgreSQL under Patroni and etcd, and its backups.

members    the machines of the cluster, what may be chosen of them
files      what each of them needs, written from `templates/`
balancer   several instances of the portal behind HAProxy
prove      a backup restored beside the database, opened and counted
"""

from pbal_hq.failover.balancer import balancer
from pbal_hq.failover.files import APPLICATION, STANZA, Written, cluster_pki, database_url, write
from pbal_hq.failover.members import Cluster, Member, Place, Watchdog, read_member
from pbal_hq.failover.prove import Kept, Proof, backrest, kept, prove

__all__ = [
    "APPLICATION",
    "STANZA",
    "Cluster",
    "Kept",
    "Member",
    "Place",
    "Proof",
    "Watchdog",
    "Written",
    "backrest",
    "balancer",
    "cluster_pki",
    "database_url",
    "kept",
    "prove",
    "read_member",
    "write",
]

"""What an operator of HQ needs to know: each part looked at, with a remedy where it is not well.

computer   disk and clock
data       database, its copies, backups
cluster    the database's cluster, as Patroni sees it
parts      broker, bus, lake, certificates, processes
examine    all of them, in their order
"""

from pbal_hq.doctor.examine import examine

__all__ = ["examine"]

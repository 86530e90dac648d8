"""The logs of HQ and of all sites, in OpenSearch (docs/hq-logs.md).

rsyslog  the configuration that brings them there, of HQ and of a Pi;  templates/
place    OpenSearch by its HTTP API: template, lines, what is too old
search   what is asked for, as a query; saved ones in searches/
"""

from pbal_hq.logstore.place import Place, Seen, opened
from pbal_hq.logstore.rsyslog import SITE_PKI, hq_conf, site_conf, sites_file, sites_table
from pbal_hq.logstore.search import LEVELS, Wanted, period, saved

__all__ = [
    "LEVELS",
    "SITE_PKI",
    "Place",
    "Seen",
    "Wanted",
    "hq_conf",
    "opened",
    "period",
    "saved",
    "site_conf",
    "sites_file",
    "sites_table",
]

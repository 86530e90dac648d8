"""The audit log: who did what, append-only in the database, each entry chained to the one before.

append   one entry, in the transaction of what it is about
verify   whether the chain holds, from the first entry or from one that is known
export   the entries as lines of JSON
"""

from pbal_hq.audit.chain import ZERO, BrokenChain, Entry, Verdict, export, link, verify
from pbal_hq.audit.log import append, page

__all__ = ["ZERO", "BrokenChain", "Entry", "Verdict", "append", "export", "link", "page", "verify"]

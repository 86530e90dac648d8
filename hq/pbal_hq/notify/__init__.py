"""Notices of alarms to people and systems outside the portal.

routes   which changes go where;  outbox: what is to be sent, kept in the database
words    the message's text and data;  send: by SMTP, webhook, push gateway
loop     the role: escalates, shares out, sends, tries again
"""

from pbal_hq.notify.loop import notify, one_pass
from pbal_hq.notify.outbox import escalate, share
from pbal_hq.notify.send import NotSent, Senders, signature
from pbal_hq.notify.words import Change, Message

__all__ = [
    "Change",
    "Message",
    "NotSent",
    "Senders",
    "escalate",
    "notify",
    "one_pass",
    "share",
    "signature",
]

"""HQ's certificate authority: what it signs, what it revokes, and its files."""

from pbal_hq.ca.authority import Authority, Issued, fingerprint, name_of, serial_text
from pbal_hq.ca.files import BROKER, HQ, Pki, client_context, write_private, write_whole
from pbal_hq.ca.request import Request, read_request

__all__ = [
    "BROKER",
    "HQ",
    "Authority",
    "Issued",
    "Pki",
    "Request",
    "client_context",
    "fingerprint",
    "name_of",
    "read_request",
    "serial_text",
    "write_private",
    "write_whole",
]

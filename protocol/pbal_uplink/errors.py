"""The errors of messages between a site and HQ:

    UplinkValueError
      ├─ BadMessage      bytes, metrics or JSON that are no message of ours
      └─ BadSignature    a command that HQ's key did not sign

The text of each is meant for people.
"""


class UplinkValueError(ValueError):
    """The base of all errors of this package."""


class BadMessage(UplinkValueError):
    """Bytes, metrics or JSON that are no message of ours; the text says which field."""


class BadSignature(UplinkValueError):
    """A command that was not signed by the key, or not as it is now."""

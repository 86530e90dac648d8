"""The keys of the site: root keys and group keys, encrypted at rest."""

from pbal_controller.keys.channel import Channel
from pbal_controller.keys.content import KEY_BYTES, GroupGeneration, NodeKey
from pbal_controller.keys.file import atomic_write, find_passphrase
from pbal_controller.keys.file import site_of as read_keys_site
from pbal_controller.keys.network import Network, checked_host
from pbal_controller.keys.sealing import Seal
from pbal_controller.keys.site import check_keys, open_keys, passphrase, tls_secret
from pbal_controller.keys.store import KeyStore, user

__all__ = [
    "KEY_BYTES",
    "Channel",
    "GroupGeneration",
    "KeyStore",
    "Network",
    "NodeKey",
    "Seal",
    "atomic_write",
    "check_keys",
    "checked_host",
    "find_passphrase",
    "open_keys",
    "passphrase",
    "read_keys_site",
    "tls_secret",
    "user",
]

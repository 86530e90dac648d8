"""The tunnel from each site to HQ: WireGuard, hub and spoke, and nftables around it
(docs/hq-network.md).

keys   key pairs of WireGuard
peers  which site has which address and key
words  the files: for wg-quick and nft, at HQ and on a Pi
apply  what is in effect now
"""

from pbal_hq.network.apply import Live, drop_peer, is_up, live, set_peer
from pbal_hq.network.errors import TunnelError
from pbal_hq.network.keys import check_key, own_key
from pbal_hq.network.peers import Peer, add_peer, peers, remove_peer
from pbal_hq.network.words import Files, hub_files, site_files

__all__ = [
    "Files",
    "Live",
    "Peer",
    "TunnelError",
    "add_peer",
    "check_key",
    "drop_peer",
    "hub_files",
    "is_up",
    "live",
    "own_key",
    "peers",
    "remove_peer",
    "set_peer",
    "site_files",
]

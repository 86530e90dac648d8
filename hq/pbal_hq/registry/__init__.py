"""The registry: areas, transformers, sites, their certificates and tokens."""

from pbal_hq.registry.certificates import (
    Place,
    known_certificate,
    note_certificate,
    revoke_site,
    revoked,
)
from pbal_hq.registry.importing import Difference, differ, take
from pbal_hq.registry.listing import Listed, read_list, read_text
from pbal_hq.registry.sitelist import ListedSite, read_sites
from pbal_hq.registry.sites import NewSite, Site, add_site, bar, list_sites, remove_site, site_of
from pbal_hq.registry.tokens import Token, new_token, use_token
from pbal_hq.registry.tree import (
    IN_AREA,
    LEVELS,
    add_transformer,
    area_of,
    area_path,
    transformer_of,
)

__all__ = [
    "IN_AREA",
    "LEVELS",
    "Difference",
    "Listed",
    "ListedSite",
    "NewSite",
    "Place",
    "Site",
    "Token",
    "add_site",
    "add_transformer",
    "area_of",
    "area_path",
    "bar",
    "differ",
    "known_certificate",
    "list_sites",
    "new_token",
    "note_certificate",
    "read_list",
    "read_sites",
    "read_text",
    "remove_site",
    "revoke_site",
    "revoked",
    "site_of",
    "take",
    "transformer_of",
    "use_token",
]

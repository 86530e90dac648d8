"""Writing a node's identity over its console, and proving that it arrived without showing it.

The keys go through a memory file to mpremote and over the cable; the proof is an HMAC over a
random challenge, so what travels back says nothing about them. A new identity lies beside the old
one until it is proven and in the key store; only then a rename makes it the node's own.
"""

import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from pbal_protocol import kdf

from ..errors import CheckFailed, PeerError
from ..flash import device, repl
from ..flash.install import NodeInfo, probe
from ..flash.mp import Mpremote

IDENTITY = "/cfg/identity.json"
STAGED = "/cfg/identity.new"
PROMPT_S = 60.0

_PROVE = """
import json
from binascii import hexlify, unhexlify
from pbal_protocol.kdf import hmac_sha256
with open({path!r}) as f:
    i = json.load(f)
c = unhexlify({challenge!r})
print('@P' + json.dumps({{
    'eui': i['eui'], 'site': i['site'], 'address': i['address'],
    'name': i.get('name', ''), 'fixed': i.get('fixed', 0), 'phase': i.get('phase', 0),
    'root': hexlify(hmac_sha256(unhexlify(i['root']), c)).decode(),
    'group': hexlify(hmac_sha256(unhexlify(i['group']), c)).decode()}}))
"""

_COMMIT = """
import os
os.rename({staged!r}, {final!r})
try:
    os.sync()
except AttributeError:
    pass
print('@E')
"""

_READY = """
import os
try:
    os.mkdir('/cfg')
except OSError:
    pass
import pbal_node.version
print('@V' + pbal_node.version.VERSION)
"""


@dataclass(frozen=True)
class Identity:
    """What a node is told. `repr` leaves the keys out."""

    eui: str
    site: int
    address: int
    root: bytes
    group: bytes
    name: str = ""
    fixed: bool = False
    phase: int = 0

    def __repr__(self) -> str:
        return f"Identity(eui={self.eui!r}, site={self.site}, address={self.address})"

    def file(self) -> bytes:
        """The content of /cfg/identity.json."""
        data: dict[str, object] = {
            "eui": self.eui,
            "site": self.site,
            "address": self.address,
            "root": self.root.hex(),
            "group": self.group.hex(),
        }
        if self.name:
            data["name"] = self.name
        if self.fixed:
            data["fixed"] = 1
        if self.phase:
            data["phase"] = self.phase
        return json.dumps(data, separators=(",", ":")).encode()


class Node:
    """A board on a port that runs our application, held at its prompt."""

    def __init__(self, port: str, note: Callable[[str], None] = lambda words: None) -> None:
        self.port = port
        self.mp = Mpremote(port)
        self._note = note
        self.info: NodeInfo
        self.version = ""

    def hold(self, prompt_s: float = PROMPT_S) -> None:
        """Stops the program, contacts off, and learns what the board is.

        Raises NoRepl, port errors, or PeerError where the application is missing.
        """
        repl.reach_prompt(self.port, prompt_s, self._note)
        self.info = probe(self.mp)
        try:
            told = device.marked(self.mp.script(_READY), "@V")
        except PeerError:
            told = []
        if not told:
            raise PeerError(
                f"{self.port}: this board does not carry the node's program.",
                f"Put it on first:  pbal flash --port {self.port}",
            )
        self.version = told[0]

    def stage(self, identity: Identity) -> None:
        """Lays a new identity beside the present one and proves it. Raises CheckFailed."""
        self.mp.copy([(STAGED, identity.file())])
        self.prove(identity, STAGED)

    def commit(self) -> None:
        """Makes the staged identity the node's own."""
        self.mp.script(_COMMIT.format(staged=STAGED, final=IDENTITY))

    def prove(self, identity: Identity, path: str = IDENTITY) -> None:
        """Asks the node to show that it holds exactly this identity. Raises CheckFailed."""
        challenge = secrets.token_bytes(32)
        told = device.marked(
            self.mp.script(_PROVE.format(path=path, challenge=challenge.hex())), "@P"
        )
        data = json.loads(told[0]) if told else {}
        right = (
            data.get("eui") == identity.eui
            and data.get("site") == identity.site
            and data.get("address") == identity.address
            and data.get("name") == identity.name
            and bool(data.get("fixed")) == identity.fixed
            and data.get("phase") == identity.phase
            and _same(data.get("root"), kdf.hmac_sha256(identity.root, challenge))
            and _same(data.get("group"), kdf.hmac_sha256(identity.group, challenge))
        )
        if not right:
            raise CheckFailed(
                f"{self.port}: the node does not hold the identity that was sent.",
                "Run the command again; nothing was changed in the key store's favour.",
            )

    def release(self) -> None:
        """Restarts the node with what it has now."""
        self.mp.reset()


def _same(told: object, right: bytes) -> bool:
    return isinstance(told, str) and hmac.compare_digest(told, right.hex())

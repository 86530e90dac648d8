"""Writing a node's identity over its console, and proving that it arrived without showing it.

The keys go through a memory file to mpremote and over the cable; the proof is an HMAC over a
random challenge, so the answer reveals nothing about them. A new identity is a second file until it
is proven and in the key store; only then a rename makes it the node's own.
"""

import hmac
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pbal_controller.documents import dump_json
from pbal_controller.keys import Channel, Network
from pbal_protocol import kdf

from ..consolelock import Lock, Unlock, nobody
from ..errors import CheckFailed, CliError, ConsoleLocked, PeerError
from ..flash import device, repl
from ..flash.install import NodeInfo, contact
from ..flash.mp import Mpremote
from ..flash.run import end_like_ctrl_c

IDENTITY = "/cfg/identity.json"
LOCK = "/cfg/console.json"
STAGED_LOCK = "/cfg/console.new"
STAGED = "/cfg/identity.new"
PROMPT_S = 60.0
RESCUE_S = 15.0
QUICK_S = 3.0

_PROVE = """
import json
from binascii import hexlify, unhexlify
from pbal_protocol.kdf import hmac_sha256
with open({path!r}) as f:
    i = json.load(f)
c = unhexlify({challenge!r})
u = i.get('udp')
t = ''
if u:
    t = chr(0).join([u['host'], str(u['port'])] + [x for n in u['wifi'] for x in n])
r = [i.get('radio'), i.get('role'), i.get('neighbours')]
print('@P' + json.dumps({{
    'eui': i['eui'], 'site': i['site'], 'address': i['address'],
    'name': i.get('name', ''), 'fixed': i.get('fixed', 0), 'phase': i.get('phase', 0),
    'release': i.get('release', ''), 'generation': i.get('generation', 1),
    'root': hexlify(hmac_sha256(unhexlify(i['root']), c)).decode(),
    'group': hexlify(hmac_sha256(unhexlify(i['group']), c)).decode(),
    'udp': hexlify(hmac_sha256(unhexlify(i['root']), c + t.encode())).decode(),
    'radio': r}}))
"""

# The parts of a node's identity that are not secret, kept where only the key changes; and what
# its board has: a radio, and how much heap, bytes.
_PRESENT = """
import gc, json
try:
    with open({path!r}) as f:
        i = json.load(f)
except (OSError, ValueError):
    i = {{}}
found = {{k: i[k] for k in (
    'eui', 'site', 'address', 'name', 'fixed', 'phase', 'release', 'radio', 'neighbours')
    if k in i}}
found['udp'] = 'udp' in i
try:
    with open('/board.json') as f:
        found['fitted'] = 'radio' in json.load(f)
except (OSError, ValueError):
    found['fitted'] = False
gc.collect()
found['heap'] = gc.mem_alloc() + gc.mem_free()
print('@O' + json.dumps(found))
"""

_COMMIT = """
import os
os.rename({staged!r}, {final!r})
for old in ('/cfg/group.0', '/cfg/group.1'):
    try:
        os.remove(old)
    except OSError:
        pass
try:
    os.sync()
except AttributeError:
    pass
print('@E')
"""

_LOCK = """
import json
try:
    with open({path!r}) as f:
        i = json.load(f)
except (OSError, ValueError):
    i = {{}}
print('@O' + json.dumps(i))
"""

_PUT_LOCK = """
import os
try:
    os.rename({staged!r}, {final!r}) if {staged!r} else os.remove({final!r})
except OSError as e:
    if {staged!r} or e.errno != 2:
        raise
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
    """The identity that a node is given. `repr` leaves the keys out."""

    eui: str
    site: int
    address: int
    root: bytes
    group: bytes
    name: str = ""
    fixed: bool = False
    phase: int = 0
    release: bytes = b""  # public key that updates are signed with
    generation: int = 1  # of the group key
    network: Network | None = None  # it speaks UDP there, and not on the wires
    channel: Channel | None = None  # it speaks over the radio, ...
    with_wires: bool = False  # ... and on the wires as well
    neighbours: tuple[int, ...] = ()  # it is the bridge of these

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
        if self.generation != 1:
            data["generation"] = self.generation
        if self.name:
            data["name"] = self.name
        if self.fixed:
            data["fixed"] = 1
        if self.phase:
            data["phase"] = self.phase
        if self.release:
            data["release"] = self.release.hex()
        if self.network is not None:
            data["udp"] = self.network.as_dict()
        told, role, neighbours = self.beside()
        if told is not None:
            data["radio"] = told
        if role is not None:
            data |= {"role": role, "neighbours": neighbours}
        return dump_json(data, separators=(",", ":")).encode()

    def beside(self) -> tuple[dict[str, object] | None, str | None, list[int] | None]:
        """The tables "radio", "role" and "neighbours", None for those it has not."""
        told = None
        if self.channel is not None:
            told = self.channel.as_dict() | ({"wired": True} if self.with_wires else {})
        if not self.neighbours:
            return told, None, None
        return told, "bridge", list(self.neighbours)


class Node:
    """A board on a port that runs our application, held at its prompt."""

    def __init__(
        self,
        port: str,
        note: Callable[[str], None] = lambda words: None,
        unlock: Unlock = nobody,
    ) -> None:
        self.port = port
        self._unlock = unlock
        self.mp = Mpremote(port)
        self._note = note
        self.info: NodeInfo
        self.version = ""
        self._reached = False

    def hold(self, prompt_s: float = PROMPT_S) -> None:
        """Stops the program, contacts off, and learns what the board is.

        Raises NoRepl, ConsoleLocked, port errors, or PeerError where the application is missing.
        """
        self.info = contact(self.port, prompt_s, self._note, self._unlock)
        self._reached = True
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

    @contextmanager
    def held(self, prompt_s: float = PROMPT_S) -> Iterator["Node"]:
        """`hold` for the time of a with block; then the node starts again in every case.

        Until it runs its contacts are open, so it is not left at its prompt by an error or Ctrl-C
        either. An error inside the block takes precedence over one of the restart.
        """
        end_like_ctrl_c()
        self._reached = False
        try:
            self.hold(prompt_s)
            yield self
        except BaseException as exc:
            with suppress(CliError):
                # Where no prompt came there is most likely nothing to restart; a locked node whose
                # secret is not known was not stopped.
                if self._reached or not isinstance(exc, ConsoleLocked):
                    self.release(RESCUE_S if self._reached else QUICK_S)
            raise
        self.release()

    def present(self) -> dict[str, Any]:
        """What the node is provisioned as, without its keys; {} for a new one."""
        told = device.marked(self.mp.script(_PRESENT.format(path=IDENTITY)), "@O")
        found: dict[str, Any] = device.answer(told[0]) if told else {}
        return found

    def lock(self) -> Lock | None:
        """The lock of its console; None for an open one."""
        told = device.marked(self.mp.script(_LOCK.format(path=LOCK)), "@O")
        return Lock.read(device.answer(told[0])) if told else None

    def put_lock(self, lock: Lock | None) -> None:
        """Writes the lock of its console, or takes it away, and reads it back. Holds from its next
        start. Raises CheckFailed.
        """
        if lock is not None:
            self.mp.copy([(STAGED_LOCK, lock.file())])
        self.mp.script(_PUT_LOCK.format(staged=lock and STAGED_LOCK, final=LOCK))
        if self.lock() != lock:
            raise CheckFailed(
                f"{self.port}: the node did not keep the lock of its console.",
                "Run the command again.",
            )

    def stage(self, identity: Identity) -> None:
        """Writes a new identity beside the present one and proves it. Raises CheckFailed."""
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
        data = device.answer(told[0]) if told else {}
        network = b"" if identity.network is None else identity.network.proof_content()
        right = (
            data.get("eui") == identity.eui
            and data.get("site") == identity.site
            and data.get("address") == identity.address
            and data.get("name") == identity.name
            and bool(data.get("fixed")) == identity.fixed
            and data.get("phase") == identity.phase
            and data.get("release") == identity.release.hex()
            and data.get("generation") == identity.generation
            and _same(data.get("root"), kdf.hmac_sha256(identity.root, challenge))
            and _same(data.get("group"), kdf.hmac_sha256(identity.group, challenge))
            and data.get("radio") == list(identity.beside())
            and _same(data.get("udp"), kdf.hmac_sha256(identity.root, challenge + network))
        )
        if not right:
            raise CheckFailed(
                f"{self.port}: the node does not hold the identity that was sent.",
                "Run the command again; nothing was changed in the key store's favour.",
            )

    def release(self, rescue_s: float = RESCUE_S) -> None:
        """Restarts the node with what it has now. Raises port errors, NoRepl, Lost."""
        if self._reached:
            try:
                self.mp.reset()
                return
            except CliError:
                pass  # a script that was cut short may still hold the prompt
        repl.reach_prompt(self.port, rescue_s, self._note, unlock=self._unlock)
        self.mp.reset()


def _same(told: object, right: bytes) -> bool:
    return isinstance(told, str) and hmac.compare_digest(told, right.hex())

"""Provisioning, rotation and bulk work: the order in which key store and node are written.

Stage on the node, prove, write the key store, commit on the node, prove again. After an
interruption at any point the same command can be run again: before the key store is written nothing
has changed; after it, the node is given a fresh key once more.
"""

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pbal_controller.keys import KEY_BYTES, Channel, KeyStore
from pbal_controller.naming import check_name

from .. import homestable
from ..consolelock import Lock, Unlock, of_store, secret
from ..errors import InputError, RefusedError
from ..keystore import holder_of, store_errors
from ..label import Label
from .node import PROMPT_S, Identity, Node

MOST_NEIGHBOURS = 30  # as the node's bearers/bridge.py has it

# Heap of a chip that is a bridge by radio, or has a radio and wires, bytes: what it takes, and what
# is left free (docs/node.md, Budgets). An ESP32 without external RAM has 163,000.
TWO_BEARERS_BYTES = 190_000

Note = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What a node is to become. None: as the node has it, if it has this address already."""

    address: int
    name: str | None = None
    fixed: bool | None = None
    phase: int | None = None
    eui: str = ""
    open_console: bool | None = None
    wifi: bool | None = None
    radio: bool | None = None
    with_wires: bool | None = None
    neighbours: tuple[int, ...] | None = None  # of a bridge; empty: it is none


@dataclass(frozen=True)
class Done:
    """What was done to a node; nothing secret."""

    port: str
    eui: str
    site: int
    address: int
    name: str
    fixed: bool
    fingerprint: str
    action: str
    updates: bool = False  # it knows the key that updates are signed with
    console: str = "locked"  # or "open"
    wifi: bool = False  # it speaks UDP on the site's network
    radio: bool = False  # it speaks over the site's radio channel
    neighbours: tuple[int, ...] = ()  # it is the bridge of these

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)

    def label(self, site_name: str = "") -> Label:
        """Its label."""
        return Label(self.eui, self.site, self.address, self.name, site_name)


def check_address(address: int) -> None:
    """Raises InputError for an address no node can have: segment * 256 + unit 1..247."""
    if not homestable.is_address(address):
        raise InputError(
            f"{address} is no node address.",
            "An address is segment * 256 + unit, unit 1..247; on a single bus take 1..247.",
        )


def check_text(name: str) -> None:
    """Raises InputError for a name that no home can have."""
    try:
        check_name(name)
    except ValueError as exc:
        raise InputError(f"The name {name!r} {exc}.", "Give --name anew.") from None


def provision(
    port: str,
    store: KeyStore,
    wanted: Wanted,
    note: Note,
    prompt_s: float = PROMPT_S,
    unlock: Unlock | None = None,
) -> Done:
    """Gives the node on a port its address and a fresh key.

    The same node at the same address again: a new key (so it is also how a rotation that was cut
    short is finished). A console that is locked already is opened with `unlock`, by default with
    what the key store knows. Raises RefusedError where address or node are otherwise taken.
    """
    check_address(wanted.address)
    if wanted.name is not None:
        check_text(wanted.name)
    node = Node(port, note, unlock or of_store(store))
    note("stopping the node's program")
    with node.held(prompt_s):
        done = give(node, store, wanted, note)
    return done


def give(node: Node, store: KeyStore, wanted: Wanted, note: Note) -> Done:
    """The same with a node that is held at its prompt; it must start again afterwards."""
    eui = node.info.eui
    action = _may(store, wanted, eui)
    identity = _identity(node.present(), store, wanted, eui)
    console = _console(store, wanted, action)
    old = node.lock()
    lock = Lock.make(secret(identity.root, store.site_id, wanted.address), old)
    note("writing the identity")
    node.stage(identity)
    if old is not None:
        # Until the end both the node and the key store may have either key.
        node.put_lock(lock.both(old))
    with store_errors():
        if action == "added":
            if wanted.address in store.addresses():
                store.remove(wanted.address)  # of a node that is revoked
            entry = store.add(wanted.address, eui, identity.root, console)
        elif store.node(wanted.address).revoked:
            store.remove(wanted.address)
            entry = store.add(wanted.address, eui, identity.root, console)
        else:
            entry = store.rotate(wanted.address, identity.root, console)
    node.commit()
    node.put_lock(None if console == "open" else lock)
    note("asking the node to prove it")
    node.prove(identity)
    return Done(
        node.port, eui, store.site_id, wanted.address, identity.name, identity.fixed,
        entry.fingerprint, action, bool(identity.release), console,
        identity.network is not None, identity.channel is not None, identity.neighbours,
    )  # fmt: skip


def _console(store: KeyStore, wanted: Wanted, action: str) -> str:
    """Whether the console is to be locked: yes, unless opened now or earlier at this address."""
    if wanted.open_console is not None:
        return "open" if wanted.open_console else "locked"
    if action == "rotated":
        return store.node(wanted.address).console or "locked"
    return "locked"


def _identity(old: dict[str, Any], store: KeyStore, wanted: Wanted, eui: str) -> Identity:
    """The new identity, with a fresh key. What was not asked for stays as it is at this address:
    a home that must not be moved must not become one that may, only because its key changed.
    """
    same = old.get("site") == store.site_id and old.get("address") == wanted.address
    was = old if same else {}
    with store_errors():
        newest, release, network = store.newest, store.release_key, store.network
    if not release and was.get("release"):
        release = bytes.fromhex(str(was["release"]))
    if not (bool(was.get("udp")) if wanted.wifi is None else wanted.wifi):
        network = None
    elif network is None or not network.wifi:
        raise InputError(
            "The key store has no Wi-Fi for the node.",
            "Give it one first:  pbal provision wifi NAME --controller pbal-7.local",
        )
    channel, with_wires = _radio(old, was, store, wanted, network is not None)
    neighbours = tuple(was.get("neighbours", ()))
    if wanted.neighbours is not None:
        neighbours = wanted.neighbours
    if neighbours:
        _check_neighbours(wanted.address, neighbours)
        if network is None and channel is None:
            raise InputError(
                "A bridge needs a way to the controller.", "Give --radio or --wifi as well."
            )
    if channel is not None and (neighbours or with_wires):
        _check_heap(old, bool(neighbours))
    return Identity(
        eui, store.site_id, wanted.address, secrets.token_bytes(KEY_BYTES), newest.root,
        str(was.get("name", "")) if wanted.name is None else wanted.name,
        bool(was.get("fixed")) if wanted.fixed is None else wanted.fixed,
        int(was.get("phase", 0)) if wanted.phase is None else wanted.phase,
        release, newest.number, network, channel, with_wires, neighbours,
    )  # fmt: skip


def _radio(
    old: dict[str, Any], was: dict[str, Any], store: KeyStore, wanted: Wanted, wifi: bool
) -> tuple[Channel | None, bool]:
    """The channel of a node that speaks over the radio, and whether on the wires as well."""
    told = was.get("radio")
    if not (bool(told) if wanted.radio is None else wanted.radio) or (
        wifi and wanted.radio is None
    ):
        if wanted.with_wires:
            raise InputError("As well as what?", "--with-wires goes with --radio.")
        return None, False
    if wifi:
        raise InputError(
            "A node uses the Wi-Fi or a radio.", "Give --radio and --wired, or --wifi."
        )
    if not old.get("fitted"):
        raise RefusedError(
            "The node's board has no radio.",
            "Take a board with one (pbal board list), or its wires: --no-radio.",
        )
    with store_errors():
        channel = store.channel
    if channel is None:
        raise InputError(
            "The key store has no radio channel for the node.",
            "Give it one first:  pbal provision radio REGION",
        )
    before = isinstance(told, dict) and bool(told.get("wired"))
    return channel, before if wanted.with_wires is None else wanted.with_wires


def _check_heap(old: dict[str, Any], bridge: bool) -> None:
    """Raises RefusedError where radio and wires at once do not fit the node's heap."""
    heap = int(old.get("heap", TWO_BEARERS_BYTES))
    if heap < TWO_BEARERS_BYTES:
        what = "A bridge over the radio" if bridge else "A node with a radio and wires"
        raise RefusedError(
            f"{what} takes {TWO_BEARERS_BYTES // 1000} kB of heap, and this node has "
            f"{heap // 1000} kB.",
            "Take a board with external RAM (PSRAM) and an image of MicroPython that uses it.",
        )


def _check_neighbours(address: int, neighbours: tuple[int, ...]) -> None:
    """Raises InputError for those that no bridge can poll on its line."""
    for each in neighbours:
        check_address(each)
    units = {each & 0xFF for each in neighbours}
    if address in neighbours or len(units) != len(neighbours):
        raise InputError(
            "A bridge's neighbours are other homes, each with a Modbus unit of its own.",
            "The unit is the address modulo 256: correct --bridge-for.",
        )
    if len(neighbours) > MOST_NEIGHBOURS:
        raise InputError(
            f"{len(neighbours)} neighbours: a bridge carries {MOST_NEIGHBOURS} at most.",
            "Give the others a bridge of their own.",
        )


def _may(store: KeyStore, wanted: Wanted, eui: str) -> str:
    """The effect of giving this address to this node: "added" or "rotated". Raises RefusedError."""
    if wanted.eui and wanted.eui.lower() != eui:
        raise RefusedError(
            f"This node is {eui}, not {wanted.eui.lower()}.", "Plug in the node with that label."
        )
    elsewhere = holder_of(store, eui)
    if elsewhere is not None and elsewhere != wanted.address:
        raise RefusedError(
            f"This node has address {elsewhere} at this site already.",
            f"Revoke it first:  pbal provision revoke {elsewhere}",
        )
    if wanted.address not in store.addresses():
        return "added"
    entry = store.node(wanted.address)
    if entry.eui == eui:
        return "rotated"
    if entry.revoked:
        return "added"
    raise RefusedError(
        f"Address {wanted.address} belongs to node {entry.eui}.",
        f"Choose another address, or revoke it first:  pbal provision revoke {wanted.address}",
    )


def read_csv(path: Path) -> list[Wanted]:
    """The nodes that a spreadsheet of homes asks for. Raises InputError naming the line."""
    return [
        Wanted(row.address, row.name or None, row.fixed, row.phase, row.eui)
        for row in homestable.read(path)
    ]

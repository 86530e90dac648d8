"""`pbal provision` against emulated boards: keys go in, are proven, and appear nowhere."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rigs import needs
from rigs.flash import Rig, mpremote

from pbal_controller.keys import KeyStore, Network
from pbal_sim.romloader import stand_in_image
from pbal_tools.consolelock import of_store
from pbal_tools.errors import ExitCode
from pbal_tools.flash.repl import reach_prompt

pytestmark = pytest.mark.timeout(240)
SECRET = b"correct horse battery"


class Site(Rig):
    """A rig with a key store."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.pass_file = folder / "keys.pass"
        self.pass_file.write_bytes(SECRET + b"\n")
        self.pass_file.chmod(0o600)
        self.keys = folder / "keys.json"
        self.store_args = ("--keys", str(self.keys), "--passphrase-file", str(self.pass_file))

    def store(self) -> KeyStore:
        return KeyStore.open(self.keys, SECRET)


@pytest.fixture(scope="module")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key store as `pbal provision init` makes it."""
    made = Site(tmp_path_factory.mktemp("store"))
    done = made.pbal("provision", "init", "--site", "7", *made.store_args)
    assert done.code == 0, done.err
    return made.keys


@pytest.fixture
def site(tmp_path: Path, new_store: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    shutil.copy(new_store, made.keys)
    yield made
    made.close()


def identity(site: Site, port: str) -> dict[str, object]:
    # The node may just be starting again: mpremote's first Ctrl-C would be lost, and it waits long.
    reach_prompt(port, 60, unlock=of_store(site.store()))
    text = mpremote(port, "exec", "print(open('/cfg/identity.json').read())")
    found: dict[str, object] = json.loads(text.strip().splitlines()[-1])
    return found


def secrets_of(site: Site) -> list[str]:
    store = site.store()
    keys = [store.group_key] + [store.node(a).root for a in store.addresses()]
    return [form for key in keys for form in (key.hex(), repr(key)[2:-1])] + [SECRET.decode()]


def test_a_node_gets_its_key_proves_it_and_nobody_sees_it(site: Site, flashed: Path) -> None:
    board = site.board(like=flashed, download=False)
    seen: list[str] = []
    others = set(Path("/proc").glob("[0-9]*"))
    running = site.start(
        "-v", "provision", "add", "--address", "258", "--port", board.url, "--name", "Mill Lane 2",
        "--fixed", "--phase", "2", "--label", "l.svg", "--json", *site.store_args,
    )  # fmt: skip
    while running.poll() is None:
        # What any user of this computer could read meanwhile.
        for path in set(Path("/proc").glob("[0-9]*")) - others:
            try:
                seen.append((path / "cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue
        time.sleep(0.05)
    out, err = running.communicate()
    assert running.returncode == 0, err
    node = json.loads(out)["nodes"][0]
    assert (node["address"], node["site"], node["eui"]) == (258, 7, "24a160fffe000001")
    entry = site.store().node(258)
    assert node["fingerprint"] == entry.fingerprint
    told = identity(site, board.url)
    assert told == {
        "eui": entry.eui, "site": 7, "address": 258, "root": entry.root.hex(),
        "group": site.store().group_key.hex(), "name": "Mill Lane 2", "fixed": 1, "phase": 2,
    }  # fmt: skip
    everything = out + err + "".join(seen) + (site.folder / "l.svg").read_text()
    everything += site.keys.read_text()
    for secret in secrets_of(site):
        assert secret not in everything
    assert "identity.new" not in mpremote(board.url, "exec", "import os;print(os.listdir('/cfg'))")


def test_the_proof_fails_for_a_node_that_holds_something_else(site: Site, flashed: Path) -> None:
    from pbal_tools.errors import CheckFailed
    from pbal_tools.provision.node import Identity, Node

    board = site.board(like=flashed, download=False)
    node = Node(board.url)
    node.hold()
    right = Identity("24a160fffe000001", 7, 5, bytes(32), bytes(range(32)), "x")
    node.stage(right)
    for wrong in (
        Identity(right.eui, 7, 5, bytes(31) + b"\1", right.group, "x"),
        Identity(right.eui, 7, 5, right.root, bytes(32), "x"),
        Identity(right.eui, 7, 6, right.root, right.group, "x"),
        Identity(right.eui, 7, 5, right.root, right.group, "x", generation=2),
    ):
        with pytest.raises(CheckFailed):
            node.prove(wrong, "/cfg/identity.new")
    assert "root" not in repr(right)
    # The network is a part of it.
    network = Network("pbal-7.local", 7225, (("Mill Lane", "correct horse"),))
    there = replace(right, network=network)
    node.stage(there)
    for other in (network.with_wifi("Mill Lane", "correct house"), replace(network, port=1), None):
        with pytest.raises(CheckFailed):
            node.prove(replace(right, network=other), "/cfg/identity.new")


FITTED = """
import json
b = json.load(open('/board.json'))
b['radio'] = {}
with open('/board.json', 'w') as f:
    json.dump(b, f)
"""


def test_a_node_gets_the_radio_channel_and_its_neighbours(site: Site, flashed: Path) -> None:
    board = site.board(like=flashed, download=False)
    reach_prompt(board.url, 60)
    mpremote(board.url, "exec", FITTED)
    told = {"region": "IN865", "channel": 1, "sf": 8, "power_dbm": 14}
    radio = ("provision", "radio", *site.store_args)
    said = site.pbal(*radio, "IN865", "--channel", "1", "--sf", "8", "--json")
    assert said.json["radio"] == told
    add = ("provision", "add", "--address", "3", "--port", board.url, *site.store_args)
    done = site.pbal(*add, "--radio", "--bridge-for", "4,6-8", "--json")
    assert done.code == 0, done.err
    assert done.json["nodes"][0]["radio"] is True
    found = identity(site, board.url)
    assert (found["radio"], found["role"], found["neighbours"]) == (told, "bridge", [4, 6, 7, 8])


WIFI_KEY = "a long key, with \\ and ümlaut"


@pytest.mark.long
def test_a_node_gets_the_wifi_and_nobody_sees_its_key(site: Site, flashed: Path) -> None:
    board = site.board(like=flashed, download=False)
    add = ("provision", "add", "--address", "3", "--port", board.url, *site.store_args)
    early = site.pbal(*add, "--wifi")
    assert early.code == ExitCode.INPUT
    assert "pbal provision wifi" in early.err
    key = site.folder / "wifi.key"
    key.write_text(WIFI_KEY + "\n")
    wifi = ("provision", "wifi", *site.store_args, "--password-file", str(key))
    open_to_all = site.pbal(*wifi, "Mill Lane", "--controller", "pbal-7.local")
    assert open_to_all.code == ExitCode.INPUT
    assert "chmod 600" in open_to_all.err
    key.chmod(0o600)
    said = [
        site.pbal(*wifi, "Mill Lane"),
        site.pbal(*wifi, "Mill Lane", "--controller", "example.org"),
        site.pbal(*wifi, "x" * 33, "--controller", "pbal-7.local"),
    ]
    assert [one.code for one in said] == [ExitCode.INPUT] * 3
    assert "IPv4 address" in said[1].err
    said.append(site.pbal(*wifi, "Mill Lane", "--controller", "pbal-7.local", "--json"))
    assert said[-1].json == {
        "keys": str(site.keys), "site": 7, "wifi": ["Mill Lane"],
        "controller": "pbal-7.local", "udp_port": 7225,
    }  # fmt: skip
    said.append(site.pbal(*add, "--wifi", "--json"))
    assert said[-1].json["nodes"][0]["wifi"] is True
    told = identity(site, board.url)["udp"]
    assert told == {"host": "pbal-7.local", "port": 7225, "wifi": [["Mill Lane", WIFI_KEY]]}
    # A new key changes nothing else; back to the wires only when asked.
    said.append(site.pbal("provision", "rotate", "3", "--port", board.url, *site.store_args))
    assert identity(site, board.url)["udp"] == told
    said.append(site.pbal("provision", "rotate", "3", "--wired", "--port", board.url,
                          *site.store_args))  # fmt: skip
    assert "udp" not in identity(site, board.url)
    assert all(one.code == 0 for one in said[3:]), [one.err for one in said]
    everything = "".join(one.out + one.err for one in said) + site.keys.read_text()
    assert WIFI_KEY not in everything
    assert WIFI_KEY not in repr(site.store().network)


@pytest.mark.long
def test_taken_addresses_rotation_and_revocation(site: Site, flashed: Path) -> None:
    board = site.board(like=flashed, download=False)
    add = ("provision", "add", "--port", board.url, *site.store_args, "--json")
    assert site.pbal(*add, "--address", "9").code == 0
    first = site.store().node(9).root
    elsewhere = site.pbal(*add, "--address", "10")
    assert elsewhere.code == ExitCode.REFUSED
    assert "address 9" in elsewhere.err
    wrong = site.pbal(*add, "--address", "9", "--eui", "0011223344556677")
    assert wrong.code == ExitCode.REFUSED
    rotated = site.pbal("provision", "rotate", "9", "--port", board.url, *site.store_args)
    assert rotated.code == 0, rotated.err
    second = site.store().node(9).root
    assert second != first
    assert identity(site, board.url)["root"] == second.hex()
    revoked = site.pbal("provision", "revoke", "9", *site.store_args, "--json")
    assert revoked.json == {
        "address": 9, "eui": "24a160fffe000001", "revoked": True, "group_key": 2,
    }  # fmt: skip
    listed = site.pbal("provision", "list", *site.store_args, "--json").json
    assert [n["revoked"] for n in listed["nodes"]] == [True]
    # The group key that the node knew is replaced; a new node gets the new one, and what
    # it had been told over the bus before is gone.
    mpremote(board.url, "exec", "open('/cfg/group.0','w').write('of before')")
    assert site.pbal(*add, "--address", "10").code == 0
    told = identity(site, board.url)
    assert (told["group"], told["generation"]) == (site.store().group_key.hex(), 2)
    assert "group." not in mpremote(board.url, "exec", "import os;print(os.listdir('/cfg'))")


@pytest.mark.long
def test_a_new_key_leaves_all_else_as_it_is(site: Site, flashed: Path) -> None:
    # S10: a home that must not be moved must not become one that may because its key changed.
    board = site.board(like=flashed, download=False)
    public = bytes(range(100, 132))
    (site.folder / "release.pem.pub").write_text(public.hex() + "\n")
    unset = site.pbal("provision", "release-key", *site.store_args, "--json")
    assert unset.json["release_key"] == ""
    on_cable = ("--port", board.url, *site.store_args, "--json")
    first = site.pbal("provision", "add", "-a", "9", "--name", "Surgery", "--fixed", "--phase", "2",
                      *on_cable)  # fmt: skip
    assert first.code == 0, first.err
    assert not first.json["nodes"][0]["updates"]
    keyed = site.pbal("provision", "release-key", "release.pem.pub", *site.store_args, "--json")
    assert keyed.json["release_key"] == public.hex()
    rotated = site.pbal("provision", "rotate", "9", *on_cable)
    assert rotated.code == 0, rotated.err
    assert rotated.json["nodes"][0]["updates"]
    told = identity(site, board.url)
    assert (told["name"], told["fixed"], told["phase"]) == ("Surgery", 1, 2)
    assert told["release"] == public.hex()
    # The key of updates stays with a node even where the store has forgotten it.
    assert site.pbal("provision", "release-key", "--none", *site.store_args).code == 0
    moved = site.pbal("provision", "add", "-a", "9", "--movable", *on_cable)
    assert moved.code == 0, moved.err
    told = identity(site, board.url)
    assert "fixed" not in told
    assert (told["name"], told["release"]) == ("Surgery", public.hex())
    wrong = site.pbal("provision", "release-key", "zz", *site.store_args, "--json")
    assert wrong.code == ExitCode.INPUT


def test_a_node_that_is_refused_is_not_left_standing_still(site: Site, flashed: Path) -> None:
    # Held at its prompt its contacts are open: the home would stay dark until somebody noticed.
    board = site.board(like=flashed, download=False)
    resets = board.resets
    refused = site.pbal("provision", "add", "-a", "9", "--eui", "0011223344556677",
                        "--port", board.url, *site.store_args)  # fmt: skip
    assert refused.code == ExitCode.REFUSED
    deadline = time.monotonic() + needs.PATIENCE_S
    while board.resets == resets and time.monotonic() < deadline:
        time.sleep(0.05)
    assert board.resets == resets + 1


@pytest.mark.long
def test_a_cable_pulled_while_provisioning_leaves_nothing_half_done(
    site: Site, flashed: Path
) -> None:
    board = site.board(like=flashed, port=f"pty:{site.folder}/ttyUSB0", download=False)
    args = ("provision", "add", "--port", board.url, "--address", "3", *site.store_args, "--json")
    for cut in (150, 1200, 2200, 3200):
        board.cut_after = cut
        lost = site.pbal(*args)
        if lost.code != 0:
            assert "Traceback" not in lost.err
            board.plug_in()
        board.cut_after = None
    done = site.pbal(*args)
    assert done.code == 0, done.err
    assert identity(site, board.url)["root"] == site.store().node(3).root.hex()


@pytest.mark.long
def test_bulk_takes_the_boards_as_they_come(site: Site, flashed: Path) -> None:
    for n in (1, 2):
        site.board(f"b{n}", like=flashed, download=False, mac=bytes.fromhex(f"24a16000000{n}"),
                   port=f"pty:{site.folder}/ttyUSB{n}")  # fmt: skip
    (site.folder / "homes.csv").write_text(
        "address,name,fixed,eui\n1,Mill Lane 1,no,\n2,Surgery,yes,24-A1-60-FF-FE-00-00-01\n"
        "3,Mill Lane 3,,\n"
    )
    args = ("provision", "bulk", "--csv", "homes.csv", "--port", f"{site.folder}/ttyUSB*",
            "--labels", "sheet.svg", *site.store_args, "--json")  # fmt: skip
    done = site.pbal(*args)
    assert done.code == ExitCode.CHECK_FAILED
    assert done.json["waiting"] == [3]
    store = site.store()
    assert store.node(2).eui.endswith("1")
    assert store.node(1).eui.endswith("2")
    assert (site.folder / "sheet.svg").read_text().count("EUI ") == 2
    again = site.pbal(*args)
    assert again.json["nodes"] == []
    assert again.json["already"] == [1, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\nx\n", "no column 'address'"),
        ("address\n0\n", "line 2: '0' is no node address"),
        ("address\n248\n", "is no node address"),
        ("address,colour\n1,red\n", "unknown columns"),
        ("address,phase\n1,D\n", "not A, B or C"),
        ("address,fixed\n1,perhaps\n", "not yes or no"),
        ("address,eui\n1,12\n", "16 hex digits"),
        ("address\n1\n1\n", "also in line 2"),
        ("address\n", "names no home"),
    ],
)
def test_bad_lists_name_the_line(site: Site, text: str, words: str) -> None:
    (site.folder / "homes.csv").write_text(text)
    done = site.pbal("provision", "bulk", "--csv", "homes.csv", *site.store_args)
    assert done.code == ExitCode.INPUT
    assert words in done.err


def test_key_store_mistakes(site: Site) -> None:
    exists = site.pbal("provision", "init", "--site", "7", *site.store_args)
    assert exists.code == ExitCode.INPUT
    assert "exists already" in exists.err
    site.pass_file.write_text("something else\n")
    wrong = site.pbal("provision", "list", *site.store_args)
    assert wrong.code == ExitCode.INPUT
    assert "passphrase does not open it" in wrong.err
    site.pass_file.chmod(0o644)
    loose = site.pbal("provision", "list", *site.store_args)
    assert "chmod 600" in loose.err
    none = site.pbal("provision", "list", "--keys", str(site.keys))
    assert none.code == ExitCode.INPUT
    assert "--passphrase-file" in none.err
    short = site.folder / "short.pass"
    short.write_text("abc")
    short.chmod(0o600)
    made = site.pbal("provision", "init", "--site", "7", "--keys", "new.json",
                     "--passphrase-file", "short.pass")  # fmt: skip
    assert made.code == ExitCode.INPUT


def test_a_bare_board_is_told_what_comes_first(site: Site) -> None:
    (site.folder / "blank").mkdir()
    image = bytearray(b"\xff" * (4 << 20))
    image[0x1000 : 0x1000 + 100] = stand_in_image()[:100]
    bare = site.folder / "bare.bin"
    bare.write_bytes(image)
    board = site.board(like=bare, download=False)
    done = site.pbal("provision", "add", "-a", "1", "-p", board.url, *site.store_args)
    assert done.code == ExitCode.PEER
    assert "pbal flash" in done.err

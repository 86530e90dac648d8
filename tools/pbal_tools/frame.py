"""`pbal frame`: look inside what was captured from the wire."""

import os
import stat
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from pbal_controller.documents import read_json
from pbal_controller.secrecy import no_core_dump
from pbal_protocol import errors, frames, kdf, modbus, modbus_client, records

from . import pcap
from .errors import InputError, PeerError
from .output import JsonFlag, check_writable, emit
from .wirebytes import modbus_frames, parse_hex

app = typer.Typer(help="Look inside a frame captured from the wire.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Look inside a frame captured from the wire."""


def parse_key(name: str, text: str) -> bytes:
    """A 32-byte key from 64 hex digits. Raises InputError, which never repeats the key."""
    try:
        key = parse_hex(text)
    except InputError:
        key = b""
    if len(key) != 32:
        raise InputError(f"{name} holds no key.", "A key is 32 bytes, 64 hex digits.")
    return key


def read_key(name: str, path: Path | None) -> bytes | None:
    """The key in a file, or on standard input for "-". Raises InputError."""
    if path is None:
        return None
    if str(path) == "-":
        return parse_key(f"{name} -", sys.stdin.read())
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise InputError(f"{path} is readable by others.", f"Run  chmod 600 {path}")
            return parse_key(f"{name} {path}", file.read(1024).decode("utf-8", "replace"))
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}.", "Check the path.") from None


def refuse_key(value: str | None) -> None:
    """For options that took a key as their value."""
    if value is not None:
        raise InputError(
            "Keys are not taken from the command line: every user of this computer can read it "
            "there, and the shell keeps it.",
            "Put the key into a file (mode 600): --key-file FILE, --group-file FILE; - is standard "
            "input. If this one was a real key, give the node another:  pbal provision rotate",
        )


WORDS = frames.KINDS | {frames.UP_EXPLICIT: "up, with a nonce of its own"}


class Keys:
    """The keys that the user has: a node's root key, the site's group root, or none."""

    def __init__(self, root: bytes | None, group: bytes | None, site: int | None) -> None:
        self.root, self.group, self.site = root, group, site

    @classmethod
    def gather(
        cls, identity: Path | None, key: bytes | None, group: bytes | None, site: int | None
    ) -> "Keys":
        """Keys from an identity file, and given ones, which win. Raises InputError."""
        known: dict[str, Any] = {}
        if identity is not None:
            try:
                known = read_json(identity)
                if not isinstance(known, dict):
                    raise ValueError("not an object")
                known = {"root": known["root"], "group": known["group"], "site": known["site"]}
            except (OSError, ValueError, KeyError) as e:
                raise InputError(
                    f"{identity} is not an identity file ({e}).",
                    "It holds root, group and site, as `pbal provision` writes them.",
                ) from None
            key = key or parse_key(f"root in {identity}", str(known["root"]))
            group = group or parse_key(f"group in {identity}", str(known["group"]))
        number = site if site is not None else known.get("site")
        if (key or group) and not isinstance(number, int):
            raise InputError("The keys of a frame depend on its site.", "Add --site NUMBER.")
        if isinstance(number, int) and not 0 <= number <= 0xFFFFFFFF:
            raise InputError(f"Site {number} is not a site id.", "It is 0..4294967295.")
        return cls(key, group, number)

    def open(self, frame: bytes, kind: int, address: int) -> bytes | None:
        """The payload, or None when no key for this kind was given. Raises PbalError."""
        if self.site is None:
            return None
        if kind == frames.UP_EXPLICIT:
            kind = frames.UP
        if kind == frames.GROUP:
            if self.group is None:
                return None
            key = kdf.group_key(self.group, self.site)
        else:
            if self.root is None:
                return None
            key = kdf.node_keys(self.root, self.site, address)[kind - frames.UP]
        return frames.Opener(key, kind, self.site, address).open(frame)


def without_secrets(payload: bytes) -> bytes:
    """An opened payload with zeros for the keys in it. Raises PbalError."""
    out = b""
    for record in records.decode_all(payload):
        if isinstance(record, records.GroupKey):
            record.group_key = bytes(len(record.group_key))
        out += record.encode()
    return out


def describe_records(payload: bytes) -> list[dict[str, Any]]:
    """Every record of an opened payload. Raises PbalError."""
    found = [{"record": r.NAME, **r.as_dict()} for r in records.decode_all(payload)]
    for item in found:
        if "group_key" in item:
            item["group_key"] = f"{len(str(item['group_key'])) // 2} bytes, not shown"
    return found


def describe_sealed(frame: bytes, keys: Keys) -> dict[str, Any]:
    """Header, and with a key the records. Raises PbalError."""
    version, kind, address, counter = frames.peek(frame)
    overhead = frames.HEADER_LEN + frames.TAG_LEN
    if kind == frames.UP_EXPLICIT:
        overhead += frames.NONCE_LEN
    out: dict[str, Any] = {
        "version": version,
        "kind": WORDS.get(kind, kind),
        "address": address,
        "counter": counter,
        "sealed_bytes": max(0, len(frame) - overhead),
    }
    if version != frames.VERSION:
        raise errors.BadVersion(f"version {version}, this program speaks {frames.VERSION}")
    if kind not in WORDS:
        raise errors.BadKind(f"kind {kind}")
    if len(frame) <= overhead:
        raise errors.Truncated(f"{len(frame)} bytes of frame")
    if len(frame) > frames.MAX_FRAME:
        raise errors.TooLong(f"{len(frame)} bytes of frame")
    payload = keys.open(frame, kind, address)
    out["authentic"] = None if payload is None else True
    if payload is not None:
        payload = without_secrets(payload)
        out["payload"] = payload.hex()
        out["records"] = describe_records(payload)
    return out


def describe_pdu(pdu: bytes) -> tuple[dict[str, Any], bytes]:
    """A Modbus PDU, and the sealed frame in it. Raises PbalError."""
    out: dict[str, Any] = {"function": pdu[0] & 0x7F}
    if pdu[0] & 0x80:
        out["exception"] = pdu[1] if len(pdu) > 1 else None
        return out, b""
    if pdu[0] != modbus.PBAL:
        out["data"] = pdu[1:].hex()
        return out, b""
    out["op_or_hints"], frame = modbus_client.parse_pdu(pdu)
    return out, frame


def describe_modbus(adu: bytes, keys: Keys) -> dict[str, Any]:
    """One Modbus RTU frame, and the sealed frame in it. Raises PbalError."""
    about, frame = describe_pdu(adu[1:-2])
    out: dict[str, Any] = {"modbus": {"unit": adu[0], **about}}
    if frame:
        out["frame"] = describe_sealed(frame, keys)
    return out


def describe(data: bytes, keys: Keys) -> dict[str, Any]:
    """Whatever `data` is: Modbus RTU frames, a function 100 PDU or a sealed frame.

    `parts` where there are several frames, `stray` where bytes belong to none. Raises PbalError.
    """
    out: dict[str, Any] = {"bytes": len(data)}
    found = modbus_frames(data)
    if found is not None:
        if found.stray:
            out["stray"] = [gap.hex() for gap in found.stray]
        parts = [describe_modbus(adu, keys) for adu in found.frames]
        return out | parts[0] if len(parts) == 1 else out | {"parts": parts}
    frame = data
    if data[0] == modbus.PBAL and len(data) >= 3 and data[2] == len(data) - 3:
        out["modbus"], frame = describe_pdu(data)
    elif len(data) > 5 and data[1] == modbus.PBAL and data[3] == len(data) - 6:
        raise errors.BadCrc("a Modbus frame whose checksum does not match")
    elif len(data) > 3 and data[1] == modbus.PBAL and data[0] >> 4 != frames.VERSION:
        # No sealed frame begins like this, but a Modbus frame of ours does.
        raise errors.Truncated(f"a Modbus frame of {data[3] + 6} bytes, {len(data)} are here")
    if frame:
        out["frame"] = describe_sealed(frame, keys)
    return out


def render(result: dict[str, Any]) -> None:
    """The result for a person."""
    console = Console()
    for part in result.get("parts", [result]):
        _render_part(console, part)
    if "stray" in result:
        bytes_ = ", ".join(result["stray"])
        console.print(f"[bold]Stray[/]   {bytes_}: bytes that belong to no frame", highlight=False)


def _render_part(console: Console, result: dict[str, Any]) -> None:
    if "modbus" in result:
        parts = [f"{k.replace('_', ' ')} {v}" for k, v in result["modbus"].items()]
        console.print("[bold]Modbus[/]  " + escape(", ".join(parts)), highlight=False)
    frame = result.get("frame")
    if frame is None:
        return
    console.print(
        f"[bold]Frame[/]   {frame['kind']}, address 0x{frame['address']:04x}, "
        f"counter {frame['counter']}, {frame['sealed_bytes']} bytes sealed",
        highlight=False,
    )
    if not frame["authentic"]:
        console.print("        not opened: give --identity FILE, or --key-file FILE and --site")
        return
    for record in frame["records"]:
        console.print(f"[bold cyan]{record['record']}[/]")
        for name, value in record.items():
            if name != "record":
                console.print(f"  {name:<18} {value}", highlight=False)


@app.command()
def decode(
    frame: Annotated[str, typer.Argument(help="The bytes as hex; - reads them from stdin.")],
    identity: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A node's identity.json with its keys."),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="A file (mode 600) with the node's root key, 64 hex digits; - is stdin."),
    ] = None,
    group_file: Annotated[
        Path | None, typer.Option(help="The same with the site's group root.")
    ] = None,
    site: Annotated[int | None, typer.Option(help="The site id that goes with the keys.")] = None,
    pcap_file: Annotated[
        Path | None,
        typer.Option("--pcap", help="Also write the opened records to a file for Wireshark."),
    ] = None,
    key: Annotated[str | None, typer.Option(hidden=True)] = None,
    group: Annotated[str | None, typer.Option(hidden=True)] = None,
    json_output: JsonFlag = False,
) -> None:
    """Decode Modbus RTU frames, a function 100 PDU or a sealed frame.

    Stray bytes beside Modbus frames are told apart from them. Keys come from files or standard
    input, never from the command line, where others could read them. Without keys only the header
    can be read. A frame that is damaged or not authentic ends with exit code 6.

    Example:  pbal frame decode 11050101000000... --identity identity.json
    """
    refuse_key(key)
    refuse_key(group)
    if [str(key_file), str(group_file), frame].count("-") > 1:
        raise InputError("Standard input is one thing only.", "Give files for the others.")
    no_core_dump()
    keys = Keys.gather(
        identity, read_key("--key-file", key_file), read_key("--group-file", group_file), site
    )
    data = parse_hex(sys.stdin.read() if frame == "-" else frame)
    if pcap_file is not None:
        check_writable(pcap_file)
    try:
        result = describe(data, keys)
    except errors.PbalError as e:
        raise PeerError(
            f"{type(e).__name__}: {e}.",
            "Check that the whole frame was captured, and that the keys are this node's.",
        ) from e
    parts = result.get("parts", [result])
    payloads = [p["frame"]["payload"] for p in parts if p.get("frame", {}).get("authentic")]
    if pcap_file is not None:
        if not payloads:
            raise InputError("There are no opened records to write.", "Give the node's keys.")
        now = time.time()
        pcap.write(pcap_file, pcap.PAYLOAD, [(now, bytes.fromhex(p)) for p in payloads])
    emit(result, json_output, render)

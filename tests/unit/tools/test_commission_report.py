"""The report of a commissioning: its pages, its seal and its signature."""

import json
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from rigs.commission import mains

from pbal_tools import sitefile
from pbal_tools.commission import content, evidence, signature
from pbal_tools.commission.htmlreport import page
from pbal_tools.commission.pdfreport import paper
from pbal_tools.commission.state import STEPS
from pbal_tools.errors import CheckFailed, InputError

SITE = sitefile.validate(
    {
        "site": {"id": 7, "name": "Am <Mühlbach> & Co"},
        "bus": {"north": {"port": "/dev/ttyUSB0"}},
        "home": [
            {"address": 1, "name": "<script>alert(1)</script>", "bus": "north", "phase": "A"},
            {"address": 2, "name": "Surgery \u4e2d", "bus": "north", "fixed": True},
        ],
    },
    "x",
)


def record() -> dict[str, Any]:
    """A record as the steps leave it."""
    t = [1000.0 + k for k in range(40)]
    move = {"outcome": "done", "reason": "none", "transfer_ms": 151, "vout_v": 231.2, "off_v": 0.2,
            "follows": True, "at_s": 1000, "trace_s": 1.0, "load_w": 400.0, "load_moved": "seen",
            "ok": True}  # fmt: skip
    verdict = evidence.by_movement(*reversed(mains(60, 1))).as_dict()
    return {
        "site": 7, "bus": "north", "begun_s": 900, "restore": {},
        "steps": {"scan": {"waiting": []}},
        "watch": {"times": t, "meter_v": [[230, 231, 232]] * 40, "meter_w": [[1e3, 2e3, 3e3]] * 40,
                  "metered": True},
        "homes": {
            "1": {
                "contact": {"ok": True, "faults": [], "eui": "24a160fffe000001", "board": "b",
                            "version": "0.1.0"},
                "phases": {
                    "ok": True, "node_phase": "A", "real_phase": "A", "pairing": "ABC",
                    "direction": "right", "faults": [], "todo": [], "verdicts": [verdict],
                    "relative_to": "transformer",
                    "record": {"times": t, "v": [[230, 231, 232]] * 40, "vout": [230] * 40,
                               "p_w": [None, *[500.0] * 39]},
                },
                "calibrate": {"ok": True, "points": {"va": {"shown": 229, "reference": 230,
                                                            "after": 230.1}}},
                "transfer": {
                    "ok": True, "start": 1, "end": 1, "dwell_s": 1800, "dwell_after_s": 1800,
                    "at_s": 1000, "trace": [[k / 10, 230, 231, 232, 230, 1, 2] for k in range(60)],
                    "moves": [{"from": "A", "to": "B", **move}, {"from": "B", "to": "C", **move},
                              {"from": "C", "to": "A", **move}],
                },
            },
            "2": {
                "contact": {"ok": True, "faults": [], "eui": "24a160fffe000002"},
                "phases": {"ok": True, "node_phase": "B", "real_phase": "B", "verdicts": [],
                           "direction": "unknown", "record": {"times": []}},
                "transfer": {"ok": False, "refused": "Home 2 is marked as never to be moved."},
            },
        },
    }  # fmt: skip


def written(folder: Path, tmp_path: Path) -> str:
    """A signed report; the public key."""
    folder.mkdir()
    key = signature.signing_key(tmp_path / "keys.json", b"passphrase")
    public = signature.public_hex(key)
    report = content.content(SITE, record(), "A. Tester", "")
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "report.html").write_text(page(report, record(), public), encoding="utf-8")
    paper(folder / "report.pdf", report, record(), public)
    signature.sign(folder, 7, key)
    return public


def test_the_report_says_what_was_found(tmp_path: Path) -> None:
    report = content.content(SITE, record(), "", "")
    assert report["ok"], report["open"]
    data = record()
    data["homes"]["1"]["phases"]["real_phase"] = "C"
    assert content.content(SITE, data, "", "")["open"] == [
        "1: the site file has it on A, measured is C"
    ]
    del data["homes"]["2"]["contact"]
    assert not content.content(SITE, data, "", "")["ok"]
    data = record()
    data["homes"]["1"]["transfer"]["ok"] = False
    assert "the transfer test failed" in content.content(SITE, data, "", "")["open"][0]
    data = record()
    data["steps"]["scan"]["waiting"] = [{"eui": "00"}]
    assert not content.content(SITE, data, "", "")["ok"]


def test_the_pages_are_whole_and_carry_no_foreign_markup(tmp_path: Path) -> None:
    public = written(tmp_path / "r", tmp_path)
    text = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "Am &lt;Mühlbach&gt; &amp; Co" in text
    assert text.count("data:image/png;base64,") == 2
    assert "http" not in text.replace("<!doctype html>", "").replace("<html", "").replace(
        "</html", ""
    )
    assert public in text
    with pypdfium2.PdfDocument(tmp_path / "r" / "report.pdf") as document:
        words = "".join(sheet.get_textpage().get_text_bounded() for sheet in document)
        pictures = sum(
            item.type == pypdfium2.raw.FPDF_PAGEOBJ_IMAGE
            for sheet in document for item in sheet.get_objects()
        )  # fmt: skip
        assert 2 <= len(document) <= 4
    assert "Am <Mühlbach> & Co" in words
    assert "151" in words
    assert public[:16] in words
    assert pictures == 2


@pytest.mark.parametrize("name", signature.FILES)
def test_a_changed_report_is_noticed(tmp_path: Path, name: str) -> None:
    public = written(tmp_path / "r", tmp_path)
    assert signature.verify(tmp_path / "r", public)["site"] == 7
    path = tmp_path / "r" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckFailed, match=f"Changed after it was signed: {name}"):
        signature.verify(tmp_path / "r", public)
    # Nor do new digests help somebody who lacks the key.
    told = json.loads((tmp_path / "r" / signature.FILE).read_text())
    told["sha256"] = signature._digests(tmp_path / "r")
    (tmp_path / "r" / signature.FILE).write_text(json.dumps(told))
    with pytest.raises(CheckFailed, match="does not fit"):
        signature.verify(tmp_path / "r", public)
    path.unlink()
    with pytest.raises(InputError, match="missing"):
        signature.verify(tmp_path / "r", public)


def test_only_the_trusted_key_counts(tmp_path: Path) -> None:
    public = written(tmp_path / "r", tmp_path)
    assert signature.trusted(None, tmp_path / "keys.json") == public
    assert signature.trusted(str(tmp_path / "keys.sign.pub"), None) == public
    with pytest.raises(CheckFailed, match="not by"):
        signature.verify(tmp_path / "r", "00" * 32)
    with pytest.raises(InputError, match="no public key"):
        signature.trusted("abc", None)
    with pytest.raises(InputError, match="Whose"):
        signature.trusted(None, None)
    # The private key is encrypted, and is drawn once only.
    private = (tmp_path / "keys.sign.pem").read_text()
    assert "ENCRYPTED" in private
    assert (
        signature.public_hex(signature.signing_key(tmp_path / "keys.json", b"passphrase")) == public
    )
    with pytest.raises(InputError, match="does not open"):
        signature.signing_key(tmp_path / "keys.json", b"another")


def test_steps_have_titles() -> None:
    assert set(content.TITLES) == set(STEPS)

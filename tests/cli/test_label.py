"""Printed labels: what a scanner reads, and what fits."""

import re
import shutil
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image

from pbal_tools import label

pytestmark = pytest.mark.timeout(240)


LABEL = label.Label("24a160fffe000001", 7, 300, "Mühlgasse 12 <b>", "North")


def test_a_scanner_reads_the_printed_label(tmp_path: Path) -> None:
    (file,) = label.write([LABEL], tmp_path / "l.png")
    with Image.open(file) as picture:
        (found,) = zxingcpp.read_barcodes(picture)
    assert label.parse(found.text) == label.Label("24a160fffe000001", 7, 300)


def test_a_long_name_takes_two_lines_and_none_leaves_its_label() -> None:
    long = label.Label("24a160fffe000001", 7, 1, "The old school house, Mill Lane 12, flat 3b")
    assert long.lines()[:2] == ["The old school", "house, Mill Lane..."]
    assert long.heading == 2
    assert label.Label(long.eui, 7, 1, "   ").lines()[0] == "node 1"
    # What a font might make wider than its label is told its width, so that no code is written on.
    wide = label.svg(label.Label(long.eui, 7, 1, "W" * 64))
    assert wide.count('textLength="35"') >= 2


def test_the_svg_label_and_the_sheets(tmp_path: Path, require_tool: object) -> None:
    chromium = shutil.which("chromium")
    text = label.svg(LABEL)
    assert "Mühlgasse 12 &lt;b&gt;" in text
    many = [label.Label("24a160fffe000001", 7, n, f"Home {n}") for n in range(1, 28)]
    files = label.write(many, tmp_path / "sheet.svg")
    assert [f.name for f in files] == ["sheet.svg", "sheet-2.svg"]
    assert len(re.findall("EUI ", files[0].read_text())) == 24
    if chromium is None:
        pytest.skip("no browser here: the SVG was not rendered")
    import subprocess

    shot = tmp_path / "sheet.png"
    subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={shot}",
         "--window-size=1588,2246", "--force-device-scale-factor=2", str(files[0])],
        check=True, capture_output=True, timeout=90,
    )  # fmt: skip
    with Image.open(shot) as picture:
        read = {label.parse(found.text).address for found in zxingcpp.read_barcodes(picture)}
    assert read == set(range(1, 25))

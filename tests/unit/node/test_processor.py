"""The processor model against what was measured on an emulated ESP32 (table in docs/twin.md)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MP = Path(__file__).resolve().parent / "mp"
MODEL = ROOT / "sim" / "pbal_sim" / "hal" / "processor.py"

# Milliseconds, (least, most) that the model may show. The measurement was made on an older node;
# what a node has to do since then adds to it. Fit CALL_US again only to a new measurement.
FIGURES = {
    "poll_median": (16, 24),
    "poll_most": (16, 48),
    "stock_least": (5, 11),
    "stock_median": (5, 11),
    "loop_worst": (23, 40),
    "collect": (12, 12),
    "seal_196": (0.7, 2),
}


@pytest.mark.timeout(1200)
def test_the_model_shows_what_was_measured(run_mp: Callable[..., str], tmp_path: Path) -> None:
    shutil.copy(MODEL, tmp_path / "processor.py")
    path = (tmp_path, MP, MP / "fake", ROOT / "protocol", ROOT / "firmware")
    text = run_mp("processor_app.py", path=path, virtual=True, timeout_s=1100)
    found = json.loads(text.splitlines()[-2])
    assert found["poll_bytes"] == 217  # what was measured
    print(found)
    wrong = {k: found[k] for k, (low, high) in FIGURES.items() if not low <= found[k] <= high}
    assert not wrong, found

"""The pymodbus that is installed is built as the controller's line client needs it.

When this fails after an update of pymodbus: compare its transport/serialtransport.py and
transaction/transaction.py with pi_controller/pbal_controller/bearers/rs485/line.py, mend
line.py and fit.py, run tests/unit/controller/test_line.py, then widen VERSIONS in fit.py and
pyproject.toml.
"""

import tomllib
from collections.abc import Iterator

import pytest
from pymodbus.framer import FramerRTU
from pymodbus.transaction import TransactionManager
from pymodbus.transport.serialtransport import SerialTransport
from rigs.needs import ROOT

from pbal_controller.bearers.rs485 import fit
from pbal_controller.errors import BearerError

REMEDY = f"pip install '{fit.VERSIONS}', or see the top of this file"


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    fit.check.cache_clear()
    yield
    fit.check.cache_clear()


def test_the_installed_one_fits() -> None:
    assert fit.misfits() == [], REMEDY
    fit.check()


def test_the_project_asks_for_the_versions_that_were_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert fit.VERSIONS in project["project"]["dependencies"]


def _more_fields(self: SerialTransport) -> None:
    """What a later constructor may do."""
    self.async_loop = self.intern_protocol = self.sync_serial = None
    self.intern_write_buffer, self.poll_task, self._poll_wait_time = [], None, 0
    self.brand_new = 1


@pytest.mark.parametrize(
    ("owner", "name", "value", "told"),
    [
        (SerialTransport, "__init__", _more_fields, "SerialTransport sets brand_new"),
        (TransactionManager, "__init__", lambda self, framer: None, "TransactionManager takes"),
        (SerialTransport, "intern_read_ready", None, "SerialTransport.intern_read_ready is gone"),
        (FramerRTU, "decode", lambda self, data: (0, 0, 0, b""), "FramerRTU decodes to"),
    ],
)
def test_another_build_is_refused_with_what_to_do(
    owner: type, name: str, value: object, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delattr(owner, name)
    else:
        monkeypatch.setattr(owner, name, value)
    with pytest.raises(BearerError, match="pip install") as caught:
        fit.check()
    assert told in str(caught.value)

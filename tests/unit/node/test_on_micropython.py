"""Every test file of mp/ that does not wait in real time, on the MicroPython interpreter that runs
the firmware in the twin; test_in_real_time.py has the others.
"""

from collections.abc import Callable

import pytest
from rigs import needs
from rigs.node_files import FILES, IN_REAL_TIME, IN_VIRTUAL_TIME

# Minutes where the processors have other work, too.
pytestmark = pytest.mark.timeout(1300)
# Of the removals of rules each fifth, and the quick crash loops, where long tests do not run.
ARGUMENTS = dict.fromkeys(("mp_faults.py", "mp_rules.py"), ("1" if needs.long_tests() else "5",))


@pytest.mark.parametrize("name", [name for name in FILES if name not in IN_REAL_TIME])
def test_file(name: str, run_mp: Callable[..., str]) -> None:
    args = ARGUMENTS.get(name, ())
    run_mp(name, *args, virtual=name in IN_VIRTUAL_TIME, timeout_s=1200)

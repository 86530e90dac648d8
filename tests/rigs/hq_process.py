"""`pbal-hq` as processes of their own."""

import asyncio
import signal
import sys
from pathlib import Path

from rigs.needs import PATIENCE_S

# Tables for `Headquarters.written`. Sessions are quick, and rows of sites of years ago are kept:
QUICK = (
    "[ingest]\nreorder_s = 1\nrebirth_first_s = 1\nrebirth_last_s = 4\nstored_batch = 5\n"
    "stored_within_s = 2\n[store]\nraw_days = 3660\n"
)
# and enrolment and portal listen where nobody else does.
ANY_PORTS = '[enrol]\nlisten = "127.0.0.1"\nport = 0\n[portal]\nport = 0\n'


class Process:
    """`pbal-hq WORDS`. `before`: Python that makes another version of the program."""

    def __init__(
        self, config: Path, log: Path, words: tuple[str, ...], before: str = "pass"
    ) -> None:
        self._config, self._log, self.words, self.before = config, log, words, before
        self._process = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", f"{self.before}\nfrom pbal_hq.cli import main; main()",
                *self.words, "-c", str(self._config), stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        if self.runs:
            self._process.kill()
            await self._process.wait()

    async def terminate(self, within_s: float) -> int:
        """As systemd does; gives the exit code."""
        self._process.terminate()
        return await asyncio.wait_for(self._process.wait(), within_s)

    async def stop(self) -> int:
        """The same, of one that may have just begun."""
        code = await self.terminate(PATIENCE_S)
        # Who was started a moment ago has no handler for the signal yet.
        return 0 if code == -signal.SIGTERM else code

"""`pbal-hq` as processes of their own."""

import asyncio
import contextlib
import re
import signal
import sys
from pathlib import Path

from rigs.needs import PATIENCE_S, ROOT

# Tables for `Headquarters.written`. Sessions are quick, and rows of sites of years ago are kept:
QUICK = (
    "[ingest]\nreorder_s = 1\nrebirth_first_s = 1\nrebirth_last_s = 4\nstored_batch = 5\n"
    "stored_within_s = 2\n[store]\nraw_days = 3660\n"
)
# and enrolment and portal listen where nobody else does.
ANY_PORTS = '[enrol]\nlisten = "127.0.0.1"\nport = 0\n[portal]\nport = 0\n'


UNIT = (ROOT / "hq/systemd/pbal-hq.service").read_text(encoding="utf-8")
(AGAIN_S,) = (float(text) for text in re.findall(r"^RestartSec=(\d+)$", UNIT, re.MULTILINE))
(_ends,) = re.findall(r"^RestartPreventExitStatus=(.*)$", UNIT, re.MULTILINE)
FOR_GOOD = frozenset(int(code) for code in _ends.split())  # exit codes that a person must mend


class Process:
    """`pbal-hq WORDS`. `before`: Python that makes another version of the program.

    `kept`: when it ends by itself it is started again, as its unit tells systemd to.
    """

    def __init__(
        self,
        config: Path,
        log: Path,
        words: tuple[str, ...],
        before: str = "pass",
        kept: bool = False,
    ) -> None:
        self._config, self._log, self.words, self.before = config, log, words, before
        self._kept = kept
        self._keeper = None
        self._process = None

    async def start(self) -> None:
        await self._spawn()
        if self._kept:
            self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while await self._process.wait() not in FOR_GOOD:
            await asyncio.sleep(AGAIN_S)
            await self._spawn()

    async def _leave(self) -> None:
        """From here on an end is wanted."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None

    async def _spawn(self) -> None:
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
        await self._leave()
        if self.runs:
            self._process.kill()
            await self._process.wait()

    async def terminate(self, within_s: float) -> int:
        """As systemd does; gives the exit code."""
        await self._leave()
        self._process.terminate()
        return await asyncio.wait_for(self._process.wait(), within_s)

    async def stop(self) -> int:
        """The same, of one that may have just begun, or that waits for its next start."""
        if self._kept and not self.runs:
            await self._leave()
            return 0
        code = await self.terminate(PATIENCE_S)
        # Who was started a moment ago has no handler for the signal yet.
        return 0 if code == -signal.SIGTERM else code

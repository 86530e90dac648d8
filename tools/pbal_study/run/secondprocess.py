"""pbal's own run in a second process, while this one does the rest.

The run is causal, minute after minute: it cannot be split, but everything else can be done beside
it, and the hindsight optimum follows week by week. What both work on is in a temporary folder; the
second process reports on its standard output how far it is. It has a session of its own, so that
Ctrl-C reaches this process alone, which then ends it; if this process is killed, the second finds
its output closed, clears up and ends as well.
"""

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingError, StudyError
from .controllers import Loop, Trajectory, pbal
from .street import Street

WORTH_STEPS = 10_000
"""A shorter run is over before a second process has loaded its libraries and paid for them."""

Progress = Callable[[int], None]


class Inline:
    """The run in this process, all of it at once."""

    def __init__(
        self, street: Street, relays: NDArray[np.bool_], loop: Loop, progress: Progress
    ) -> None:
        self.so_far = pbal(street, relays, loop, progress)

    def poll(self) -> None:
        """Tells the progress bar how far the run is."""

    def ready(self, steps: int) -> None:
        """Waits until the first `steps` steps of `so_far` are there."""

    def finish(self) -> Trajectory:
        """Waits for the end."""
        return self.so_far

    def close(self) -> None:
        """Ends the run, finished or not."""


class SecondProcess(Inline):
    """The run in a second process. `so_far` grows while it works."""

    def __init__(
        self, street: Street, relays: NDArray[np.bool_], loop: Loop, progress: Progress
    ) -> None:
        self._progress, self._told, self._steps = progress, 0, 0
        self._news = threading.Condition()
        self._over = False
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="pbal-study-")
        folder = Path(self._folder.name)
        try:
            np.save(folder / "watts.npy", street.watts)
            job = (street.feeder, street.step_s, street.flow.load_model, relays, loop)
            (folder / "job").write_bytes(pickle.dumps(job))
            shape = (len(street), street.feeder.n_homes)
            phases = np.lib.format.open_memmap(folder / "phases.npy", "w+", np.int8, shape)
            self.so_far = Trajectory("pbal", "pbal", phases, street.start)
            with (folder / "stderr").open("wb") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "pbal_study.run.secondprocess", str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    start_new_session=True,
                )
            threading.Thread(target=self._listen, daemon=True).start()
        except BaseException:
            self.close()
            raise

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # closed while it was read
            for line in self._process.stdout:
                with self._news:
                    self._steps += int(line)
                    self._news.notify()
        with self._news:
            self._over = True
            self._news.notify()

    def poll(self) -> None:
        """Tells the progress bar how far the run is."""
        steps = self._steps
        if steps > self._told:
            self._progress(steps - self._told)
            self._told = steps

    def ready(self, steps: int) -> None:
        """Waits until the first `steps` steps of `so_far` are there."""
        while True:
            self.poll()
            with self._news:
                if self._steps >= steps:
                    return
                if self._over:
                    raise self._failure()
                self._news.wait(1.0)

    def finish(self) -> Trajectory:
        """Waits for the end; the whole trajectory, in memory."""
        folder, so_far = Path(self._folder.name), self.so_far
        self.ready(len(so_far.phases))
        assert self._process is not None
        if self._process.wait() != 0 or not (folder / "facts").exists():
            raise self._failure()
        facts = pickle.loads((folder / "facts").read_bytes())
        return Trajectory("pbal", "pbal", np.array(so_far.phases), so_far.start, facts)

    def _failure(self) -> Exception:
        """What ended the second process."""
        assert self._process is not None
        code, folder = self._process.wait(), Path(self._folder.name)
        with contextlib.suppress(OSError):
            said: StudyError = pickle.loads((folder / "failure").read_bytes())
            return said
        if code < 0:
            return MissingError(
                f"The process that runs pbal was ended by the system (signal {-code}).",
                "Is there memory enough? Study fewer --days.",
            )
        lines = (folder / "stderr").read_text(errors="replace").strip().splitlines()
        return RuntimeError(f"second process: {lines[-1] if lines else code}")

    def close(self) -> None:
        """Ends the run, finished or not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            self._folder.cleanup()


def start(
    street: Street,
    relays: NDArray[np.bool_],
    loop: Loop,
    progress: Progress,
    beside: bool = True,
) -> Inline | SecondProcess:
    """The run beside this process where that pays and works, else here and now."""
    if beside and len(street) >= WORTH_STEPS and _processors() > 1:
        with contextlib.suppress(OSError):  # no room for the files, or no more processes
            return SecondProcess(street, relays, loop, progress)
    return Inline(street, relays, loop, progress)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _work(folder: Path) -> int:
    """The second process."""

    def tell(steps: int) -> None:
        print(steps, flush=True)

    feeder, step_s, load_model, relays, loop = pickle.loads((folder / "job").read_bytes())
    watts: Any = np.load(folder / "watts.npy", mmap_mode="r")
    phases: Any = np.lib.format.open_memmap(folder / "phases.npy", "r+")
    try:
        street = Street(feeder, watts, step_s, load_model)
        facts = pbal(street, relays, loop, tell, out=phases).facts
    except StudyError as exc:
        (folder / "failure").write_bytes(pickle.dumps(exc))
        return 1
    except BrokenPipeError:  # the first process is gone: clear up here
        shutil.rmtree(folder, ignore_errors=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    (folder / "facts").write_bytes(pickle.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(_work(Path(sys.argv[1])))

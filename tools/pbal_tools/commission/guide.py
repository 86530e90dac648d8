"""Runs the steps in order, one screen each, and stops where the crew has to act."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pbal_controller.documents import dump_json
from pbal_host import counted

from ..errors import Ambiguous, CheckFailed, CliError, RefusedError
from . import content
from . import survey as surveys
from .air import Air
from .calibrate import calibrate_home
from .job import Job, rel
from .joins import hear, listen_s, open_points
from .joins import lines as join_lines
from .scan import contact, scan
from .signature import key_paths, public_hex, sign, signing_key
from .sitemeasured import write_site
from .transfer import restore_all, tour
from .watch import identify

Between = Callable[[str], None]
_WATCHED = ("scan", "survey", "contact", "phases")  # a repeat changes nothing: --go-on passes them


class Guide:
    """One run. `passphrase` opens the signing key; `show` prints lines for a person."""

    def __init__(
        self, job: Job, passphrase: bytes, units: range, watch: tuple[float, float], go_on: bool,
        show: Callable[[list[str]], None],
        between: Between | None = None,
        again: str | None = None,
        margin_db: float = surveys.MARGIN_DB,
        listen_s: float | None = None,
    ) -> None:  # fmt: skip
        self.job = job
        self.state = job.state
        self._passphrase = passphrase
        self._units = units
        self._watch_s, self._every_s = watch
        self._go_on = go_on
        self._show = show
        self._between = between
        self._margin_db = margin_db
        self._listen_s = listen_s
        self._steps = steps = job.medium.steps
        self._kept = steps[: steps.index(again)] if again else ()  # as they are: see --again
        self._points: list[str] = []

    def run(self, last: str) -> None:
        """Every step that is not done yet, up to `last`. Raises the step's error.

        Open points that were passed are shown once more at the end, however the run ends.
        """
        try:
            self._run(last)
        finally:
            if self._points:
                self._show(["", "Open points:", *(f"  {words}" for words in self._points)])

    def _run(self, last: str) -> None:
        restored = restore_all(self.job)
        if restored:
            self._show([f"put back the settings of homes {', '.join(map(str, restored))}, which "
                        "an earlier run had left changed"])  # fmt: skip
        steps = self._steps
        for number, step in enumerate(steps[: steps.index(last) + 1], 1):
            head = f"Step {number} of {len(steps)}: {content.TITLES[step]}"
            told = self.state.data["steps"].get(step)
            if told and told["ok"]:
                self._show([head, f"  done {content.stamp(told['at_s'])}"])
                continue
            if told and (step in self._kept or (self._go_on and step in _WATCHED)):
                self._show([head, f"  open since {content.stamp(told['at_s'])}: {told['words']}",
                            f"  repeat it with --again {step}"])  # fmt: skip
                continue
            getattr(self, f"_{step}")(head)

    def _open(
        self, step: str, words: str, error: CliError, points: list[str] | None = None, **result: Any
    ) -> None:
        """A step with open points: noted; it ends the run unless --go-on.

        Then the next step waits until a person has read `points` (by default the error).
        """
        self.state.step(step, False, words, **result)
        if not self._go_on:
            raise error
        points = points or [f"{error.message} {error.remedy}"]
        self._points += points
        self._show(["  OPEN:", *(f"    {line}" for line in points)])
        self.job.ask.ready(f"{step}.read", "Read this")

    def _sound(self) -> list[int]:
        """Homes with no open point so far. The others are named, and left as they are."""
        sound = []
        for address in self.job.reached():
            notes = self.state.home(address).get("phases", {})
            if notes.get("ok"):
                sound.append(address)
                continue
            why = "; ".join([*notes.get("faults", []), *notes.get("todo", [])])
            self._show([f"  home {address} is left out: {why or 'its phase was not measured'}"])
        return sound

    # -- the steps -----------------------------------------------------------------------

    def _scan(self, head: str) -> None:
        if isinstance(self.job.medium, Air):
            self._joins(head, self.job.medium)
            return
        found = scan(self.job, self._units)
        lines = [head]
        lines += [
            f"  unit {n['unit']:>3}  {n['board']:<18} {n['version']:<8} {n['name']}"
            + ("" if n["address"] is not None else "   NOT IN THE SITE FILE")
            for n in found["provisioned"]
        ]
        lines += [
            f"  no keys   {n['eui']}  {n['board']}"
            + (f"   the site file has it as home {n['home']}" if n["home"] else "")
            for n in found["waiting"]
        ]
        lines += [f"  {crowd['words']}" for crowd in found["crowded"]]
        lines += [f"  home {address} does not answer" for address in found["absent"]]
        lines.append(f"  {found['took_s']} s, {found['questions']} questions of the search, "
                     f"{found['collisions']} collisions")  # fmt: skip
        self._show(lines)
        words = [crowd["words"] for crowd in found["crowded"]]
        if found["absent"]:
            words.append(f"no answer: {_homes(found['absent'])}")
        if found["waiting"]:
            words.append(f"{counted(len(found['waiting']), 'node')} without keys")
        if found["strange"]:
            words.append(f"units {_list(found['strange'])} are not in the site file")
        if not found["complete"]:
            words.append("the search did not come to an end")
        if words:
            remedy = "Check supply and wiring of what is silent."
            if found["crowded"]:
                remedy = f"{found['crowded'][0]['remedy']}."
            elif found["waiting"]:
                remedy = ("Keys travel over a cable only, never over the line: pbal provision add "
                          "--port USB (pbal commission blink EUI shows which box).")  # fmt: skip
            elif found["strange"]:
                remedy = "Add them to the site file, or take them off the line."
            self._open(
                "scan", "; ".join(words),
                CheckFailed(f"On bus {self.job.bus_name}: {'; '.join(words)}.",
                            f"{remedy} Or go on with the others: --go-on"), **found,
            )  # fmt: skip
        else:
            self.state.step("scan", True, counted(len(found["provisioned"]), "node"), **found)

    def _joins(self, head: str, air: Air) -> None:
        """The scan over a radio."""
        seconds = self._listen_s or listen_s(air)
        self._show([head, f"  listening for {seconds:.0f} s at most: nodes join by themselves"])
        found = hear(self.job, seconds)
        self._show(join_lines(found))
        words, remedy = open_points(found)
        if words:
            self._open(
                "scan", "; ".join(words),
                CheckFailed(f"On radio {air.name}: {'; '.join(words)}.",
                            f"{remedy} Or go on with the others: --go-on"), **found,
            )  # fmt: skip
        else:
            self.state.step("scan", True, counted(len(found["heard"]), "home"), **found)

    def _survey(self, head: str) -> None:
        """How well each home is heard that is heard at all; only over a radio."""
        air = self.job.air
        heard = {talk.address for talk in self.job.talks.values() if talk.hello is not None}
        told = surveys.Survey(self._margin_db, frozenset(heard))
        seconds = 2 * (surveys.FRAMES + 1) * air.turn_s + 10
        self._show([head, f"  listening for {seconds:.0f} s at most; turn weak antennas meanwhile"])
        end = time.monotonic() + seconds
        while not told.done and time.monotonic() < end and heard:
            air.check()
            told.note(air.status())
            time.sleep(0.5)
        self.state.data["survey"] = told.as_dict()
        self._show([f"  {line}" for line in surveys.lines(told)])
        picture = self.state.folder / "survey.png"
        with contextlib.suppress(ImportError):  # the pictures are an extra; the report needs it
            surveys.save(told, picture)
            self._show([f"  picture: {rel(picture)}"])
        weak = [home.address for home in told.bad()]
        if weak or not heard:
            words = f"no good link: {_homes(weak)}" if weak else "no home is heard"
            self._open(
                "survey", words,
                CheckFailed(f"On radio {air.name}: {words}.",
                            "Turn or raise the antenna and look at its plug, then run this again. "
                            "Or go on all the same: --go-on"),
            )  # fmt: skip
        else:
            self.state.step("survey", True, counted(len(heard), "home"))

    def _contact(self, head: str) -> None:
        told = contact(self.job)
        lines = [head]
        for home in self.job.homes:
            notes = self.state.home(home.address)["contact"]
            proof = "proved its key" if notes["ok"] else "; ".join(notes["faults"])
            lines.append(f"  home {home.address:>5} {home.name:<16} {proof}")
        self._show(lines)
        if told["failed"]:
            first = next(iter(told["failed"]))
            notes = self.state.home(first)["contact"]
            remedy = next(iter(notes.get("todo", [])), "Put it right, then repeat.")
            self._open(
                "contact", f"{_homes(told['failed'])}",
                CheckFailed(f"Home {first}: {'; '.join(notes['faults'])}.",
                            f"{remedy} Or go on with the others: --go-on"), **told,
            )  # fmt: skip
        else:
            self.state.step("contact", True, f"{told['homes']} homes", **told)

    def _phases(self, head: str) -> None:
        self._show([head, f"  watching for {self._watch_s:g} s at most"])
        told = identify(self.job, self._watch_s, self._every_s)
        lines = []
        for address in self.job.reached():
            notes = self.state.home(address)["phases"]
            real = notes["real_phase"] or "?"
            lines.append(f"  home {address:>5}: phase {real}, current transformer "
                         f"{content.direction_words(notes['direction'])}")  # fmt: skip
            lines += [f"      {words}" for words in [*notes["faults"], *notes["todo"]]]
            lines += [f"      {content.witness_words(w)}" for w in notes["verdicts"]]
        self._show(lines)
        if told["faults"]:
            first = next(iter(told["faults"]))
            self._open(
                "phases", f"faults at {_homes(told['faults'])}",
                CheckFailed(f"Home {first}: {'; '.join(told['faults'][first])}.",
                            "Put the wiring right, then run this again."),
                [f"home {a}: {'; '.join(words)}" for a, words in told["faults"].items()], **told,
            )  # fmt: skip
        elif told["unsure"]:
            first = next(iter(told["unsure"]))
            todo = "; ".join(told["unsure"][first])
            self._open(
                "phases", f"unclear at {_homes(told['unsure'])}",
                Ambiguous(f"The phase of {_homes(told['unsure'])} is not clear.",
                          f"Home {first}: {todo}. Then run this again."), **told,
            )  # fmt: skip
        else:
            self.state.step("phases", True, counted(len(told["sure"]), "home"), **told)

    def _calibrate(self, head: str) -> None:
        self._show([head])
        for address in self._sound():
            if self.state.home(address).get("calibrate", {}).get("ok"):
                continue
            wanted = self.job.ask.yes(
                f"calibrate.{address}.wanted", f"Calibrate home {address}?",
                bool(self.job.ask.given(f"calibrate.{address}")),
            )  # fmt: skip
            if not wanted:
                self.state.home(address)["calibrate"] = {"ok": True, "skipped": True}
                self.state.save()
                continue
            self._calibrate_home(address)
            notes = self.state.home(address)["calibrate"]
            if notes.get("skipped"):
                self._show([f"  home {address}: no values given"])
                continue
            rows = content.calibration_rows({"calibration": notes})
            self._show([f"  home {address}:", *_columns(rows, 11)])
        self.state.step("calibrate", True)

    def _calibrate_home(self, address: int) -> None:
        """One home; after a mistyped value the question is asked again."""
        while True:
            try:
                return calibrate_home(self.job, address, self._between)
            except CheckFailed as exc:
                self._show([f"  home {address}: {exc.message}", f"  {exc.remedy}"])
                if self.job.ask.headless or not self.job.ask.yes(
                    f"calibrate.{address}.again", "Give its values once more?", True
                ):
                    self.state.step("calibrate", False, exc.message)
                    raise

    def _transfer(self, head: str) -> None:
        self._show([head])
        sound = self._sound()
        homes = [a for a in sound if not self.state.home(a).get("transfer", {}).get("ok")]
        self._show([f"  each home is dark three times, for less than half a second: "
                          f"{_list(homes)}"])  # fmt: skip
        if homes and not self.job.ask.yes(
            "transfer.consent", "Do the people there know, and do you want it now?", False
        ):
            raise RefusedError(
                "The transfer test was not agreed to.",
                'Agree on the terminal, or with {"transfer": {"consent": true}} in --answers.',
            )
        failed: list[int] = []
        for address in homes:
            try:
                told = tour(self.job, address)
            except RefusedError as exc:
                self.state.home(address)["transfer"] = {"ok": False, "refused": exc.message}
                self.state.save()
                self._show([f"  home {address}: {exc.message}"])
                if not self.job.home(address).fixed:
                    failed.append(address)
                continue
            rows = content.move_rows(told)
            verdict = "passed" if told["ok"] else "FAILED"
            self._show([
                f"  home {address}: {verdict}", *_columns(rows, 12),
                f"    {content.load_words(told['load'])}",
            ])  # fmt: skip
            if not told["ok"]:
                failed.append(address)
        untested = [a for a in self.job.reached() if a not in sound]
        if untested and not failed:
            self._open(
                "transfer", f"not tested: {_homes(untested)}",
                CheckFailed(f"Not tested, as points are open there: {_homes(untested)}.",
                            "Put them right, then: pbal commission run ... --again phases"),
            )  # fmt: skip
        elif failed:
            self._open(
                "transfer", _homes(failed),
                CheckFailed(f"The transfer test of {_homes(failed)} failed.",
                            "Look at the figures above and at the homes' events."),
            )  # fmt: skip
        else:
            self.state.step("transfer", True, counted(len(homes), "home"))

    def _report(self, head: str) -> None:
        report, folder = write_report(self.job, self._passphrase)
        written = write_site(self.job)
        self.state.step("report", True, str(folder), ok_all=report["ok"], folder=str(folder))
        lines = [head, f"  {rel(folder)}: report.html, report.pdf, report.json, report.sig"]
        lines += [f"  open: {words}" for words in report["open"]]
        public = key_paths(self.job.store.path)[1]
        lines.append(
            f"  {rel(written)}: the site file with what was measured; compare, then keep it"
        )
        lines.append(f"  next: pbal commission verify {rel(folder)} --public {rel(public)}")
        self._show(lines)
        if not report["ok"]:
            raise CheckFailed(
                f"The report is written and signed, with {len(report['open'])} open points.",
                "Put them right and repeat the step: pbal commission run ... --again phases",
            )


def write_report(job: Job, passphrase: bytes) -> tuple[dict[str, Any], Path]:
    """Writes JSON, HTML, PDF and signature into the record's folder, and verifies them."""

    from .htmlreport import page
    from .pdfreport import paper

    crew = job.ask.text("report.crew", "Who commissioned it", "")
    remarks = job.ask.text("report.remarks", "Remarks", "")
    key = signing_key(job.store.path, passphrase)
    public = public_hex(key)
    data = job.state.data
    report = content.content(job.site, data, crew, remarks)
    folder = job.state.folder / time.strftime("report-%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(dump_json(report, indent=1) + "\n", encoding="utf-8")
    (folder / "report.html").write_text(page(report, data, public), encoding="utf-8")
    paper(folder / "report.pdf", report, data, public)
    sign(folder, job.site.site.id, key)
    return report, folder


def _homes(numbers: Any) -> str:
    return f"{'home' if len(numbers) == 1 else 'homes'} {_list(numbers)}"


def _list(numbers: Any) -> str:
    return ", ".join(str(n) for n in numbers)


def _columns(rows: list[list[str]], width: int) -> list[str]:
    return ["    " + "  ".join(f"{cell:>{width}}" for cell in row) for row in rows]

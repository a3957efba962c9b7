"""Carries out a plan, proves that it helped, and takes it back where it did not, or whenever a person asks.

    apply(plan, confirm) -> Receipt     the steps of a plan; the environment is as before where one of them fails
    undo(receipt) -> Receipt            as the environment was before a repair, also of one that was killed
    discard(receipt)                    drop what is kept of a repair: it cannot be undone afterwards
    free(python)                        whether a repair could begin there now; KitError with the reason where not

All that a repair keeps lies in ``PREFIX/.kit/ID/`` (see :mod:`kit.repair.journal`).
"""

import os
import re
import sys
import time
from collections.abc import Iterable
from typing import Any, Callable, Optional, Union

from kit.collect import collect, interpreter, redactor
from kit.diagnose import diagnose
from kit.errors import KitError
from kit.facts import Facts
from kit.findings import Findings
from kit.record import Record
from kit.repair.change import Progress, Tick, Worker, command
from kit.repair.installer import Installer, choose
from kit.repair.journal import Journal, journals
from kit.repair.locking import check, lock
from kit.repair.places import ask
from kit.repair.plan import Plan, Step
from kit.repair.signals import ending, undisturbed
from kit.repair.tree import FOLDER, remove
from kit.verify import Verification, verify

__all__ = ["Interrupted", "Progress", "Receipt", "Tick", "apply", "discard", "free", "undo"]

_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")

Examine = Callable[[str], Findings]
Check = Callable[[str], Verification]


class Interrupted(KitError):
    """A repair was interrupted in the middle, and has to be undone before the next one."""


def examine_with(facts: Facts) -> Examine:
    """What diagnoses an environment, for the GPU that was wished for in ``facts``."""
    wished = next((gpu.capability for gpu in facts.host.gpus if gpu.wished), None)

    def examine(python: str) -> Findings:
        found = collect(python)
        return diagnose(found.with_gpu(wished) if wished else found)

    return examine


class Receipt(Record):
    """What came of a repair: ``state`` is ``applied``, ``undone``, ``nothing`` or ``interrupted``, ``why`` the reason
    where it is not applied.

    ``path`` is the folder where the repair is kept, '' where nothing was begun; ``steps`` those that were carried out
    (and taken back, where it is undone); ``notes`` name what could not be brought back.  ``log`` holds what pip said.
    """

    id: str
    path: str
    python: str
    state: str
    steps: tuple[Step, ...] = ()
    why: str = ""
    verification: Optional[Verification] = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    pip: str = ""

    @property
    def log(self) -> str:
        """The file that holds what pip said, '' where nothing was begun."""
        return os.path.join(self.path, "log") if self.path else ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)

    def to_dict(self) -> dict[str, Any]:
        steps = [
            {"failure": s.failure, "package": s.package, "kind": s.kind, "argv": list(s.argv)} for s in self.steps
        ]
        return {
            "schema": 1,
            "id": self.id,
            "path": self.path,
            "python": self.python,
            "state": self.state,
            "why": self.why,
            "steps": steps,
            "verification": None if self.verification is None else self.verification.to_dict(),
            "seconds": self.seconds,
            "notes": list(self.notes),
            "pip": self.pip,
        }


def apply(
    plan: Plan,
    confirm: Callable[[Plan], bool],
    progress: Optional[Progress] = None,
    python: Optional[str] = None,
    *,
    examine: Optional[Examine] = None,
    prove: Optional[Check] = None,
) -> Receipt:
    """Carry out ``plan`` in the environment of ``python`` (default: that of its facts), if ``confirm(plan)`` says so.

    Afterwards the environment is diagnosed (``examine``) and verified (``prove``) again: the plan's findings must be
    gone, none may be new, and no check may fail but those that failed before and belong to a finding that is left.
    Where that is not so, or a step fails, everything is taken back and the receipt says why.  Raises KitError where
    the repair cannot be begun; Ctrl-C and SIGTERM take everything back and go on.
    """
    executable = interpreter(python or plan.facts.python.executable)
    examine = examine or examine_with(plan.facts)
    if not plan.steps:
        return Receipt("", "", redactor()(executable), "nothing", why="the plan has no steps")
    names = [name for step in plan.steps for name in command(step).names]
    to = choose(executable, names)
    check(to.root)
    _unfinished(to.root, to.python)
    if not confirm(plan):
        return Receipt("", "", redactor()(executable), "nothing", why="not confirmed; nothing was changed")
    with lock(to.root) as held, ending():
        _unfinished(to.root, to.python)
        _sweep(to.root)
        return _Repair(plan, to, held, progress, examine, prove).run()


class _Repair:
    """One run of :func:`apply`, under the lock."""

    def __init__(
        self,
        plan: Plan,
        to: Installer,
        held: int,
        progress: Optional[Progress],
        examine: Examine,
        prove: Optional[Check],
    ):
        self.plan, self.to, self.held, self.progress = plan, to, held, progress
        self.examine, self.proof = examine, prove
        self.verification: Optional[Verification] = None
        self.done: list[Step] = []
        self.start = time.monotonic()

    def run(self) -> Receipt:
        explained = bool(self.plan.aside) or any(finding.severity != "note" for finding in self.plan.left)
        failing = _failing(self.prove(0)) if explained else set()
        try:
            steps = [{"failure": s.failure, "package": s.package, "argv": list(s.argv)} for s in self.plan.steps]
            journal = Journal.begin(self.to.root, python=self.to.python, steps=steps, pip=self.to.why)
        except OSError as error:
            _sweep(self.to.root)
            return self.receipt(None, "nothing", f"the repair cannot be written down: {_words(error)}")
        worker = Worker(self.to, journal, self.held, self.plan.facts, self.progress, len(self.plan.steps))
        try:
            for step in self.plan.steps:
                worker.carry_out(step)
                self.done.append(step)
            why = self.judge(worker, failing)
            if not why:
                journal.finish()
                return self.receipt(journal, "applied")
        except (KitError, OSError) as error:
            why = str(error) if isinstance(error, KitError) else _words(error)
        except BaseException:
            with undisturbed():
                self.take_back(worker, journal)
            raise
        with undisturbed():
            return self.take_back(worker, journal, why)

    def judge(self, worker: Worker, failing: set[str]) -> str:
        """Why the repair did not help; '' where it did."""
        worker.tell("verifying", "diagnosis")
        findings = self.examine(self.to.python)
        ours = {(step.failure, step.package) for step in self.plan.steps}
        left = {(finding.failure, finding.package) for finding in self.plan.left} | set(self.plan.aside)
        for finding in findings:
            key = (finding.failure, finding.package)
            if key in ours:
                return f"the repair did not help: {finding.title}"
            if key not in left and finding.severity != "note":
                return f"the repair made a new failure: {finding.title}"
        worker.tell("verifying", "checks")
        self.verification = self.prove(worker.step)
        worse = _failing(self.verification) - failing
        first = next((c for c in self.verification.checks if c.name in worse), None)
        return f"a check fails after the repair: {first.name}: {first.detail}" if first else ""

    def prove(self, step: int) -> Verification:
        """The checks, whose progress belongs to ``step``."""
        if self.proof is not None:
            return self.proof(self.to.python)
        start = time.monotonic()

        def tell(check: str, done: int, total: int) -> None:
            if self.progress is not None:
                elapsed = time.monotonic() - start
                self.progress(Tick(step, len(self.plan.steps), "verifying", check, done, total, "checks", elapsed))

        return verify(self.to.python, progress=tell)

    def take_back(self, worker: Worker, journal: Journal, why: str = "") -> Receipt:
        changed = journal.state != "nothing"
        worker.tell("undoing")
        try:
            notes = journal.undo(tell=lambda done, total: worker.tell("undoing", "", done, total, "files"))
        except OSError as error:
            why = f"{why}; it could not be taken back ({_words(error)}): mend that, then: {_undo(self.to.python)}"
            return self.receipt(journal, "interrupted", why)
        return self.receipt(journal, "undone" if changed else "nothing", why, notes)

    def receipt(self, journal: Optional[Journal], state: str, why: str = "", notes: Iterable[str] = ()) -> Receipt:
        name, path = (journal.id, journal.folder) if journal else ("", "")
        seconds = round(time.monotonic() - self.start, 2)
        redact = redactor()
        return Receipt(
            name,
            path,
            redact(self.to.python),
            state,
            tuple(self.done),
            redact(why),
            self.verification,
            seconds,
            tuple(map(redact, notes)),
            self.to.why,
        )


def undo(receipt: Union[Receipt, str, None] = None, python: Optional[str] = None, force: bool = False) -> Receipt:
    """Take a repair back: that of ``receipt`` (or its id or path), else the latest where ``python`` (this one) is.

    May be killed and done again.  Raises KitError where there is nothing to undo, where another repair is under way,
    and where files of a finished repair were changed since, unless ``force``.
    """
    start = time.monotonic()
    journal, executable = _chosen(receipt, python)
    with lock(journal.root), undisturbed():
        state = journal.state
        notes = journal.undo(force)
        why = (
            "it was undone before" if state == "undone" else "nothing had been changed" if state == "nothing" else ""
        )
        redact = redactor()
        return Receipt(
            journal.id,
            journal.folder,
            redact(executable),
            "nothing" if state == "nothing" else "undone",
            receipt.steps if isinstance(receipt, Receipt) else (),
            why,
            None,
            round(time.monotonic() - start, 2),
            tuple(map(redact, notes)),
        )


def free(python: Optional[str] = None) -> None:
    """Raise KitError where a repair of the environment of ``python`` (this one) could not begin: one is under way, or
    one was interrupted (:class:`Interrupted`).  Nothing is written."""
    executable = sys.executable if python is None else interpreter(python)
    for root in _roots(executable):
        check(root)
        _unfinished(root, executable)


def discard(receipt: Union[Receipt, str, None] = None, python: Optional[str] = None) -> None:
    """Drop what is kept of a repair, which cannot be undone then.  Raises KitError for one that was interrupted."""
    journal, executable = _chosen(receipt, python)
    with lock(journal.root):
        if journal.state == "interrupted":
            raise KitError(f"the repair {journal.id} was interrupted; restore it first: {_undo(executable)}")
        gone = os.path.join(journal.root, FOLDER, f"gone-{journal.id}")
        os.rename(journal.folder, gone)
        remove(gone)


def _chosen(receipt: Union[Receipt, str, None], python: Optional[str]) -> tuple[Journal, str]:
    if isinstance(receipt, Receipt) or (receipt and os.path.basename(receipt) != receipt):
        path = receipt.path if isinstance(receipt, Receipt) else os.path.realpath(os.path.expanduser(receipt))
        journal = Journal(path)
        begun = next((event for event in journal.events() if event["event"] == "begin"), None)
        if not path or begun is None:
            raise KitError("this receipt is of no repair that is kept: nothing was changed, or it was discarded")
        return journal, begun["python"]
    executable = sys.executable if python is None else interpreter(python)
    found = [journal for root in _roots(executable) for journal in journals(root)]
    if receipt is not None:
        found = [journal for journal in found if journal.id == receipt]
        if not found:
            raise KitError(f"no repair of {redactor()(executable)} that is kept is called {receipt}")
    alive = [journal for journal in found if journal.state in ("applied", "interrupted")]
    if not found:
        raise KitError(f"no repair of {redactor()(executable)} is kept, so there is nothing to undo")
    return max(alive or found, key=lambda journal: journal.id), executable


def _roots(executable: str) -> list[str]:
    """The folders that may hold repairs of this interpreter's environment; a virtual one is only looked at."""
    folder = os.path.dirname(os.path.dirname(executable))
    if os.path.isfile(os.path.join(folder, "pyvenv.cfg")):
        return [os.path.realpath(folder)]
    said = ask(executable)
    places = [said["prefix"], said["paths"].get("data", ""), said["user"]["base"]]
    return list(dict.fromkeys(os.path.realpath(place) for place in places if place))


def _unfinished(root: str, python: str) -> None:
    for journal in journals(root):
        if journal.state == "interrupted":
            raise Interrupted(
                f"a repair of this environment was interrupted ({journal.id}); restore it first: {_undo(python)}"
            )


def _sweep(root: str) -> None:
    """Remove what is left of repairs that were killed before they changed anything, and of discarded ones."""
    folder = os.path.join(root, FOLDER)
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith("gone-") or (_ID.fullmatch(name) and Journal(path).state == "nothing"):
            remove(path)


def _failing(verification: Verification) -> set[str]:
    return {check.name for check in verification.checks if check.ok is False}


def _undo(executable: str) -> str:
    return f"kit undo --python {redactor()(executable)}"


def _words(error: OSError) -> str:
    return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")

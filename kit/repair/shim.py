"""A shim for an environment as a repair: installed with a journal, and taken back with what it displaced."""

from typing import Callable, Optional

from kit.collect import collect
from kit.errors import KitError
from kit.facts import Facts
from kit.findings import Cost, Findings
from kit.published import pip
from kit.published import shim as switch
from kit.repair import Progress, Receipt, apply, undo
from kit.repair.installer import choose
from kit.repair.journal import journals
from kit.repair.plan import Plan, Step
from kit.shims import ALL, Shim, Shims, State, find
from kit.shims.installed import distribution, grafting, place


def enable(
    name: str, python: Optional[str] = None, cover: bool = False, progress: Optional[Progress] = None
) -> Receipt:
    """Install the shim for every process of the environment of ``python`` (this one).

    KitError where it is there already, or another package of that name would be hidden without ``cover``.
    """
    shim, facts = find(name), collect(python, probes=False)
    distribution(facts, shim, cover)  # or the reason why not
    why = f"Have `import {name}` find the kit's replacement, in every process of this environment"
    return _apply(_step(shim, "use-replacement", why, switch(facts, name, cover)), facts, progress)


def disable(name: str, python: Optional[str] = None, progress: Optional[Progress] = None) -> Receipt:
    """Take the shim out of the environment; what it displaced is back.  KitError where it is not installed."""
    shim, facts = find(name), collect(python, probes=False)
    if place(facts, shim) != "shim":
        raise KitError(f"the shim {name} is not installed in this environment")
    for journal in reversed(journals(choose(facts.python.executable).root)):
        begun = [event for event in journal.events() if event["event"] == "begin"]
        argvs = [step["argv"][:4] for event in begun for step in event["steps"]]
        if journal.state == "applied" and argvs == [["kit", "shim", "enable", name]]:
            return undo(journal.folder)
    grafted = facts.distribution(grafting(shim)) is not None
    argv = pip(facts, "uninstall", "--yes", grafting(shim) if grafted else shim.package)
    step = _step(shim, "uninstall-package", f"Uninstall the shim {name}", argv)
    return _apply(step, facts, progress, examine=lambda python: Findings(facts, ()))  # what it hid is back: as wished


def states(python: Optional[str] = None) -> Shims:
    """The replacements, and what stands in their place in the environment of ``python``."""
    facts = collect(python, probes=False)
    found = []
    for shim in ALL.values():
        module = facts.module(shim.package)
        found.append((shim, State(place(facts, shim), module.path if module else "")))
    return Shims(tuple(found))


def _step(shim: Shim, kind: str, why: str, argv: tuple[str, ...]) -> Step:
    return Step("", shim.package, kind, why, argv, {}, "changes-environment", Cost(seconds=5))


def _apply(
    step: Step, facts: Facts, progress: Optional[Progress], examine: Optional[Callable[[str], Findings]] = None
) -> Receipt:
    from kit.diagnose import diagnose

    there = tuple(finding for finding in diagnose(facts) if finding.severity != "note")
    return apply(Plan(facts, (step,), there), lambda plan: True, progress, examine=examine)

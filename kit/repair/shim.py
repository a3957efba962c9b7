"""A shim for an environment as a repair: installed with a journal, and taken back with what it displaced."""

from typing import Optional

from kit.collect import collect
from kit.diagnose import diagnose
from kit.errors import KitError
from kit.facts import Facts, normalise
from kit.findings import Cost, Finding, Findings
from kit.published import pip
from kit.published import shim as switch
from kit.repair import Progress, Receipt, apply, undo
from kit.repair.installer import choose
from kit.repair.journal import journals
from kit.repair.plan import Plan, Step
from kit.shims import ALL, Shim, Shims, State, find
from kit.shims.installed import distribution, place


def enable(
    name: str, python: Optional[str] = None, cover: bool = False, progress: Optional[Progress] = None
) -> Receipt:
    """Install the shim for every process of the environment of ``python`` (this one).

    KitError where it is there already, or another package of that name would be hidden without ``cover``.
    """
    shim, facts = find(name), collect(python, probes=False)
    distribution(facts, shim, cover)  # or the reason why not
    why = f"Have `import {name}` find the kit's replacement, in every process of this environment"
    argv = switch(facts, name, cover)
    found = [finding for finding in diagnose(facts) if finding.severity != "note"]
    # Where a finding asks for the shim, this is its repair, and the finding has to be gone.
    mended = next((finding for finding in found if _asks_for(argv, shim, finding)), None)
    step = _step(shim, "use-replacement", why, argv, mended.failure if mended else "")
    left = tuple(finding for finding in found if finding is not mended)
    return apply(Plan(facts, (step,), left), lambda plan: True, progress)


def disable(name: str, python: Optional[str] = None, progress: Optional[Progress] = None) -> Receipt:
    """Take the shim out of the environment; what it displaced is back.  KitError where it is not installed."""
    shim, facts = find(name), collect(python, probes=False)
    installed = facts.replacement(shim.package)
    if installed is None:
        raise KitError(f"the shim {name} is not installed in this environment")
    for journal in reversed(journals(choose(facts.python.executable).root)):
        begun = [event for event in journal.events() if event["event"] == "begin"]
        argvs = [step["argv"][:4] for event in begun for step in event["steps"]]
        if journal.state == "applied" and argvs == [["kit", "shim", "enable", name]]:
            return undo(journal.folder)
    argv = pip(facts, "uninstall", "--yes", installed.key)
    step = _step(shim, "uninstall-package", f"Uninstall the shim {name}", argv)
    back = Findings(facts, ())  # what it hid is back, as wished
    return apply(Plan(facts, (step,)), lambda plan: True, progress, examine=lambda python: back)


def again(facts: Facts) -> dict[str, Step]:
    """The replacements of this environment as steps for another one, by the distribution that each is here."""
    found = {}
    for shim in ALL.values():
        installed = facts.replacement(shim.package)
        if installed is not None:
            why = f"Have `import {shim.name}` find the kit's replacement, as here"
            found[installed.key] = _step(shim, "use-replacement", why, switch(facts, shim.name))
    return found


def states(python: Optional[str] = None) -> Shims:
    """The replacements, and what stands in their place in the environment of ``python``."""
    facts = collect(python, probes=False)
    found = []
    for shim in ALL.values():
        module = facts.module(shim.package)
        found.append((shim, State(place(facts, shim), module.path if module else "")))
    return Shims(tuple(found))


def _asks_for(argv: tuple[str, ...], shim: Shim, finding: Finding) -> bool:
    of_it = normalise(finding.package or "") == normalise(shim.package)
    return of_it and any(fix.argv == argv for fix in finding.fix)


def _step(shim: Shim, kind: str, why: str, argv: tuple[str, ...], failure: str = "") -> Step:
    return Step(failure, shim.package, kind, why, argv, {}, "changes-environment", Cost(seconds=5))

"""Findings to a plan: ordered steps, each checked on simulated facts before it is offered.

A pure function of the findings: nothing here reads or changes a machine.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Callable, Optional

from kit.diagnose import diagnose
from kit.errors import KitError
from kit.facts import Facts
from kit.findings import Cost, Finding, Findings, Fix
from kit.published import PYG, PYG_PAGES
from kit.record import Record
from kit.repair.simulate import change, simulate

_LIMIT = 12  # steps of one plan

Key = tuple[str, Optional[str]]
Refuse = Callable[[Facts, Fix], Optional[str]]


class Step(Record):
    """One change of the environment.  ``argv`` is what a person would type, ``env`` is added to its environment."""

    failure: str
    package: Optional[str]
    kind: str
    why: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    safety: str
    cost: Cost

    @property
    def fix(self) -> Fix:
        """The fix that the step carries out."""
        return Fix(self.kind, self.why, self.argv, self.env, self.safety, self.cost)


class Plan(Record):
    """The steps that mend an environment, in order, and the findings that are left to a person.

    ``refused`` tells of fixes that were tried on paper and not taken: what they were, and why.  ``aside`` names
    findings that nobody wants mended now, by failure and package.
    """

    facts: Facts
    steps: tuple[Step, ...] = ()
    left: tuple[Finding, ...] = ()
    refused: tuple[str, ...] = ()
    aside: tuple[Key, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        steps = [{**dataclasses.asdict(step), "argv": list(step.argv)} for step in self.steps]
        left = [finding.to_dict() for finding in self.left]
        python = self.facts.python.executable
        return {"schema": 1, "python": python, "steps": steps, "left": left, "refused": list(self.refused)}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


def plan(
    findings: Findings, only: Optional[str] = None, index: Optional[str] = None, refuse: Optional[Refuse] = None
) -> Plan:
    """Steps that mend these findings, or the ones of the failure ``only``.

    Each step is tried on simulated facts.  A fix is taken where its finding is gone afterwards and what it brings
    about is mended by the steps that follow: torch changed, and every extension after it.  A finding that no such
    steps mend is left to a person.  ``index`` is a mirror of PyG's pages.  ``refuse`` is asked about each fix, and
    answers why it cannot be had here, as :func:`unpublished` does, or None.  KitError where ``only`` names nothing
    that was found.
    """
    trouble = _trouble(findings)
    if only is not None and only not in {finding.failure for finding in trouble}:
        there = ", ".join(dict.fromkeys(f.failure for f in trouble)) or "nothing"
        raise KitError(f"{only} was not found here, so there is nothing to mend; found: {there}")
    search = _Search(findings, refuse or (lambda facts, fix: None), index)
    set_aside = frozenset(key(f) for f in trouble if only is not None and f.failure != only)
    steps, given_up = search.mend(findings.facts, (), set_aside) or ((), {key(f) for f in trouble})
    left = tuple(f for f in trouble if key(f) in given_up and key(f) not in set_aside)
    aside = tuple(key(f) for f in trouble if key(f) in set_aside)
    return Plan(findings.facts, tuple(steps), left, tuple(dict.fromkeys(search.refused)), aside)


def unpublished(facts: Facts, fix: Fix) -> Optional[str]:
    """Why a wheel for these facts cannot be had: its page was read, and lists none that fits.  None where it can, or
    where the page cannot be read: pip then says so, before anything is changed."""
    what = change(fix.argv or ())
    if fix.kind != "install-matching-wheel" or what is None or what.index is None or what.installs[0].name not in PYG:
        return None
    from kit.wheels import wheels  # with all that the network takes

    pin = what.installs[0]
    answer = wheels([pin.name], facts, index=what.index).packages[0]
    fits = any(one.fits and f"-{pin.version}-" in one.filename for one in answer.candidates)
    return None if fits or answer.source == "table" else f"{answer.index_url} lists no {pin.name} {pin.version}"


def key(finding: Finding) -> Key:
    """What tells one finding from another: which failure, of which package."""
    return finding.failure, finding.package


def _trouble(findings: Findings) -> list[Finding]:
    return [finding for finding in findings if finding.severity != "note"]


class _Search:
    """Depth first over the fixes of the first finding, in the order in which its failure offers them."""

    def __init__(self, findings: Findings, refuse: Refuse, index: Optional[str]) -> None:
        self.original = {key(finding) for finding in _trouble(findings)}
        self.first = findings
        self.refuse, self.index = refuse, index
        self.refused: list[str] = []

    def mend(
        self, facts: Facts, steps: tuple[Step, ...], given_up: Collection[Key]
    ) -> Optional[tuple[tuple[Step, ...], Collection[Key]]]:
        """(steps, keys of what is left) that lead to facts without other findings; None where nothing does."""
        todo = [f for f in self._findings(facts) if key(f) not in given_up]
        if not todo:
            return steps, given_up
        if len(steps) < _LIMIT:
            for step, after in self._candidates(facts, todo[0]):
                found = self.mend(after, (*steps, step), given_up)
                if found is not None:
                    return found
        if key(todo[0]) in self.original:
            return self.mend(facts, steps, {*given_up, key(todo[0])})
        return None

    def _findings(self, facts: Facts) -> list[Finding]:
        if facts is self.first.facts:
            return _trouble(self.first)
        return _trouble(diagnose(facts))

    def _candidates(self, facts: Facts, finding: Finding) -> Iterator[tuple[Step, Facts]]:
        for fix in finding.fix:
            argv = fix.argv
            if argv is None or fix.safety == "manual":
                continue
            if self.index is not None:
                argv = tuple(word.replace(PYG_PAGES, self.index.rstrip("/") + "/") for word in argv)
                fix = dataclasses.replace(fix, argv=argv)
            after = simulate(facts, argv, fix.env, finding)
            if after is None:
                continue
            reason = self.refuse(facts, fix)
            if reason is None and key(finding) in {key(f) for f in self._findings(after)}:
                reason = f"{finding.failure} would still be found afterwards"
            if reason is not None:
                self.refused.append(f"{fix.why}: {reason}")
                continue
            cost = dataclasses.replace(fix.cost, undo=True)
            about = (finding.failure, finding.package, fix.kind, fix.why)
            yield Step(*about, argv, fix.env, fix.safety, cost), after

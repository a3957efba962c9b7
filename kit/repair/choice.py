"""Which steps of a plan belong together, and the plan of those that a person chose: tried on simulated facts."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Optional

from kit.diagnose import diagnose
from kit.facts import Facts
from kit.findings import Finding
from kit.repair.plan import Key, Plan, Step, key
from kit.repair.simulate import simulate


def groups(plan: Plan) -> tuple[tuple[int, ...], ...]:
    """The steps of a plan, by number from 0, in groups that can be done one without the other.

    Steps are in one group where one without the other leaves its own finding, or makes a new one: torch changed, and
    what was compiled for the torch before.
    """
    every = range(len(plan.steps))
    whole = _replay(plan, every)
    owner = list(every)
    for number in every:
        kept = [n for n in every if n != number]
        while (bad := _untenable(plan, kept, whole)) is not None:
            kept.remove(bad)
            joined = {owner[bad], owner[number]}
            owner = [min(joined) if one in joined else one for one in owner]
    return tuple(tuple(n for n in every if owner[n] == first) for first in dict.fromkeys(owner))


def chosen(plan: Plan, numbers: Collection[int]) -> Plan:
    """The plan with these steps alone.  What the others would mend is set aside, as is all else that was found."""
    if len(set(numbers)) == len(plan.steps):
        return plan
    steps = tuple(step for number, step in enumerate(plan.steps) if number in numbers)
    wanted = {_key(step) for step in steps}
    found = [*map(_key, plan.steps), *map(key, _trouble(plan.facts))]
    aside = dict.fromkeys((*plan.aside, *(one for one in found if one not in wanted)))
    return dataclasses.replace(plan, steps=steps, aside=tuple(aside))


def _untenable(plan: Plan, numbers: Sequence[int], whole: Sequence[set[Key]]) -> Optional[int]:
    """One of these steps that cannot be done without those that are missing; ``whole`` is what all steps lead to."""
    known = set[Key]().union(*whole)
    states = _replay(plan, numbers)
    for number, before in zip(numbers, states):
        if _key(plan.steps[number]) in known - before:
            return number  # what it mends is made by a step that is missing
    for new in states[-1] - whole[0] - whole[-1]:
        return next(number for number, after in zip(numbers, states[1:]) if new in after)
    return next((number for number in numbers if _key(plan.steps[number]) in states[-1]), None)


def _replay(plan: Plan, numbers: Sequence[int]) -> list[set[Key]]:
    """What is found before the first of these steps, and after each, on simulated facts."""
    facts = plan.facts
    found = _trouble(facts)
    states = [set(map(key, found))]
    for step in (plan.steps[number] for number in numbers):
        own = Finding(step.failure, "error", step.package, step.why)  # where a person asks for the step
        finding = next((f for f in found if key(f) == _key(step)), own)
        facts = simulate(facts, step.argv, step.env, finding) or facts
        found = _trouble(facts)
        states.append(set(map(key, found)))
    return states


def _key(step: Step) -> Key:
    return step.failure, step.package


def _trouble(facts: Facts) -> list[Finding]:
    return [finding for finding in diagnose(facts) if finding.severity != "note"]

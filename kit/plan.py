"""Findings to a plan: ordered steps, each checked on simulated facts before it is offered.

A pure function of the findings: nothing here reads or changes a machine.
"""

from collections.abc import Mapping
from typing import Optional

from kit.facts import Facts
from kit.findings import Cost, Finding
from kit.record import Record


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


class Plan(Record):
    """The steps that mend an environment, in order, and the findings that are left to a person."""

    facts: Facts
    steps: tuple[Step, ...] = ()
    left: tuple[Finding, ...] = ()

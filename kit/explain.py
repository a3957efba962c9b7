"""Pasted text to ranked causes: what each failure file reads in it, held against the facts."""

from typing import Any, Optional

from kit.facts import Facts
from kit.failures import catalogue
from kit.findings import Finding
from kit.record import Record
from kit.report import Report, Told, read


class Cause(Finding):
    """A finding from text.  ``confidence`` (0 to 1): what is called 0.9 is right nine times in ten."""

    confidence: float = 0.0


class Explanation(Record):
    """The causes that a text speaks for, the likeliest first; none where nothing in it is known."""

    report: Report
    causes: tuple[Cause, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"schema": 1, "causes": [cause.to_dict() for cause in self.causes]}


def explain(text: str, facts: Optional[Facts] = None) -> Explanation:
    """What a pasted text says went wrong.  With ``facts`` of the environment these decide."""
    report = read(text)
    causes = [_cause(failure.id, told, report) for failure in catalogue() for told in failure.told(report)]
    return Explanation(report, tuple(sorted(causes, key=lambda cause: -cause.confidence)))


def _cause(id: str, told: Told, report: Report) -> Cause:
    evidence = tuple(f"line {report.numbers[hit.at]}: {hit.line}" for hit in told.hits)
    return Cause(id, told.severity, told.package, told.summary, evidence, told.fix, told.confidence)

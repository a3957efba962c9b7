"""How well kit explains reports that were labelled by hand: python tests/conformance_explain.py REPORTS.jsonl

Each line is a JSON object: ``symptom`` (what was printed), ``environment`` and ``commands`` (what the reporter gave),
``accept`` (failure ids that a fair judge accepts), ``fix`` (fix kinds accepted) and ``from_text`` (``yes`` where the
printed text alone decides).  Each is explained twice: the printed text alone, and with what the reporter gave.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from test_explain import CONTROLS, UNCHANGED, harmful

from kit.explaining import Explanation, explain

BINS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 1.01)


@dataclass(frozen=True)
class Answer:
    """One report, and what the kit said to it."""

    report: "dict[str, Any]"
    explanation: Explanation

    @property
    def first(self) -> str:
        return self.explanation.causes[0].failure if self.explanation.causes else "unknown"

    @property
    def confidence(self) -> float:
        return self.explanation.causes[0].confidence if self.explanation.causes else 0.0

    @property
    def fixes(self) -> "list[str]":
        return [fix.kind for fix in self.explanation.causes[0].fix] if self.explanation.causes else []

    @property
    def right(self) -> bool:
        return self.first in self.report["accept"]

    @property
    def mends(self) -> bool:
        return self.fixes[:1] != [] and self.fixes[0] in self.report["fix"]

    @property
    def unchanged(self) -> bool:
        """Whether nothing that changes an environment is suggested first."""
        return set(self.fixes) <= UNCHANGED


def whole(report: "dict[str, Any]") -> str:
    """What was printed, and below it what the reporter gave besides."""
    return "\n".join([report["symptom"], report["environment"] or "", report["commands"] or ""])


def share(name: str, values: "Iterable[bool]") -> None:
    values = list(values)
    if values:
        print(f"  {name:<34} {sum(values):3} of {len(values):3}  {sum(values) / len(values):6.1%}")


def measure(title: str, answers: "list[Answer]", misses: bool) -> None:
    print(title)
    share("first answer right", (a.right for a in answers))
    share("  where the text decides", (a.right for a in answers if a.report["from_text"] == "yes"))
    share("first fix right", (a.mends for a in answers))
    share(
        "right among the causes",
        ({c.failure for c in a.explanation.causes} & set(a.report["accept"]) != set() for a in answers),
    )
    controls = [a for a in answers if a.report["accept"][0] in CONTROLS]
    share("controls left unchanged", (a.unchanged for a in controls))
    advice = [
        (a, why)
        for a in answers
        for cause in a.explanation.causes
        for fix in cause.fix
        for why in harmful(fix, whole(a.report))
    ]
    print(f"  never to be advised, and advised   {len(advice):3}")
    print("  called, and right")
    for low, high in zip(BINS, BINS[1:]):
        share(f"  {low:.1f} to {min(high, 1.0):.1f}", (a.right for a in answers if low <= a.confidence < high))
    for answer, why in advice:
        print(f"  ADVISED {answer.report['id']}: {why}")
    for a in answers if misses else ():
        if not a.right:
            print(f"  {a.report['id']}: {a.first} {a.confidence:.2f}, accepted {', '.join(a.report['accept'])}")
        elif not a.mends:
            print(f"  {a.report['id']}: {a.first}, fixes {a.fixes}, accepted {', '.join(a.report['fix'])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("reports", type=Path, nargs="+")
    parser.add_argument("--misses", action="store_true", help="name each report that is answered wrongly")
    arguments = parser.parse_args()
    reports = [json.loads(line) for file in arguments.reports for line in file.read_text().splitlines() if line]
    for title, text in (("the printed text alone", lambda report: report["symptom"]), ("with what was given", whole)):
        began = time.process_time()
        answers = [Answer(report, explain(text(report))) for report in reports]
        took = (time.process_time() - began) / len(reports)
        measure(f"{title}: {len(reports)} reports, {took * 1000:.1f} ms each", answers, arguments.misses)


if __name__ == "__main__":
    sys.exit(main())

"""Facts to findings, ranked.  A failure file that raises becomes a finding; the others still run."""

from collections.abc import Iterable
from typing import Optional

from kit.facts import Facts
from kit.failures import Failure, catalogue
from kit.findings import SEVERITIES, Finding, Findings, Fix

CRASHED = "check-crashed"


def diagnose(facts: Facts, failures: Optional[Iterable[Failure]] = None) -> Findings:
    """What is wrong with this environment, the worst first, causes before what follows from them.

    A pure function of ``facts``; ``failures`` defaults to every file in ``kit/failures/``.
    """
    ranked = []
    for failure in catalogue() if failures is None else failures:
        ranked += [(SEVERITIES.index(f.severity), failure.rank, i, f) for i, f in enumerate(_find(failure, facts))]
    return Findings(facts, tuple(item[-1] for item in sorted(ranked, key=lambda item: item[:3])))


def _find(failure: Failure, facts: Facts) -> list[Finding]:
    found: list[Finding] = []
    try:
        for finding in failure.find(facts):
            found.append(finding)
    except Exception as error:  # the border named in DESIGN: the crash is a finding, the other checks run
        found.append(crashed(failure.id, error))
    return found


def crashed(id: str, error: Exception, at: str = "the facts of this machine (kit collect -o facts.json)") -> Finding:
    """The finding that stands for the check of a failure that raised; ``at`` what it looked."""
    import traceback  # only here: it is slow to import

    said = " ".join(str(error).split())[:200]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return Finding(
        CRASHED,
        "warning",
        None,
        f"The check for {id} failed itself. Whether this is {id} is not known; the other checks ran.",
        (f"kit/failures, {frame.name} line {frame.lineno}: {type(error).__name__}: {said}",),
        (Fix("report-upstream", f"Report it with {at}"),),
    )

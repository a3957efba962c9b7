"""Weighs what failure files read in a text: where it stands, what else stands there, and what the facts say to it."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Optional

from kit import gpus
from kit.facts import Extension, Facts, normalise
from kit.failures import Failure
from kit.findings import Finding, Findings, Fix
from kit.record import Record
from kit.report import Raised, Report, Told

MOST, LEAST, BESIDE = 0.97, 0.15, 0.05  # confidence: of any; of what is told; beside what is likelier
SHOWN = 5  # causes
# Rules are cautious: of reports that nobody knew who wrote them, more are answered rightly than the rules say, about
# this power of it (tests/conformance_explain.py measures).
CAUTION = 0.7
FIXES, LINES, WIDE = 3, 8, 300  # of one cause: fixes, lines of evidence; characters of a line

# How much a telling line counts, by where it stands.
OUTER, WARNED, NOWHERE = 0.75, 0.6, 0.95
UNEXPLAINED = 0.9  # the same, where nothing else explains the last failure
# What the rules, given the facts that a text states, add to what is told, and are worth where nothing told it.
CONFIRMED, ALONE, DOUBTED = 0.5, 0.5, 0.3
UNTOLD = 0.3  # what was found in the environment, where the text tells of something else
REFUTED = 0.35  # what is left of a cause that the facts of the environment speak against

NOTHING_TO_MEND = ("not-environment", "harmless-warning")


class Candidate(Record):
    """A possible cause while it is weighed."""

    failure: str
    rank: int
    severity: str
    package: Optional[str]
    summary: str
    evidence: tuple[str, ...]
    fix: tuple[Fix, ...]
    confidence: float
    over: tuple[str, ...] = ()
    at: tuple[int, ...] = ()
    visible: bool = True  # facts can show it
    told: bool = True  # or found in the environment, where the text tells of something else

    @classmethod
    def of(cls, failure: Failure, told: Told, report: Report) -> "Candidate":
        evidence = tuple(dict.fromkeys(f"line {report.numbers[hit.at]}: {_short(hit.line)}" for hit in told.hits))
        at = tuple(hit.at for hit in told.hits)
        own = (failure.id, failure.rank, told.severity, told.package, told.summary)
        sure = min(told.confidence, MOST)
        return cls(*own, evidence[:LINES], told.fix, sure, told.over, at, failure.example is not None)

    def finding(self) -> Finding:
        return Finding(self.failure, self.severity, self.package, self.summary, self.evidence, self.fix[:FIXES])

    def same(self, failure: str, package: Optional[str]) -> bool:
        """Whether it is this failure of this package; what names no package agrees with any."""
        alike = None in (package, self.package) or normalise(package or "") == normalise(self.package or "")
        return self.failure == failure and alike


def _short(line: str) -> str:
    return line if len(line) <= WIDE else f"{line[: WIDE - 1]}…"


# -- where it stands


def placed(candidates: list[Candidate], report: Report) -> list[Candidate]:
    """What is told, the less likely the farther its telling line stands from the cause of the last failure."""
    explained = {c.failure for c in candidates if c.at and report.errors and _at(c.at[0], report.errors[0])}
    return [dataclasses.replace(c, confidence=c.confidence * _weight(c, report, explained)) for c in candidates]


def _weight(candidate: Candidate, report: Report, explained: set[str]) -> float:
    real = [error for error in report.errors if not error.warning]
    where = _around(candidate.at[0], report.errors) if candidate.at else None
    if where is None:
        return NOWHERE if real else 1.0
    if where is report.errors[0]:
        return 1.0
    if where.warning and candidate.failure == "harmless-warning":
        return WARNED if real else 1.0
    if not explained - {candidate.failure}:
        return UNEXPLAINED
    if where.warning and real:
        return 1.0 if _led_to(where, real, candidate.package) else WARNED
    return OUTER


def _at(line: int, error: Raised) -> bool:
    return error.at <= line < error.end


def _around(at: int, errors: Iterable[Raised]) -> Optional[Raised]:
    """The innermost of the errors that this line belongs to."""
    inside = [error for error in errors if _at(at, error)]
    return max(inside, key=lambda error: error.at, default=None)


def _led_to(warning: Raised, errors: list[Raised], package: Optional[str]) -> bool:
    """Whether an import that was only warned of is what a later error misses: PyG does without, until it cannot."""
    if not package or "import" not in warning.message.lower():
        return False
    name = normalise(package)
    last = errors[0]
    said = normalise(f"{last.message} {last.frames[-1].file if last.frames else ''}")
    return name in said or name.replace("-", "") in said


# -- what else stands there


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The likeliest first, a cause before what follows from it; what is told twice is one cause."""
    merged: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (-c.confidence, c.package is None, c.rank)):
        twin = next((n for n, other in enumerate(merged) if other.same(candidate.failure, candidate.package)), None)
        if twin is None:
            merged.append(candidate)
        else:
            merged[twin] = _joined(merged[twin], candidate)
    likely = [c for c in merged if c.confidence >= LEAST] or merged[:1]
    weighed = sorted((_against(c, likely) for c in likely), key=lambda c: (not c.told, -c.confidence, c.rank))
    likely = _causes_first([c for n, c in enumerate(weighed) if c.confidence >= BESIDE or not n])[:SHOWN]
    return [dataclasses.replace(c, confidence=min(MOST, c.confidence**CAUTION)) for c in likely]


def _joined(one: Candidate, other: Candidate) -> Candidate:
    """One cause of two that are the same; told by the same line, it is told once."""
    again = bool(one.at) and one.at[:1] == other.at[:1]
    both = 1 - (1 - one.confidence) * (1 - other.confidence)
    kinds = {fix.kind for fix in one.fix}
    return dataclasses.replace(
        one,
        package=one.package or other.package,
        evidence=tuple(dict.fromkeys((*one.evidence, *other.evidence)))[:LINES],
        fix=(*one.fix, *(fix for fix in other.fix if fix.kind not in kinds))[:FIXES],
        confidence=max(one.confidence, other.confidence) if again else min(both, MOST),
        over=(*one.over, *other.over),
        at=(*one.at, *other.at),
    )


def _against(candidate: Candidate, others: Iterable[Candidate]) -> Candidate:
    """The candidate, the less likely the more other failures are: one of them is the cause.  What follows from it, or
    it follows from, is no rival."""
    odds: dict[str, float] = {}
    for other in others if candidate.told else ():
        rival = other.told and other.failure != candidate.failure and other.failure not in candidate.over
        if rival and candidate.failure not in other.over:
            odds[other.failure] = max(odds.get(other.failure, 0.0), _odds(other.confidence))
    own = _odds(candidate.confidence)
    return dataclasses.replace(candidate, confidence=own / (1 + own + sum(odds.values())))


def _odds(confidence: float) -> float:
    return confidence / (1 - min(confidence, MOST))


def _causes_first(candidates: list[Candidate]) -> list[Candidate]:
    """In this order, except that what follows from a cause stands behind it, and is not called likelier."""
    left, out = list(candidates), list[Candidate]()
    while left:
        free = [c for c in left if not any(c.failure in other.over for other in left if other is not c)]
        first = (free or left)[0]
        left.remove(first)
        above = min((c.confidence for c in out), default=1.0)
        out.append(dataclasses.replace(first, confidence=min(first.confidence, above)))
    return out


# -- what the facts say to it: those that the text states

# Of these rules what they rest on is stated; others also answer where a text merely does not say.
_OF_VERSIONS = (
    *("extension-cpu-only", "extension-cuda-mismatch", "extension-torch-mismatch", "numpy-abi"),
    *("gpu-arch-missing", "driver-too-old", "apex-wrong-package"),
)
# These read the lines that are told, too, so that they make nothing surer; but they may know a command.
_OF_LINES = (
    *("build-isolation", "index-url-malformed", "sdist-preferred", "wheel-not-published", "python-unsupported"),
    *("nvcc-not-found", "nvcc-torch-mismatch", "nvcc-arch-unsupported", "headers-missing", "compiler-unsupported"),
)


def answering(facts: Facts) -> tuple[str, ...]:
    """The failures whose rules can be asked about the facts that a text states."""
    if facts.torch is None:
        return ()
    return (*_OF_VERSIONS, *_OF_LINES) if len(gpus.numbers(facts.python.version)) > 1 else _OF_VERSIONS


def supported(candidates: list[Candidate], findings: Findings) -> list[Candidate]:
    """What is told, with what the rules say to the facts that the text states."""
    out = list(candidates)
    for finding in findings:
        if finding.severity == "note":
            continue
        finding = dataclasses.replace(finding, evidence=tuple(_as_stated(finding)))
        told = [n for n, c in enumerate(out) if c.same(finding.failure, finding.package)]
        for n in told:
            out[n] = _confirmed(out[n], finding)
        if not told:
            sure = ALONE if finding.severity == "error" and finding.failure in _OF_VERSIONS else DOUBTED
            out.append(_alone(finding, sure if not candidates else sure / 2))
    return out


def _as_stated(finding: Finding) -> Iterator[str]:
    """Its evidence: what elsewhere names the file that was read names the text here."""
    for line in finding.evidence:
        what, _, said = line.partition(": ")
        if what.startswith("torch/"):
            yield f"text: torch {said}"
        elif what == "pasted text":
            yield f"text: {normalise(finding.package or '')} {said}"
        else:
            yield line if what else f"text: {said}"


def _confirmed(candidate: Candidate, finding: Finding) -> Candidate:
    """Surer, with the command of a fix where only words were known."""
    commands = {fix.kind: fix for fix in reversed(finding.fix) if fix.argv is not None}
    fix = tuple(commands.get(f.kind, f) if f.argv is None else f for f in candidate.fix) or finding.fix
    more = CONFIRMED if finding.failure in _OF_VERSIONS else 0.0
    said = tuple(line for line in finding.evidence if more and line not in candidate.evidence)
    return dataclasses.replace(
        candidate,
        evidence=(*candidate.evidence, *said)[:LINES],
        fix=fix,
        confidence=min(MOST, 1 - (1 - candidate.confidence) * (1 - more)),
    )


def _alone(finding: Finding, confidence: float) -> Candidate:
    own = (finding.severity, finding.package, finding.summary, finding.evidence, finding.fix)
    return Candidate(finding.failure, 100, *own, confidence)


# -- and those of the environment itself, which decide


def decided(candidates: list[Candidate], findings: Findings) -> list[Candidate]:
    """What is told, confirmed or refuted by the facts of the environment; then what was found and nobody told."""
    found = [next((f for f in findings if c.same(f.failure, f.package)), None) for c in candidates]
    out, refuted = [], set()
    for candidate, finding in zip(candidates, found):
        if finding is not None:
            out.append(_certain(candidate, finding))
            continue
        against = _refutation(candidate, findings.facts)
        if not against and any(found) and candidate.visible and candidate.failure not in _OF_LINES:
            against = f"this environment: the check for {candidate.failure} finds nothing in it"
        if against:
            refuted.add(normalise(candidate.package or ""))
            evidence = (*candidate.evidence[: LINES - 1], against)
            left = candidate.confidence * REFUTED
            # No command: it would change an environment that does not have this.
            fix = tuple(Fix(each.kind, each.why) for each in candidate.fix)
            candidate = dataclasses.replace(candidate, evidence=evidence, fix=fix, confidence=left, over=())
        out.append(candidate)
    for finding in findings:
        if finding.severity == "error" and not any(c.same(finding.failure, finding.package) for c in candidates):
            if normalise(finding.package or "") in refuted:
                out.append(_alone(finding, MOST))
            else:
                out.append(dataclasses.replace(_alone(finding, UNTOLD if candidates else ALONE), told=False))
    return out


def _certain(candidate: Candidate, finding: Finding) -> Candidate:
    return dataclasses.replace(
        candidate,
        severity=finding.severity,
        package=candidate.package or finding.package,
        summary=finding.summary,
        evidence=(*candidate.evidence[:LINES], *finding.evidence),
        fix=finding.fix or candidate.fix,
        confidence=MOST,
    )


def _refutation(candidate: Candidate, facts: Facts) -> str:
    """What the facts say against it, as a line of evidence; '' where they say nothing."""
    id, torch, host = candidate.failure, facts.torch, facts.host
    if id in NOTHING_TO_MEND or torch is None:
        return ""
    if id.startswith("extension-") and candidate.package:
        extension = facts.extension(candidate.package)
        return _fits(extension, facts, id) if extension else f"this environment: has no {candidate.package}"
    if id == "torch-cpu-only" and torch.cuda:
        return f"this environment: torch {torch.version} is built for CUDA {torch.cuda}"
    if id == "torch-broken" and not torch.damaged and torch.binaries and all(b.loads for b in torch.binaries):
        return f"this environment: the files of torch {torch.version} are whole and load"
    if id == "torch-missing":
        return f"this environment: torch {torch.version} is installed"
    if id == "gpu-arch-missing" and normalise(candidate.package or "torch") == "torch" and torch.architectures:
        named = [gpu.capability for gpu in host.gpus if gpu.capability]
        return f"this environment: torch {torch.version} holds code for its GPU ({', '.join(named)})" if named else ""
    if id == "driver-too-old" and host.driver and host.driver.cuda and torch.cuda:
        if gpus.numbers(host.driver.cuda) >= gpus.numbers(torch.cuda)[:1]:
            return f"this environment: its driver {host.driver.version} runs CUDA {host.driver.cuda}"
    if id == "gpu-not-visible" and host.gpus and host.driver:
        return f"this environment: {host.gpus[0].name} is visible, driver {host.driver.version}"
    if id == "numpy-abi" and facts.distribution("numpy"):
        return f"this environment: nothing in it was built for another NumPy than {_version(facts, 'numpy')}"
    if id.startswith("apex-") and not facts.distribution("apex") and facts.module("apex") is None:
        return "this environment: has no apex"
    return ""


def _fits(extension: Extension, facts: Facts, failure: str) -> str:
    if failure == "extension-cpu-only":
        held = extension.libraries_for("cuda")
        return f"this environment: {extension.key} {extension.version} has {held[0]}" if held else ""
    loads = bool(extension.binaries) and all(binary.loads for binary in extension.binaries)
    probe = next((p for name in extension.modules for p in [facts.probe(name)] if p is not None), None)
    if probe is not None and not probe.ok:
        return ""
    how = "its files load here" if loads else "it was built for this torch" if _built_for(extension, facts) else ""
    return f"this environment: {extension.key} {extension.version}: {how}" if how else ""


def _built_for(extension: Extension, facts: Facts) -> bool:
    return facts.torch is not None and extension.built_for_torch == facts.torch.minor


def _version(facts: Facts, package: str) -> str:
    found = facts.distribution(package)
    return found.version if found is not None else ""

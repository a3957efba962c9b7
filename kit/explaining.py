"""Pasted text to ranked causes: what each failure file reads in it, held against the facts."""

import dataclasses
import sys
from collections import deque
from collections.abc import Iterable
from typing import Any, BinaryIO, Optional

from kit.diagnose import CRASHED, crashed, diagnose
from kit.errors import KitError
from kit.facts import Facts
from kit.failures import Failure, catalogue
from kit.findings import Finding, Findings
from kit.record import Record
from kit.report import Report, read
from kit.weighing import Candidate, answering, decided, placed, ranked, supported

HARMLESS = "harmless-warning"
GUESS = 0.45  # a cause that is less likely than this
# Of more than this the middle is left out: the command stands at the beginning, the failure near the end.
_HEAD, _TAIL, _CHUNK = 1 << 20, 4 << 20, 1 << 16
_INSTALLERS = ("pip", "pip3", "uv", "conda", "mamba", "micromamba", "poetry", "pdm", "pipenv", "docker")


class Cause(Finding):
    """A finding from text.  ``confidence`` (0 to 1): what is called 0.9 is right nine times in ten."""

    confidence: float = 0.0


class Explanation(Record):
    """The causes that a text speaks for, the likeliest first; none where nothing in it is known.

    ``whole`` tells whether facts of the environment itself decided.
    """

    report: Report
    causes: tuple[Cause, ...] = ()
    whole: bool = False

    @property
    def harmless(self) -> bool:
        """Whether the likeliest is that nothing is wrong."""
        return bool(self.causes) and self.causes[0].failure == HARMLESS

    @property
    def unsure(self) -> bool:
        """Whether the likeliest cause is no more than a guess, or there is none."""
        return not self.causes or self.causes[0].confidence < GUESS

    @property
    def wanted(self) -> tuple[tuple[str, str], ...]:
        """What would tell more than this text: (what to collect, the command for it), the most useful first."""
        return tuple(_wanted(self.report, self.whole))

    def to_dict(self) -> dict[str, Any]:
        return {"schema": 1, "causes": [cause.to_dict() for cause in self.causes]}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


def explain(text: str, facts: Optional[Facts] = None, failures: Optional[Iterable[Failure]] = None) -> Explanation:
    """What a pasted text says went wrong, the likeliest cause first.

    With ``facts`` of the environment these decide.  ``failures`` defaults to every file in ``kit/failures/``.
    """
    known = catalogue() if failures is None else tuple(failures)
    report = read(text)
    if facts is not None:
        report = dataclasses.replace(report, facts=facts)
    candidates: list[Candidate] = []
    crashes: list[Finding] = []
    for failure in known:
        try:
            for told in failure.told(report):
                candidates.append(Candidate.of(failure, told, report))
        except Exception as error:  # the border named in DESIGN: the crash is a finding, the other checks run
            crashes.append(crashed(failure.id, error, "this text"))
    candidates = placed(candidates, report)
    asked = answering(report.facts) if facts is None else [failure.id for failure in known]
    findings = diagnose(report.facts, [failure for failure in known if failure.id in asked])
    crashes += [finding for finding in findings if finding.failure == CRASHED]
    found = tuple(finding for finding in findings if finding.failure != CRASHED)
    candidates = (supported if facts is None else decided)(candidates, Findings(report.facts, found))
    causes = [_cause(candidate.finding(), candidate.confidence) for candidate in ranked(candidates)]
    return Explanation(report, (*causes, *(_cause(crash, 0.0) for crash in crashes)), facts is not None)


def _cause(finding: Finding, confidence: float) -> Cause:
    fields = {name: getattr(finding, name) for name in Finding.__dataclass_fields__}
    return Cause(**fields, confidence=round(confidence, 2))


def _wanted(report: Report, whole: bool) -> Iterable[tuple[str, str]]:
    installing = any(command[0] in _INSTALLERS or "pip" in command[:3] for command in report.commands)
    if installing or report.has("pip install", "building wheel", "subprocess-exited"):
        yield (
            "Everything that the installation says, its command in the first line",
            "pip install -v PACKAGE > pip.log 2>&1; python -m kit doctor --log pip.log",
        )
    else:
        yield (
            "Everything that the program says, from its start to the last line",
            "python PROGRAM.py > out.txt 2>&1; python -m kit explain out.txt",
        )
    if whole:
        yield "The environment that printed it, if it is another one", "python -m kit explain out.txt --python EXE"
        return
    yield "The environment itself, where the program runs; nothing of it is imported", "python -m kit doctor"
    yield "The text and the environment held against each other", "python -m kit explain out.txt --python EXE"
    if report.facts.torch is None:
        yield "Versions, GPU and driver, from another machine as text", "python -m torch.utils.collect_env"


def load(file: str) -> str:
    """The text in a file, or on stdin where ``file`` is ``-``; of a very long one the middle is left empty, line for
    line.  KitError where it cannot be read or is no text."""
    name = "stdin" if file == "-" else file
    try:
        if file == "-":
            if sys.stdin is None:  # closed by the caller: `kit explain <&-`
                raise KitError("stdin is closed: name a file, or - and give the text on stdin")
            data = _bounded(sys.stdin.buffer)
        else:
            with open(file, "rb") as stream:
                data = _bounded(stream)
    except OSError as error:
        raise KitError(f"{name} cannot be read: {error.strerror or error}") from None
    if not data.strip():
        raise KitError(f"{name} is empty: it should hold what the program said, the whole of it")
    return _decoded(data, name)


def _bounded(stream: BinaryIO) -> bytes:
    head, tail, left_out, size = stream.read(_HEAD), deque[bytes](), 0, 0
    while chunk := stream.read(_CHUNK):
        tail.append(chunk)
        size += len(chunk)
        if size > _TAIL:
            gone = tail.popleft()
            left_out += gone.count(b"\n")
            size -= len(gone)
    # The lines of what is left out stay, empty, so that the numbers of the others are right; a bounded part of them.
    return head + b"\n" * min(left_out, _TAIL) + b"".join(tail)


def _decoded(data: bytes, name: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # what PowerShell's > writes
        return data.decode("utf-16", "replace")
    if b"\0" in data:
        if data.count(b"\0", 1, 2000) > min(len(data), 2000) // 3 and not data[0:40:2].count(0):
            return data.decode("utf-16-le", "replace")
        raise KitError(f"{name} holds binary data, not text; `python -m kit xray` reads compiled files")
    return data.decode("utf-8-sig", "replace")

"""Pasted text as a report: its lines, the errors that it shows, the commands typed, and the facts that it states.

Nothing in the text is run, and nothing of the machine that reads it is looked at.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cache, cached_property
from typing import Optional

from kit.facts import About, Facts, Host, Python
from kit.findings import Fix
from kit.record import Record


class Frame(Record):
    """One line of a traceback: the file, the line in it, the function, and its source where that is shown."""

    file: str
    line: Optional[int] = None
    function: str = ""
    code: str = ""


class Raised(Record):
    """An exception, a warning or a program's error that the text shows, from line ``at`` to before line ``end``.

    ``kind`` is the exception's name without its module (``ImportError``, ``UserWarning``), ``error`` for what a
    program calls an error.  ``frames`` are innermost last.
    """

    kind: str
    message: str
    at: int
    end: int
    frames: tuple[Frame, ...] = ()
    warning: bool = False


class Hit(Record):
    """Where a pattern was found: in which line (an index of ``lines``), that line, and the named groups."""

    at: int
    line: str
    groups: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, group: str) -> str:
        return self.groups[group]


class Report(Record):
    """``lines`` are what a person sees of the text; ``numbers`` where each began in what was pasted, from 1.

    ``errors`` begin with the cause of the last failure: the innermost of the exceptions that led to it, its envelopes
    opened; then the others, the later ones first; warnings last.  ``commands`` are those that were typed, as words.
    ``facts`` are what the text states of the environment; what it does not state is '', (), None or 0.
    """

    lines: tuple[str, ...]
    numbers: tuple[int, ...]
    errors: tuple[Raised, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    facts: Facts = Facts(
        About("pasted text", "reconstructed"),
        Python("python", "", "", "", "", False, False, "", "", 0, "", False, "", ()),
        Host("", ""),
    )

    @cached_property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)

    @cached_property
    def lower(self) -> str:
        """All lines in lower case, to look for words in."""
        return self.text.lower()

    def has(self, *words: str) -> bool:
        """Whether one of these words, in lower case, stands anywhere: much faster than a pattern."""
        return any(word in self.lower for word in words)

    def hits(self, pattern: str) -> Iterator[Hit]:
        """Every place of a pattern, which may span lines; without regard to case, ``^`` and ``$`` at each line."""
        for match in _compiled(pattern).finditer(self.text):
            yield self._hit(match)

    def hit(self, pattern: str) -> Optional[Hit]:
        """The first place of a pattern, as :meth:`hits`."""
        return next(self.hits(pattern), None)

    def last(self, pattern: str) -> Optional[Hit]:
        """The last place of a pattern."""
        found = None
        for found in self.hits(pattern):
            pass
        return found

    def _hit(self, match: "re.Match[str]") -> Hit:
        at = self.text.count("\n", 0, match.start())
        groups = {name: value for name, value in match.groupdict().items() if value is not None}
        return Hit(at, self.lines[at].strip(), groups)

    def version(self, package: str) -> Optional[str]:
        """The version of a package that the text states."""
        found = self.facts.distribution(package)
        return found.version if found is not None else None


class Told(Record):
    """What a failure file reads in a report: one possible cause.

    ``confidence`` (0 to 1) is how often a report in which this stands has this cause, where nothing else in it says
    more.  ``hits`` are the lines that speak for it, the telling one first.  ``over`` names failures that follow from
    this one: where both are told, they rank behind it.  ``summary`` and ``fix`` are as in a Finding.
    """

    confidence: float
    package: Optional[str]
    summary: str
    hits: tuple[Hit, ...]
    fix: tuple[Fix, ...]
    severity: str = "error"
    over: tuple[str, ...] = ()


@cache
def _compiled(pattern: str) -> "re.Pattern[str]":
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


def read(text: str) -> Report:
    """The report in a pasted text."""
    lines = tuple(text.splitlines())
    return Report(lines, tuple(range(1, len(lines) + 1)))

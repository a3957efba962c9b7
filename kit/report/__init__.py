"""Pasted text as a report: its lines, the errors that it shows, the commands typed, and the facts that it states.

Nothing in the text is run, and nothing of the machine that reads it is looked at.
"""

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cache, cached_property
from typing import Optional, Union

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
    program calls an error, the signal's name (``SIGSEGV``) for a crash, ``warning`` for a logger's.  ``frames`` are
    innermost last.  ``envelope`` marks one that only says that something else failed.
    """

    kind: str
    message: str
    at: int
    end: int
    frames: tuple[Frame, ...] = ()
    warning: bool = False
    envelope: bool = False


class Hit(Record):
    """Where a pattern was found: in which line (an index of ``lines``), that line, and the named groups."""

    at: int
    line: str
    groups: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, group: str) -> str:
        return self.groups[group]


class Report(Record):
    """``lines`` are what a person sees of the text; ``numbers`` where each began in what was pasted, from 1.

    Colours, boxes, prefixes of loggers and runners, quote marks and secrets are taken out of the lines; typographic
    quotes are written ' and ", while ` stays.  A line that a terminal tore inside a word is whole again.

    ``errors`` begin with the cause of the last failure: the innermost of the exceptions that led to it, its envelopes
    opened; then the others, the later ones first; warnings last.  ``commands`` are those that were typed, as words.
    ``facts`` are what the text states of the environment; what it does not state is '', (), None or 0.

    What facts cannot hold: ``torch_build`` is ``cpu``, ``cu118`` or ``rocm6.2`` where the text states which build of
    torch it is (``facts.torch.cuda`` is None where that is unknown, too); ``cuda_available`` is what
    ``torch.cuda.is_available()`` said; ``pages`` are the addresses given to pip as pages or indexes.
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
    torch_build: Optional[str] = None
    cuda_available: Optional[bool] = None
    pages: tuple[str, ...] = ()

    @cached_property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)

    @cached_property
    def lower(self) -> str:
        """All lines in lower case, to look for words in."""
        return self.text.lower()

    @cached_property
    def _starts(self) -> list[int]:
        """Where each line begins in :attr:`text`."""
        starts, at = [], 0
        for line in self.lines:
            starts.append(at)
            at += len(line) + 1
        return starts

    @cached_property
    def _unlike(self) -> str:
        """The lines in lower case, each once: a deep traceback repeats itself."""
        return "\n".join(dict.fromkeys(self.lower.split("\n")))

    @cached_property
    def _threes(self) -> frozenset[str]:
        """What stands there, three characters at a time: most words that are asked for begin with none of them."""
        text = self._unlike
        return frozenset([text[at : at + 3] for at in range(len(text) - 2)])

    def has(self, *words: str) -> bool:
        """Whether one of these words, in lower case, stands in a line: much faster than a pattern."""
        threes = self._threes
        return any(
            word in self._unlike for word in words if len(word) < 3 or (word[:3] in threes and word[-3:] in threes)
        )

    def hits(self, pattern: str) -> Iterator[Hit]:
        """Every place of a pattern, which may span lines; without regard to case, ``^`` and ``$`` at each line."""
        for match in _compiled(pattern).finditer(self.text):
            yield self._hit(match)

    def hit(self, pattern: str) -> Optional[Hit]:
        """The first place of a pattern, as :meth:`hits`."""
        return next(self.hits(pattern), None)

    def last(self, pattern: str) -> Optional[Hit]:
        """The last place of a pattern."""
        found = deque(_compiled(pattern).finditer(self.text), maxlen=1)
        return self._hit(found[0]) if found else None

    def _hit(self, match: "re.Match[str]") -> Hit:
        at = max(bisect_right(self._starts, match.start()) - 1, 0)
        groups = {name: value for name, value in match.groupdict().items() if value is not None}
        return Hit(at, self.lines[at].strip() if self.lines else "", groups)

    @property
    def cause(self) -> Optional[Raised]:
        """What led to the last failure: the first error that is no warning; None where there is none."""
        return next((raised for raised in self.errors if not raised.warning), None)

    @property
    def warnings(self) -> tuple[Raised, ...]:
        """The warnings among the errors."""
        return tuple(raised for raised in self.errors if raised.warning)

    def inside(self, hit: Hit) -> Optional[Raised]:
        """The error in whose message a hit lies, the innermost where several do; None where it lies in none."""
        around = [raised for raised in self.errors if raised.at <= hit.at < raised.end]
        return min(around, key=lambda raised: raised.end - raised.at, default=None)

    def raised(self, *kinds: str) -> Iterator[Raised]:
        """The errors of these kinds, e.g. ``ImportError``, in their order."""
        return (raised for raised in self.errors if raised.kind in kinds)

    def version(self, package: str) -> Optional[str]:
        """The version of a package that the text states."""
        found = self.facts.distribution(package)
        if found is None and package == "torch" and self.facts.torch is not None:
            return self.facts.torch.version or None
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


def read(text: Union[str, bytes]) -> Report:
    """The report in a pasted text, or in the bytes of a file in whatever encoding.

    Of a very long text its beginning, its end, and what lies between that tells most are read.
    """
    from kit.report import errors, stated, typed  # no other command needs them
    from kit.report import text as texts

    lines, numbers = texts.clean(text)
    found = errors.find(lines)
    commands = typed.find(lines, found)
    told = stated.State(lines, commands)
    return Report(
        tuple(lines),
        tuple(numbers),
        found,
        tuple(command.words for command in commands),
        told.facts(),
        told.torch_build,
        told.cuda_available,
        told.pages,
    )

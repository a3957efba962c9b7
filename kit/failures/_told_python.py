"""What text says of Python packages: what an import did not find, who asked for it, and in what session."""

import re
import string
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Optional

from kit.data import table
from kit.facts import normalise
from kit.findings import Fix
from kit.record import Record
from kit.report import Hit, Report

# Packages are made for a release of these: what they do not have yet is asked for by another package.
BASES = (
    "torch python protobuf typing-extensions pydantic numpy triton huggingface-hub accelerate transformers setuptools"
).split()


class Gone(Record):
    """Something that an import or an attribute did not find: a ``module``, or a ``name`` of it, in line ``at``.

    ``where`` is the file that was searched, ``unknown location`` for a plain folder; ``by`` the innermost file of
    the traceback above; ``attribute``: asked for with a dot; ``circular``: the module was still being imported.
    """

    at: int
    module: str
    name: str = ""
    where: str = ""
    by: str = ""
    attribute: bool = False
    circular: bool = False
    file: bool = False  # 'x' is not a package

    @property
    def top(self) -> str:
        """The package that it belongs to."""
        return self.module.partition(".")[0]

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module

    @property
    def own(self) -> bool:
        """Whether it was searched for in a file of the user's own."""
        return bool(re.search(r"[/\\]", self.where)) and not owner(self.where) and "-packages" not in self.where

    @property
    def asker(self) -> str:
        """The installed package whose code asked for it; '' where that is the user's own, or not shown."""
        return owner(self.by)


_MODULE = re.compile(
    r"[Nn]o module named:? ['\"‘]?(?P<module>\w+(?:\.\w+)*)['\"’]?(?P<file>; '?[\w.]+'? is not a package)?"
)
_NAME = re.compile(
    r"[Cc]annot import name:? ['\"‘]?(?P<name>\w+)['\"’]?"
    r"(?: from (?P<partly>partially initialized module )?['\"‘]?(?P<module>\w+(?:\.\w+)*)['\"’]?)?(?P<rest>[^\n]*)"
)
_ATTRIBUTE = re.compile(
    r"(?P<partly>partially initialized )?module ['\"‘](?P<module>\w+(?:\.\w+)*)['\"’] has no attribute "
    r"['\"‘](?P<name>\w+)['\"’]"
)
# a line of a traceback: Python's, IPython's, rich's, pytest's, and Colab's, which are links
_FRAME = re.compile(
    r"File \"(?P<a>[^\"\n]+)\"|File (?P<b>[^\n]{1,300}?\.py):\d+|"
    r"(?<![^\s│\[])(?P<c>(?:\w:)?[^\s:│\[]{1,300}\.py)(?:\]\([^()\s]{0,200}\))?(?::\d+| in )|"
    r"(?P<d><ipython-input[^>]*>|Cell In\s?\[\d*\]|Input In \[\d*\]|<stdin>)"
)
_BRACKETS = re.compile(r"\((unknown location|[^()\n]*(?:\([^()\n]*\)[^()\n]*)?\.(?:py|pyc|so|pyd)[^()\s]*)\)")


def gone(report: Report) -> tuple[Gone, ...]:
    """What was not found, the cause of the last failure first."""
    if not report.has("o module named", "cannot import name", "has no attribute"):
        return ()
    found = _gone(report.text)
    return tuple(sorted(found, key=lambda one: (order(report, one.at), -one.at)))


def order(report: Report, at: int) -> int:
    """Which of the report's errors a line belongs to; behind them all where none."""
    for place, error in enumerate(report.errors):
        if error.at <= at < error.end:
            return place
    return len(report.errors)


@lru_cache(maxsize=1)
def _gone(text: str) -> tuple[Gone, ...]:
    found = []
    lines = text.split("\n")
    for at, line in enumerate(lines):
        if "o module named" in line:
            pattern = _MODULE
        elif "annot import name" in line:
            pattern = _NAME
        elif "has no attribute" in line:
            pattern = _ATTRIBUTE
        else:
            continue
        for match in pattern.finditer(line[:2000]):
            group = match.groupdict()
            rest = group.get("rest") or line[match.end() :][:300]
            where = _BRACKETS.search(rest)
            module = group["module"] or (_imported(lines, at, group["name"]) if pattern is _NAME else "")
            found.append(
                Gone(
                    at,
                    module,
                    group.get("name") or "",
                    where.group(1) if where and pattern is _NAME else "",
                    _above(lines, at),
                    pattern is _ATTRIBUTE,
                    bool(group.get("partly")) or "circular import" in rest,
                    bool(group.get("file")),
                )
            )
        if len(found) > 50:
            break
    return tuple(found)


def _imported(lines: list[str], at: int, name: str) -> str:
    """The module of an import statement above, for Pythons before 3.7, which do not name it."""
    for line in reversed(lines[max(0, at - 12) : at]):
        match = re.search(r"\bfrom (\w+(?:\.\w+)*) import\b(.{0,400})", line)
        if match and (re.search(rf"\b{name}\b", match.group(2)) or "(" in match.group(2)):
            return match.group(1)
    return ""


def _above(lines: list[str], at: int) -> str:
    """The innermost file of the traceback above a line."""
    for line in reversed(lines[max(0, at - 40) : at]):
        match = _FRAME.search(line[:500]) if ".py" in line or "n [" in line or "In[" in line or "<" in line else None
        if match:
            return next(path for path in match.groups() if path).strip()
    return ""


def owner(path: str) -> str:
    """The installed package that a file belongs to, as it is imported; ``python`` for the standard library; '' for
    the user's own files."""
    installed = re.search(r"(?:site|dist)-packages[/\\](?:[\w.+-]+\.egg[/\\])?([A-Za-z_]\w*)", path)
    if installed:
        return installed.group(1)
    if re.search(r"[/\\]lib(?:64)?[/\\](?:python3\.\d+[/\\])?[\w/\\]+\.py$", path, re.I) and "envs" not in path[-40:]:
        own = re.search(r"[/\\](?:python3\.\d+|python3\d+|anaconda3?|miniconda3?|envs[/\\][\w.-]+)[/\\]", path, re.I)
        return "python" if own else ""
    return "transformers_modules" if "transformers_modules" in path else ""


def above(report: Report, at: int) -> str:
    """The innermost file of the traceback above a line."""
    return _above(list(report.lines[max(0, at - 40) : at]), min(at, 40))


def hit(report: Report, at: int) -> Hit:
    """A line of the report as evidence."""
    return Hit(at, report.lines[at].strip())


def hits(report: Report, one: Gone) -> tuple[Hit, ...]:
    """The line that says it, and the traceback's line above it."""
    for at in range(one.at - 1, max(-1, one.at - 40), -1):
        if one.by and one.by in report.lines[at]:
            return hit(report, one.at), hit(report, at)
    return (hit(report, one.at),)


_SESSION = (
    "<ipython-input",
    "ipykernel",
    "cell in[",
    "cell in [",
    "input in [",
    "in [1",
    "in [2",
    "jupyter",
    "notebook",
    "colab",
    "kaggle",
    "%pip",
    "!pip",
    "----> 1 ",
    "ipython",
)
_BUILDING = (
    "setup.py egg_info",
    "to build wheel",
    "to build editable",
    "subprocess-exited-with-error",
    "pip-build-env",
    "setup.py bdist_wheel",
    "setup.py install",
    "setup.py develop",
    'setup.py", line',
    "running setup.py",
    "building wheel",
    "preparing metadata",
    "prepare_metadata",
    "failed to build",
    "build backend",
    "pip-install-",
    "pip-req-build",
)


def notebook(report: Report) -> bool:
    """Whether the text comes from a notebook."""
    return report.has(*_SESSION)


def building(report: Report) -> bool:
    """Whether the text is of an installation that builds."""
    return report.has(*_BUILDING)


def failing(report: Report) -> bool:
    """Whether the text shows an error that is more than a warning."""
    if report.errors:
        return any(not error.warning for error in report.errors)
    return report.has("traceback (most recent", "segmentation fault", "core dumped") or bool(
        report.hit(r"^[ \t]{0,40}(?:[\w.]{0,80}(?:Error|Exception)\b|ERROR:)")
    )


_INSTALL = (
    r"\b(?:pip[\d.]*|uv|conda|mamba|micromamba|poetry)(?:\.exe)? (?:pip )?(?:install|add)\s(?P<rest>[^\n|;&#`]+)"
)


def typed(report: Report) -> dict[str, int]:
    """Packages that someone asked pip or conda for, with the line of the command."""
    if not report.has(" install", " add "):
        return {}
    return _typed(report.text)


@lru_cache(maxsize=1)
def _typed(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for match in re.finditer(_INSTALL, text):
        at = text.count("\n", 0, match.start())
        skip = False
        for word in match["rest"].split()[:60]:
            if skip or word.startswith("-"):
                skip = not skip and word in _VALUED
                continue
            name = re.match(r"['\"]?([A-Za-z][\w.-]*?)(?:\[[\w,.-]*\])?(?:$|['\"]|[=<>~!@])", word)
            if name:
                found.setdefault(normalise(name.group(1)), at)
    return found


_VALUED = (
    "-c",
    "--channel",
    "-n",
    "--name",
    "-f",
    "--find-links",
    "-i",
    "--index-url",
    "--extra-index-url",
    "-p",
    "-r",
)


def put(report: Report) -> dict[str, tuple[str, int]]:
    """Packages that the text says are installed: the version, '' where it is not said, and the line."""
    found: dict[str, tuple[str, int]] = {}
    if report.has("successfully installed", "already satisfied", "already installed"):
        pattern = (
            r"Successfully installed (?P<many>[^\n]+)|Requirement already satisfied: (?P<one>[\w.-]+)[^\n]*|"
            r"(?P<all>All requested packages) already installed"
        )
        for match in report.hits(pattern):
            for word in match.groups.get("many", "").split():
                name, _, version = word.rpartition("-")
                found[normalise(name)] = (version, match.at)
            if "one" in match.groups:
                said = re.search(r"\(([\d.]+[\w.+]*)\)\s*$", match.line)
                found[normalise(match["one"])] = (said.group(1) if said else "", match.at)
    return found


class Move(Record):
    """What a release did to an import path: ``moved`` to ``now``, ``removed``, or ``added`` (it was not there)."""

    package: str
    path: str
    change: str
    version: str
    now: str = ""
    older: bool = False  # the installed one is older than that release


def moves(one: Gone) -> Optional[Move]:
    """What the table knows of something that was not found."""
    rows = _rows()
    paths = [one.path]
    while "." in paths[-1] and len(paths) < 4:
        paths.append(paths[-1].rpartition(".")[0])
    for path in paths:
        # what was asked for, or a module around it that is itself gone
        row = rows.get(path) if path == one.path or not one.name or path != one.module else None
        if row is not None:
            return row
    return None


@lru_cache(maxsize=1)
def _rows() -> dict[str, Move]:
    found: dict[str, Move] = {}
    data: dict[str, Any] = table("moved_modules")
    for row in data["moved"]:
        for path, now in row["paths"].items():
            found[path] = Move(row["package"], path, "moved" if now else "removed", row["version"], now)
            if now and "." in now and " " not in now and now.partition(".")[0] == path.partition(".")[0]:
                found.setdefault(now, Move(row["package"], now, "moved", row["version"], now, True))
    for row in data["added"]:
        for path in row["paths"]:
            found[path] = Move(row["package"], path, "added", row["version"], older=True)
    return found


def code(why: str) -> Fix:
    """A change of the user's own files or data."""
    return Fix("change-code-or-data", why)


def version(why: str) -> Fix:
    """Another release of a package."""
    return Fix("change-package-version", why)


def each(report: Report, rows: Any) -> Iterator[tuple[Any, Hit]]:
    """Of rows that begin with words and a pattern those that stand in the text, with the last place.

    Words in a string are divided by ``|``; several words begin and end where a word does.  Where there is no pattern
    the words themselves are looked for."""
    there = _tokens(report.text)
    for row in rows:
        words = [one for one, key in _keyed(row[0]) if (not key or key in there) and report.has(one)]
        if not words:
            continue
        if row[1]:
            found = report.last(row[1])
        else:
            at = report.lower.count("\n", 0, max(report.lower.rfind(one) for one in words))
            found = hit(report, at)
        if found is not None:
            yield row, found


_SPLIT = {ord(sign): " " for sign in string.punctuation if sign != "_"}


@lru_cache(maxsize=1)
def _tokens(text: str) -> frozenset[str]:
    return frozenset(text.lower().translate(_SPLIT).split())


@cache
def _keyed(words: Any) -> tuple[tuple[str, str], ...]:
    """Each of the words with the longest single one in it, which is looked up first."""
    found = words.split("|") if isinstance(words, str) else words
    return tuple((one, max(re.findall(r"\w+", one), key=len) if " " in one.strip() else "") for one in found)

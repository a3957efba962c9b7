"""Imports that moved, in Python files and notebooks: where they stand, and what to write instead.

``problems`` lists them, ``rewrite`` writes the new paths, ``unread`` names what could not be read.
"""

import bisect
import re
from collections.abc import Iterator
from functools import lru_cache

from kit.findings import Fix
from kit.recipes.edits import put
from kit.recipes.model import Edit, Problem, Span, Unread
from kit.recipes.moved.cells import Cell, cells
from kit.recipes.moved.codemod import mentions, moved
from kit.recipes.moved.finder import Unparsed, parsed
from kit.recipes.moved.statements import Found
from kit.record import Record

RULE, FAILURE = "moved-import", "module-moved"


class Moved(Record):
    """What was found in one file."""

    file: str
    text: str
    problems: tuple[Problem, ...] = ()
    unread: tuple[Unread, ...] = ()


def check(file: str, text: str, guarded: bool = False) -> Moved:
    """The moved imports of a Python file or, where its name ends in ``.ipynb``, of a notebook.

    ``guarded``: the code is to run with old and new releases, so that both paths are tried.
    """
    return _check(file, text, guarded)


def problems(file: str, text: str, guarded: bool = False) -> tuple[Problem, ...]:
    """Each place that names a moved path, with the edits that write the new one."""
    return check(file, text, guarded).problems


def unread(file: str, text: str) -> tuple[Unread, ...]:
    """The parts of a file that are no Python of today."""
    return check(file, text).unread


def rewrite(text: str, guarded: bool = False, file: str = "code.py") -> str:
    """The text with the new paths, and all else as it is.  Done twice, it changes nothing more."""
    return put(text, [edit for problem in problems(file, text, guarded) for edit in problem.edits])


@lru_cache(maxsize=8)
def _check(file: str, text: str, guarded: bool) -> Moved:
    if not file.endswith(".ipynb"):
        return _python(file, text, guarded)
    there, failed = cells(text) if mentions(text) else ((), ())
    return _notebook(file, text, there, failed, guarded)


def _python(file: str, text: str, guarded: bool) -> Moved:
    skip = text.startswith("\ufeff")
    try:
        found = _foreign(moved(text[skip:], guarded), file)
    except Unparsed as error:
        return Moved(file, text, (), (Unread(error.line, error.why),))

    def edit(start: int, end: int, new: str) -> Edit:
        return Edit(Span(start + skip, end + skip), new)

    rows = [_problem(one, Span(one.start + skip, one.end + skip), [edit(*e) for e in one.edits]) for one in found]
    return Moved(file, text, tuple(rows))


def _foreign(found: "tuple[Found, ...]", file: str) -> "list[Found]":
    """Without the paths of a package that the file itself belongs to: its own folders are as they are."""
    folders = set(re.split(r"[/\\]", file)[:-1])
    return [one for one in found if one.row.path.partition(".")[0] not in folders]


def _notebook(file: str, text: str, there: "tuple[Cell, ...]", failed: "tuple[Unread, ...]", guarded: bool) -> Moved:
    """The cells share their names: they are read as one text, without those that are no Python."""
    unread, sources = list(failed), []
    for cell in there:
        source = cell.python
        try:
            parsed(source)
        except Unparsed as error:
            unread.append(Unread(cell.line + error.line - 1, error.why))
            source = ""
        sources.append(source)
    starts, whole = [0], ""
    for source in sources:
        whole += source + "\n"
        starts.append(len(whole))
    rows = []
    for one in _foreign(moved(whole, guarded), file):
        edits = [_in_cell(there, starts, *edit) for edit in one.edits]
        place = _in_cell(there, starts, one.start, one.end, "").span
        rows.append(_problem(one, place, edits))
    return Moved(file, text, tuple(rows), tuple(unread))


def _in_cell(there: "tuple[Cell, ...]", starts: "list[int]", start: int, end: int, new: str) -> Edit:
    at = bisect.bisect_right(starts, start) - 1
    return there[at].edit(start - starts[at], end - starts[at], new)


def _problem(one: Found, span: Span, edits: "list[Edit]") -> Problem:
    row = one.row
    since = f"{'Python' if row.package == 'python' else row.package} {row.version}"
    if not row.gone:
        title = f"{one.old} is now {one.now}" if one.now and row.write else f"{one.old} is deprecated"
        story = f"It moved in {since}; the old path still works, and warns"
        if not one.now or not row.write:
            story = f"It is so since {since}, and still works"
    elif row.back:
        title = f"{one.old} is not in every release"
        story = f"It was {one.now} before {since}, and is something else from {row.back} on"
    else:
        title = f"{one.old} is gone"
        if not one.now:
            story = f"It ended with {since}"
        elif row.write:
            story = f"It is {one.now} since {since}"
        else:
            story = f"It ended with {since}; nearest to it is {one.now}"
        if row.gone != row.version:
            story += f", and {row.gone} has the old path no more"
    if edits:
        why = f"Write {one.now}"
    elif one.now:
        why = f"Look at what it is used for, and write {one.now} where that does it"
    else:
        why = "Write what it is used for in another way"
    return Problem(
        RULE,
        FAILURE,
        "error" if row.gone and not row.back else "warning",
        span,
        f"{title}. {story}.",
        tuple(_evidence(one)),
        (Fix("change-code-or-data", why),),
        tuple(edits),
        bool(edits) and one.safe,
        row.package,
    )


def _evidence(one: Found) -> Iterator[str]:
    yield from (f"the same statement: {said}" for said in one.also)
    if one.why:
        yield f"not rewritten: {one.why[:1].lower()}{one.why[1:]}"

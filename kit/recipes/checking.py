"""Recipes held against the rules: what in a file leads to a failure, on which line, and what to write instead."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable, Optional, Union

from kit.diagnose import CRASHED
from kit.errors import KitError
from kit.facts import compute_capability
from kit.findings import Fix
from kit.recipes.edits import in_strings
from kit.recipes.faults import Fault, in_cells, ordered, placed, shown
from kit.recipes.listed import Named, edited_elsewhere, elsewhere, here
from kit.recipes.model import Problem, Recipe, Unread
from kit.recipes.reading import python_files, read, recipe_files
from kit.recipes.reading.files import contents, decoded
from kit.recipes.rules import Rule, Wish, rules
from kit.record import Record

Paths = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]], Mapping[str, str]]

MOVED = "moved-import"
PYTHON = "python"  # the kind of a file in which imports alone are looked at
_JSON = ("notebook", "devcontainer")
_ANY = Wish()
_NONE: Named = {}
_BACKUP = re.compile(r"\.orig(\.\d+)?$")


class File(Record):
    """One file, read and checked.  ``path`` is None for a text that lies in no file; ``raw`` are its bytes."""

    name: str
    kind: str
    text: str
    path: Optional[str] = None
    raw: bytes = b""
    faults: tuple[Fault, ...] = ()
    unread: tuple[Unread, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        unread = [{"line": part.line, "why": shown(part.why)} for part in self.unread]
        return {
            "file": self.name,
            "kind": self.kind,
            "unread": unread,
            "findings": [fault.to_dict() for fault in self.faults],
        }


class Checked(Record):
    """What was found in each file.  Iterating gives the faults, file by file, from the first line on.  ``asked`` are
    the paths that were given."""

    files: tuple[File, ...]
    wish: Wish = Wish()
    guarded: bool = False
    asked: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Fault]:
        return (fault for file in self.files for fault in file.faults)

    def __len__(self) -> int:
        return sum(len(file.faults) for file in self.files)

    @property
    def verdict(self) -> str:
        """``broken`` where an error or a warning was found, else ``clean``."""
        return "broken" if any(fault.severity != "note" for fault in self) else "clean"

    @property
    def diff(self) -> Any:
        """Every edit, as a unified diff."""
        return self.fixed(everything=True).diff

    @property
    def safe_diff(self) -> Any:
        """The edits that cannot break what works, as a unified diff."""
        return self.fixed().diff

    def fixed(self, everything: bool = False) -> Any:
        """The files with the safe edits, or with all, and checked again.  Nothing is written."""
        from kit.recipes.fixing import propose

        return propose(self, everything)

    def to_dict(self) -> dict[str, Any]:
        return {"schema": 1, "verdict": self.verdict, "files": [file.to_dict() for file in self.files]}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


def check(paths: Paths, *, gpu: Optional[str] = None, guarded: bool = False) -> Checked:
    """Hold recipes against every rule.

    ``paths``: a file, a folder (which stands for the recipes and Python files in it), several of them, or a mapping
    of names to texts.  ``gpu`` is the compute capability that they are to serve, where it is known.  ``guarded``:
    code has to run with old and new releases, so imports that moved are to be tried both ways.
    """
    wish = Wish(compute_capability(gpu) if gpu is not None else None)
    if isinstance(paths, Mapping):
        asked = tuple(paths)
        files = [check_text(text, name, wish, guarded) for name, text in paths.items()]
    else:
        named = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        asked = tuple(os.fspath(path) for path in named)
        files = [_check_file(path, asked_for, wish, guarded) for path, asked_for in _found(asked)]
    return Checked(tuple(once(files)), wish, guarded, asked)


def once(files: Sequence[File]) -> Iterator[File]:
    """The files without the faults that are told where they stand, in a file that another one names."""
    told = {(os.path.realpath(f.path), fault.rule, fault.package) for f in files if f.path for fault in f.faults}
    for file in files:
        kept = tuple(
            f for f in file.faults if not f.listed or (os.path.realpath(f.listed), f.rule, f.package) not in told
        )
        yield replace(file, faults=kept) if len(kept) < len(file.faults) else file


def check_text(text: str, name: str, wish: Wish = _ANY, guarded: bool = False, path: Optional[str] = None) -> File:
    """Check a text as if it lay in a file of this name.  KitError where that is no recipe.

    ``path`` is where it does lie: files that it names are looked for beside it.
    """
    faults: list[Fault] = []
    unread: list[Unread] = []
    kind = PYTHON if is_python(name) else "unknown"
    if kind != PYTHON:
        for recipe in _run("", _read, path or f"{os.devnull}/{name}", text, crashes=faults, file=name):
            kind = recipe.kind
            unread += recipe.unread
            recipe, named = here(recipe)
            for rule in rules():
                problems = _run(rule.id, rule.check, recipe, wish, crashes=faults, file=name)
                faults += _placed(problems, rule.id, name, text, kind, named)
    if kind in (PYTHON, "notebook"):
        for moved in _run(MOVED, _moved, name, text, guarded, crashes=faults, file=name):
            unread += moved.unread
            faults += _placed(moved.problems, MOVED, name, text, kind)
    if kind == "notebook":
        faults = in_cells(faults, text)
    return File(name, kind, text, path, faults=tuple(ordered(faults)), unread=tuple(unread))


def is_python(name: str) -> bool:
    return name.endswith((".py", ".pyi"))


def _read(path: str, text: str) -> Iterator[Recipe]:
    try:
        yield read(path, text)
    except KitError as error:
        raise KitError(str(error).replace(f"{os.devnull}/", "")) from None


def _moved(name: str, text: str, guarded: bool) -> Iterator[Any]:
    from kit.recipes import moved

    yield moved.check(name, text, guarded)


def _run(id: str, look: Callable[..., Iterable[Any]], *what: Any, crashes: list[Fault], file: str) -> list[Any]:
    """What a rule, or ('') the reader, gives until it raises."""
    found: list[Any] = []
    try:
        for one in look(*what):
            found.append(one)
    except KitError:  # this file cannot be used, or a library is missing: one line says it
        raise
    except Exception as error:  # the border named in DESIGN: the crash is a finding, the other rules run
        crashes.append(_crashed(id, file, error))
    return found


def _placed(
    problems: Iterable[Problem], id: str, file: str, text: str, kind: str, named: Named = _NONE
) -> Iterator[Fault]:
    for problem in problems:
        edits = in_strings(problem.edits, text) if kind in _JSON and id != MOVED else problem.edits
        if edited_elsewhere(edits, named):
            edits = ()
        try:
            fault = placed(problem, file, text, edits)
        except ValueError as error:  # a place or edits that this text cannot have
            fault = _crashed(id, file, error)
        listed = elsewhere(problem.span, named)
        yield replace(fault, listed=listed) if listed else fault


def _crashed(rule: str, file: str, error: Exception) -> Fault:
    """The finding that stands for a rule, or ('') for a reader, that raised."""
    import traceback  # only here: it is slow to import

    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = shown(" ".join(str(error).split()))[:200]
    what = f"The rule {rule}" if rule else "The reader of this file"
    rest = "Whether its mistake is in this file is not known; the other rules ran." if rule else "It was not checked."
    where = f"{os.path.basename(frame.filename)}, {frame.name} line {frame.lineno}"
    return Fault(
        CRASHED,
        "warning",
        None,
        f"{what} failed itself. {rest}",
        (f"{where}: {type(error).__name__}: {said}",),
        (Fix("report-upstream", "Report it with this file, or with the part of it that may be shown"),),
        rule=rule or "reading",
        file=file,
    )


# -- files


def _found(paths: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each file once, and whether it was named itself and not found in a folder."""
    seen = set()
    for name in paths:
        for file in _in_folder(name) if os.path.isdir(name) else [name]:
            if os.path.realpath(file) not in seen:
                seen.add(os.path.realpath(file))
                yield file, file == name


def _in_folder(folder: str) -> list[str]:
    """The recipes, Python files and notebooks of a folder; what ``fix`` has kept is none."""
    found = {os.path.normpath(file) for file in (*recipe_files(folder), *python_files([folder]))}
    return sorted(file for file in found if not _BACKUP.search(file))


def _check_file(path: str, named: bool, wish: Wish, guarded: bool) -> File:
    try:
        raw = contents(path)
        file = check_text(decoded(raw)[0], path, wish, guarded, path)
    except KitError as error:
        if named:
            raise
        return File(path, "unknown", "", path, unread=(Unread(1, str(error)),))
    return File(file.name, file.kind, file.text, path, raw, file.faults, file.unread)


def rule(id: str) -> Rule:
    """The rule with this id.  KitError where there is none."""
    for one in rules():
        if one.id == id:
            return one
    raise KitError(f"no rule is called {id!r}; there are {', '.join(one.id for one in rules())}")

"""Import paths that a release moved or removed, and how sure it is what stands there now."""

from functools import lru_cache
from typing import Any, Optional

from kit.data import table
from kit.record import Record


class Row(Record):
    """One path of ``kit/data/moved_modules.json`` that was read in the release before its change and after it.

    ``now`` is its successor, '' where there is none.  ``write`` says how code is rewritten: ``modules`` (a module
    whose names are all there under ``now``), ``names`` (the same object, of another module or name), ``values`` (an
    expression), '' where the successor does not do the same, so that a person has to decide.  ``gone`` is the release
    in which the old path ends, '' where it still works.  ``always``: the successor is in releases before the change
    too.  ``loaded``: importing the package imports the successor.  ``back``: the release from which on something else
    has the old path.
    """

    package: str
    path: str
    now: str
    version: str
    write: str = ""
    gone: str = ""
    always: bool = False
    loaded: bool = False
    back: str = ""

    @property
    def module(self) -> str:
        """The module to be imported for ``now``; '' for what Python has by itself."""
        if self.write == "modules":
            return self.now
        return self.now.rpartition(".")[0] if self.write == "names" else ""


class Match(Record):
    """A path that the table knows: the row, and what follows its path."""

    row: Row
    rest: str = ""

    @property
    def now(self) -> str:
        """What is to stand there; '' where that is not certain."""
        if not self.row.write or (self.rest and self.row.write == "values"):
            return ""
        return self.row.now + self.rest


def find(path: str) -> Optional[Match]:
    """What the table knows of an import path, or of the nearest one around it."""
    rows, rest = _rows(), ""
    while path:
        row = rows.get(path)
        if row is not None:
            return Match(row, rest)
        path, _, last = path.rpartition(".")
        rest = f".{last}{rest}"
    return None


def parts(path: str) -> frozenset[str]:
    """What the table lists right below a module: of ``scipy`` these are ``misc``, ``signal`` and so on."""
    return _parts().get(path, frozenset())


@lru_cache(maxsize=1)
def packages() -> frozenset[str]:
    """The first words of all paths: a text without any of them needs no closer look."""
    return frozenset(path.partition(".")[0] for path in _rows())


@lru_cache(maxsize=1)
def _rows() -> dict[str, Row]:
    data: dict[str, Any] = table("moved_modules")
    found = {}
    for row in data["moved"]:
        if "before" not in row:  # known from reports of errors, not read in two releases
            continue
        gone = row.get("gone", row["version"])
        flags = bool(row.get("always")), bool(row.get("loaded"))
        for path, now in row["paths"].items():
            write = row.get("write", "") if now else ""
            found[path] = Row(row["package"], path, now, row["version"], write, gone, *flags, row.get("back", ""))
    return found


@lru_cache(maxsize=1)
def _parts() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for path in _rows():
        while "." in path:
            path, _, last = path.rpartition(".")
            found.setdefault(path, set()).add(last)
    return {path: frozenset(names) for path, names in found.items()}

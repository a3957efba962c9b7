"""The failures that the kit knows: one file each, loaded and checked by :func:`catalogue`.

A failure file is named after its id and holds

* a docstring, which is its page: title, then the sections of :data:`SECTIONS` in this order;
* ``RANK``: root causes have low numbers and are shown before what follows from them;
* ``INSTEAD``: one sentence on what would not help, where people usually try it ('' where nothing is);
* ``find(facts)``: yields findings, reads nothing but the facts;
* ``example()``: facts of a machine that has this failure and no other.  Both are left out where facts cannot show it;
* ``told(report)``: yields what speaks for it in pasted text, reads nothing but the report;
* where a machine without a GPU can have it: ``reproduce(place)``, which makes it real in a throwaway environment and
  returns what shows it (Python code, or an installation that fails), and ``SHOWS``, what it then says.

To teach the kit a new failure, add one file.
"""

import importlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any, Callable, Optional, Union

from kit.facts import Attempt, Facts
from kit.failures._place import Place
from kit.findings import Finding
from kit.record import Record
from kit.report import Report, Told

SECTIONS = ("What it means", "How it is found", "Example", "Fix", "Known limits")


class Page(Record):
    """The page of a failure; a notebook shows it as Markdown."""

    text: str

    def __str__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        title, _, rest = self.text.partition("\n")
        # Setext underlines would be the largest headings of the notebook.
        body = re.sub(r"^(.+)\n-{3,}$", r"**\1**\n", rest, flags=re.M)
        return {"text/plain": self.text, "text/markdown": f"**{title}**\n{body}"}


class Failure(Record):
    """One failure file, checked: its id, its page and its functions."""

    id: str
    title: str
    page: Page
    rank: int
    instead: str
    find: Callable[[Facts], Iterator[Finding]]
    told: Callable[[Report], Iterator[Told]]
    example: Optional[Callable[[], Facts]] = None
    reproduce: Optional[Callable[[Place], Union[str, Attempt]]] = None
    shows: str = ""


@lru_cache(maxsize=1)
def catalogue() -> tuple[Failure, ...]:
    """Every failure of this folder, by rank.  Raises ValueError where a file is not as it must be."""
    names = sorted(n[:-3] for n in os.listdir(os.path.dirname(__file__)) if n.endswith(".py") and n[0] != "_")
    failures = [_load(importlib.import_module(f"{__name__}.{name}")) for name in names]
    return tuple(sorted(failures, key=lambda f: (f.rank, f.id)))


def failure(id: str) -> Failure:
    """The failure with this id; KeyError where there is none."""
    return {f.id: f for f in catalogue()}[id]


def _load(module: ModuleType) -> Failure:
    id = module.__name__.rpartition(".")[2].replace("_", "-")
    page = module.__doc__ or ""
    lines = page.split("\n")
    headings = tuple(line for line, below in zip(lines, lines[1:]) if below[:3] == "---" and not below.strip("-"))
    if headings != SECTIONS:
        raise ValueError(f"{id}: the page must have the sections {SECTIONS}, it has {headings}")
    if hasattr(module, "find") != hasattr(module, "example"):
        raise ValueError(f"{id}: find and example belong together")
    reproduce = getattr(module, "reproduce", None)
    if (reproduce is None) != (not hasattr(module, "SHOWS")):
        raise ValueError(f"{id}: reproduce and SHOWS belong together")
    return Failure(
        id=id,
        title=page.strip().partition("\n")[0].rstrip("."),
        page=Page(page.strip() + "\n"),
        rank=module.RANK,
        instead=module.INSTEAD,
        find=getattr(module, "find", _nothing),
        told=getattr(module, "told", _nothing),
        example=getattr(module, "example", None),
        reproduce=reproduce,
        shows=getattr(module, "SHOWS", ""),
    )


def _nothing(_: Any) -> Iterator[Any]:
    yield from ()

"""The rules for recipes: one file each, loaded and checked by :func:`rules`.

A rule file is named after its rule and holds

* a docstring, which is its page: a title, a paragraph on why, then the sections of :data:`SECTIONS`.  ``Example`` is
  a recipe (its first line names the file, e.g. ``Dockerfile:``) in which every line that the rule must report ends in
  ``# <--``, which is taken off before it is read; ``Instead`` is one with no such problem.  Tests read both, and
  apply the edits to the first;
* ``FAILURE``: the failure id that it leads to;
* ``check(recipe, wish)``: yields problems, reads nothing but the recipe (and what it is to serve).

To teach the kit a new mistake in recipes, add one file.
"""

import importlib
import os
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Callable, Optional

from kit.recipes.model import Problem, Recipe
from kit.record import Record

SECTIONS = ("Example", "Instead")


class Wish(Record):
    """What the recipe is to serve, where the person said it: the GPU's compute capability, as ``12.0``."""

    gpu: Optional[str] = None


class Rule(Record):
    """One rule file, checked."""

    id: str
    title: str
    page: str
    failure: str
    check: Callable[[Recipe, Wish], Iterator[Problem]]


@lru_cache(maxsize=1)
def rules() -> tuple[Rule, ...]:
    """Every rule of this folder, by id.  Raises ValueError where a file is not as it must be."""
    names = sorted(n[:-3] for n in os.listdir(os.path.dirname(__file__)) if n.endswith(".py") and n[0] != "_")
    return tuple(_load(importlib.import_module(f"{__name__}.{name}")) for name in names)


def _load(module: ModuleType) -> Rule:
    id = module.__name__.rpartition(".")[2].replace("_", "-")
    page = module.__doc__ or ""
    lines = page.split("\n")
    headings = tuple(line for line, below in zip(lines, lines[1:]) if below[:3] == "---" and not below.strip("-"))
    if headings != SECTIONS:
        raise ValueError(f"{id}: the page must have the sections {SECTIONS}, it has {headings}")
    title = page.strip().partition("\n")[0].rstrip(".")
    return Rule(id, title, page.strip() + "\n", module.FAILURE, module.check)

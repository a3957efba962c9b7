"""Recipes, the files that make environments: checked against the rules, mended, and written.

    kit.recipes.check(paths) -> Checked            faults with their lines and what to write instead
    checked.fixed(everything) -> Fixed             the files with their edits, and checked again; nothing is written
    kit.recipes.fix(checked, confirm) -> Fixed     the same, written; the old text stays beside each file
    kit.recipes.write(kind, torch=...) -> Written  a new recipe from wishes
    kit.recipes.page(rule)                         the page of a rule
    kit.recipes.example(name)                      recipes with faults, for trying

What parses a file, and what writes one, is loaded when it is needed.
"""

from typing import TYPE_CHECKING, Any

from kit.failures import Page, failure
from kit.recipes.checking import MOVED, Checked, check, rule
from kit.recipes.examples import example, examples
from kit.recipes.fixing import Fixed, fix

if TYPE_CHECKING:
    from kit.recipes.writing import Written

__all__ = ["Checked", "Fixed", "check", "example", "examples", "fix", "page", "write"]


def write(kind: str, *, torch: str, **wishes: Any) -> "Written":
    """A new recipe: ``dockerfile``, ``devcontainer``, ``requirements``, ``environment``, ``apptainer``.

    ``wishes`` are those of :func:`kit.recipes.writing.wished`: ``cuda``, ``gpu``, ``packages``, ``python``, ...
    Nothing is written to disk.
    """
    from kit.recipes import writing

    return writing.write(kind, writing.wished(torch, **wishes))


def page(id: str) -> Page:
    """The page of a rule: why it is one, a recipe that breaks it, and one that does not.  KitError where there is
    none of this name."""
    return failure("module-moved").page if id == MOVED else Page(rule(id).page)

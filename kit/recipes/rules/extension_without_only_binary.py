"""An extension may be compiled although its page of wheels is named.

With ``--find-links`` pip looks at the page and at the package index, and takes the newest version: sources of a newer
release win over the wheel, and where no wheel fits the Python, or the page does not exist, the sources are all there
is.  pip compiles them without asking.  With ``--only-binary`` it says at once that no wheel fits.

Example
-------
requirements.txt:

    --extra-index-url https://download.pytorch.org/whl/cu128
    torch==2.9.1+cu128
    --find-links https://data.pyg.org/whl/torch-2.9.0+cu128.html
    torch-scatter  # <--

Instead
-------
requirements.txt:

    --extra-index-url https://download.pytorch.org/whl/cu128
    torch==2.9.1+cu128
    --find-links https://data.pyg.org/whl/torch-2.9.0+cu128.html
    --only-binary torch-scatter
    torch-scatter
"""

from collections.abc import Iterator

from kit.findings import Fix
from kit.published import PYG, PYG_VERSIONS, pyg_row
from kit.recipes.model import Edit, Install, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._edits import added, insertable, line_above
from kit.recipes.rules._extensions import Extension, compiled, extensions, pages
from kit.recipes.rules._torch import torch_at
from kit.recipes.rules._words import joined, missing, only_binary

FAILURE = "sdist-preferred"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        found = [one for one in extensions(recipe, install) if _open(recipe, install, one)]
        if not found:
            continue
        names = [one.name for one in found]
        older = {one.name: row for one in found for row in _rows(install, one) if row != PYG_VERSIONS[one.name]}
        newer = [one.name for one in found if one.name in older and one.package and not one.package.specifier]
        says = (
            f"The newest {joined(newer)} of the package index, {PYG_VERSIONS[newer[0]]}, is newer than what the page "
            "lists, and pip takes its sources."
            if newer
            else "Where no wheel of the page fits, or its address is wrong, pip takes the sources of the package "
            "index without a word."
        )
        yield Problem(
            "extension-without-only-binary",
            FAILURE,
            "warning",
            found[0].span,
            f"Nothing keeps pip from compiling {joined(names)}. {says}",
            fix=(Fix("install-matching-wheel", f"Forbid sources: {only_binary(names)}"),),
            edits=_edits(recipe, install, found, names),
            safe=all(_listed(recipe, install, one) for one in found),
            package=names[0],
        )


def _open(recipe: Recipe, install: Install, one: Extension) -> bool:
    """Whether a page is named, and wheels and sources may come.  What is compiled for certain is another matter."""
    options = install.options
    if one.name not in PYG or one.source != "index" or not pages(install) or options.no_index:
        return False
    if {one.name, ":all:"} & {*options.only_binary, *options.no_binary}:
        return False
    if any(page.minor is None and page.word and page.word.known for page in pages(install)):
        return False  # its address is wrong: another matter
    if one.package is None or "+" in one.package.specifier:
        return False  # 2.1.2+pt21cu118 is a wheel's version: no sources have it
    torch = torch_at(recipe, install)
    if torch is not None and torch.ngc:
        return False
    if not missing(install, "--no-build") or not missing(install, "--no-build-package"):
        return False
    return compiled(recipe, install, one) is None


def _rows(install: Install, one: Extension) -> list[str]:
    """The versions that the pages list, as far as the table knows them."""
    rows = [pyg_row(one.name, page.minor, page.cuda) for page in pages(install) if page.minor and page.cuda]
    return [row["version"] for row in rows if row is not None]


def _listed(recipe: Recipe, install: Install, one: Extension) -> bool:
    """Whether the wheel that is asked for is on the page for sure, and the page that of the torch."""
    rows, torch, named = _rows(install, one), torch_at(recipe, install), pages(install)
    if len(named) != 1 or len(rows) != 1 or one.package is None or torch is None or torch.minor != named[0].minor:
        return False
    return one.package.specifier in ("", f"=={rows[0]}") and torch.cuda in (None, named[0].cuda)


def _edits(recipe: Recipe, install: Install, found: list[Extension], names: list[str]) -> tuple[Edit, ...]:
    if insertable(recipe, install):
        return added(install, only_binary(names))
    first = found[0].package
    return line_above(recipe, first, only_binary(names)) if first is not None else ()

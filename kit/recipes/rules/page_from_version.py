"""The address of the page is made from a version of torch that has no page.

PyG publishes for every ``X.Y.0`` of torch, and links the pages of most patch releases to it, not of all: 2.14.1 has
none.  Nightlies and candidates have none at all.  An address that is made from ``torch.__version__`` therefore works
until torch changes; the page of the ``.0`` always serves.

Example
-------
Dockerfile:

    FROM python:3.11
    ARG TORCH_VERSION=2.14.1
    RUN pip install torch==${TORCH_VERSION} --index-url https://download.pytorch.org/whl/cu130
    RUN pip install --only-binary=pyg-lib pyg-lib -f https://data.pyg.org/whl/torch-${TORCH_VERSION}+cu130.html  # <--

Instead
-------
Dockerfile:

    FROM python:3.11
    ARG TORCH_VERSION=2.14.1
    RUN pip install torch==${TORCH_VERSION} --index-url https://download.pytorch.org/whl/cu130
    RUN pip install --only-binary=pyg-lib pyg-lib -f https://data.pyg.org/whl/torch-2.14.0+cu130.html
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.published import PYG_ALIASES
from kit.recipes.model import Problem, Recipe, Word
from kit.recipes.rules import Wish
from kit.recipes.rules._addresses import replaced
from kit.recipes.rules._extensions import Page, extensions, page_of, pages
from kit.recipes.rules._torch import Torch, newest_for, torch_at
from kit.recipes.rules._words import build, has_wheels, joined, verb

FAILURE = "index-url-malformed"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        torch, of_pyg = torch_at(recipe, install), extensions(recipe, install)
        names = [one.name for one in of_pyg if one.source == "index"] or ["pyg-lib"]
        for page in pages(install):
            if page.word is None or page.nightly:
                continue
            unfinished = re.search(r"torch-\d+\.\d+\.\d+(?:\.?dev|rc|a0)", page.text)
            if unfinished or (torch is not None and torch.nightly and page.minor is None):
                nightly = _of_a_nightly(page, page.word, torch, names, wish)
                right = page_of(torch) if has_wheels(names, torch) else None
                if right is not None:  # the nightly went, and left its page
                    fix = Fix("fix-url", f"Name the page of the torch that is installed: {right}")
                    edits = replaced(recipe, install, page.word, right)
                    nightly = dataclasses.replace(nightly, fix=(fix,), edits=edits)
                yield nightly
            elif page.patch and page.minor:
                found = _of_a_patch(page, page.word)
                if found is not None:
                    right = re.sub(r"torch-\d+\.\d+\.\d+", f"torch-{page.minor}.0", page.text)
                    fix = Fix("fix-url", f"Name the page of {page.minor}.0: {right}")
                    edits = replaced(recipe, install, page.word, right)
                    yield dataclasses.replace(found, fix=(fix,), edits=edits, safe=True, package=names[0])


def _of_a_nightly(page: Page, word: Word, torch: Optional[Torch], names: list[str], wish: Wish) -> Problem:
    newest = newest_for(torch.cuda) if torch and torch.cuda else None
    which = f", {newest} is the newest for {torch.cuda}," if newest and torch else ""
    return Problem(
        "page-from-version",
        "wheel-not-published",
        "error",
        word.span,
        "No page of wheels exists for a nightly of torch. PyG publishes for releases alone, and pip goes on without "
        f"a word: {joined(names)} {verb(names)} compiled, or not found.",
        evidence=(f"page: {page.text}",),
        fix=(
            Fix("change-torch", f"Install a release of torch{which} and name its page"),
            build(names, torch, wish, cuda=True),
        ),
        package=names[0],
    )


def _of_a_patch(page: Page, word: Word) -> Optional[Problem]:
    """An error where there is no such page; a note where there is one, and the next version may have none."""
    version = f"{page.minor}.{page.patch}"
    if version in PYG_ALIASES and "$" not in word.raw:
        return None
    there = version in PYG_ALIASES
    says = (
        f"The address of the page follows torch's version. The page of {version} is a link to that of "
        f"{page.minor}.0; not every patch release has one, and a nightly has none."
        if there
        else f"There is no page for torch {version}. Its wheels lie on the page of {page.minor}.0."
    )
    evidence = (f"page: {page.text}",)
    return Problem("page-from-version", FAILURE, "note" if there else "error", word.span, says, evidence)

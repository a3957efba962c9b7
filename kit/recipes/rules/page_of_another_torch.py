"""The page of wheels is not the one of the torch that is installed.

Each page holds wheels that were compiled against one torch and one CUDA.  With another torch they fail to load
(``undefined symbol``) or crash; a page for the CPU brings an extension without CUDA code, and one for another CUDA
major stops at ``import`` with ``different CUDA versions``.

Example
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    RUN pip install --only-binary=:all: torch-scatter -f https://data.pyg.org/whl/torch-2.5.0+cu121.html  # <--

Instead
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    RUN pip install --only-binary=:all: torch-scatter -f https://data.pyg.org/whl/torch-2.9.0+cu128.html
"""

from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.published import PYG_PAGES
from kit.recipes.model import Edit, Install, Problem, Recipe, Span
from kit.recipes.rules import Wish
from kit.recipes.rules._addresses import replaced
from kit.recipes.rules._extensions import Page, extensions, listed, pages
from kit.recipes.rules._torch import Torch, published_for, torch_at
from kit.recipes.rules._words import joined

FAILURE = "extension-torch-mismatch"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        torch, named = torch_at(recipe, install), pages(install)
        found = [one.name for one in extensions(recipe, install) if one.source == "index"]
        if torch is None or torch.nightly or not found or len(named) != 1 or named[0].minor is None:
            continue
        page = named[0]
        if page.minor and page.cuda and published_for(f"{page.minor}.0", page.cuda) is False:
            continue  # of a torch that there is not: another matter
        verdict = _verdict(page, torch)
        if verdict is None:
            continue
        failure, severity, says = verdict
        right = f"torch-{torch.minor}.0+{torch.cuda or page.cuda}.html" if torch.minor and not torch.ngc else None
        there = right is not None and all(listed(n, torch.minor, torch.cuda or page.cuda) for n in found)
        span = page.word.span if page.word else install.command.span if install.command else Span(0, 0)
        yield Problem(
            "page-of-another-torch",
            failure,
            severity,
            span,
            f"The page of wheels is that of another torch. {says}",
            evidence=(f"page: {page.text}", f"torch: {torch or torch.image}"),
            fix=(_fix(found, PYG_PAGES + right if right and there else None, torch),),
            edits=_edits(recipe, install, page, PYG_PAGES + right) if right and there else (),
            safe=there and severity == "error",
            package=found[0],
        )


def _verdict(page: Page, torch: Torch) -> Optional[tuple[str, str, str]]:
    """(failure, severity, what is wrong); None where page and torch agree, or cannot be compared."""
    if torch.ngc:
        says = "NVIDIA's image has a torch of its own; wheels made for a release of PyTorch may not load with it."
        return FAILURE, "warning", says
    if torch.minor is not None and page.minor != torch.minor:
        return FAILURE, "error", f"It is for torch {page.minor}, and {torch} is what is installed."
    if torch.cuda is None or page.cuda is None or page.cuda == torch.cuda or not (torch.minor or torch.said):
        return None
    if torch.cuda.startswith("cu") and page.cuda == "cpu":
        return "extension-cpu-only", "error", f"It is for the CPU, and torch is a build for {torch.cuda}."
    if not (torch.cuda.startswith("cu") and page.cuda.startswith("cu")):
        return "extension-cuda-mismatch", "error", f"It is for {page.cuda}, and torch is a build for {torch.cuda}."
    same = torch.cuda[2:-1] == page.cuda[2:-1]
    if same and not torch.said:
        return None
    says = f"It is for {page.cuda}, and torch is a build for {torch.cuda}"
    tells = "; that loads as long as the major is the same, and is not what was tested." if same else "."
    return "extension-cuda-mismatch", "warning" if same else "error", says + tells


def _fix(names: list[str], right: Optional[str], torch: Torch) -> Fix:
    if right is not None:
        return Fix("fix-url", f"Name the page of this torch: {right}")
    if torch.ngc:
        return Fix("rebuild-extension", f"Compile {joined(names)} against it: --no-build-isolation, FORCE_CUDA=1")
    if torch.minor is None:
        return Fix(
            "fix-url", f"Name the page of the torch that is installed: {PYG_PAGES}torch-X.Y.0+{torch.cuda}.html"
        )
    return Fix(
        "change-torch", f"No page lists {joined(names)} for this torch: install the torch that the page is for"
    )


def _edits(recipe: Recipe, install: Install, page: Page, right: str) -> tuple[Edit, ...]:
    return replaced(recipe, install, page.word, right) if page.word is not None else ()

"""torch is not fixed, and something beside it is for one torch alone.

Wheels of extensions are made for one torch and one CUDA.  Without a version pip installs the newest torch of the day:
the page that is named is then that of another, and for torch 2.13 and newer no page lists torch-scatter at all.

Example
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch --index-url https://download.pytorch.org/whl/cu128  # <--
    RUN pip install --only-binary=torch-scatter torch-scatter -f https://data.pyg.org/whl/torch-2.9.0+cu128.html

Instead
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
    RUN pip install --only-binary=torch-scatter torch-scatter -f https://data.pyg.org/whl/torch-2.9.0+cu128.html
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.gpus import numbers
from kit.published import PYG, torch_row
from kit.recipes.model import Edit, Install, Package, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._extensions import Page, extensions, pages
from kit.recipes.rules._torch import Torch, newest_for, torch_at, torch_of
from kit.recipes.rules._words import joined, verb

FAILURE = "extension-torch-mismatch"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        torch = torch_of(recipe, install)
        if torch is None or torch.package is None or torch.nightly or not _open(torch.package):
            continue
        found = list(_for_one_torch(recipe, torch))
        if not found:
            continue
        page = found[0][1]
        if page.minor is None or _ends_with(torch, page):
            continue
        says = f"torch {page.minor}" + (f" and {page.cuda}" if page.cuda else "")
        conda = install.tool == "conda"
        newest = (
            "conda installs the newest of its channel"
            if conda
            else "pip installs the newest torch that fits the Python"
        )
        pin = _pin(page).replace("torch", torch.package.name, 1) if conda else _pin(page)
        names_of = [name for name, _ in found]
        names = joined(names_of)
        yield Problem(
            "torch-unpinned",
            FAILURE,
            "warning",
            torch.package.span,
            f"torch is not fixed, and the page of wheels is. {names} {verb(names_of)} taken from that of {says}, and "
            f"{newest}.",
            evidence=(f"page: {page.text}",),
            fix=(Fix("change-torch", f"Fix torch to the release of the page: {pin}"),),
            edits=_edits(recipe, install, torch, page),
            package="torch",
        )


def _open(package: Package) -> bool:
    """Whether nothing bounds its version from above."""
    free = not any(sign in package.specifier for sign in ("=", "<", "~", "*")) or package.specifier.startswith(">")
    return package.known and not package.url and free and "<" not in package.specifier


def _for_one_torch(recipe: Recipe, torch: Torch) -> Iterator[tuple[str, Page]]:
    """The extensions whose wheels come from the page of one torch, and that meet this one."""
    for install in recipe.installs:
        there = torch_at(recipe, install)
        if there is None or there.package is not torch.package:
            continue
        named = pages(install)
        for one in extensions(recipe, install):
            if one.name in PYG and one.source == "index" and len(named) == 1:
                yield one.name, named[0]


def _ends_with(torch: Torch, page: Page) -> bool:
    """Whether the index that torch comes from ends with the release of the page."""
    newest = newest_for(torch.cuda) if torch.cuda and torch.said and torch.for_cuda else None
    return newest is not None and numbers(newest)[:2] == numbers(page.minor or "")


def _pin(page: Page) -> str:
    row = torch_row(f"{page.minor}.0")
    return f"torch=={row['newest'] if row else f'{page.minor}.*'}"


def _edits(recipe: Recipe, install: Install, torch: Torch, page: Page) -> tuple[Edit, ...]:
    """The version of the page, where torch comes as the build of the page."""
    package: Optional[Package] = torch.package
    row = torch_row(f"{page.minor}.0")
    if package is None or row is None or install.tool not in ("pip", "uv") or recipe.kind == "pyproject":
        return ()
    build = torch.cuda if torch.said else row["default"]
    if build != page.cuda or package.specifier or package.marker or recipe.at(package.span) != "torch":
        return ()
    if re.match(r"[ \t]*[<>]", recipe.text[package.span.end :]):
        return ()  # a version without quotes
    if any(p.specifier and p.name in ("torchvision", "torchaudio") for p in install.packages):
        return ()
    return (Edit(package.span, _pin(page)),)

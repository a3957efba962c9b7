"""The index that is named does not have the torch that is asked for, or another one wins.

``torch==2.1.0+cu121`` is on PyTorch's own index alone, never on the package index.  Each folder of that
(``/whl/cu121``) holds the releases that were built for this CUDA, and no later ones.  With ``--extra-index-url`` pip
takes the highest version of all places: without a pin that is the package index's newest torch, for another CUDA.

Example
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch torchvision --extra-index-url https://download.pytorch.org/whl/cu121  # <--

Instead
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch==2.5.1 torchvision --index-url https://download.pytorch.org/whl/cu121
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.data import table
from kit.findings import Fix
from kit.gpus import numbers
from kit.published import PYTORCH_INDEX
from kit.recipes.model import Edit, Install, Package, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._edits import added, editable, line_above, option
from kit.recipes.rules._extensions import placed
from kit.recipes.rules._python import python_at
from kit.recipes.rules._torch import COMPANIONS, Torch, addresses, configured, published_for, torch_of

FAILURE = "index-url-malformed"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        torch = torch_of(recipe, install) if install.tool in ("pip", "uv") else None
        if torch is None or torch.package is None or torch.package.url or torch.nightly or not torch.package.known:
            continue
        places, known = addresses(install)
        if not known or configured(recipe) or install.options.no_index or "torch" in placed(recipe):
            continue
        local = (torch.package.pinned or "").partition("+")[2]
        if re.fullmatch(r"cpu|cu\d{2,3}", local):
            yield from _with_build(recipe, install, torch.package, torch, local, places)
        elif re.fullmatch(r"(cu|cuda)?(\d\d)\.?(\d)", local):
            yield _no_build(recipe, torch.package, local)
        elif not local:
            yield from _without_build(recipe, install, torch.package, torch, places)


def _with_build(
    recipe: Recipe, install: Install, package: Package, torch: Torch, build: str, places: tuple[str, ...]
) -> Iterator[Problem]:
    """``torch==2.1.0+cu121``: from where?"""
    public = torch.version or ""
    of_pytorch = [place for place in places if "download.pytorch.org" in place]
    builds = {found.group(1) for found in (re.search(r"/whl/(cpu|cu\d+)", place) for place in of_pytorch) if found}
    exists = published_for(public, build)
    if exists is False:
        yield _problem(
            package,
            "wheel-not-published",
            "error",
            f"There is no torch {public} for {build}. PyTorch builds each release for two or three CUDA versions"
            f"{_built_for(public)}.",
            (Fix("change-torch", f"Ask for another build or release{_built_for(public)}"),),
        )
    elif not places:
        where = PYTORCH_INDEX + build
        yield _problem(
            package,
            FAILURE,
            "error" if install.command else "warning",
            f"torch {public}+{build} is not on the package index. Versions with +{build} are on PyTorch's own index "
            "alone, and none is named: pip finds no matching distribution.",
            (Fix("fix-url", f"Name it: --extra-index-url {where}"),),
            added(install, f"--extra-index-url {where}")
            if editable(recipe, install)
            else line_above(recipe, package, f"--extra-index-url {where}"),
            True,
        )
    elif builds and build not in builds and len(of_pytorch) == len(places) and not _whole(of_pytorch):
        wrong = next(iter(builds))
        yield _problem(
            package,
            FAILURE,
            "error",
            f"The index for {wrong} has no torch {public}+{build}. Each folder of PyTorch's index holds the builds "
            "of its name.",
            (Fix("fix-url", f"Name the index of the build: {PYTORCH_INDEX}{build}"),),
            _moved(recipe, install, wrong, build),
            True,
        )


def _no_build(recipe: Recipe, package: Package, local: str) -> Problem:
    right = "cu" + local.lstrip("cuda").replace(".", "")
    own = recipe.at(package.span)
    edits = (Edit(package.span, own.replace(f"+{local}", f"+{right}")),) if own.count(f"+{local}") == 1 else ()
    return _problem(
        package,
        FAILURE,
        "error",
        f"No build of torch is called +{local}. It is written +{right}.",
        (Fix("fix-url", f"Write +{right}"),),
        edits,
        True,
    )


def _without_build(
    recipe: Recipe, install: Install, package: Package, torch: Torch, places: tuple[str, ...]
) -> Iterator[Problem]:
    """``torch`` or ``torch==2.9.1`` and an index of one build."""
    if not torch.said or torch.cuda is None or _whole(list(places)) or not re.fullmatch(r"cu\d{3}", torch.cuda):
        return
    extra = install.options.index is None and bool(install.options.extra_indexes)
    if torch.version is not None and re.fullmatch(r"\d+\.\d+\.\d+", torch.version):
        if published_for(torch.version, torch.cuda) is False:
            ends = (
                "pip takes the build of the package index instead" if extra else "pip finds no matching distribution"
            )
            yield _problem(
                package,
                "wheel-not-published",
                "error",
                f"There is no torch {torch.version} for {torch.cuda}. {ends[0].upper() + ends[1:]}"
                f"{_built_for(torch.version)}.",
                (Fix("change-torch", f"Ask for another build or release{_built_for(torch.version)}"),),
            )
        return
    python = python_at(recipe, install)
    serving = [
        row
        for row in table("torch_builds")["torch"]
        if python is None or python.version is None or python.version in row["pythons"]
    ]
    latest = max(serving, key=lambda row: numbers(row["minor"]), default=None)
    newest = max((row["newest"] for row in serving if torch.cuda in row["cuda"]), key=numbers, default=None)
    if latest is None:
        return
    # uv takes what the extra index has, and looks no further.
    if not extra or install.tool == "uv" or newest is None or not re.fullmatch(r"(>=?[\d.]+)?", package.specifier):
        return
    if numbers(newest) < numbers(latest["newest"]) and torch.cuda not in latest["cuda"]:
        yield _problem(
            package,
            FAILURE,
            "warning",
            f"torch comes from the package index and not from the one for {torch.cuda}. pip takes the highest "
            f"version of all places: {latest['newest']} is on the package index, for {latest['default']}; that "
            f"for {torch.cuda} ends with {newest}.",
            (
                Fix(
                    "fix-url",
                    f"Fix the version and its index: torch=={newest} --index-url {PYTORCH_INDEX}{torch.cuda}",
                ),
            ),
            _fixed(recipe, install, package, newest),
        )


def _problem(
    package: Package,
    failure: str,
    severity: str,
    summary: str,
    fix: tuple[Fix, ...],
    edits: tuple[Edit, ...] = (),
    safe: bool = False,
) -> Problem:
    name = "torch-of-another-index"
    return Problem(name, failure, severity, package.span, summary, fix=fix, edits=edits, safe=safe, package="torch")


def _whole(places: list[str]) -> bool:
    """Whether one of them holds the builds for every CUDA: ``/whl`` and its torch_stable.html."""
    return any(re.search(r"/whl/?$|torch_stable\.html$|/whl/torch/?$", place) for place in places)


def _built_for(version: str) -> str:
    row = next((r for r in table("torch_builds")["torch"] if numbers(r["minor"]) == numbers(version)[:2]), None)
    return f": {row['minor']} is there for {', '.join(row['cuda'])}" if row else ""


def _moved(recipe: Recipe, install: Install, wrong: str, build: str) -> tuple[Edit, ...]:
    words = [word for word in install.options.addresses if f"/whl/{wrong}" in word.raw]
    return tuple(Edit(word.span, word.raw.replace(f"/whl/{wrong}", f"/whl/{build}")) for word in words)


def _fixed(recipe: Recipe, install: Install, package: Package, newest: str) -> tuple[Edit, ...]:
    """The newest of that index, and no other index, where nothing else is installed by the call."""
    if any(p.name not in COMPANIONS or (p.specifier and p is not package) for p in install.packages):
        return ()
    span: Optional[object] = None
    for word in install.options.extra_indexes:
        span = option(recipe, install, word)
        if span is None or len(install.options.extra_indexes) > 1 or not editable(recipe, install):
            return ()
        own = recipe.at(package.span)
        quote = own[:1] if own[:1] in "\"'" else ""
        return (
            Edit(package.span, f"{quote}torch=={newest}{quote}"),
            Edit(span, f"--index-url {word.raw}"),
        )
    return ()

"""A nightly of torch is installed where a release serves.

RTX 50 and its relatives (compute capability 12.0) needed nightlies until torch 2.7; every release since has their
code in its builds for CUDA 12.8 and newer.  For nightlies PyG publishes no torch-scatter, so that everything that is
compiled against torch has to be built, and a nightly is gone from the index after some weeks.

Example
-------
Dockerfile:

    FROM python:3.11
    RUN pip install --pre torch --index-url https://download.pytorch.org/whl/nightly/cu128  # <--

Instead
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.gpus import numbers
from kit.published import PYTORCH_INDEX, cuda_of
from kit.recipes.model import Edit, Install, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._edits import editable, without
from kit.recipes.rules._extensions import extensions, stable_for
from kit.recipes.rules._torch import COMPANIONS, Torch, torch_of

FAILURE = "wheel-not-published"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        torch = torch_of(recipe, install) if install.tool in ("pip", "uv") else None
        if torch is None or not torch.nightly or torch.package is None or not torch.for_cuda:
            continue
        if "nightly" in recipe.file.lower() or not any("/whl/nightly" in a.text for a in install.options.addresses):
            continue
        of_pyg = [one.name for each in recipe.installs for one in extensions(recipe, each)]
        release = stable_for(torch.cuda, of_pyg)
        if release is None or numbers(cuda_of(torch.cuda or "") or "0") < (12, 8):
            continue
        yield Problem(
            "nightly-where-stable-serves",
            FAILURE,
            "error" if of_pyg else "warning",
            torch.package.span,
            f"A release serves in place of this nightly. torch {release} for {torch.cuda} has the same GPUs in it, "
            "12.0 (RTX 50) too, and there are wheels for releases alone of what is compiled against torch.",
            evidence=tuple(f"index: {a.text}" for a in install.options.addresses if "/whl/nightly" in a.text),
            fix=(
                Fix(
                    "change-torch",
                    f"Install the release: pip install torch=={release} --index-url {PYTORCH_INDEX}{torch.cuda}",
                ),
            ),
            edits=_edits(recipe, install, torch, release),
            package="torch",
        )


def _edits(recipe: Recipe, install: Install, torch: Torch, release: str) -> tuple[Edit, ...]:
    """The release from its index; torchvision and its like follow torch where no version is asked of them."""
    bare = all(package.name == "torch" or not package.specifier for package in install.packages)
    package: Optional[object] = torch.package
    if not editable(recipe, install) or install.command is None or torch.package is None or package is None:
        return ()
    if not bare or any(p.name not in COMPANIONS for p in install.packages) or not torch.package.known:
        return ()
    edits = []
    for word in install.options.addresses:
        stable = re.sub(r"/whl/nightly(/|$)", r"/whl\1", word.raw)
        if "/whl/nightly" not in word.text or stable == word.raw:
            return ()
        edits.append(Edit(word.span, stable))
    edits.append(Edit(torch.package.span, f"torch=={release}"))
    return (*edits, *(without(install.command, [install.options.pre.span]) if install.options.pre else ()))

"""An architecture is asked for that the image's nvcc does not compile for.

Every CUDA toolkit knows a range of GPUs: 12.0 (RTX 50) needs CUDA 12.8, 8.9 and 9.0 need 11.8, and CUDA 13 dropped
everything before 7.5.  nvcc stops with ``Unsupported gpu architecture``.

Example
-------
Dockerfile:

    FROM pytorch/pytorch:2.6.0-cuda12.4-cudnn9-devel
    ENV TORCH_CUDA_ARCH_LIST="8.9;12.0" FORCE_CUDA=1  # <--
    RUN pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2.git

Instead
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    ENV TORCH_CUDA_ARCH_LIST="8.9;12.0" FORCE_CUDA=1
    RUN pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2.git
"""

from collections.abc import Iterator
from typing import Optional

from kit.data import table
from kit.findings import Fix
from kit.gpus import numbers
from kit.recipes.model import Edit, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._arches import ENTRY, ArchList, arch_lists, capabilities_of, rewritten
from kit.recipes.rules._builds import toolkit_at

FAILURE = "nvcc-arch-unsupported"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for one in arch_lists(recipe):
        install = next(
            (i for i in reversed(recipe.installs) if i.command and i.command is one.command), None
        ) or next((i for i in reversed(recipe.installs) if i.command and one.setting in i.command.settings), None)
        toolkit = toolkit_at(recipe, install) if install else None
        if toolkit is None or not toolkit.there or toolkit.version is None:
            continue
        known = capabilities_of(toolkit.version)
        oldest = table("nvcc")["nvcc"][0]["cuda"]
        wrong = [c for c in one.capabilities if c not in known]
        if not known or not wrong or numbers(toolkit.version) < numbers(oldest):
            continue
        newer = [_first(c) for c in wrong if numbers(c) > numbers(known[-1])]
        says = (
            f"needs CUDA {newer[0]}" if newer and newer[0] else f"is none of those that CUDA {toolkit.version} knows"
        )
        yield Problem(
            "arch-unknown-to-nvcc",
            FAILURE,
            "error",
            one.setting.span,
            f"nvcc {toolkit.version} does not compile for {', '.join(wrong)}. {wrong[0]} {says}; the build stops "
            'with "Unsupported gpu architecture".',
            evidence=(f"toolkit: {toolkit.said}",),
            fix=tuple(_fixes(wrong, newer)),
            edits=_edits(recipe, one, known) if not newer else (),
        )


def _first(capability: str) -> Optional[str]:
    """The first CUDA release whose nvcc compiles for it."""
    rows = table("nvcc")["nvcc"]
    return next((row["cuda"] for row in rows if capability in row["capabilities"]), None)


def _fixes(wrong: list[str], newer: "list[Optional[str]]") -> Iterator[Fix]:
    if newer and newer[0]:
        yield Fix(
            "install-toolchain",
            f"Build in an image with CUDA {newer[0]} or newer, and with a torch that was built for it",
        )
    yield Fix(
        "rebuild-extension", f"Leave {', '.join(wrong)} out of TORCH_CUDA_ARCH_LIST, where you have no such GPU"
    )


def _edits(recipe: Recipe, one: ArchList, known: tuple[str, ...]) -> tuple[Edit, ...]:
    """The list without what a newer toolkit dropped."""
    kept = [entry for entry in one.entries if (form := ENTRY.fullmatch(entry)) is None or form.group(1) in known]
    return rewritten(recipe, one, ";".join(kept)) if kept else ()

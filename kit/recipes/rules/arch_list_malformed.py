"""TORCH_CUDA_ARCH_LIST is not written as torch reads it.

torch takes compute capabilities with a dot, separated by ``;`` or single blanks: ``8.6;8.9;12.0+PTX``.  A comma,
``sm_86``, ``86``, an empty place between two separators (``8.6; 8.9`` has one) stop the build with ``Unknown CUDA
arch (...) or GPU not supported``.

Example
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    ENV TORCH_CUDA_ARCH_LIST="8.6,8.9"  # <--
    RUN FORCE_CUDA=1 pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2.git

Instead
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    ENV TORCH_CUDA_ARCH_LIST="8.6;8.9"
    RUN FORCE_CUDA=1 pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2.git
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.gpus import numbers
from kit.recipes.model import Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._arches import ENTRY, arch_lists, rewritten

FAILURE = "nvcc-arch-unsupported"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for one in arch_lists(recipe):
        wrong = next((entry for entry in one.entries if _wrong(entry)), None)
        if wrong is None:
            continue
        meant = _meant(one.setting.value or "")
        said = f"{wrong!r} is no compute capability" if wrong else "It has an empty place between two separators"
        yield Problem(
            "arch-list-malformed",
            FAILURE,
            "error",
            one.setting.span,
            f'TORCH_CUDA_ARCH_LIST is not written as torch reads it. {said}: the build stops with "Unknown CUDA arch '
            f'({wrong})".',
            fix=(
                Fix(
                    "rebuild-extension",
                    f'Write compute capabilities with a dot, separated by ";": {meant or "8.6;8.9;9.0"}',
                ),
            ),
            edits=rewritten(recipe, one, meant) if meant else (),
            safe=True,
        )


def _wrong(entry: str) -> bool:
    """Whether torch is sure to refuse it.  A name that is not known, or a number that it may learn, is not."""
    if ENTRY.fullmatch(entry):
        return False
    return entry == "" or re.search(r",|^(sm|compute)_?\d+|^\d{2,3}a?(\+PTX)?$", entry) is not None


def _meant(value: str) -> Optional[str]:
    """The list that was meant; None where that is a guess."""
    found = []
    for entry in filter(None, re.split(r"[,; ]+", value)):
        form = re.fullmatch(r"(?:sm_?|compute_?)?(\d{1,2})\.?(\d)([af]?)(\+PTX)?", entry)
        if form is None or not (3, 0) <= numbers(f"{form[1]}.{form[2]}") <= (13, 0):
            return None
        found.append(f"{form[1]}.{form[2]}{form[3]}{form[4] or ''}")
    return ";".join(dict.fromkeys(found)) or None

"""TORCH_CUDA_ARCH_LIST names other GPUs than those that it is meant for.

Ada (RTX 40, L4, L40) is compute capability 8.9, Hopper (H100, H200) is 9.0, and RTX 50 is 12.0.  Code for 9.0 does
not run on an RTX 4090: ``no kernel image is available for execution on the device``.  Code for 8.6 does, as it is of
the same major and not newer.

Example
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    # 9.0: Ada Lovelace (RTX 40), 12.0: Blackwell (RTX 50)
    ENV TORCH_CUDA_ARCH_LIST="9.0;12.0"  # <--
    RUN FORCE_CUDA=1 pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2.git

Instead
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    # 8.9: Ada Lovelace (RTX 40), 12.0: Blackwell (RTX 50)
    ENV TORCH_CUDA_ARCH_LIST="8.9;12.0"
    RUN FORCE_CUDA=1 pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2.git
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.gpus import numbers, served
from kit.recipes.model import Edit, Problem, Recipe, Setting
from kit.recipes.rules import Wish
from kit.recipes.rules._arches import ArchList, arch_lists, rewritten

FAILURE = "gpu-arch-missing"

_ADA = re.compile(
    r"\bAda\b|Lovelace|RTX\s*40(?:\d0|s\b|\b|[^\d\s])|RTX\s*40\s*(?:series|シリーズ)|\b40[5-9]0\b|\bL40S?\b", re.I
)


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for one in arch_lists(recipe):
        if not one.architectures:
            continue
        if wish.gpu and not served(one.architectures, wish.gpu):
            yield _problem(
                recipe, one, wish.gpu, f"Code for {one.setting.value} does not run on a GPU of {wish.gpu}", "error"
            )
        elif not served(one.architectures, "8.9") and "9.0" in one.capabilities:
            said = _said(recipe, one.setting)
            if said:
                why = "9.0 is Hopper (H100, H200); Ada (RTX 40, L40) is 8.9"
                yield _problem(recipe, one, "8.9", why, "error", said)
            elif set(one.capabilities) == {"9.0", "12.0"}:
                why = "9.0 is Hopper (H100, H200). Where it stands for RTX 40 (Ada), that is 8.9"
                yield _problem(recipe, one, "8.9", why, "note")


def _problem(recipe: Recipe, one: ArchList, gpu: str, why: str, severity: str, said: str = "") -> Problem:
    if gpu == "8.9" and said:
        kept = ["8.9" if entry == "9.0" else entry for entry in one.entries]
    else:
        kept = sorted({*one.entries, gpu}, key=numbers)
    listing = ";".join(kept)
    title = (
        "The list of architectures may mistake Hopper for Ada"
        if severity == "note"
        else (f"The list of architectures leaves out compute capability {gpu}")
    )
    return Problem(
        "arch-list-of-other-gpus",
        FAILURE,
        severity,
        one.setting.span,
        f"{title}. {why}.",
        evidence=(f"comment: {said}",) if said else (),
        fix=(Fix("rebuild-extension", f'Compile for it: TORCH_CUDA_ARCH_LIST="{listing}"'),),
        edits=_edits(recipe, one, listing) if severity == "error" else (),
    )


def _edits(recipe: Recipe, one: ArchList, listing: str) -> tuple[Edit, ...]:
    return rewritten(recipe, one, listing)


def _said(recipe: Recipe, setting: Setting) -> str:
    """A comment that calls its 9.0 Ada: at the setting, or anywhere in the file."""
    lines, at = recipe.text.split("\n"), recipe.line(setting.span.start) - 1
    for line in sorted(range(len(lines)), key=lambda line: abs(line - at)):
        _, mark, said = lines[line].partition("#")
        # A sentence that says 9.0 and Ada, and nothing between them that is a number of its own.
        if (
            mark
            and re.search(r"\b(?:9\.0|sm_?90)\b", said)
            and _ADA.search(said)
            and not re.search(r"\b8\.9\b|Hopper|H[12]00", said)
        ):
            return said.lstrip("#").strip()
    return ""

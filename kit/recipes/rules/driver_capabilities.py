"""The container is given the driver without its compute part, so that torch sees no GPU.

``NVIDIA_DRIVER_CAPABILITIES`` says which parts of the host's driver are mounted.  ``utility`` alone brings
``nvidia-smi``, which then lists the GPU, while ``torch.cuda.is_available()`` is False: libcuda comes with
``compute``.

Example
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-runtime-ubuntu22.04
    ENV NVIDIA_VISIBLE_DEVICES=all
    ENV NVIDIA_DRIVER_CAPABILITIES=utility,graphics  # <--
    RUN apt-get update && apt-get install -y python3-pip
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128

Instead
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-runtime-ubuntu22.04
    ENV NVIDIA_VISIBLE_DEVICES=all
    ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics
    RUN apt-get update && apt-get install -y python3-pip
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.recipes.model import Edit, Problem, Recipe, Setting, Span
from kit.recipes.rules import Wish

FAILURE = "gpu-not-visible"

NAME = "NVIDIA_DRIVER_CAPABILITIES"
_KNOWN = frozenset(["compute", "compat32", "graphics", "utility", "video", "display", "ngx", "all"])


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    if recipe.kind not in ("dockerfile", "compose", "devcontainer") or not _computes(recipe):
        return
    for setting in recipe.settings:
        parts = set(re.split(r"\s*,\s*", setting.value or ""))
        if setting.name != NAME or setting.how != "env" or not parts <= _KNOWN or parts & {"compute", "all"}:
            continue
        if "$" in recipe.at(setting.span):
            continue  # it goes on from what the image has
        place = _value(recipe, setting)
        yield Problem(
            "driver-capabilities",
            FAILURE,
            "error",
            setting.span,
            f"The container gets the driver without its compute part. {NAME}={setting.value} leaves out libcuda, so "
            "that nvidia-smi works and torch sees no GPU.",
            (f"{NAME}: {setting.value}",),
            (Fix("expose-gpu", f"Add compute: {NAME}=compute,{setting.value}"),),
            (Edit(Span(place.start, place.start), "compute,"),) if place else (),
            safe=place is not None,
        )


def _value(recipe: Recipe, setting: Setting) -> Optional[Span]:
    """Where the value is written in the setting."""
    text = recipe.at(setting.span)
    at = text.rfind(setting.value or "")
    return Span(setting.span.start + at, setting.span.end) if at >= 0 else None


def _computes(recipe: Recipe) -> bool:
    """Whether the recipe shows that CUDA is what the GPU is for."""
    images = [stage.image or "" for stage in recipe.stages]
    named = any(i.package("torch", "pytorch", "tensorflow", "jax", "cupy") is not None for i in recipe.installs)
    return named or any(re.search(r"pytorch|nvidia/cuda:|tensorflow", image) for image in images)

"""CUDA code is compiled in an image that has no nvcc.

The images called ``base`` and ``runtime``, ``python:3.x`` and a plain Ubuntu hold no CUDA toolkit.  What is compiled
with CUDA code there stops at ``CUDA_HOME environment variable is not set`` or at a missing ``nvcc``.  The toolkit is
in the images called ``devel``; a second stage can take what was built into a smaller image.

Example
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-runtime-ubuntu22.04  # <--
    RUN apt-get update && apt-get install -y python3-pip python3-dev g++ git
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
    RUN pip install --no-build-isolation flash-attn==2.8.3

Instead
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-devel-ubuntu22.04
    RUN apt-get update && apt-get install -y python3-pip python3-dev g++ git
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
    RUN pip install --no-build-isolation flash-attn==2.8.3
"""

from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Edit, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._builds import builds, toolkit_at
from kit.recipes.rules._image import written

FAILURE = "nvcc-not-found"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for stage in range(len(recipe.stages)):
        made = [(i, b) for i in recipe.installs if i.stage == stage for b in builds(recipe, i)]
        missing = [(i, b, t) for i, b in made for t in (toolkit_at(recipe, i),) if t.there is False]
        if not missing:
            continue
        _, build, toolkit = missing[0]
        names = ", ".join(dict.fromkeys(b.name for _, b, _ in missing))
        image = toolkit.image
        place = written(recipe, stage, f"-{image.flavour}") if image and image.family in ("cuda", "pytorch") else None
        where = place or (written(recipe, stage, image.name) if image else None) or build.span
        devel = Edit(place, "-devel") if place else None
        yield Problem(
            "runtime-image-compiles",
            FAILURE,
            "error",
            where,
            f"CUDA code is compiled in an image without nvcc. {names} is compiled at line "
            f"{recipe.line(build.span.start)}, and {toolkit.said} has no CUDA toolkit.",
            (f"line {recipe.line(build.span.start)}: {recipe.at(build.span)}", f"{toolkit.said}: no nvcc"),
            (
                Fix(
                    "install-toolchain",
                    "Build in the devel image of the same CUDA, which has nvcc; a second stage "
                    "can copy what was built into the smaller image",
                ),
                Fix(
                    "install-matching-wheel",
                    f"Or install a wheel of {names} that fits this torch, where its project "
                    "publishes one: it needs no nvcc",
                ),
            ),
            (devel,) if devel else (),
            package=build.name,
        )

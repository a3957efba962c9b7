"""The distribution's own CUDA toolkit is installed beside a torch of another CUDA.

``nvidia-cuda-toolkit`` is the CUDA of the day on which the distribution was frozen: 11.5 on Ubuntu 22.04, 12.0 on
24.04, 11.8 on Debian 12.  torch brings its own CUDA libraries and needs no toolkit; an extension that is compiled
needs the one of torch's CUDA, and stops at this one.

Example
-------
Dockerfile:

    FROM ubuntu:22.04
    RUN apt-get update && apt-get install -y python3-pip g++ nvidia-cuda-toolkit  # <--
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128

Instead
-------
Dockerfile:

    FROM ubuntu:22.04
    RUN apt-get update && apt-get install -y python3-pip g++
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
"""

from collections.abc import Iterator

from kit.findings import Fix
from kit.gpus import numbers
from kit.published import cuda_of
from kit.recipes.model import Install, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._edits import without
from kit.recipes.rules._image import DISTRIBUTION_CUDA, image_at
from kit.recipes.rules._torch import Torch, torch_of, torch_of_image

FAILURE = "nvcc-torch-mismatch"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        package = install.package("nvidia-cuda-toolkit") if install.tool == "apt" else None
        image = image_at(recipe, install.stage)
        if package is None or image is None or image.nvcc or image.system not in DISTRIBUTION_CUDA:
            continue
        here = DISTRIBUTION_CUDA[image.system]
        wanted = {torch.cuda for torch in _torches(recipe, install) if torch.cuda is not None}
        cuda = cuda_of(wanted.pop()) if len(wanted) == 1 else None
        if cuda is None or numbers(cuda)[0] == numbers(here)[0]:
            continue
        command = install.command
        yield Problem(
            "apt-cuda-toolkit",
            FAILURE,
            "warning",
            package.span,
            f"nvidia-cuda-toolkit is not of torch's CUDA. {' '.join(image.system).title()} has CUDA {here} under "
            f"this name, and torch is built for CUDA {cuda}: no extension of it can be compiled with this nvcc.",
            (f"nvidia-cuda-toolkit of {' '.join(image.system).title()}: CUDA {here}", f"torch: CUDA {cuda}"),
            (
                Fix("nothing", "Leave it out where nothing is compiled: torch's wheels bring the CUDA libraries"),
                Fix("install-toolchain", f"Or take the CUDA {cuda} toolkit of NVIDIA, or its devel image"),
            ),
            without(command, [package.span]) if command and len(install.packages) > 1 else (),
        )


def _torches(recipe: Recipe, install: Install) -> Iterator[Torch]:
    """Every torch of the stage and of those that go on from it."""
    for other in recipe.installs:
        if install.stage in recipe.lineage(other.stage) or other.stage in recipe.lineage(install.stage):
            found = torch_of(recipe, other)
            if found is not None and not found.conda:
                yield found
    image = torch_of_image(recipe.image(install.stage) or "")
    if image is not None:
        yield image

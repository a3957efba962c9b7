"""The image's CUDA toolkit is of another CUDA than torch, and something is compiled with it.

torch brings its own CUDA libraries, so that the image's version does not matter to it.  It matters to what is
compiled: torch's build code stops where nvcc's major version is not that of torch's CUDA, and apex compares the
minor version too.

Example
-------
Dockerfile:

    FROM nvidia/cuda:11.8.0-devel-ubuntu22.04  # <--
    ENV FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="8.0;8.6"
    RUN apt-get update && apt-get install -y python3-pip git
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
    RUN pip install --no-build-isolation git+https://github.com/facebookresearch/pytorch3d.git@V0.7.9

Instead
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-devel-ubuntu22.04
    ENV FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="8.0;8.6"
    RUN apt-get update && apt-get install -y python3-pip git
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
    RUN pip install --no-build-isolation git+https://github.com/facebookresearch/pytorch3d.git@V0.7.9
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.gpus import numbers
from kit.published import cuda_of
from kit.recipes.model import Edit, Install, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._builds import Build, Toolkit, builds, toolkit_at
from kit.recipes.rules._image import written
from kit.recipes.rules._torch import Torch, torch_at

FAILURE = "nvcc-torch-mismatch"

# The newest devel images of each CUDA, and the Ubuntu releases that they are made for (hub.docker.com/r/nvidia/cuda).
_TAGS = {
    "11.7": ("11.7.1", ("18.04", "20.04", "22.04")),
    "11.8": ("11.8.0", ("18.04", "20.04", "22.04")),
    "12.1": ("12.1.1", ("20.04", "22.04")),
    "12.4": ("12.4.1", ("20.04", "22.04")),
    "12.6": ("12.6.3", ("20.04", "22.04", "24.04")),
    "12.8": ("12.8.1", ("20.04", "22.04", "24.04")),
    "13.0": ("13.0.1", ("22.04", "24.04")),
}


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    told: set[tuple[str, str]] = set()
    for install in recipe.installs:
        for build in builds(recipe, install):
            torch, toolkit = torch_at(recipe, install), toolkit_at(recipe, install)
            cuda = cuda_of(torch.cuda) if torch and torch.cuda and not torch.ngc else None
            if torch is None or cuda is None or toolkit.version is None or not _stops(build, toolkit.version, cuda):
                continue
            if (toolkit.said, cuda) not in told:
                told.add((toolkit.said, cuda))
                yield _problem(recipe, install, build, toolkit, torch, cuda)


def _stops(build: Build, nvcc: str, cuda: str) -> bool:
    length = 2 if build.exactly else 1
    return build.checked and numbers(nvcc)[:length] != numbers(cuda)[:length]


def _problem(recipe: Recipe, install: Install, build: Build, toolkit: Toolkit, torch: Torch, cuda: str) -> Problem:
    edit = _image(recipe, install, toolkit, cuda)
    named = written(recipe, install.stage, toolkit.image.name) if toolkit.image else None
    where = (edit.span if edit else None) or toolkit.span or named or build.span
    compares = "apex compares both numbers" if build.exactly else "torch's build code compares the first number"
    return Problem(
        "base-cuda-against-torch",
        FAILURE,
        "error",
        where,
        f"nvcc is of another CUDA than torch. {toolkit.said} has CUDA {toolkit.version}, {torch} is built for CUDA "
        f"{cuda}, and {compares} and stops when {build.name} is compiled at line {recipe.line(build.span.start)}.",
        (f"{toolkit.said}: CUDA {toolkit.version}", f"torch: CUDA {cuda}"),
        (
            Fix(
                "install-toolchain", f"Use the CUDA {cuda} toolkit: an image of that CUDA, or its nvcc with CUDA_HOME"
            ),
            Fix(
                "change-torch",
                f"Or install the torch that was built for CUDA {toolkit.version}, where one is published",
            ),
        ),
        (edit,) if edit else (),
        package=build.name,
    )


def _image(recipe: Recipe, install: Install, toolkit: Toolkit, cuda: str) -> Optional[Edit]:
    """The image of torch's CUDA in place of the one in FROM, where there is one for the same system."""
    image = toolkit.image
    if image is None or image.family != "cuda" or image.system is None:
        return None
    version = re.search(r":(\d[\d.]*)(?:-cudnn[\d.]*)?-devel", image.name)
    tag, systems = _TAGS.get(cuda, ("", ()))
    span = written(recipe, install.stage, version[0]) if version else None
    if not tag or span is None or image.system[0] != "ubuntu" or image.system[1] not in systems:
        return None
    return Edit(span, f":{tag}{'-cudnn' if 'cudnn' in image.name else ''}-devel")

"""The NVIDIA driver is installed inside an image.

The driver belongs to the host: its libraries are mounted into the container when it starts, and they must be of the
version of the host's kernel module.  A copy in the image is of another version on every machine but one, and where
it wins the GPU is gone: ``Driver/library version mismatch``.

Example
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-runtime-ubuntu22.04
    RUN apt-get update && apt-get install -y python3-pip nvidia-driver-535  # <--

Instead
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-runtime-ubuntu22.04
    RUN apt-get update && apt-get install -y python3-pip
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Edit, Install, Package, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._edits import without

FAILURE = "gpu-not-visible"

_DRIVER = re.compile(
    r"(nvidia-driver|nvidia-headless|libnvidia-compute|nvidia-utils|cuda-drivers|nvidia-dkms|nvidia-kernel-common)"
    r"(-\d+)?(-server|-open)*$"
)
# NVIDIA's packages of the toolkit with a driver.
_BOTH = re.compile(r"cuda(-\d+-\d+)?$")


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    if recipe.kind not in ("dockerfile", "apptainer"):
        return
    for install in recipe.installs:
        packages = [p for p in install.packages if p.known and install.tool == "apt"]
        found = [p for p in packages if _DRIVER.match(p.name) or _BOTH.match(p.name)]
        if not found:
            continue
        names = ", ".join(p.name for p in found)
        yield Problem(
            "driver-in-image",
            FAILURE,
            "warning",
            found[0].span,
            f"The driver is installed inside the image. {names} is of one driver version, and the host's own is "
            "mounted over it when the container starts: where both are found, the GPU is gone.",
            (f"line {recipe.line(found[0].span.start)}: {names}",),
            (
                Fix("expose-gpu", "Leave it out: the driver is the host's, and comes in with --gpus all"),
                Fix(
                    "install-toolchain", "Where nvcc is needed, take cuda-toolkit-12-8 or its like: it has no driver"
                ),
            ),
            _edits(install, found),
        )


def _edits(install: Install, found: list[Package]) -> tuple[Edit, ...]:
    """The toolkit alone, and no driver."""
    toolkits = [p for p in found if _BOTH.match(p.name)]
    if toolkits:
        plain = all(p.raw == p.name for p in toolkits) and len(toolkits) == len(found)
        return tuple(Edit(p.span, p.name.replace("cuda", "cuda-toolkit", 1)) for p in toolkits) if plain else ()
    others = len(install.packages) > len(found)
    return without(install.command, [p.span for p in found]) if install.command and others else ()

"""Base images: which Python, which compiler and which CUDA toolkit a recipe starts from.

An image registry cannot be asked here.  The tags are those in use in public recipes on 2026-11-22, except that of
13.0, which this project's own container used before; each is a build argument, so that another one can be named.
"""

from typing import Optional

from kit.errors import KitError
from kit.recipes.writing.wish import Wishes, nvcc
from kit.record import Record

# CUDA -> the newest patch release whose devel image is in use, and its Ubuntu.
_CUDA = {
    "11.7": ("11.7.1", "ubuntu22.04"),
    "11.8": ("11.8.0", "ubuntu22.04"),
    "12.1": ("12.1.1", "ubuntu22.04"),
    "12.4": ("12.4.1", "ubuntu22.04"),
    "12.6": ("12.6.3", "ubuntu22.04"),
    "12.8": ("12.8.1", "ubuntu22.04"),
    "12.9": ("12.9.1", "ubuntu22.04"),
    "13.0": ("13.0.2", "ubuntu22.04"),
    "13.2": ("13.2.1", "ubuntu24.04"),
}
# Debian's release -> its gcc.  python:X.Y-RELEASE has it, python:X.Y-slim-RELEASE has no compiler.
_GCC = {"bookworm": 12, "bullseye": 10}


class Images(Record):
    """``python`` is the image that everything is installed into, ``cuda`` the one that the toolkit's folder
    ``toolkit`` is taken from, None where nothing is compiled for CUDA."""

    python: str
    why: str
    cuda: Optional[str] = None
    toolkit: str = ""


def images(wishes: Wishes) -> Images:
    """The base images.  KitError where no toolkit compiles for the CUDA or the GPUs that are wished."""
    if not wishes.compiled:
        if wishes.of("pyg"):
            return Images(
                f"python:{wishes.python}-bookworm", "Not -slim: the wheels of PyG's page need its libgomp.so.1."
            )
        why = "Slim: nothing is compiled, and torch brings its own CUDA libraries."
        return Images(f"python:{wishes.python}-slim-bookworm", why if wishes.cuda else "Slim: nothing is compiled.")
    if wishes.cuda is None:
        return Images(f"python:{wishes.python}-bookworm", "Not -slim: it has the compiler and Python's headers.")
    row = nvcc(wishes.cuda)
    names = ", ".join(pin.name for pin in wishes.compiled)
    if row is None or wishes.cuda not in _CUDA:
        raise KitError(f"{names} has to be compiled, and no image with CUDA {wishes.cuda}'s nvcc is known")
    for gpu in wishes.architectures:
        if gpu not in row["capabilities"]:
            raise KitError(
                f"nvcc {wishes.cuda} compiles nothing for {gpu}; it knows {', '.join(row['capabilities'])}"
            )
    release = next(name for name, gcc in _GCC.items() if gcc <= row["gcc_max"])
    version, system = _CUDA[wishes.cuda]
    why = (
        f"Python {wishes.python} with gcc {_GCC[release]}, which nvcc {wishes.cuda} accepts (up to {row['gcc_max']})."
    )
    image = f"nvidia/cuda:{version}-devel-{system}"
    return Images(f"python:{wishes.python}-{release}", why, image, f"/usr/local/cuda-{wishes.cuda}")

"""The image's C library is older than the wheels need, or is another one.

torch 2.7 and newer need glibc 2.28, PyG's wheels for torch up to 2.6 glibc 2.29 and those for newer ones 2.32.  pip
finds no torch on an older system; PyG's wheels carry no such mark and install, and then do not load: ``version
GLIBC_2.32 not found``.  Alpine has musl, for which there is no torch at all.

Example
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-devel-ubuntu20.04
    RUN pip install torch==2.8.0 --index-url https://download.pytorch.org/whl/cu128
    RUN pip install --only-binary=:all: torch-scatter -f https://data.pyg.org/whl/torch-2.8.0+cu128.html  # <--

Instead
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-devel-ubuntu22.04
    RUN pip install torch==2.8.0 --index-url https://download.pytorch.org/whl/cu128
    RUN pip install --only-binary=torch-scatter torch-scatter -f https://data.pyg.org/whl/torch-2.8.0+cu128.html
"""

from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.gpus import numbers
from kit.published import PYG
from kit.recipes.model import Install, Package, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._extensions import listed, pages
from kit.recipes.rules._image import Image, image_at

FAILURE = "libc-too-old"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        image = image_at(recipe, install.stage) if install.tool in ("pip", "uv") else None
        if image is None or recipe.kind not in ("dockerfile", "apptainer"):
            continue
        torch = install.package("torch")
        if image.musl and torch is not None and not torch.url and not install.options.find_links:
            yield Problem(
                "old-glibc",
                FAILURE,
                "error",
                torch.span,
                f"There is no torch for Alpine. {image.name} has musl in place of glibc, and all of torch's wheels "
                "for Linux are made for glibc.",
                (f"{image.name}: musl",),
                (Fix("change-torch", "Build on an image of Debian, e.g. python:3.12-slim"),),
                package="torch",
            )
        needs = _needs(install)
        if image.glibc is None or needs is None or numbers(image.glibc) >= numbers(needs[1]):
            continue
        package, glibc = needs
        told = "pip finds no wheel that fits" if package.name == "torch" else "It installs, and does not load"
        yield Problem(
            "old-glibc",
            FAILURE,
            "error",
            package.span,
            f"{package.name} needs a newer glibc than the image has. {image.name} has glibc {image.glibc}, and this "
            f"wheel needs {glibc}. {told}.",
            (f"{image.name}: glibc {image.glibc}", f"{package.name}{package.specifier}: glibc {glibc}"),
            _fixes(package, image, glibc),
            package=package.name,
        )


def _needs(install: Install) -> Optional[tuple[Package, str]]:
    """What is installed as a wheel, and the glibc that it was built on."""
    torch = install.package("torch")
    if torch is not None and torch.known and torch.pinned and not torch.url:
        return (torch, "2.28") if numbers(torch.pinned)[:2] >= (2, 7) else None
    of_pyg = [page for page in pages(install) if page.minor and page.cuda and not page.nightly]
    for package in install.packages:
        if package.name in PYG and len(of_pyg) == 1 and package.known and not install.options.no_binary:
            if listed(package.name, of_pyg[0].minor, of_pyg[0].cuda) and numbers(of_pyg[0].minor or "") >= (2, 1):
                return package, "2.32" if numbers(of_pyg[0].minor or "") >= (2, 7) else "2.29"
    return None


def _fixes(package: Package, image: Image, glibc: str) -> tuple[Fix, ...]:
    newer = "Ubuntu 20.04 or Debian 10" if glibc == "2.28" else "Ubuntu 22.04 or Debian 12"
    fixes = [Fix("install-matching-wheel", f"Build on a system with glibc {glibc} or newer, e.g. {newer}")]
    if package.name != "torch":
        fixes.append(
            Fix(
                "rebuild-extension",
                f"Or compile {package.name} on this system: --no-binary={package.name} --no-build-isolation",
            )
        )
    return tuple(fixes)

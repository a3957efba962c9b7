"""Which pip a recipe installs with: only 25.3 and newer isolate every build, and refuse --global-option."""

import re
from typing import Optional

from kit.gpus import numbers
from kit.recipes.model import Install, Recipe
from kit.recipes.rules._python import python_at

# Before it the images with torch had Python 3.8 or older: NVIDIA's 23.05, pytorch/pytorch:1.13.
_FIRST_PYTHON_39 = (2023, 5)


def newest_pip(recipe: Recipe, install: Install) -> Optional[bool]:
    """Whether pip is 25.3 or newer: True where the recipe updates it, False where it fixes an older one, or takes the
    one of an older image, or of a Python for which there is none."""
    python = python_at(recipe, install)
    image = recipe.image(install.stage) or ""
    old = _published(image)
    if python is not None and python.version and numbers(python.version) < (3, 9):
        return False
    if old is not None and old < _FIRST_PYTHON_39 and (python is None or python.kind == "image"):
        return False
    for earlier in recipe.before(install):
        package = earlier.package("pip") if earlier.tool in ("pip", "uv", "conda") else None
        if package is None:
            continue
        if package.pinned:
            return numbers(package.pinned) >= (25, 3)
        bound = re.search(r"<=?\s*([\d.]+)", package.specifier)
        if bound:
            return None if numbers(bound.group(1)) > (25, 3) else False
        if earlier.tool == "conda":
            return None
        return True if earlier.options.upgrade and package.known else None
    if python is not None and python.kind == "system":
        return False  # Debian 13 and Ubuntu 25.04 have 25.1 at most
    return False if old is not None and old < (2025, 10) and (python is None or python.kind == "image") else None


def _published(image: str) -> Optional[tuple[int, int]]:
    """The year and month of an image with torch, as far as they decide which Python and pip are in it."""
    name, _, tag = re.sub(r"^docker\.io/", "", image.partition("@")[0]).partition(":")
    ngc = re.match(r"(\d\d)\.(\d\d)-", tag) if name == "nvcr.io/nvidia/pytorch" else None
    if ngc:
        return 2000 + int(ngc.group(1)), int(ngc.group(2))
    if name not in ("pytorch/pytorch", "pytorch/pytorch-nightly"):
        return None
    torch, cuda = numbers(tag.partition("-")[0])[:2] if tag[:1].isdigit() else (), re.search(r"cuda(\d+\.\d)", tag)
    if (torch and torch < (1, 13)) or (cuda and numbers(cuda.group(1)) < (11,)):
        return 2020, 1
    return (2024, 1) if (torch and torch < (2, 9)) or (cuda and numbers(cuda.group(1)) < (12, 4)) else None

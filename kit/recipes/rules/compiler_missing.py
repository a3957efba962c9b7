"""An extension is compiled in an image without a C++ compiler.

``python:3.x-slim``, a plain Ubuntu and NVIDIA's ``base`` and ``runtime`` images have no gcc.  What pip gets as
sources stops there at ``error: command 'gcc' failed: No such file or directory``.

Example
-------
Dockerfile:

    FROM python:3.12-slim
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cpu
    RUN pip install --no-build-isolation --no-binary=torch-scatter torch-scatter  # <--

Instead
-------
Dockerfile:

    FROM python:3.12-slim
    RUN apt-get update && apt-get install -y g++
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cpu
    RUN pip install --no-build-isolation --no-binary=torch-scatter torch-scatter
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Edit, Install, Problem, Recipe, Span
from kit.recipes.rules import Wish
from kit.recipes.rules._builds import FETCHED, extensions_of_apex, may_bring_unseen
from kit.recipes.rules._extensions import compiled, extensions
from kit.recipes.rules._image import image_at

FAILURE = "compiler-unsupported"

# What brings a compiler; python3-pip brings build-essential, unless recommended packages are left out.
_BRINGS = re.compile(
    r"(lib)?(gcc|g\+\+|clang|llvm|build-essential|build-base|gcc-c\+\+|cmake|development|@development|devscripts|dpkg-dev"
    r"|cuda|nvidia-cuda|libstdc\+\+|gfortran|@|\^|ros-|python3?-pip)"
)
_CONDA = re.compile(r"(gcc|gxx|c-compiler|cxx-compiler|compilers|clang|cuda-nvcc|cuda-toolkit|toolchain)")


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    if recipe.kind not in ("dockerfile", "apptainer"):
        return
    told: set[int] = set()
    for install in recipe.installs:
        image = image_at(recipe, install.stage)
        if image is None or image.compiler is not False or install.stage in told or _brought(recipe, install):
            continue
        for extension in extensions(recipe, install):
            why = compiled(recipe, install, extension)
            if why is None or extension.name in FETCHED:
                continue
            if extension.name == "apex" and not any(extensions_of_apex(install, flag) for flag in ("cpp", "cuda")):
                continue
            told.add(install.stage)
            yield Problem(
                "compiler-missing",
                FAILURE,
                "error",
                extension.span,
                f"{extension.name} is compiled where there is no compiler. {why[:1].upper()}{why[1:]}, and "
                f"{image.name} has no gcc.",
                (f"{image.name}: no gcc, and nothing before this line installs one",),
                (
                    Fix("install-toolchain", "Install g++ first: apt-get install -y g++"),
                    Fix("install-matching-wheel", f"Or take a wheel of {extension.name}, which needs no compiler"),
                ),
                _edit(recipe, install) if image.system is None or image.system[0] in ("debian", "ubuntu") else (),
                package=extension.name,
            )
            break


def _brought(recipe: Recipe, install: Install) -> bool:
    """Whether something before may bring a compiler."""
    for earlier in recipe.before(install):
        for package in earlier.packages:
            if earlier.tool == "apt" and (not package.known or _BRINGS.match(package.name)):
                return True
            if earlier.tool == "conda" and (not package.known or _CONDA.match(package.name)):
                return True
        if earlier.tool in ("apt", "conda") and (not earlier.packages or earlier.options.requirement_files):
            return True
    return may_bring_unseen(recipe, install)


def _edit(recipe: Recipe, install: Install) -> tuple[Edit, ...]:
    start = recipe.text.rfind("\nRUN", 0, install.span.start) + 1
    if recipe.kind != "dockerfile" or not start:
        return ()
    if re.search(r"^[A-Z]+[ \t]", recipe.text[start + 3 : install.span.start], re.M):
        return ()
    return (Edit(Span(start, start), "RUN apt-get update && apt-get install -y g++\n"),)

"""A folder on LD_LIBRARY_PATH or PYTHONPATH wins over torch's own files.

torch's wheels bring the CUDA libraries that they were built for.  A folder on ``LD_LIBRARY_PATH`` comes before them:
an older toolkit's ``libnvJitLink`` or ``libcusparse`` makes ``import torch`` fail with an undefined symbol, and the
``compat`` folder puts the image's driver library in place of the host's.  A ``PYTHONPATH`` into another Python's
packages brings compiled modules that this one cannot load.

Example
-------
Dockerfile:

    FROM nvidia/cuda:12.1.1-runtime-ubuntu22.04
    ENV LD_LIBRARY_PATH=/usr/local/cuda/lib64  # <--
    RUN apt-get update && apt-get install -y python3-pip
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128

Instead
-------
Dockerfile:

    FROM nvidia/cuda:12.1.1-runtime-ubuntu22.04
    RUN apt-get update && apt-get install -y python3-pip
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.gpus import numbers
from kit.published import cuda_of
from kit.recipes.model import Edit, Install, Problem, Recipe, Setting, Span
from kit.recipes.rules import Wish
from kit.recipes.rules._image import image_at
from kit.recipes.rules._python import python_at
from kit.recipes.rules._torch import torch_of

FAILURE = "library-shadowed"

_LIBRARIES = re.compile(r"/usr/local/cuda(?:-(\d+\.\d+))?/(?:lib64|targets/x86_64-linux/lib)/?$")
_COMPAT = re.compile(r"/usr/local/cuda(?:-\d+(?:\.\d+)?)?/compat/?$")
_PACKAGES = re.compile(r"/python(3\.\d+)/(?:site|dist)-packages/?$")


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    if recipe.kind not in ("dockerfile", "apptainer"):
        return
    for setting in recipe.settings:
        if setting.how != "env":
            continue
        written = re.sub(r"^\w+[= ]+", "", recipe.at(setting.span)).strip("\"'")
        places = [p for p in written.split(":") if p]
        if setting.name == "LD_LIBRARY_PATH":
            yield from _compat(recipe, setting, places)
            yield from _older(recipe, setting, places)
        elif setting.name == "PYTHONPATH":
            yield from _another(recipe, setting, places)


def _stage(recipe: Recipe, setting: Setting) -> int:
    return max((i for i, s in enumerate(recipe.stages) if s.span.start <= setting.span.start), default=0)


def _installs(recipe: Recipe, setting: Setting) -> Iterator[Install]:
    """What is installed in the stage of a setting, and in those that go on from it."""
    stage = _stage(recipe, setting)
    return (i for i in recipe.installs if stage in recipe.lineage(i.stage) or i.stage in recipe.lineage(stage))


def _compat(recipe: Recipe, setting: Setting, places: list[str]) -> Iterator[Problem]:
    found = next((p for p in places if _COMPAT.match(p)), None)
    if found is None:
        return
    yield Problem(
        "loader-path",
        "driver-too-old",
        "warning",
        setting.span,
        f"The image's own driver library comes before the host's. {found} holds a libcuda for data-center GPUs with "
        "an older driver; on a GeForce, or beside a newer driver, CUDA does not start with it.",
        (f"LD_LIBRARY_PATH: {found}",),
        (Fix("fix-loader-path", f"Take {found} off LD_LIBRARY_PATH: the container toolkit uses it where it serves"),),
        _without(recipe, setting, found),
    )


def _older(recipe: Recipe, setting: Setting, places: list[str]) -> Iterator[Problem]:
    """The same major version, so that the names of the libraries are the same, and an older minor."""
    image = image_at(recipe, _stage(recipe, setting))
    for place in places:
        found = _LIBRARIES.match(place)
        if found is None or image is None or image.family != "cuda" or image.flavour == "base":
            continue
        here = found[1] or image.cuda or ""
        if image.cuda and numbers(here) != numbers(image.cuda):
            continue  # of a folder that the image does not have
        torches = [torch for i in _installs(recipe, setting) for torch in (torch_of(recipe, i),) if torch]
        cudas = {torch.cuda for torch in torches if not torch.conda}
        cuda = cuda_of(cudas.pop() or "cpu") if len(cudas) == 1 else None
        if cuda is None or numbers(cuda)[0] != numbers(here)[0] or numbers(here) >= numbers(cuda):
            continue
        yield Problem(
            "loader-path",
            FAILURE,
            "warning",
            setting.span,
            f"An older CUDA comes before torch's own. LD_LIBRARY_PATH leads to the libraries of CUDA {here}, and "
            f"torch brings those of CUDA {cuda} under the same names: the older ones win, and lack symbols.",
            (f"LD_LIBRARY_PATH: {place}, CUDA {here} of {image.name}", f"torch: CUDA {cuda}"),
            (
                Fix(
                    "fix-loader-path",
                    f"Take {place} off LD_LIBRARY_PATH: torch finds its own, and the image knows its "
                    "toolkit by /etc/ld.so.conf.d",
                ),
            ),
            _without(recipe, setting, place),
            package="torch",
        )
        return


def _another(recipe: Recipe, setting: Setting, places: list[str]) -> Iterator[Problem]:
    for place in places:
        found = _PACKAGES.search(place)
        pythons = {p.version for i in _installs(recipe, setting) for p in (python_at(recipe, i),) if p and p.version}
        if found is None or "$" in place or len(pythons) != 1 or found[1] in pythons:
            continue
        version = pythons.pop()
        yield Problem(
            "loader-path",
            "wrong-interpreter",
            "error",
            setting.span,
            f"PYTHONPATH leads to another Python's packages. {place} is of Python {found[1]}, and Python {version} "
            "runs here: compiled modules do not carry over.",
            (f"PYTHONPATH: {place}", f"Python {version}"),
            (
                Fix(
                    "fix-loader-path",
                    f"Take {place} off PYTHONPATH, and install what is needed with this Python's pip",
                ),
            ),
            _without(recipe, setting, place),
        )


def _without(recipe: Recipe, setting: Setting, place: str) -> tuple[Edit, ...]:
    """The setting without a folder; with nothing left, the whole line where it says nothing else."""
    text = recipe.at(setting.span)
    at = text.find(place)
    if at < 0:
        return ()
    end = at + len(place)
    if text[end : end + 1] == ":":
        return (Edit(Span(setting.span.start + at, setting.span.start + end + 1), ""),)
    if text[at - 1] == ":":
        return (Edit(Span(setting.span.start + at - 1, setting.span.start + end), ""),)
    return _line(recipe, setting)


def _line(recipe: Recipe, setting: Setting) -> tuple[Edit, ...]:
    start = recipe.text.rfind("\n", 0, setting.span.start) + 1
    stop: Optional[int] = recipe.text.find("\n", setting.span.end)
    end = len(recipe.text) if stop in (-1, None) else (stop or 0) + 1
    before, after = recipe.text[start : setting.span.start], recipe.text[setting.span.end : end]
    alone = re.fullmatch(r"\s*ENV\s+", before) and not after.strip()
    continued = start > 1 and recipe.text[: start - 1].rstrip(" \t").endswith("\\")
    return (Edit(Span(start, end), ""),) if alone and not continued else ()

"""A conda channel on which there is no newer torch, and there will be none.

The channel ``pytorch`` ended with 2.5.1 (2024), ``pyg`` with the builds for it, ``pytorch-nightly`` with its last
night and ``rusty1s`` long before.  A newer torch is not found there, and one without a version is an old one.  Today
it is conda-forge that has torch and PyG's packages, or pip.

Example
-------
environment.yml:

    name: gnn
    channels:
      - pytorch  # <--
      - nvidia
    dependencies:
      - python=3.12
      - pytorch=2.9.1
      - pytorch-cuda=12.8

Instead
-------
environment.yml:

    name: gnn
    channels:
      - conda-forge
    dependencies:
      - python=3.12
      - pytorch=2.9.1
      - cuda-version=12.8
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.gpus import numbers
from kit.recipes.model import Install, Package, Problem, Recipe, Word
from kit.recipes.rules import Wish

FAILURE = "wheel-not-published"

LAST = (2, 5, 1)
LAST_CUDA = (12, 4)
# The last torch for which each channel has anything.
_ENDED = {"pytorch": "2.5.1", "pyg": "2.5"}
_PYG = ("pyg", "pytorch-scatter", "pytorch-sparse", "pytorch-cluster", "pytorch-spline-conv", "pyg-lib")


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        if install.tool != "conda":
            continue
        channels = {_channel(word): word for word in reversed(install.options.channels) if word.known}
        torch = install.package("pytorch", "pytorch-gpu", "pytorch-nightly")
        found = _dead(install, channels, torch)
        if found is None:
            continue
        name, severity, story = found
        yield Problem(
            "dead-channels",
            FAILURE,
            severity,
            channels[name].span,
            f"The conda channel {name} has ended. {story}",
            (
                f"channel: {name}",
                f"asked for: {_asked(torch)}" if torch else f"line {recipe.line(install.span.start)}",
            ),
            (
                Fix(
                    "install-matching-wheel",
                    "Take torch and its companions from conda-forge alone: channels: "
                    "[conda-forge], pytorch, cuda-version=12.9 (no pytorch-cuda, no nvidia channel)",
                ),
                Fix(
                    "install-matching-wheel",
                    "Or let conda bring Python alone, and install torch with pip from "
                    "https://download.pytorch.org/whl/",
                ),
            ),
            package=torch.name if torch else None,
        )


def _channel(word: Word) -> str:
    """``https://conda.anaconda.org/pytorch/`` -> ``pytorch``."""
    return re.sub(r"^https?://conda\.anaconda\.org/", "", word.text).rstrip("/").partition("/")[0]


def _asked(torch: Package) -> str:
    return f"{torch.name}{torch.specifier}"


def _dead(install: Install, channels: dict[str, Word], torch: Optional[Package]) -> Optional[tuple[str, str, str]]:
    """(channel, severity, why) of the one that cannot give what is asked for."""
    oldest = _oldest(torch)
    elsewhere = bool({"conda-forge"} & channels.keys())
    if elsewhere:
        return None  # what one channel lacks comes from the other
    for name in ("pytorch-nightly", "pytorch"):
        if torch is not None and name in channels and "pytorch-nightly" in (name, torch.name):
            return name, "warning", "No nightly torch is published for conda any more."
    if "pytorch" in channels and torch is not None and torch.known:
        if oldest > LAST:
            beside = install.package("pytorch-cuda")
            never = beside is not None and numbers(beside.pinned or "") > LAST_CUDA
            return (
                "pytorch",
                "error" if never else "warning",
                f"Its last torch is 2.5.1, and {_asked(torch)} is asked for.",
            )
        if not torch.specifier:
            return "pytorch", "warning", "What comes from it without a version is torch 2.5.1 of 2024."
    extension = install.package(*_PYG)
    if extension is not None and "pyg" in channels and oldest > LAST:
        return (
            "pyg",
            "error",
            f"It has nothing for a torch after 2.5, and {_asked(torch)} is asked for." if torch else "",
        )
    if extension is not None and "rusty1s" in channels and (torch is None or oldest >= (1, 12)):
        return "rusty1s", "warning", "PyG's packages moved away from it years ago; it knows no current torch."
    return None


def _oldest(torch: Optional[Package]) -> tuple[int, ...]:
    """The oldest torch that a requirement allows; () where it allows every one."""
    found = re.match(r"(?:==?|>=|~=)\s*(\d+(?:\.\d+)*)", torch.specifier.strip()) if torch and torch.known else None
    return numbers(found.group(1)) if found else ()

"""``--pre`` is left on where releases are wanted.

It lets pip take pre-releases of everything that it installs: release candidates of NumPy, SymPy or Triton come in
with a released torch, which was never tested with them.  It is for the nightly index alone.

Example
-------
Dockerfile:

    FROM python:3.11
    RUN pip install --pre torch==2.9.1 torchvision --index-url https://download.pytorch.org/whl/cu128  # <--

Instead
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch==2.9.1 torchvision --index-url https://download.pytorch.org/whl/cu128
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._edits import editable, without
from kit.recipes.rules._extensions import HIDDEN
from kit.recipes.rules._torch import COMPANIONS, addresses, torch_of

FAILURE = "version-conflict"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        pre, torch = install.options.pre, torch_of(recipe, install)
        places, known = addresses(install)
        if pre is None or torch is None or install.tool not in ("pip", "uv") or torch.nightly or not known:
            continue
        own = all(p.name in COMPANIONS | HIDDEN and p.known and not p.url for p in install.packages)
        if not own or install.local or install.options.requirement_files or install.options.no_deps:
            continue
        asked = any(re.search(r"dev|rc|\d[ab]\d", p.specifier) for p in install.packages)
        # Of another's index nobody knows what it holds.
        if asked or any(
            not re.match(r"https://(download\.pytorch\.org/whl|data\.pyg\.org|pypi\.org)/", p) for p in places
        ):
            continue
        yield Problem(
            "pre-left-on",
            FAILURE,
            "warning",
            pre.span,
            "--pre is on, and nothing here is a pre-release. It lets pip take release candidates of all that torch "
            "requires.",
            fix=(Fix("change-package-version", "Take --pre out: torch's releases need none"),),
            edits=without(install.command, [pre.span]) if editable(recipe, install) and install.command else (),
            safe=True,
            package="torch",
        )

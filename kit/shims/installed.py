"""A shim for every process of an environment: as a small wheel that pip lists, checks and uninstalls.

Where the package is missing, or is another one, the wheel is the package, its version with ``+kit``.  Where the real
one only lacks a part, the wheel is ``kit-graft-PACKAGE``: its ``.pth`` file starts a finder
(:mod:`kit.shims.finder`) that imports nothing, and the installed package stays as it is.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from kit.errors import KitError
from kit.facts import Extension, Facts, normalise
from kit.packing import Content, content, pack
from kit.shims import Shim, State, find, hidden, kind
from kit.shims.finder import GRAFTED

# Once in each process that imports it: nobody should take it for the original.
_NOTICE = """
import logging

logging.getLogger(__name__).warning(
    "%s is the troubleshooting kit's replacement for %s; `kit shim disable %s` takes it back"
)
"""


def place(facts: Facts, shim: Shim) -> str:
    """What stands where the shim would in an environment: a kind of :class:`kit.shims.State`."""
    if facts.replacement(shim.package) is not None:
        return "shim"
    module, extension = facts.module(shim.package), facts.extension(shim.package)
    if not shim.part and facts.distribution(shim.package) is not None:  # of its files facts name the compiled ones
        return "working" if extension and extension.libraries else "lacking"
    if module is None:
        return "absent"
    if module.kind == "namespace":
        return "namespace"
    if module.kind != "package":
        return "other"
    children = {name.partition(".")[0] for name in module.children} - {"__init__", "__pycache__", ""}
    return kind(shim, children)


def grafting(shim: Shim) -> str:
    """The distribution that adds the part to an installed package."""
    return f"{GRAFTED}{shim.package}".replace("_", "-")


def distribution(facts: Facts, shim: Shim, cover: bool = False) -> str:
    """The distribution that brings the shim into this environment.  KitError where it would hide something."""
    at, module, there = place(facts, shim), facts.module(shim.package), facts.distribution(shim.package)
    where = module.path if module else there.path if there else ""
    if at == "shim":
        raise KitError(f"the shim {shim.name} is installed in this environment already")
    if shim.part and at in ("lacking", "empty"):
        return grafting(shim)
    if module is not None and module.kind != "namespace" and module.distribution is None:
        raise KitError(f"{where} stands in front of what is installed; rename it: then the shim can be found")
    other = _same_files(facts, shim)
    if other is not None:
        raise KitError(f"{other.package} {other.version} brings {shim.package} as well; uninstall it first")
    said = hidden(shim, State(at, where))
    if said and not cover:
        back = f"`kit shim disable {shim.name}` brings it back"
        raise KitError(f"{said}; --cover puts the kit's in its place, and {back}")
    return shim.package


def _same_files(facts: Facts, shim: Shim) -> Optional[Extension]:
    """A distribution of another name with the same package: pip would lay one's files over those of the other."""
    own = normalise(shim.package)
    return next((e for e in facts.extensions if shim.package in e.modules and e.key != own), None)


def wheel(folder: Path, name: str, distribution: str) -> Path:
    """The wheel of a shim, in ``folder``; ``distribution`` is what :func:`distribution` says."""
    shim = find(name)
    grafted = distribution == grafting(shim)
    version = re.sub(r"\+.*", "", shim.version) if grafted else shim.version
    below = f"{GRAFTED}{shim.package}/{shim.package}" if grafted else shim.package
    files: list[tuple[str, Content]] = [(f"{below}/{file}", path) for file, path in _tree(shim)]
    part = "/".join(filter(None, (below, shim.part, "__init__.py")))
    notice = _NOTICE % (shim.name, shim.replaces, shim.name)
    files = [(file, content(of).decode() + notice if file == part else of) for file, of in files]
    what = f"the part {shim.part} for the installed {shim.package}" if grafted else f"the package {shim.package}"
    about = {
        "METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        f"Summary: The troubleshooting kit's replacement: {what}. {shim.replaces}\n"
        f"License: MIT\nRequires-Python: >=3.9\nRequires-Dist: {shim.requires}\n"
        f"Description-Content-Type: text/markdown\n\n{shim.costs} Take it back: kit shim disable {shim.name}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: kit\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "top_level.txt": f"{below.partition('/')[0]}\n",
    }
    if grafted:
        start = f"{GRAFTED}{shim.package}"
        call = (
            "import os\n\nfrom .finder import graft\n\n"
            f"graft({shim.package!r}, os.path.join(os.path.dirname(__file__), {shim.package!r}), {shim.part!r})\n"
        )
        finder = Path(__file__).with_name("finder.py")
        more: list[tuple[str, Content]] = [
            (f"{start}/__init__.py", call),
            (f"{start}/finder.py", finder),
            (f"{start}.pth", f"import {start}\n"),
        ]
        files = [*files, *more]
    info = f"{distribution.replace('-', '_')}-{version}.dist-info"
    return pack(
        folder, distribution, version, "py3-none-any", [*files, *((f"{info}/{k}", v) for k, v in about.items())]
    )


def _tree(shim: Shim) -> Iterator[tuple[str, Path]]:
    root = Path(shim.tree)
    for path in sorted(root.rglob("*.py")):
        yield path.relative_to(root).as_posix(), path

"""Replacements for packages that no wheel brings any more, and how they are switched on and off in a process.

    enable("torch_scatter")         from now on, in this process; disable("torch_scatter") takes it back
    with enabled("torch_scatter"):  for a while
    shims()                         which there are, and where they stand

For every process of an environment: :mod:`kit.shims.installed`, ``kit shim enable torch_scatter --python EXE``.
"""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Optional

from kit.errors import KitError
from kit.record import Record
from kit.shims.finder import Finder

__all__ = ["ALL", "Shim", "Shims", "State", "disable", "enable", "enabled", "shims", "state"]


class Shim(Record):
    """A replacement: ``name`` is what programs import, ``package`` the top-level package it belongs to.

    ``genuine`` are submodules by which the real package is known, ``compiled`` files without which the real one does
    not work, ``client`` is a package that looks for it once, as it is imported; ``version`` is what its metadata
    says,
    ``requires`` the torch that it needs.
    """

    name: str
    package: str
    version: str
    genuine: frozenset[str]
    replaces: str
    costs: str
    client: str
    compiled: frozenset[str] = frozenset()
    requires: str = "torch"

    @property
    def tree(self) -> str:
        """The folder that holds the package."""
        return os.path.join(os.path.dirname(os.path.abspath(__file__)), self.package)

    @property
    def part(self) -> str:
        """The submodule that is meant, '' for the whole package."""
        return self.name.partition(".")[2]


ALL = {
    "apex.amp": Shim(
        "apex.amp",
        "apex",
        "0.1+kit",
        frozenset({"normalization", "optimizers", "multi_tensor_apply", "contrib", "fused_dense", "mlp"}),
        "NVIDIA apex's mixed precision, parallel wrappers, fused optimizers and norms, on plain torch",
        "apex.contrib, apex.transformer and the C++ kernels are not covered: they raise ImportError with a reason.",
        "transformers",
    ),
    "torch_scatter": Shim(
        "torch_scatter",
        "torch_scatter",
        "2.1.2+kit",
        frozenset({"scatter", "segment_coo", "segment_csr", "composite"}),
        "torch_scatter 2.1.2's operators, on plain torch",
        "Calls of few elements take longer than compiled ones. torch_sparse and torch_cluster, which have compiled "
        "code of their own, and C++ programs that link against torch_scatter are not covered.",
        "torch_geometric",
        frozenset(
            {f"_{name}_{device}" for name in ("scatter", "segment_csr", "version") for device in ("cpu", "cuda")}
        ),
        "torch>=2.3",
    ),
}


class State(Record):
    """What stands where a shim would: ``kind`` is ``absent``, ``namespace`` (a folder without ``__init__.py``),
    ``lacking`` (the real package without the part, or without its compiled files), ``empty``, ``other`` (another
    package of that name), ``working`` (the real one is there) or ``shim``; ``path`` where it lies."""

    kind: str
    path: str = ""


class Shims(Record):
    """Every replacement, and what stands in its place in this process."""

    rows: tuple[tuple[Shim, State], ...]

    def to_dict(self) -> dict[str, Any]:
        rows = [{"name": s.name, "replaces": s.replaces, "state": at.kind, "path": at.path} for s, at in self.rows]
        return {"schema": 1, "shims": rows}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


class _On:
    """A shim that is switched on: its finder, and what it put aside."""

    def __init__(self, finder: Finder) -> None:
        self.finder = finder
        self.aside: dict[str, ModuleType] = {}


_on: dict[str, _On] = {}


def shims(name: Optional[str] = None) -> Shims:
    """The replacements that there are, or one of them, and what stands in their place in this process."""
    return Shims(tuple((shim, state(shim)) for shim in ([find(name)] if name else ALL.values())))


def find(name: str) -> Shim:
    """The shim of this name.  KitError where there is none."""
    if name not in ALL:
        raise KitError(f"there is no shim for {name}; there are: {', '.join(ALL)}")
    return ALL[name]


def state(shim: Shim) -> State:
    """What ``import`` would find in this process, read from files: nothing is imported."""
    if shim.name in _on:
        return State("shim")
    spec = importlib.machinery.PathFinder.find_spec(shim.package)
    if spec is None:
        return State("absent")
    if spec.origin is None or spec.submodule_search_locations is None:
        path = next(iter(spec.submodule_search_locations or ()), "")
        return State("namespace", path) if spec.origin is None else State("other", spec.origin)
    folder = next(iter(spec.submodule_search_locations))
    if os.path.isdir(os.path.join(os.path.dirname(folder), f"{shim.package}-{shim.version}.dist-info")):
        return State("shim", folder)
    children = {name.partition(".")[0] for name in os.listdir(folder)} - {"__init__", "__pycache__", ""}
    return State(kind(shim, children, os.path.getsize(spec.origin)), folder)


def kind(shim: Shim, children: set[str], size: int = 0) -> str:
    """What a package is, by the names in its folder and the size of its ``__init__.py`` in bytes."""
    if children & (shim.compiled or {shim.part}):
        return "working"
    if children & shim.genuine:
        return "lacking"
    return "other" if children or size else "empty"


def hidden(shim: Shim, at: State) -> str:
    """What the shim would hide and must not without being told; '' where it hides nothing, or is beside it."""
    if at.kind == "working":
        return f"{shim.name} is there, in {at.path}"
    if at.kind == "lacking" and not shim.part:
        return f"{at.path} is a {shim.package} without its compiled files"
    return f"{at.path} is another package called {shim.package}" if at.kind == "other" else ""


def enable(name: str, cover: bool = False) -> Shim:
    """Have ``import NAME`` find the kit's replacement, in this process, until :func:`disable`.

    The part that an installed package lacks is added to it.  A package of the same name that is something else,
    works, or is damaged, is covered only with ``cover``.  Raises KitError where that would be needed, and for an
    unknown name.  Where it is installed for every process nothing is left to do.
    """
    shim = find(name)
    if shim.name in _on:
        return shim
    at = state(shim)
    if at.kind == "shim" and not cover:
        return shim
    grafted = bool(shim.part) and at.kind in ("lacking", "empty")
    said = hidden(shim, at)
    if said and not cover:
        raise KitError(f"{said}; cover=True has the kit's stand in front of it")
    finder = Finder(shim.package, shim.tree, shim.part if grafted else None, shim.version)
    on = _on[shim.name] = _On(finder)
    sys.meta_path.insert(0, finder)
    loaded = sys.modules.get(shim.package)
    if not grafted:
        on.aside = _take(shim.package)
    elif loaded is not None:
        loaded.__path__.append(shim.tree)
        try:
            importlib.import_module(shim.name)
        except BaseException:
            disable(name)
            raise
    if not grafted and shim.client in sys.modules:
        warnings.warn(
            f"{shim.client} was imported before, and goes on with the {shim.package} that it found, or none"
        )
    return shim


def disable(name: str) -> None:
    """Take :func:`enable` back: the imports of this process find what they found before.

    What already holds an object of the shim keeps it.  KitError where the shim is not switched on.
    """
    shim = find(name)
    on = _on.pop(shim.name, None)
    if on is None:
        raise KitError(f"the shim {shim.name} is not switched on in this process")
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not on.finder]
    _switch_off(shim)
    package = sys.modules.get(shim.package)
    if on.finder.part is None:
        _take(shim.package)
        sys.modules.update(on.aside)
        return
    for full, module in [*sys.modules.items()]:
        if full.startswith(f"{shim.package}.") and _of_tree(module, shim):
            del sys.modules[full]
            if package is not None and full.count(".") == 1:
                vars(package).pop(full.partition(".")[2], None)
    if package is not None and shim.tree in package.__path__:
        package.__path__.remove(shim.tree)


@contextlib.contextmanager
def enabled(name: str, cover: bool = False) -> Iterator[Shim]:
    """:func:`enable` for the length of a ``with`` block."""
    before = name in _on
    shim = enable(name, cover)
    try:
        yield shim
    finally:
        if not before and name in _on:
            disable(name)


def _take(package: str) -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name == package or name.startswith(f"{package}.")]
    return {name: sys.modules.pop(name) for name in names}


def _of_tree(module: Optional[ModuleType], shim: Shim) -> bool:
    file = getattr(module, "__file__", None) or ""
    return file.startswith(shim.tree + os.sep)


def _switch_off(shim: Shim) -> None:
    """What a shim has put into torch lasts until it is taken out: O1's casts, operators of a library."""
    handle = getattr(getattr(sys.modules.get(shim.name), "_amp_state", None), "handle", None)
    if handle is not None:
        handle._deactivate()
    library: Any = getattr(sys.modules.get(f"{shim.package}._operators"), "library", None)
    if hasattr(library, "_destroy"):  # since torch 2.1
        library._destroy()

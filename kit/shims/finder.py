"""Has a package be found in the kit's folder: whole, or only the parts that the installed one lacks.

Standard library alone, and it imports nothing of what it finds: a copy of this file starts with every Python of an
environment in which a part is grafted onto an installed package.
"""

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, Optional

GRAFTED = "kit_graft_"  # with the package's name, what is installed beside it


class Finder:
    """One replacement on ``sys.meta_path``.

    ``package`` is the name that programs import and ``tree`` the folder that is found for it.  With ``part``, the
    name of a submodule, the installed package stays: the tree is searched for what it lacks, and the part is an
    attribute of the package as soon as that is imported.  Without, the tree is the package, and its metadata says
    ``version``.
    """

    def __init__(self, package: str, tree: str, part: Optional[str] = None, version: str = "0") -> None:
        self.package, self.tree, self.part, self.version = package, os.path.abspath(tree), part, version

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        if name != self.package:
            return None
        if self.part is None:
            init = os.path.join(self.tree, "__init__.py")
            return importlib.util.spec_from_file_location(name, init, submodule_search_locations=[self.tree])
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.submodule_search_locations is None or spec.loader is None:
            return spec
        places = list(spec.submodule_search_locations)
        spec.submodule_search_locations = [*places, *(p for p in [self.tree] if p not in places)]
        then: Any = _ThenPart(spec.loader, f"{name}.{self.part}")
        spec.loader = then
        return spec

    def find_distributions(self, context: Any = None) -> Iterator[importlib.metadata.Distribution]:
        """What ``importlib.metadata`` knows of a package that is here as a whole."""
        asked = getattr(context, "name", None) or self.package
        return iter([_Distribution(self)] if self.part is None and _plain(asked) == _plain(self.package) else [])

    def invalidate_caches(self) -> None:
        pass


class _ThenPart:
    """A loader that imports the grafted part after the package itself, so that it is an attribute of it."""

    def __init__(self, loader: Any, part: str) -> None:
        self._loader, self._part = loader, part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        importlib.import_module(self._part)


class _Distribution(importlib.metadata.Distribution):
    def __init__(self, finder: Finder) -> None:
        self._finder = finder

    def read_text(self, filename: str) -> Optional[str]:
        one = self._finder
        return {
            "METADATA": f"Metadata-Version: 2.1\nName: {one.package}\nVersion: {one.version}\n"
            "Summary: the troubleshooting kit's replacement, switched on in this process\n",
            "INSTALLER": "kit\n",
            "top_level.txt": f"{one.package}\n",
        }.get(filename)

    def locate_file(self, path: Any) -> Any:
        return os.path.join(os.path.dirname(self._finder.tree), path)


def _plain(name: str) -> str:
    """A distribution's name as the package index compares it: torch-scatter is torch_scatter."""
    return re.sub(r"[-_.]+", "-", name).lower()


def graft(package: str, tree: str, part: str) -> None:
    """Search ``tree`` for what ``package`` lacks, from now on, in this process."""
    finder = Finder(package, tree, part)
    if not any(isinstance(f, Finder) and f.__dict__ == finder.__dict__ for f in sys.meta_path):
        sys.meta_path.insert(0, finder)

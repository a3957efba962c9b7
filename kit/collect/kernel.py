"""Reads the running process: what is loaded, beside what is on disk."""

import os
import re
import sys
from typing import Any, Optional


def read(
    data: dict[str, Any], modules: Optional[dict[str, Any]] = None, maps: str = "/proc/self/maps"
) -> dict[str, Any]:
    """The dictionary of :class:`kit.facts.Kernel` for this process.

    ``data`` is what ``inside.collect`` said of the disk.  Only attributes of modules that are loaded
    already are looked at; nothing is imported.
    """
    loaded = sys.modules if modules is None else modules
    on_disk = _versions_on_disk(data)
    replaced = _replaced_files(maps)
    found = []
    for name, version in sorted(on_disk.items()):
        module = loaded.get(name)
        if module is None:
            continue
        # The module's own dictionary, not getattr: a lazy module would import something.
        own = getattr(module, "__dict__", {})
        said, file = own.get("__version__"), own.get("__file__") or ""
        # Of a package, what lies in its folder; of a module that is one file, that file, not its neighbours.
        within = os.path.dirname(file) + os.sep if os.path.basename(file).startswith("__init__.") else file
        gone = [f for f in replaced if file and f.startswith(within)]
        found.append(
            {
                "name": name,
                "version": str(said) if isinstance(said, str) else None,
                "on_disk": version,
                "replaced": gone,
            }
        )
    return {"kind": "notebook" if "ipykernel" in loaded else "process", "modules": found}


def _versions_on_disk(data: dict[str, Any]) -> dict[str, Optional[str]]:
    versions: dict[str, Optional[str]] = {}
    for dist in reversed(data["distributions"]):  # the first on the import path wins
        if not dist["leftover"]:
            versions[re.sub(r"[-.]+", "_", dist["name"]).lower()] = dist["version"]
    for extension in data["extensions"]:
        versions.update(dict.fromkeys(extension["modules"], extension["version"]))
    for module in data["modules"]:
        versions.setdefault(module["name"], None)
    if data["torch"]:
        versions["torch"] = data["torch"]["version"]
    return versions


def _replaced_files(maps: str) -> list[str]:
    """Shared libraries that this process maps and that were deleted or replaced on disk (Linux says so)."""
    try:
        with open(maps, encoding="utf-8", errors="replace") as stream:
            lines = [line for line in stream if line.rstrip().endswith(" (deleted)") and ".so" in line]
    except OSError:
        return []  # not Linux
    return sorted({line.split(None, 5)[5].rstrip()[: -len(" (deleted)")] for line in lines})

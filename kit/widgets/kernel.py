"""What a repair means for the kernel that runs: whether it has to restart, and whether an import works now."""

import importlib
import sys
from collections.abc import Iterable
from typing import Callable

from kit.collect import collect
from kit.collect.run import run
from kit.diagnose import diagnose
from kit.errors import KitError

_LIMIT = 120.0  # seconds for an import in a process of its own


def stale(packages: Iterable[str] = ()) -> str:
    """Why this kernel has to restart: a module that it has loaded was replaced on disk.  '' where none was.

    ``packages`` were replaced just now: the same version, built anew, is told by nothing else.
    """
    facts = collect(probes=False)
    said = next((finding.summary for finding in diagnose(facts) if finding.failure == "stale-kernel"), "")
    if said:
        return said
    for package in packages:
        extension = facts.extension(package)
        for module in extension.modules if extension else (package.replace("-", "_"),):
            if module in sys.modules:
                return f"This kernel has loaded the {module} that was replaced."
    return ""


def imported(name: str, tell: Callable[[str], None]) -> "tuple[bool, str]":
    """Import a module whose import failed before: (whether a restart would help, what came of it)."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise KitError(f"{name!r} is not the name of a module")
    tell(f"Importing {name} again")
    importlib.invalidate_caches()
    package = name.partition(".")[0]
    if package not in sys.modules:  # of an import that failed, the parts that had succeeded are kept
        for part in [part for part in sys.modules if part.startswith(package + ".")]:
            del sys.modules[part]
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:  # the module under repair may do anything
        said = f"{type(error).__name__}: {error}".rstrip(": ")
    else:
        return False, f"import {name} works now, in this kernel: run the cell again."
    tell(f"Importing {name} in a new process")
    if run([sys.executable, "-c", f"import {name}"], _LIMIT).status == 0:
        return True, f"import {name} works in a new process, and still fails in this kernel ({said})."
    return False, f"import {name} still fails, also in a new process: {said}"

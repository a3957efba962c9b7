"""A folder or file in front on the import path hides the package that is meant.

What it means
-------------
Python takes the first match on its path, and the working directory comes first.  A source checkout called
``torch_scatter`` without compiled files, a script called ``random.py``, or an empty folder called ``apex``
(which Python takes for a namespace package: ``cannot import name 'amp' from 'apex' (unknown location)``) is
imported in place of the package.

How it is found
---------------
The import path is searched as Python does it, without importing.  A finding is a package of the torch world that
resolves outside of its own distribution while that is installed, a namespace folder that no distribution owns, or
a file in front of the standard library with the name of one of its modules.

Example
-------
An empty folder ``apex`` in the working directory.

Fix
---
Rename or move the folder, or start Python elsewhere.  The environment stays as it is.  The kit itself moves only a
folder without files.

Known limits
------------
Only packages around torch and the standard library are looked at.  An editable install is not a shadow.
``python -m kit`` itself cannot start in a folder whose file hides a module that it needs; ``kit`` can.
"""

import dataclasses
from collections.abc import Iterator

from kit.facts import Facts, Module
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.recorded import recorded

RANK = 6
SHOWS = r"cannot import name 'amp' from 'apex' \(unknown location\)"
INSTEAD = "Installing the package again would change nothing: Python would still find the folder first."


def find(facts: Facts) -> Iterator[Finding]:
    for module in facts.modules:
        if module.standard_library:
            yield _finding(
                module,
                f"{_where(module, facts)} hides Python's own module {module.name}, which torch and others import.",
                "part of Python's standard library",
                facts,
            )
        elif module.kind == "namespace" and module.distribution is None:
            content = ", ".join(module.children[:4]) if module.children else "nothing"
            yield _finding(
                module,
                f"{_where(module, facts)} is a plain folder with {content} in it. Python takes it for the package "
                f"{module.name}, which is not installed.",
                "no __init__.py, and no installed package put it there",
                facts,
            )
        elif module.distribution is None and module.hides:
            yield _finding(
                module,
                f"{_where(module, facts)} is found before {module.hides[0]}.",
                f"hides {module.hides[0]}",
                facts,
            )


def _where(module: Module, facts: Facts) -> str:
    place = "in the working directory" if module.entry == facts.python.cwd else f"in {module.entry}"
    return f"{module.path.rpartition('/')[2]} {place}"


def _finding(module: Module, story: str, evidence: str, facts: Facts) -> Finding:
    what = "folder" if module.kind in ("namespace", "package") else "file"
    return Finding(
        "shadowed-package",
        "error",
        module.name,
        f"A {what} called {module.path.rpartition('/')[2]} stands in the way. {story}",
        (f"{module.path}: {evidence}", f"import path: {module.entry} comes first for {module.name}"),
        (
            _aside(module),
            *([] if module.entry == facts.python.cwd else [_loader_path(module)]),
        ),
    )


def _aside(module: Module) -> Fix:
    why = f"Rename or move {module.path}, or start Python in another folder"
    # An empty folder, or one of folders alone, holds no code that would be missed; a checkout is its owner's to move.
    if module.kind == "namespace" and not any("." in name for name in module.children):
        argv = ("mv", module.path, f"{module.path}-moved-aside")  # no name that could be imported
        return Fix("change-code-or-data", why, argv, safety="changes-environment", cost=Cost(seconds=1))
    return Fix("change-code-or-data", why)


def _loader_path(module: Module) -> Fix:
    return Fix("fix-loader-path", f"Or take {module.entry} out of PYTHONPATH")


def example() -> Facts:
    facts = recorded("healthy-cpu")
    cwd = facts.python.cwd
    return dataclasses.replace(
        facts, modules=(*facts.modules, Module("apex", "namespace", f"{cwd}/apex", cwd, children=()))
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    (place.work / "apex").mkdir()
    return "from apex import amp"

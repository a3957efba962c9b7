"""Another release of a Python package moved or removed what is imported.

What it means
-------------
``No module named 'timm.layers'``, ``cannot import name 'Config' from 'mmcv'``, ``module 'numpy' has no attribute
'float'``: the package is there, in a release of before or after the one that the code was written for.  Nothing is
broken in the environment; the code and the package are of different times.

How it is found
---------------
In text alone: an import or an attribute that a table of moved paths knows (``kit/data/moved_modules.json``), or a
part that an installed package does not have while the package itself is found.  The folder of an ``(unknown
location)``, compiled files, and what a package does not find of its own are other failures.  Where the last frame
is that of ``torch.load`` or of ``pickle``, it is no code that imports: the file holds the path.

Example
-------
``from timm.models.layers import DropPath`` works up to timm 0.9 and beyond, ``from timm.layers import DropPath`` only
from 0.9 on: with timm 0.6 it says ``No module named 'timm.layers'``.

Fix
---
The release of the package that the code was written for; or, in code of your own, the new path, which
``kit recipe check --fix`` writes into Python files and notebooks.  A pickled model names the modules of the release
that wrote it: load it there once, save its ``state_dict``, which names none, and load that anywhere.

Known limits
------------
Of a path that is in no table it is not known which of the two releases is the older one.
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.data import table
from kit.failures._told_python import (
    BASES,
    USUAL,
    Gone,
    Move,
    building,
    code,
    gone,
    hit,
    hits,
    moved_method,
    moves,
    notebook,
    version,
)
from kit.findings import Fix
from kit.report import Hit, Report, Told

RANK = 46
INSTEAD = "Installing the same release again would not bring the path back."

# Parts of a package that are compiled, or written when it is built: not moved, but not there.
_BUILT = re.compile(
    r"(?:^|\.)(?:_C\w*|_ext|_cuda|_cpu|\w*_(?:cpu|cuda|ext|cpp|backend)|_version\w*|_backend|extension)$"
)
# Names that folders of projects have: what is missing below them is the user's own.
_OWN = frozenset(
    "utils util models model src lib libs core data dataset datasets config configs main common tools modules "
    "nets network "
    "networks layers helper helpers loss losses train test tests ops app api engine options scripts my_utils".split()
)
_REMOVED_IN = r"`?np\.(?P<name>\w+)`? was (?:removed in the NumPy 2\.0 release|a deprecated alias for)[^\n]*"


# The frame of whoever reads a pickle, or the call in a text that shows no frames.
_READS = re.compile(
    r"[/\\]torch[/\\](?:serialization|_weights_only_unpickler)\.py|[/\\]c?pickle\w*\.py|[/\\]numpy_pickle\w*\.py|"
    r"\bfind_class\b|\b(?:torch|c?[pP]ickle|joblib|dill|cloudpickle|legacy_load\w*)\.loads?\(|\bread_pickle\(|"
    r"\b_?[uU]npickle\w*\b|__import__\(module, level=0\)"
)
_NAMED = re.compile(
    r"No module named '?(?P<module>[\w.]+?)'?(?=[;.,]?(?:\s|$))|"
    r"Can't get attribute '(?P<name>\w+)' on <module '(?P<there>(?!__main__)[\w.]+)'"
)


def _pickled(report: Report) -> Iterator[Told]:
    """A module that a pickle names, and that is not there when it is read."""
    if not report.has("load", "pickle", "find_class") or not report.has("no module named", "can't get attribute"):
        return
    for at in range(len(report.lines) - 1, -1, -1):
        said = _NAMED.search(report.lines[at][:500])
        if said is None:
            continue
        reader = _reader(report, at)
        if reader is None:
            continue
        module, name = said["module"] or said["there"], said["name"] or ""
        if not name and "." not in module and module in USUAL:
            continue  # a package that is not installed, whoever asks for it
        row = moves(Gone(at, module, name))
        lines = hit(report, at), hit(report, reader)
        if row is None and not name and "." not in module and module.lower() not in _OWN:
            continue
        yield _told_pickled(module, name, lines, row)
        return


def _reader(report: Report, at: int) -> Optional[int]:
    """The line of the frame above that reads a pickle; None where other code stands between."""
    above = [n for n in range(max(0, at - 6), at) if report.lines[n].strip(" ^~-|│")]
    for line in reversed(above[-4:]):
        text = report.lines[line][:500]
        if _READS.search(text):
            return line
        if re.search(r"^\W*(?:\d+\s+)?(?:from [\w.]+ )?import |<module>$|__import__|import_module", text):
            return None
    return None


def _told_pickled(module: str, name: str, lines: "tuple[Hit, Hit]", row: Optional[Move]) -> Told:
    path = f"{module}.{name}" if name else module
    top = module.partition(".")[0]
    package = row.package if row is not None else top if top.lower() not in _OWN else None
    title = f"The file names {path}, which is not there when it is loaded"
    story = "A pickled model or object holds the module paths of the release that wrote it, not the code."
    save = "load the file there, save model.state_dict() or plain arrays, and load those here"
    if row is None or row.version == "":
        whose = f"{package} is of another release" if package else f"{top} is a folder of the project that wrote it"
        fixes = [
            code(
                f"Run from the root of the project that wrote the file, in its version of that time, so that {path} "
                "can be imported"
            )
            if package is None
            else version(
                f"Install the release of {package} that wrote the file in an environment of its own; {save}"
            ),
            code("Then save the state_dict alone, which names no module, and build the model from code"),
        ]
        return Told(0.88, package, f"{title}. {story} Here {whose}.", lines, tuple(fixes))
    if row.path == "numpy._core":  # 1.26 has what is needed to read it; earlier ones crash on a mere alias
        fixes = [version(f"Install numpy 1.26 or newer, which read files of NumPy 2; or {save}")]
        return Told(0.92, "numpy", f"{title}. {story} NumPy 2 wrote this one.", lines, tuple(fixes))
    if row.older or row.change == "added":
        story += f" {row.package} {row.version} or newer wrote this one; the installed {row.package} is older."
        wrote = f"Install {row.package} {row.version} or newer, where the code's other requirements allow it"
        old = _former(module)
    else:
        story += f" {row.package} {row.version} {row.change} it, so an older {row.package} wrote this one."
        wrote = f"Install {row.package} older than {row.version} in an environment of its own"
        old = row.now
    fixes = [version(f"{wrote}; or {save}" if row.older or row.change == "added" else f"{wrote}, {save}")]
    if old and not name and " " not in old:
        fixes.append(
            code(
                f"Or give the module that is here that name before loading: import {old}, then "
                f"sys.modules['{row.path}'] = {old}; the same for each part that is then named"
            )
        )
    if row.package == "torch":  # never an older torch for a path
        fixes = fixes[1:] or [code("Load it where it was written, and save the state_dict alone")]
    return Told(0.92, row.package, f"{title}. {story}", lines, tuple(fixes))


def _former(path: str) -> str:
    """The module that a later release has under this path."""
    for row in table("moved_modules")["moved"]:
        for old, now in row["paths"].items():
            if now == path and row.get("write") == "modules":
                return str(old)
    return ""


def told(report: Report) -> Iterator[Told]:
    for pickled in _pickled(report):
        yield pickled
        return
    if report.has("numpy 2.0 release", "was a deprecated alias"):
        said = report.last(_REMOVED_IN)
        if said is not None:
            yield _told(0.8, "numpy", f"numpy.{said['name']}", (said,), None)
            return
    if report.has("has moved to", "has been moved to", "has been removed", "was removed in", "has been renamed"):
        said = report.last(
            r"\b(?:Import|Attribute|ModuleNotFound|Runtime|Pydantic\w{0,20})Error: [^\n]{0,300}\b(?:has "
            r"(?:been )?(?:moved|"
            r"removed|renamed)|was removed in)\b[^\n]*"
        )
        if said is not None:
            name = re.search(r"`([\w.]+)`|'([\w.]+)'", said.line)
            path = (name.group(1) or name.group(2)) if name else ""
            yield _told(0.75, path.partition(".")[0] or None, path or "what is imported", (said,), None)
            return
    if report.has("is deprecated", "no longer supported", "no longer available", "no longer exists"):
        said = report.last(
            r"^[^\w\n]*(?:Import|Attribute|ModuleNotFound|NotImplemented|Runtime|Type)Error: [^\n]{0,200}(?:is "
            r"deprecated|is no longer (?:supported|available)|no longer exists)[^\n]*"
        )
        if said is not None and not report.has("cuda capability", "sm_"):
            name = re.search(r"\b([A-Za-z_]\w*(?:\.\w+)+)", said.line.partition(": ")[2])
            path = name.group(1) if name else ""
            yield _told(0.72, path.partition(".")[0] or None, path or "what is asked for", (said,), None)
            return
    method = moved_method(report)
    if method is not None:
        yield _told(0.75, method[0].package, method[0].path, (method[1],), method[0])
        return
    for one in gone(report):
        sure = _sure(report, one)
        if sure:
            row = moves(one)
            package = row.package if row is not None else one.top.replace("_", "-")
            yield _told(sure, package, one.path, hits(report, one), row)
            return


def _sure(report: Report, one: Gone) -> float:
    """How sure it is that this was moved or removed; 0 where it is something else."""
    if one.file or one.circular or one.own or one.where == "unknown location" or not one.module:
        return 0
    row = moves(one)
    if row is None and _BUILT.search(one.path):
        return 0
    if row is not None and row.change != "added":
        if row.package == "apex" or (building(report) and row.package in ("python", "setuptools", "torch")):
            return 0.4
        if row.package == "setuptools" or row.older:
            return 0.85
        return 0.9 if row.package != "python" or one.name or one.module != "distutils" else 0.75
    if row is not None:  # a newer release has it: a conflict where another package asks for it
        foreign = one.asker not in ("", "python", one.top) or "Failed to import " in report.text
        return 0.3 if foreign or row.package in BASES else 0.8
    if one.top in ("apex", "pyramid") or one.top.lower() in _OWN or not (one.name or "." in one.module):
        return 0
    itself = one.asker == one.top or f"Failed to import {one.top}." in report.text
    private = one.path.rpartition(".")[2].startswith("_") or "._" in one.module
    if one.top == "triton":  # each torch brings the one that it was made for
        return 0.3
    if one.top == "timm" and not itself:
        return 0.86
    if one.attribute:
        if one.top in ("torch", "apex") or itself or private:
            return 0.3
        return 0.5
    if itself:
        return 0.25
    if one.asker not in ("", "python"):
        return 0.58 if private else 0.5
    if "._" in one.module and not one.asker:
        return 0.35
    if notebook(report) and one.name and report.has("pip install", "successfully installed", "may need to restart"):
        return 0.42
    return 0.62


def _told(sure: float, package: Optional[str], path: str, lines: "tuple[Hit, ...]", row: Optional[Move]) -> Told:
    what = path if len(path) <= 50 else f"...{path[-47:]}"
    fixes: list[Fix] = []
    if row is None:
        story = "The package is there, in a release of another time than the code that imports it."
        fixes = [
            version(
                f"Install the release of {package or 'the package'} that the code was written for, or newer code"
            ),
            code("Or, in code of your own, import it from where this release has it"),
        ]
    elif row.older:
        since = f"{row.package} {row.version}" if row.version else f"a newer {row.package}"
        story = f"It is there from {since} on; the installed release is older."
        fixes = [
            version(f"Install {since} or newer, where the code's other requirements allow it"),
            code("Or, in code of your own, import it from its former place"),
        ]
    elif row.package == "python":
        instead = f": {row.now} takes its place" if row.now else ""
        story = f"Python {row.version} removed it{instead}; the code that imports it is older."
        fixes = [
            version("Install a newer release of the package whose code imports it"),
            Fix("change-python", f"Or an environment with a Python older than {row.version}"),
            code("In code of your own, import the successor"),
        ]
    else:
        since = f"{row.package} {row.version}" if row.version else f"A newer {row.package}"
        older = f"{row.package} older than {row.version}" if row.version else f"an older {row.package}"
        instead = f", and {row.now} is its successor" if row.now else ""
        story = f"{since} {row.change} it{instead}; the code that imports it is older."
        fixes = [
            version(f"Install {older}, or a newer release of the code that imports it"),
            code(f"Or, in code of your own, import {row.now or 'its successor'}"),
        ]
        if row.package == "torch":  # never an older torch for an import path
            fixes[0] = version("Install a newer release of the package whose code imports it")
    name = f"The installed {package}" if package and package != "python" else "The installed package"
    if row is not None and row.package == "python":
        name = "This Python"
    return Told(sure, package, f"{name} does not have {what}. {story}", lines, tuple(fixes))

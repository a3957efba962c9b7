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
a file in front of the standard library with the name of one of its modules.  In text: ``(unknown location)``, ``'x'
is not a package``, a file of the user's own that is called like what it imports, or a traceback that leads into a
source checkout whose compiled files are not there, or a person's word that it works in another folder.

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
import re
from collections.abc import Iterator
from itertools import islice
from typing import Optional

from kit.facts import Facts, Module, normalise
from kit.failures._place import Place
from kit.failures._told_python import USUAL, Gone, code, gone, hit, hits, notebook
from kit.findings import Cost, Finding, Fix
from kit.recorded import recorded
from kit.report import Hit, Report, Told

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


# Programs say it themselves.
_SAID = (
    (("consider renaming",), r"consider renaming '?[^'\n]{0,300}since it has the same name", 0.97),
    (("consider renaming",), r"\(consider renaming ", 0.85),
    (
        ("pytorch repository rather",),
        r"loaded the .{0,3}torch/_C.{0,3} folder\s+of the PyTorch repository",
        0.97,
    ),
    (("its source directory",), r"you should not try to import \w+ from\s+its source directory", 0.6),
    (("is not a package",), r"; '?[\w.]+'? is not a package", 0.93),
)
# What every torch has: where one of these is not found, it is no torch that was imported.
_ALWAYS = (
    "__version__ Tensor tensor nn cuda device float32 float16 zeros ones rand randn no_grad manual_seed "
    "from_numpy utils "
    "optim autograd load save FloatTensor LongTensor long float int64 cat stack set_default_tensor_type "
    "version array "
    "Graph DiGraph ndarray arange"
).split()
# Packages that people clone, beside their compiled part.
_CLONED = (
    r"(?:torch_(?:scatter|sparse|cluster|spline_conv)|pytorch3d|detectron2|mmcv|xformers|flash_attn|apex|torchvision|"
    r"torchaudio|torch|numpy|dgl|vllm|bitsandbytes|MinkowskiEngine|spconv|mamba_ssm|causal_conv1d|pyg_lib|"
    r"gsplat|scipy|"
    r"fairseq|deepspeed|torchsparse|nvdiffrast|kaolin|sageattention)"
)
_INSIDE = (
    r"(?:File \"?|^[ \t>]{0,8}(?=[/~.\w]))(?P<path>(?!\S*(?:-packages|\.egg))(?:[^\"\n]{0,300}[/\\])?(?P<name>"
    + _CLONED
    + r")[/\\][^\"\n]{0,200}\.py)(?=[\":]| in |$|\()"
)
_OUTSIDE = (
    r"\b(?:works?|worked|fine|succeeds?|no (?:error|problem)s?|can import)\b[^\n]{0,60}\b(?:outside|out of|another|"
    r"different|other) (?:of )?(?:the |this |that |its |my )?(?:\w+ )?(?:repo|source|clone|checkout|director|"
    r"folder|dir\b)|"
    r"\b(?:out of|outside(?: of)?|another|different|cd \.\.)[^\n]{0,40}\b(?:repo\w*|source|clone\w*|checkout|"
    r"directory|folder|"
    r"dir|cd \.\.)?[^\n]{0,60}\bworks?\b|\bcd out of\b[^\n]{0,80}"
)
# How the first releases of PyG's packages called their compiled parts, which stood in the package.
_FIRST = re.compile(r"torch_(?:scatter|sparse|cluster|spline_conv)\.\w+_cpu$")
_COMPILED = re.compile(r"(?:^|\.)(?:_C|_ext|_cuda|_cpu|\w*_(?:cpu|cuda|ext|backend|C)|_version\w*|ops|lib\w*)$", re.I)


def told(report: Report) -> Iterator[Told]:
    best: Optional[tuple[float, str, tuple[Hit, ...]]] = None
    for one in gone(report):
        found = _hidden(report, one)
        if found and (best is None or found[0] > best[0]):
            best = (found[0], found[1], hits(report, one))
    for words, pattern, confidence in _SAID:
        if report.has(*words) and (best is None or best[0] < confidence):
            said = report.hit(pattern)
            if said is not None:
                name = re.search(
                    r"\b([\w.]{1,80})'? is not a package|renaming "
                    r"'(?:[^'\n]*[/\\])?(\w+)\.py",
                    said.line[-500:],
                )
                best = (confidence, (name and (name.group(1) or name.group(2))) or "", (said,))
    if best is None or best[0] < 0.55:
        checkout = _checkout(report)
        best = checkout or best
    if best is None:
        return
    confidence, package, lines = best
    what = f"called {package}" if package else "with the name of the package"
    yield Told(
        confidence,
        package.replace("_", "-") or None,
        f"A folder or file {what} stands in the way of the installed package. Python takes the first of that name on "
        "its path, and the working directory comes first; the environment need not change.",
        lines,
        (
            code("Rename or move the folder or file, delete its __pycache__, or start Python in another folder"),
            Fix("fix-loader-path", "Or take the folder that holds it out of PYTHONPATH and sys.path"),
        ),
        over=("module-moved", "apex-amp-removed", "torch-broken", "not-environment") if confidence > 0.8 else (),
    )


def _hidden(report: Report, one: Gone) -> Optional[tuple[float, str]]:
    """How sure it is that a folder or file hides what was not found, and its name."""
    if one.file:
        return 0.95, one.top if "." in one.module else one.module
    if one.where == "unknown location" and one.top != "pyramid":
        nested = "." in one.module
        # A package whose own modules became plain folders was partly removed or overwritten.
        return (0.5 if nested else 0.6 if one.top == "torch" else 0.93), one.top
    if ((not one.module and one.name == "amp") or one.path == "amp") and report.has("apex"):
        return 0.5, "apex"  # Python 3.6 does not say where it looked
    if (
        one.own
        and one.name
        and one.top in USUAL
        and re.search(rf"[/\\]{one.top}(?:\.py|[/\\]__init__\.py)$", one.where)
    ):
        return 0.88, one.top
    own = not re.search(r"(?:site|dist)-packages", one.by)
    around = rf"(?:^|[/\\]){re.escape(one.top)}[/\\]"
    if (
        one.top in USUAL
        and "." in one.module
        and own
        and re.search(around, one.by)
        and not _COMPILED.search(one.path)
    ):
        return 0.72, one.top
    if one.circular:
        named = re.search(r"(?:^|[/\\])" + re.escape(one.top) + r"(?:\.py$|[/\\])", one.by)
        if (named and own) or re.search(_own_file(one.top), report.text):
            return 0.92, one.top
        return (0.3 if notebook(report) or not own else 0.55), one.top
    if one.attribute and one.module in ("torch", "numpy", "networkx") and one.name in _ALWAYS:
        return (0.42 if notebook(report) else 0.6), one.module
    if one.attribute and one.module == "apex":
        return 0.55, "apex"
    if one.module.startswith("apex.") and not one.name and not re.search(r"-packages", one.by):
        return 0.35, "apex"
    return None


def _own_file(name: str) -> str:
    """A file of this name that is no installed one."""
    return rf"(?m)^(?!.*-packages).*[/\\ \"]{re.escape(name)}\.py\""


def _checkout(report: Report) -> Optional[tuple[float, str, tuple[Hit, ...]]]:
    """A traceback that leads into the source checkout of a package whose compiled part it does not find there."""
    if not report.has("no module", "'origin'", "cannot import", "could not find module"):
        return None
    if report.has(
        "subprocess-exited", "building wheel", "pip-install-", "pip-req-build", "metadata-generation-failed"
    ):
        return None
    outside = report.hit(_OUTSIDE) if report.has("outside", "out of", "another", "different", "cd ..") else None
    if outside is not None and gone(report):
        one = gone(report)[0]
        return 0.88, one.top, (*hits(report, one), outside)
    for one in gone(report):
        if one.attribute or "." not in one.module or "-packages" in one.by:
            continue
        clone = re.search(rf"(?:^|[/\\])([\w.-]{{1,80}})[/\\]{re.escape(one.top)}[/\\]", one.by)
        if clone and normalise(clone.group(1)).startswith(normalise(one.top)) and not _COMPILED.search(one.path):
            return 0.45, one.top, hits(report, one)  # a clone whose compiled or generated modules it lacks
    absent = [one for one in gone(report) if _COMPILED.search(one.path) and not one.attribute]
    lines = [hits(report, one) for one in absent]
    if report.has("sys.path", "pythonpath"):
        for one in {one.top: one for one in reversed(absent[:20]) if one.top}.values():
            folder_of = rf"[/\\\"'=:]{re.escape(one.top)}(?:-\w+)?(?=[/\\\"':]|$)"
            path = report.hit(rf"(?:sys\.path|PYTHONPATH)[^\n]{{0,200}}{folder_of}[^\n]{{0,200}}")
            if path is not None:
                return 0.87, one.top, (hit(report, one.at), path)
    told_so = report.has("'origin'", "could not find module")
    named = (
        report.hit(r"'NoneType' object has no attribute 'origin'|Could not find module '_\w+'") if told_so else None
    )
    if named is not None:
        lines.append((named,))
    if not lines:
        return None
    bare = next((one for one in absent if not one.by and (one.path == "._C" or _FIRST.match(one.module))), None)
    if bare is not None:
        return 0.42, bare.top, hits(report, bare)
    for frame in islice(report.hits(_INSIDE), 60):
        folder = re.split(r"[/\\]", frame["path"])
        around = "/".join(folder[:-2])
        twice = not around or bool(re.search(r"scatter|sparse|cluster|spline|torch|main|master|src", around))
        whose = {one.top for one in absent} | ({frame["name"]} if named else set())
        # Its compiled part: _C, or what is called like it; older Pythons do not say of what.
        inner = any(one.module in ("", "_C") or one.module.startswith(frame["name"]) for one in absent)
        if frame["name"] in whose or inner:
            twice = twice or normalise(folder[-2]) in [normalise(part) for part in folder[:-2]]
            return (0.9 if twice or named else 0.75), frame["name"], (*lines[0][:1], frame)
    return None


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

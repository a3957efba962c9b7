"""torch is installed in another Python than the one that runs, or this one reads another Python's packages.

What it means
-------------
``No module named 'torch'`` although ``pip install torch`` said that it is there: pip, the shell and the notebook's
kernel are not the same Python.  Or ``PYTHONPATH`` leads into the packages of another version, whose compiled
modules cannot be loaded here.

How it is found
---------------
torch is not on the import path of the process that asks, and the Python that ``VIRTUAL_ENV`` or ``CONDA_PREFIX``
points to, or for a notebook's kernel ``PATH``, has it; or an entry of the import path is the ``site-packages`` of
another Python version.  In text: what pip or conda installed, or lists, is not found by the Python that runs, or a
file of another Python version is loaded.

Example
-------
A kernel that runs in /usr while the active virtual environment, with torch, is another one.

Fix
---
Use the Python that has torch: make it a kernel of its own, or install into the running one with its own pip
(``%pip install`` in a notebook).

Known limits
------------
Interpreters that nothing in the session points to are not searched for.  An interpreter that was named with
``--python`` is taken for the one that is meant.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Optional

from kit.facts import Facts, Kernel, OtherPython, normalise
from kit.failures._place import Place
from kit.failures._told_python import MISNAMED, building, each, gone, hit, hits, notebook, put, typed
from kit.findings import Cost, Finding, Fix
from kit.published import python_minor
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 4
SHOWS = r"No module named 'kit_compiled._C'|cannot import name '_C'"
INSTEAD = "pip install torch in a terminal would go into the other Python again."


def find(facts: Facts) -> Iterator[Finding]:
    here = python_minor(facts)
    for entry in facts.python.path:
        match = re.search(r"python(\d\.\d+)/(site|dist)-packages$", entry)
        if match and match.group(1) != here:
            yield Finding(
                "wrong-interpreter",
                "error",
                None,
                f"This Python reads another Python's packages. Its import path leads to packages of Python "
                f"{match.group(1)}; this is Python {here}, and compiled modules do not carry over.",
                (
                    f"import path: {entry}",
                    f"{facts.python.executable}: Python {facts.python.version}",
                    *_pythonpath(facts),
                ),
                (Fix("fix-loader-path", f"Take {entry} out of PYTHONPATH and start Python again"),),
            )
    other = torch_elsewhere(facts)
    if other is not None:
        name = re.sub(r"[^\w.-]+", "-", other.python.rsplit("/", 3)[-3] if other.python.count("/") > 2 else "torch")
        kernel = (other.python, "-m", "ipykernel", "install", "--sys-prefix", "--name", name)
        yield Finding(
            "wrong-interpreter",
            "error",
            "torch",
            f"torch is installed in another Python. The one that runs here, {facts.python.executable}, has no torch; "
            f"{other.python} has torch {other.torch}.",
            (
                f"{facts.python.executable}: no torch on its import path",
                f"{other.how}: {other.python}, torch {other.torch}",
            ),
            (
                Fix(
                    "use-kernel-pip",
                    "Run the notebook in the Python that has torch: make it a kernel (ipykernel must be there)",
                    kernel,
                    safety="safe",
                    cost=Cost(restart=True),
                ),
                Fix(
                    "use-kernel-pip",
                    "Or install torch into the Python that runs: %pip install torch in a cell",
                ),
            ),
        )


def torch_elsewhere(facts: Facts) -> Optional[OtherPython]:
    """The Python with torch that was probably meant, where this one has none.

    Only for the process that asks: an interpreter that was named (``--python``) is the one that is meant.
    PATH speaks only against a notebook's kernel, for a command line chose its Python by it.
    """
    if facts.torch is not None or facts.kernel is None:
        return None
    notebook = facts.kernel.kind == "notebook"
    return next((o for o in facts.others if o.torch and (notebook or not o.how.endswith("PATH"))), None)


def _pythonpath(facts: Facts) -> Iterator[str]:
    if "PYTHONPATH" in facts.variables:
        yield f"PYTHONPATH: {facts.variables['PYTHONPATH']}"


# Packages that are often in another Python than the one that runs, by import name.
_USUAL = frozenset(
    "torch torchvision torchaudio torch_geometric torch_scatter torch_sparse torch_cluster torch_spline_conv "
    "pyg_lib dgl "
    "apex transformers numpy pandas networkx timm mmcv detectron2 pytorch3d xformers flash_attn bitsandbytes "
    "deepspeed "
    "pytorch_lightning lightning sklearn scipy matplotlib torchtext tensorflow cv2 diffusers accelerate peft".split()
)
_OTHER_PYTHON = (
    (("conflicts with this version of python",), r"Module use of python\d+\.dll conflicts with this version", 0.92),
    (
        ("python version mismatch",),
        r"Python version mismatch: module was compiled for (?:Python|version) [\d.]+",
        0.75,
    ),
    (("pyinit_",), r"does not define module export function \(?PyInit_\w+", 0.6),
    (
        ("pip show", "pip list", "conda list"),
        r"(?:pip3?|conda) (?:show|list)[^\n]{0,60}\bbut\b[^\n]{0,60}(?:version|import|not found|no module)[^\n]*",
        0.5,
    ),
    (
        ("could not be resolved", "reportmissingimports"),
        r"Import [\"'\w.]+ could not be resolved[^\n]*|reportMissing(?:Module)?(?:Imports|Source)",
        0.8,
    ),
    (("bad magic number",), r"bad magic number in '\w+'", 0.55),
)
_PLACES = (
    "jupyter",
    "notebook",
    "kernel",
    "ipython",
    "pycharm",
    "vs code",
    "vscode",
    "spyder",
    "sudo ",
    "another environment",
    "anaconda prompt",
    "terminal",
    "base environment",
    "works in",
    "which python",
    "sys.executable",
    "interpreter",
)


def told(report: Report) -> Iterator[Told]:
    for (_, _, confidence), said in each(report, _OTHER_PYTHON):
        yield _told(confidence, None, (said,), "A file of another Python version is loaded by the one that runs")
        return
    other = _of_another(report)
    if other is not None:
        yield _told(
            0.88, None, other, "Compiled files of another Python version are on the path of the one that runs"
        )
        return
    if not report.has("no module") or building(report):
        return
    listed, asked = put(report), typed(report)
    for one in gone(report):
        if one.name or one.attribute or "." in one.module or one.by.endswith("setup.py") or one.module in MISNAMED:
            continue
        names = {normalise(one.module), *_CALLED.get(one.module, ())}
        here = next((name for name in names if name in listed), None)
        typed_here = next((name for name in names if name in asked), None)
        stated = next((name for name in names if report.facts.distribution(name) is not None), None)
        usual = one.module in _USUAL
        session = notebook(report)
        lines: tuple[Hit, ...]
        if here is not None:
            confidence, lines = 0.9, (hit(report, one.at), hit(report, listed[here][1]))
        elif stated is not None:
            confidence, lines = (0.8 if report.facts.distribution(stated) else 0.7), hits(report, one)
        elif typed_here is not None:
            sure = 0.85 if session or report.has("conda install") else 0.75
            confidence, lines = sure, (hit(report, one.at), hit(report, asked[typed_here]))
        elif usual and one.module != "apex" and report.has(*_PLACES):
            confidence, lines = 0.75 if session else 0.65, hits(report, one)
        elif usual and one.module != "apex":
            confidence, lines = 0.45, hits(report, one)
        else:
            continue
        if one.module in ("torch", "numpy", "packaging", "wheel") and not one.by and _installing(report):
            confidence = min(confidence, 0.3)  # the build of what is being installed does not see it
        yield _told(confidence, one.module.replace("_", "-"), lines, f"{one.module} is not in the Python that runs")
        return


def _installing(report: Report) -> bool:
    """Whether what failed seems to be an installation and not a program."""
    if report.has("import torch", "import numpy", "python -c", ">>> ", "in <module>"):
        return False
    return report.has(
        "pip install -r", "collecting ", "pip install .", "pip install -e", "pip install git+", "uv sync"
    ) or (report.has("requirement already satisfied") and report.has("requirements", "install"))


def _of_another(report: Report) -> Optional[tuple[Hit, ...]]:
    """numpy's own account of a Python that finds a numpy of another one."""
    if not report.has("_multiarray_umath") or not report.has("python version is", "python3.", "cpython-"):
        return None
    runs = report.hit(r"Python version is:? (?:Python)?(?P<version>3\.\d+)|\bPython ?(?P<v2>3\.\d+)(?:\.\d+)? from")
    folder = report.hit(r"python(?P<version>3\.\d+)[/\\](?:site|dist)-packages[/\\]numpy")
    if runs is None or folder is None:
        return None
    here = runs.groups.get("version") or runs.groups.get("v2")
    return (folder, runs) if folder["version"] != here else None


# import name -> names on the package index
_CALLED = {
    "torch": ("pytorch",),
    "torch_geometric": ("pyg",),
    "torch_scatter": ("pytorch-scatter",),
    "torch_sparse": ("pytorch-sparse",),
    "torch_cluster": ("pytorch-cluster",),
    "cv2": ("opencv-python", "opencv-python-headless", "opencv-contrib-python"),
    "sklearn": ("scikit-learn",),
    "skimage": ("scikit-image",),
    "PIL": ("pillow",),
    "yaml": ("pyyaml",),
    "dgl": ("dgl-cu111", "dgl-cu113", "dgl-cu116", "dgl-cu117", "dgl-cu118"),
    "pytorch_lightning": ("lightning",),
    "flash_attn": ("flash-attn",),
}


def _told(confidence: float, package: Optional[str], lines: tuple[Hit, ...], title: str) -> Told:
    return Told(
        confidence,
        package,
        f"{title}. pip or conda put it into another one: a terminal, an environment and a notebook's kernel can each "
        "have a Python of their own.",
        lines,
        (
            Fix(
                "use-kernel-pip",
                "Install with the Python that runs: %pip install in a cell, or python -m pip install",
            ),
            Fix("use-kernel-pip", "Or run in the Python that has it: activate its environment, or make it a kernel"),
        ),
        over=("not-environment",) if confidence > 0.7 else (),
    )


def example() -> Facts:
    facts = recorded("healthy-cpu")
    gone = ("torch", "torch-scatter")
    return dataclasses.replace(
        facts,
        torch=None,
        extensions=(),
        distributions=tuple(d for d in facts.distributions if d.key not in gone),
        modules=tuple(m for m in facts.modules if m.name not in ("torch", "torch_scatter")),
        others=(OtherPython("VIRTUAL_ENV", "/home/<user>/envs/gnn/bin/python", "2.13.0+cpu"),),
        kernel=Kernel("notebook"),
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    other = place.work.parent / "lib" / "python3.8" / "site-packages"
    place.write(other / "kit_compiled" / "__init__.py", "from kit_compiled import _C\n")
    place.write(other / "kit_compiled" / "_C.cpython-38-x86_64-linux-gnu.so", b"\x7fELF")
    place.variables["PYTHONPATH"] = str(other)
    return "import kit_compiled"

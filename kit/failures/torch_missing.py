"""torch is not installed here, although packages that are installed need it.

What it means
-------------
``import torch`` says ``No module named 'torch'``, and packages of this environment cannot work without it.
When the torch is in another Python, the failure is wrong-interpreter instead.

How it is found
---------------
Neither a ``torch`` package nor its metadata is on the import path, and a compiled extension of torch, or a
distribution whose metadata requires torch, is.
In text: ``No module named 'torch'`` where nothing speaks for another Python or an isolated build.

Example
-------
torch-scatter 2.1.2 in an environment without torch.

Fix
---
Install torch with the CUDA that the driver runs.

Known limits
------------
An environment in which nothing needs torch is no finding, even where you meant to have it.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit.facts import Facts
from kit.failures import _told
from kit.failures._place import Place
from kit.failures.wrong_interpreter import torch_elsewhere
from kit.findings import Cost, Finding, Fix
from kit.published import CPU_TORCH_MB, GPU_TORCH_MB, choose_torch, pip, torch_fix
from kit.recorded import recorded
from kit.report import Report, Told

RANK = 12
SHOWS = r"No module named 'torch'"
INSTEAD = "Reinstalling the packages that need torch would not help: they do not bring it along."


def find(facts: Facts) -> Iterator[Finding]:
    if facts.torch is not None or torch_elsewhere(facts) is not None:
        return
    needing = {e.package: f"{e.origin}: {e.package} {e.version} is compiled against torch" for e in facts.extensions}
    for dist in facts.distributions:
        if any(re.match(r"torch(?![\w.-])", r, re.I) for r in dist.requires):
            needing.setdefault(dist.name, f"{dist.name} {dist.version}: requires torch")
    if "apex" in needing and len(needing) == 1:
        return  # PyPI's apex has nothing to do with torch; whoever has NVIDIA's has torch's other users too
    if not needing:
        return
    yield Finding(
        "torch-missing",
        "error",
        "torch",
        f"torch is not installed in this Python. {', '.join(sorted(needing))} cannot work without it.",
        ("import path: no folder torch and no metadata of torch", *list(needing.values())[:4]),
        (install(facts),),
    )


def install(facts: Facts) -> Fix:
    """change-torch: torch for the GPU that is here, else the one of the package index."""
    if facts.gpu_seen and choose_torch(facts):
        return torch_fix(facts, "Install torch for this GPU")
    # On Linux the package index serves the CUDA build, whether there is a GPU or not.
    cost = Cost(download_mb=GPU_TORCH_MB if facts.host.system == "Linux" else CPU_TORCH_MB)
    return Fix(
        "change-torch",
        "Install torch",
        pip(facts, "install", "torch"),
        safety="changes-environment",
        cost=cost,
    )


def told(report: Report) -> Iterator[Told]:
    if not report.has("no module named 'torch'", 'no module named "torch"', "no module named torch"):
        return
    hit = report.last(r"no module named ['\"]?torch['\"]?(?![\w.])")
    if hit is None:
        return
    listed = len(report.facts.distributions) > 4 and report.facts.distribution("torch") is None
    yield Told(
        0.6 if listed and report.facts.torch is None else 0.3,
        "torch",
        "torch is not installed in the Python that runs. Whatever needs it cannot work, and pip list of that Python "
        "shows whether another one has it.",
        (hit,),
        (
            _told.fix(
                "use-kernel-pip", "Install torch with the pip of the Python that runs: python -m pip install torch"
            ),
            _told.fix("change-torch", "Install torch"),
        ),
    )


def example() -> Facts:
    facts = recorded("healthy-cpu")
    return dataclasses.replace(
        facts,
        torch=None,
        distributions=tuple(d for d in facts.distributions if d.key != "torch"),
        modules=tuple(m for m in facts.modules if m.name != "torch"),
    )


def reproduce(place: Place) -> str:
    place.share("torch")  # with what it requires, which stays
    gone = ("torch", "torchgen", "functorch", "torch-*.dist-info")
    place.remove(*(path for pattern in gone for path in place.site.glob(pattern)))
    place.install(place.wheel("kit-needs-torch", "1.0", {"kit_needs_torch.py": "import torch\n"}, requires=["torch"]))
    return "import kit_needs_torch"

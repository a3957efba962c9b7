"""The installed apex is of another time than this torch.

What it means
-------------
apex is tied to torch's internals.  An apex of before 2023 imports ``torch._six``, which torch 2.0 removed.  The last
apex with amp (25.04) imports; but with torch 2.13 (older ones were not tried) its O1 stops with ``IndexError: tuple
index out of range`` as soon as a weight is used twice in a forward pass (tied embeddings, siamese nets, recurrent
cells), because its cache of cast weights looks for a second parent in the graph, which a cast no longer has.

How it is found
---------------
Importing apex in a child process names a part of torch that is not there; that is tried where no library of apex
shows that it fits.  For the second: the installed apex has its
own ``amp`` and torch is 2.0 or newer; that is only a note, for code that uses no weight twice is not concerned.
In text: a file of apex asks for a part of torch that is not found, or a part is not found that only apex asked for,
or apex's C++ code does not compile with it.

Example
-------
An apex of 2022 beside torch 2.9: ``No module named 'torch._six'``.

Fix
---
The kit's replacement takes the place of apex (``kit shim enable apex.amp --cover``), and ``kit shim disable`` brings
apex back.  Or build an apex that fits this torch, which since May 2025 has no amp; or move the code to ``torch.amp``.

Known limits
------------
Whether a model uses a weight twice is not looked at.  An apex of old Python files whose libraries were compiled for
this torch is not tried.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit.facts import Distribution, Facts, Module, Probe
from kit.failures import _told_prose
from kit.failures._apex import GONE, lacks_libraries, native, replacement, told_build, told_uninstall, uninstall
from kit.failures._place import Place
from kit.failures._told_python import gone, hits
from kit.findings import Finding, Fix
from kit.gpus import numbers
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 53
SHOWS = r"No module named 'torch\._six'"
INSTEAD = "An older torch only to get torch._six back would break what needs the torch that is here."


def find(facts: Facts) -> Iterator[Finding]:
    module, torch = facts.module("apex"), facts.torch
    if module is None or torch is None or module.kind == "namespace" or facts.replacement("apex"):
        return
    probe, dist = facts.probe("apex"), facts.distribution("apex")
    evidence = [f"{dist.path.rpartition('/')[2]}: apex {dist.version}"] if dist is not None else []
    rewrite = Fix("change-code-or-data", "For good: torch.amp.autocast and torch.amp.GradScaler in place of apex.amp")
    if probe is not None and re.search(GONE, probe.error):
        yield Finding(
            "apex-version-mismatch",
            "error",
            "apex",
            f"The installed apex is older than this torch. It imports what torch {torch.version} no longer has.",
            (*evidence, f"import apex, in a process of its own: {probe.error}"),
            (replacement(facts, cover=True), uninstall(facts, "Uninstall apex, where nothing needs it"), rewrite),
        )
    elif "amp" in module.children and not lacks_libraries(facts) and numbers(torch.version) >= (2, 0):
        yield Finding(
            "apex-version-mismatch",
            "note",
            "apex",
            "apex's own amp does not fit this torch in one point. With opt_level O1 a weight that is used twice in a "
            "forward pass ends in `IndexError: tuple index out of range`.",
            (*evidence, f"apex/amp is there; torch {torch.version}"),
            (replacement(facts, cover=True), rewrite),
        )


_IN_APEX = re.compile(r"(?:^|[/\\\s\"'`(])apex(?:[/\\]\w|-[\w.-]+\.egg[/\\])")
_COMPILING = (
    r"csrc[/\\](?:mlp|syncbn|layer_norm_cuda|welford|multi_tensor\w*|amp_C_frontend|flatten_unflatten|megatron)[\w.]*"
)
_TOO_OLD_OR_NEW = r"(?:Apex|--c(?:pp|uda)_ext) requires Pytorch [\d.]+ or (?:newer|later)"

# Files of apex's own that its build compiles.
_SOURCES = (
    "csrc/mlp",
    "csrc\\mlp",
    "csrc/syncbn",
    "csrc/welford",
    "csrc/multi_tensor",
    "csrc\\multi_tensor",
    "csrc/layer_norm_cuda",
    "csrc/amp_c",
    "amp_c_frontend",
    "flatten_unflatten",
    "csrc/megatron",
    "'apex_c' extension",
    "'amp_c' extension",
)
# What hardly anything but apex asked for, so that it tells without its name; how sure that is.
_ALONE = {
    "torch.distributed.deprecated": 0.8,
    "torch.nn.backends": 0.65,
    "torch.distributed._all_gather_base": 0.75,
    "torch.distributed._reduce_scatter_base": 0.75,
    "torch._six.string_classes": 0.4,
    "torch.library": 0.52,
    "torch._six": 0.3,
}
_ALONE_WORDS = (
    "'deprecated'",
    "'backends'",
    "_all_gather_base",
    "_reduce_scatter_base",
    "string_classes",
    "'library",
    "torch._six",
)
_IMPORTS = ("from apex", "import apex", "apex/", "apex\\", "apex.", "apex from", "import of apex")
# What apex asks of torch that not every release has.
_ASKED = (
    "torch._six",
    "torch.library",
    "torch._C._distributed",
    "torch.distributed._all_gather_base",
    "torch.distributed._reduce_scatter_base",
    "torch.distributed.all_gather_into_tensor",
    "torch.distributed.ProcessGroup",
    "torch.distributed.deprecated",
    "torch.distributed.reduce_op",
    "torch.cuda.amp",
    "torch.nn.functional.handle_torch_function",
    "torch.float8",
    "torch.compile",
    "torch.amp",
    "torch._dynamo",
)


def _beside(report: Report, at: int) -> bool:
    """Whether a file of apex stands right above or below, where a text holds only a part of the traceback."""
    return any(_IN_APEX.search(line[:400]) for line in report.lines[max(0, at - 4) : at + 4])


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "apex-version-mismatch")
    if plain is not None:
        yield Told(
            plain[0],
            "apex",
            "The installed apex is of another time than this torch. That is what the text speaks of.",
            (plain[1],),
            (
                told_uninstall(
                    "Uninstall apex, where nothing needs its fused kernels; transformers then does without"
                ),
                told_build("Or build an apex that fits this torch, with APEX_CPP_EXT=1 APEX_CUDA_EXT=1"),
                native(),
            ),
        )
    if not report.has("apex", *_SOURCES, *_ALONE_WORDS):
        return
    lines: tuple[Hit, ...] = ()
    confidence = 0.0
    for one in gone(report):
        if one.top != "torch" or one.path == "torch":
            continue
        if not report.has("apex"):
            if not one.by and one.path in _ALONE:
                confidence, lines = _ALONE[one.path], hits(report, one)
                break
            continue
        if _IN_APEX.search(one.by) or (not one.asker and _beside(report, one.at)):
            confidence, lines = 0.93, hits(report, one)
        elif not one.by or one.by.startswith("<"):  # a line of its own, in a text that speaks of apex
            known = one.path.startswith(_ASKED)
            sure = 0.75 if known and report.has(*_IMPORTS) else 0.7 if known else 0.35
            confidence, lines = sure, hits(report, one)
        elif "torch._six" in one.path and not one.asker and report.has("from apex", "import apex"):
            confidence, lines = 0.6, hits(report, one)
        if lines:
            break
    if not lines and report.has("tuple index out of range"):
        found = report.hit(r"next_functions\[1\]\[0\]\.variable|apex[/\\]amp[/\\]utils\.py[^\n]*cached_cast")
        confidence, lines = (0.85, (found,)) if found else (0.0, ())
    if not lines and report.has("pytorch"):
        found = report.hit(_TOO_OLD_OR_NEW)
        confidence, lines = (0.85, (found,)) if found else (0.0, ())
    if not lines and report.has(*_SOURCES) and not report.has("no such file or directory", "mamba", "flash_attn"):
        # Not for CUDA versions that differ or a compiler that is missing: nothing of torch is named then.
        found = report.hit(
            _COMPILING + r":\d+[^\n]*(?:has no member|was not declared|no matching function|is not a member|"
            r"THC/|no suitable|DeprecatedTypeProperties|no instance of)"
        )
        confidence = 0.7
        if found is None and report.has("deprecatedtypeproperties", "thc/thc", "at_check", "at_dispatch"):
            found, confidence = (
                report.hit(r"DeprecatedTypeProperties|THC/THC\w*\.h|\bAT_(?:CHECK|DISPATCH\w*)\b"),
                0.5,
            )
        lines = (found,) if found else ()
    if not lines:
        return
    yield Told(
        confidence,
        "apex",
        "The installed apex is of another time than this torch. It asks for a part of torch that this release does "
        "not have, so it cannot work with it.",
        lines,
        (
            told_uninstall("Uninstall apex, where nothing needs its fused kernels; transformers then does without"),
            told_build("Or build an apex that fits this torch, with APEX_CPP_EXT=1 APEX_CUDA_EXT=1 and no isolation"),
            native(),
        ),
        over=("module-moved", "version-conflict", "not-environment") if confidence >= 0.7 else (),
    )


def example() -> Facts:
    facts = recorded("healthy-cpu")
    location = facts.extensions[0].location
    dist = Distribution("apex", "0.1", f"{location}/apex-0.1.dist-info", installer="pip")
    children = ("__init__.py", "RNN", "amp", "fp16_utils", "parallel", "reparameterization")
    module = Module("apex", "package", f"{location}/apex", location, "apex", children)
    return dataclasses.replace(
        facts,
        distributions=(*facts.distributions, dist),
        modules=(*facts.modules, module),
        probes=(Probe("torch", 0), Probe("apex", 1, "ModuleNotFoundError: No module named 'torch._six'")),
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    files = {f"apex/{name}/__init__.py": "" for name in ("RNN", "fp16_utils", "parallel", "reparameterization")}
    files["apex/__init__.py"] = "from . import amp\n"
    files["apex/amp/__init__.py"] = "from torch._six import string_classes\n"
    place.install(place.wheel("apex", "0.1", files))
    return "from apex import amp"

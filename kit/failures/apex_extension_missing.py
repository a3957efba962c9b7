"""NVIDIA apex is installed without its compiled extensions.

What it means
-------------
apex was installed as Python only, without ``APEX_CPP_EXT=1 APEX_CUDA_EXT=1``, or its libraries were overwritten.
The package imports; its fused layers fail with ``No module named 'fused_layer_norm_cuda'`` or ``amp_C``.
transformers up to 5.4 takes apex's FusedRMSNorm for T5 whenever apex is present, and fails then.

How it is found
---------------
The package has NVIDIA's Python modules (``normalization``, ``optimizers``, ``multi_tensor_apply``), and no library
``amp_C`` or ``fused_layer_norm_cuda`` is installed beside it.  In text: one of apex's compiled modules is not found,
or apex says itself that it was installed without ``--cpp_ext`` or ``--cuda_ext``.

Example
-------
apex 0.1 with all its Python modules and no library.

Fix
---
Uninstall it where nothing needs its fused kernels, else build it with both extensions, without isolation, from
NVIDIA's repository.

Known limits
------------
A single missing extension of apex.contrib is not looked for.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit.facts import Distribution, Extension, Facts, Module
from kit.failures import _told_prose
from kit.failures._apex import COMPILED, lacks_libraries, native, replacement, told_build, told_uninstall, uninstall
from kit.failures._place import Place
from kit.failures._told_python import gone, hits
from kit.findings import Cost, Finding, Fix
from kit.published import pip
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 52
SHOWS = r"No module named 'amp_C'"
INSTEAD = "pip install apex would bring an unrelated package, and --global-option no longer exists in pip."

PYTHON_PART = {"normalization", "optimizers", "multi_tensor_apply"}


def find(facts: Facts) -> Iterator[Finding]:
    module, extension = facts.module("apex"), facts.extension("apex")
    if module is None or not PYTHON_PART & set(module.children) or facts.replacement("apex"):
        return
    libraries = extension.libraries if extension else ()
    if not lacks_libraries(facts):
        return
    build = ("install", "-v", "--no-build-isolation", "--no-cache-dir", ".")
    yield Finding(
        "apex-extension-missing",
        "error",
        "apex",
        "apex is installed without its compiled part. Its fused layers and optimizers cannot work: amp_C and "
        "fused_layer_norm_cuda were not built.",
        (
            f"apex/: {', '.join(sorted(PYTHON_PART & set(module.children)))}, NVIDIA's Python modules",
            "installed files of apex: "
            + (", ".join(f.rpartition("/")[2] for f in libraries[:4]) if libraries else "no library at all"),
        ),
        (
            uninstall(facts, "Uninstall apex, where nothing uses its fused kernels"),
            replacement(facts, cover=True),
            Fix(
                "rebuild-extension",
                "Build it in a clone of github.com/NVIDIA/apex with both extensions",
                pip(facts, *build),
                {"APEX_CPP_EXT": "1", "APEX_CUDA_EXT": "1"},
                "manual",
                Cost(restart=True),
            ),
        ),
    )


# What apex and Megatron say where the compiled part is absent.
_SAID = (
    r"installed without --(?:cpp|cuda|\w+)|without --(?:cpp|cuda)_ext|apex[^\n]{0,60}requires cuda extensions?|"
    r"unscale kernel is unavailable|"
    r"requires? apex (?:to be )?(?:installed|built) with|install apex with --cpp_ext|MultiTensorApply is not "
    r"available|"
    r"Fused(?:LayerNorm|RMSNorm|Adam|LAMB|SGD|NovoGrad|Adagrad)[^\n]{0,40} (?:unavailable|not available)|"
    r"SyncBatchNorm requires cuda extension|fused kernels? unavailable|apex\.\S+ requires cuda extensions|"
    rf"\b{COMPILED}\b['\"`]? (?:module )?(?:is |was )?(?:not (?:found|defined|available|installed|built)|missing)|"
    rf"(?:module|name) ['\"]?{COMPILED}['\"]? (?:has no attribute|is not defined)|"
    rf"(?:no|cannot find|can't find|missing) (?:module )?['\"`]?{COMPILED}\b"
)
_ABOUT = (
    "_ext",
    "cuda extension",
    "unscale kernel",
    "apex",
    "multitensorapply",
    "amp_c",
    "syncbn",
    "fused",
    "_softmax_cuda",
)
# They take apex where it is there, and do without it else.
_TAKERS = ("transformers", "esm", "fairseq", "timm", "sentence_transformers", "torch.hub", "openfold", "unicore")


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "apex-extension-missing")
    if plain is not None:
        yield Told(
            plain[0],
            "apex",
            "apex is here without its compiled part, or not at all. Its fused layers and optimizers need the "
            "part that "
            "is built with --cpp_ext and --cuda_ext.",
            (plain[1],),
            (
                told_build("Build it in a clone of github.com/NVIDIA/apex with APEX_CPP_EXT=1 APEX_CUDA_EXT=1"),
                native(),
            ),
        )
    lines: tuple[Hit, ...] = ()
    name, confidence = "", 0.95
    for one in gone(report):
        found = re.match(COMPILED + r"$", one.name if not one.module else one.module, re.I)
        if found and not (one.name and one.module):
            name, lines = one.module or one.name, hits(report, one)
            break
    if not lines and report.has(*_ABOUT):
        said = report.hit(_SAID)
        # apex prints the same where a library is there and cannot be loaded.
        if said is None or report.has("undefined symbol", "cannot open shared object"):
            return
        lines, confidence = (said,), 0.85
    if not lines:
        return
    what = f" {name} was not built, or an installation without it took its place." if name else ""
    taken = report.has(*_TAKERS) and not report.has("setup.py", "nvidia/apex", "cpp_ext", "install ./", "megatron")
    build = told_build(
        "Build it in a clone of github.com/NVIDIA/apex with both parts: APEX_CPP_EXT=1 APEX_CUDA_EXT=1 pip "
        "install -v "
        "--no-build-isolation --no-cache-dir ."
    )
    without = told_uninstall(
        "Uninstall apex, where nothing uses its fused kernels; code that can do without it then does"
    )
    yield Told(
        confidence,
        "apex",
        f"apex is installed without its compiled part.{what or ' Its fused layers and optimizers cannot work.'} Its "
        "Python modules alone import, and fail when they are used.",
        lines,
        (without, build, native()) if taken else (build, without, native()),
        over=("not-environment", "wrong-interpreter", "module-moved"),
    )


def example() -> Facts:
    facts = recorded("healthy-gpu")
    location = facts.extensions[0].location
    dist = Distribution("apex", "0.1", f"{location}/apex-0.1.dist-info", installer="pip")
    children = (
        "__init__.py",
        "amp",
        "contrib",
        "multi_tensor_apply",
        "normalization",
        "optimizers",
        "parallel",
    )
    module = Module("apex", "package", f"{location}/apex", location, "apex", children)
    extension = Extension("apex", "0.1", "apex-0.1.dist-info", location, ("apex",))
    return dataclasses.replace(
        facts,
        distributions=(*facts.distributions, dist),
        modules=(*facts.modules, module),
        extensions=(*facts.extensions, extension),
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    names = ("amp", "contrib", "normalization", "optimizers")
    files = {f"apex/{name}/__init__.py": "" for name in ("multi_tensor_apply", *names)}
    files["apex/optimizers/__init__.py"] = "import amp_C\n"
    place.install(place.wheel("apex", "0.1", {"apex/__init__.py": "", **files}))
    return "import apex.optimizers"

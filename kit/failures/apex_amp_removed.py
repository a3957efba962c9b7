"""The installed apex no longer contains amp.

What it means
-------------
NVIDIA removed ``apex.amp``, ``apex.parallel`` and ``apex.RNN`` on 2025-05-08 (NVIDIA/apex, commit cb65b8ed,
pull request 1896).  With any apex built since, ``from apex import amp`` raises ``cannot import name 'amp' from
'apex'``; transformers up to 4.52.4 imports it whenever apex is installed, and then its Trainer cannot be
imported.  It is not a matter of how apex was built: an apex with all its CUDA extensions has no amp either.

How it is found
---------------
The package apex has metadata and no ``amp`` folder, and is not PyPI's web toolkit.  With transformers 4.52.4 or
older beside it it is an error, else a warning: only code that asks for amp is concerned.  In text: an installed
``apex/__init__.py`` from which ``amp``, ``parallel`` or ``RNN`` cannot be imported.

Example
-------
NVIDIA apex of 2026 beside transformers 4.52.4.

Fix
---
transformers 4.53 or newer, which asks for amp only when it is used; or uninstall apex where nothing needs its
fused kernels.  Where code of yours calls ``amp.initialize`` and ``amp.scale_loss``, the kit's replacement adds
``apex.amp`` to the installed apex (``kit shim enable apex.amp``); for good, such code moves to ``torch.amp``.
apex 25.04 is the last release with amp.

Known limits
------------
Whether your own code imports amp is not looked at.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from kit.facts import Distribution, Extension, Facts, Module
from kit.failures import _told_prose
from kit.failures._apex import (
    WEB,
    WEB_WORDS,
    about,
    from_index,
    native,
    of_new_days,
    of_old_days,
    replacement,
    told_uninstall,
    uninstall,
)
from kit.failures._place import Place
from kit.failures._told_python import hits
from kit.failures.apex_wrong_package import is_pyramid
from kit.findings import Cost, Finding, Fix
from kit.gpus import numbers
from kit.published import pip
from kit.recorded import recorded
from kit.report import Report, Told

RANK = 51
SHOWS = r"cannot import name 'amp' from 'apex'"
INSTEAD = "Building apex again with its CUDA extensions would not bring amp back: its source no longer has it."

# The newest transformers whose trainer.py imports apex.amp at module level (read in its wheels).
LAST_TRANSFORMERS_WITH_AMP = "4.52.4"


def find(facts: Facts) -> Iterator[Finding]:
    module = facts.module("apex")
    if module is None or module.kind == "namespace" or module.distribution is None or is_pyramid(module):
        return
    if {"amp", "amp.py"} & set(module.children) or facts.replacement("apex"):
        return
    transformers = facts.distribution("transformers")
    asks = transformers is not None and numbers(transformers.version) <= numbers(LAST_TRANSFORMERS_WITH_AMP)
    dist = facts.distribution("apex")
    evidence = [f"apex/: {', '.join(module.children[:8]) or 'empty'}; no amp"]
    if dist is not None:
        evidence.insert(0, f"{dist.path.rpartition('/')[2]}: apex {dist.version}")
    story = "NVIDIA removed it in May 2025; `from apex import amp` cannot work with this apex."
    if asks and transformers is not None:
        evidence.append(
            f"transformers {transformers.version}: its trainer imports apex.amp whenever apex is installed"
        )
        story += f" transformers {transformers.version} imports it, so its Trainer cannot be imported."
    yield Finding(
        "apex-amp-removed",
        "error" if asks else "warning",
        "apex",
        f"The installed apex has no amp. {story}",
        tuple(evidence),
        tuple(_fixes(facts)),
    )


def _fixes(facts: Facts) -> list[Fix]:
    transformers = facts.distribution("transformers")
    version = numbers(transformers.version) if transformers else ()
    without_amp = Fix(
        "change-package-version",
        "Install transformers 4.53.3, the first series that needs no amp",
        pip(facts, "install", "transformers==4.53.3"),
        safety="changes-environment",
        cost=Cost(download_mb=11),
    )
    native = Fix(
        "change-code-or-data",
        "In your own code, for good: torch.amp.autocast and torch.amp.GradScaler in place of apex.amp",
    )
    without = uninstall(facts, "Uninstall apex, where nothing uses its fused kernels")
    ours = replacement(facts)
    # From a transformers of long before, a jump to 4.53 asks more of the code than doing without apex.
    near = (4, 45) <= version <= numbers(LAST_TRANSFORMERS_WITH_AMP)
    if near:
        return [without_amp, without, ours]
    return [without, ours, native] if version else [ours, without, native]


_GONE = re.compile(r"apex\.(amp|parallel|RNN|fp16_utils|reparameterization)\b")


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "apex-amp-removed")
    if plain is not None:
        yield Told(
            plain[0],
            "apex",
            "The installed apex no longer has amp. NVIDIA removed amp, parallel and RNN in May 2025; torch has "
            "had all "
            "three itself for years.",
            (plain[1],),
            (native(), told_uninstall("Uninstall apex, where nothing uses its fused kernels")),
        )
    missing = [one for one in about(report) if _GONE.match(one.path)]
    if not missing or from_index(report) is not None:
        return
    if report.has(*WEB_WORDS) and report.hit(WEB):
        return
    one = missing[0]
    if one.where == "unknown location" or one.file or one.circular:
        return
    if one.where:
        confidence = 0.75 if of_old_days(report) else 0.92
    elif of_new_days(report):
        confidence = 0.8
    else:
        confidence = 0.2 if of_old_days(report) else 0.42 if one.attribute else 0.55
    asker = one.asker if one.asker not in ("", "apex", "python") else ""
    transformers = Fix("change-package-version", "Install transformers 4.53 or newer, which asks for amp only in use")
    before = Fix(
        "change-package-version",
        "Where code needs apex.amp as it is: build release 25.04, the last with it, with its C++ and CUDA parts",
    )
    without = told_uninstall("Uninstall apex, where nothing uses its fused kernels")
    own = Fix("change-code-or-data", "In your own code, for good: torch.amp.autocast and torch.amp.GradScaler")
    through = asker == "transformers" or report.has("transformers")
    story = f" {asker} imports it whenever apex is installed." if asker else ""
    yield Told(
        confidence,
        "apex",
        f"The installed apex no longer has {one.name or one.path.partition('.')[2]}. NVIDIA removed amp, "
        f"parallel and "
        f"RNN in May 2025, so no way of building a newer apex brings them back.{story}",
        hits(report, one),
        (transformers, without, native()) if through else (before, native(), own if _imported(report) else without),
        over=("module-moved", "version-conflict") if confidence > 0.7 else (),
    )


def _imported(report: Report) -> bool:
    """Whether it is code of the user's own that imports it, of what the text shows."""
    return report.has('file "<stdin>"', ">>> ", "in <module>", "train.py", "main.py", "<ipython-input", "cell in")


def example() -> Facts:
    facts = recorded("healthy-gpu")
    location = facts.extensions[0].location
    dists = (
        Distribution("apex", "0.1", f"{location}/apex-0.1.dist-info", installer="pip", compiled=True),
        Distribution("transformers", "4.52.4", f"{location}/transformers-4.52.4.dist-info", installer="pip"),
    )
    children = (
        "__init__.py",
        "contrib",
        "fused_dense",
        "mlp",
        "multi_tensor_apply",
        "normalization",
        "optimizers",
    )
    module = Module("apex", "package", f"{location}/apex", location, "apex", children)
    libraries = (
        "amp_C.cpython-311-x86_64-linux-gnu.so",
        "fused_layer_norm_cuda.cpython-311-x86_64-linux-gnu.so",
    )
    extension = Extension("apex", "0.1", "apex-0.1.dist-info", location, ("apex",), libraries)
    return dataclasses.replace(
        facts,
        distributions=(*facts.distributions, *dists),
        modules=(*facts.modules, module),
        extensions=(*facts.extensions, extension),
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    names = ("contrib", "fused_dense", "mlp", "multi_tensor_apply", "normalization", "optimizers")
    files: dict[str, Any] = {f"apex/{name}/__init__.py": "" for name in names}
    library = place.compile("int kit_version(void) { return 1; }\n", "amp_C.so")
    place.install(place.wheel("apex", "0.1", {"apex/__init__.py": "", "amp_C.so": library, **files}, tag=place.tag))
    return "from apex import amp"

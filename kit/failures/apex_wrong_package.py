"""The apex that is installed is PyPI's, a toolkit for the Pyramid web framework, not NVIDIA's.

What it means
-------------
NVIDIA never published apex on PyPI; the project of that name there is an unrelated web toolkit of 2013.
``from apex import amp`` cannot work with it, and transformers up to 4.52, which imports apex.amp whenever a
package called apex is present, fails with ``Could not import module 'Trainer'`` or ``No module named
'pyramid_mailer'``.

How it is found
---------------
The package ``apex`` holds the modules of the web toolkit (``interfaces``, ``views``, ``forms``) and none of
NVIDIA's (``normalization``, ``optimizers``, ``multi_tensor_apply``, ``amp``).  In text: names of the web toolkit
(``ApexImplementation``, ``pyramid``, ``velruse``), its version 0.9.10, or ``pip install apex`` before an import that
fails.

Example
-------
apex 0.9.10.dev0, as ``pip install apex`` finds it.

Fix
---
Uninstall it: nothing that uses torch needs it.  transformers then finds no apex and does without.

Known limits
------------
A package called apex that is neither is judged by apex-amp-removed.
"""

import dataclasses
from collections.abc import Iterator

from kit.facts import Distribution, Facts, Module
from kit.failures import _told_prose
from kit.failures._apex import (
    WEB,
    WEB_WORDS,
    about,
    from_index,
    native,
    of_old_days,
    replacement,
    told_build,
    told_uninstall,
    uninstall,
)
from kit.failures._place import Place
from kit.failures._told_python import failing, gone, hit, hits
from kit.findings import Finding
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 50
SHOWS = r"cannot import name 'amp' from 'apex'"
INSTEAD = "pip install apex would bring the same web toolkit back; NVIDIA's apex is not on the package index."

PYRAMID = {"interfaces.py", "views.py", "forms.py", "scaffolds"}
NVIDIA = {"normalization", "optimizers", "multi_tensor_apply", "amp", "contrib", "fused_dense", "mlp"}


def is_pyramid(module: Module) -> bool:
    return len(PYRAMID & set(module.children)) >= 2 and not NVIDIA & set(module.children)


def find(facts: Facts) -> Iterator[Finding]:
    module = facts.module("apex")
    if module is None or not is_pyramid(module):
        return
    dist = facts.distribution("apex")
    transformers = facts.distribution("transformers")
    version = dist.version if dist else "of unknown version"
    evidence = [f"apex/: {', '.join(n for n in module.children if n in PYRAMID)}; nothing of NVIDIA's apex"]
    if dist is not None:
        evidence.insert(0, f"apex {version}: {dist.summary or 'no summary'}")
    if transformers is not None:
        evidence.append(f"transformers {transformers.version}: imports apex where a package of that name is present")
    yield Finding(
        "apex-wrong-package",
        "error",
        "apex",
        f"This apex is not NVIDIA's. apex {version} from the package index is a toolkit for the Pyramid web "
        "framework; it has no amp and nothing to do with torch.",
        tuple(evidence),
        (uninstall(facts, "Uninstall it; nothing that uses torch needs it"), replacement(facts, cover=True)),
    )


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "apex-wrong-package")
    if plain is not None:
        yield _told(plain[0], (plain[1],))
    if not report.has("apex", "pyramid", "class advice impossible", "velruse", "cryptacular", "unencryptedcookie"):
        return
    named = report.hit(WEB) if report.has(*WEB_WORDS) else None
    asked = from_index(report)
    if named is None and report.has("cryptacular"):  # what only it requires, and what cannot be built
        named = report.hit(r"\bcryptacular\b")
    if named is not None and (
        report.has("apex", "unencryptedcookie", "cryptacular", "class advice") or failing(report)
    ):
        others = [other for other in report.hits(WEB) if other.line != named.line][:2]
        yield _told(0.97 if report.has("apex", "unencryptedcookie", "pyramid_mailer") else 0.85, (named, *others))
        return
    missing = about(report) or [one for one in gone(report) if one.name == "amp" and not one.module]
    if asked is not None and missing:
        yield _told(0.9, (hit(report, asked), *hits(report, missing[0])))
    elif asked is not None and report.has("apex"):
        yield _told(0.6 if failing(report) else 0.5, (hit(report, asked),))
    elif missing and missing[0].where != "unknown location" and not missing[0].file:
        one = missing[0]
        # Since 2018 NVIDIA's package has imported amp by itself; no longer since May 2025.
        sure = 0.55 if one.attribute and of_old_days(report) else 0.5 if one.attribute else 0.4
        if one.path == "apex":
            return
        yield _told(0.2 if one.where else sure, hits(report, one))


def _told(confidence: float, lines: tuple[Hit, ...]) -> Told:
    return Told(
        confidence,
        "apex",
        "This apex is PyPI's web toolkit, not NVIDIA's. The package index has an unrelated project under that name; "
        "it has no amp, and nothing that uses torch needs it.",
        lines,
        (
            told_uninstall("Uninstall it (pip uninstall apex); transformers and others then do without"),
            told_build("Where NVIDIA's is needed: build it from github.com/NVIDIA/apex with its C++ and CUDA parts"),
            native(),
        ),
        over=("apex-amp-removed", "module-moved", "version-conflict") if confidence > 0.7 else (),
    )


def example() -> Facts:
    facts = recorded("healthy-cpu")
    location = facts.extensions[0].location
    summary = "Pyramid toolkit to add Velruse, Flash Messages, CSRF, ReCaptcha and Sessions"
    dist = Distribution(
        "apex", "0.9.10.dev0", f"{location}/apex-0.9.10.dev0.dist-info", installer="pip", summary=summary
    )
    children = (
        "__init__.py",
        "forms.py",
        "interfaces.py",
        "lib",
        "models.py",
        "scaffolds",
        "templates",
        "views.py",
    )
    module = Module("apex", "package", f"{location}/apex", location, "apex", children)
    return dataclasses.replace(facts, distributions=(*facts.distributions, dist), modules=(*facts.modules, module))


def reproduce(place: Place) -> str:
    place.share("torch")
    names = ("__init__", "forms", "interfaces", "models", "views", "lib/__init__", "scaffolds/__init__")
    place.install(place.wheel("apex", "0.9.10.dev0", {f"apex/{name}.py": "" for name in names}))
    return "from apex import amp"

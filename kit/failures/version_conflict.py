"""Two Python packages are installed in releases that do not work together.

What it means
-------------
transformers 4.48 imports ``LRScheduler`` from torch, which has it since 2.0; generated code asks for a part of
protobuf that the installed one does not have yet; pip says ``requires X==1.0, but you have X 2.0 which is
incompatible``.  Each package is whole; one of the two has to move.

How it is found
---------------
In text alone: a package says which release it needs and which it found; pip's resolver gives up; an installed
package's code asks another one for a name, or passes it an argument, that it does not have.  Compiled extensions and
NumPy's binary interface are failures of their own.

Example
-------
``tokenizers>=0.14,<0.19 is required for a normal functioning of this module, but found tokenizers==0.10.3``.

Fix
---
Move the one that is named to the range that the other asks for; where the other is torch, a torch that has it.

Known limits
------------
Which of the two should move is a choice: what else the environment holds decides.
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.failures._told_python import (
    BASES,
    Gone,
    above,
    building,
    code,
    each,
    failing,
    gone,
    hits,
    moves,
    notebook,
    owner,
    version,
)
from kit.findings import Fix
from kit.report import Hit, Report, Told

RANK = 45
INSTEAD = "Upgrading everything at once tends to move the conflict to another pair."

# words, pattern with the package as `name`, confidence, whether torch is what has to move
_SAID = (
    (
        ("for a normal functioning",),
        r"(?<!\S)(?P<name>[A-Za-z][\w-]{0,60})(?:[<>=!~]\S{0,100})? is required for a normal functioning",
        0.95,
        "",
    ),
    (
        ("is used but incompatible",),
        r"(?P<name>mmcv|mmengine|mmdet|mmseg\w*|mmcls|mmpretrain)(?:==\S*)? is used but incompatible",
        0.95,
        "",
    ),
    (
        ("resolutionimpossible", "conflicting dependencies", "has conflicting dep"),
        r"these package versions have conflicting dependencies|ResolutionImpossible",
        0.82,
        "",
    ),
    (("contextualversionconflict", "versionconflict"), r"VersionConflict: \((?P<name>[\w.-]+)", 0.93, ""),
    (
        ("version solving failed", "no solution found when resolving"),
        r"version solving failed|No solution found when resolving",
        0.5,
        "",
    ),
    (
        ("descriptors cannot", "must be regenerated with protoc"),
        r"Descriptors cannot(?: not)? be created directly|regenerated with protoc",
        0.95,
        "protobuf",
    ),
    (
        ("gencode/runtime", "incompatible protobuf", "runtime version"),
        r"Detected incompatible Protobuf Gencode/Runtime versions",
        0.95,
        "protobuf",
    ),
    (("can't get attribute",), r"Can't get attribute '\w+' on <module '(?!__main__)(?P<name>\w+)", 0.6, ""),
    (
        ("models/auto/configuration_auto", "models\\auto\\configuration_auto"),
        r"^[^\w\n]*KeyError: '[\w.-]+'",
        0.9,
        "transformers",
    ),
    (("getprototype",), r"'MessageFactory' object has no attribute 'GetPrototype'", 0.9, "protobuf"),
    (("keras 3",), r"version of Keras is Keras 3, but this is not yet supported", 0.95, "keras"),
    (
        ("does not recognize this architecture",),
        r"but Transformers does not recognize this architecture",
        0.92,
        "transformers",
    ),
    (("serious vulnerability issue in",), r"serious vulnerability issue in `?torch\.load", 0.93, "torch"),
    (("disabling pytorch because",), r"Disabling PyTorch because PyTorch\s*>=?\s*[\d.]+ is required", 0.85, "torch"),
    (
        ("mutable default",),
        r"ValueError: mutable default <class '[\w.]+'> for field \w+ is not allowed",
        0.7,
        "python",
    ),
    (
        ("changed the default value of the `weights_only`", "changed the default value of the 'weights_only'"),
        r"In PyTorch 2\.6, we changed the default value of the",
        0.6,
        "weights",
    ),
    (("rope_scaling",), r"rope_scaling`? must be a dictionary[^\n]*", 0.9, "transformers"),
    (
        ("'distutils' has no attribute", "_distutils' has no attribute"),
        r"module '(?:setuptools\.)?_?distutils' has no attribute 'version'",
        0.92,
        "setuptools",
    ),
    (("'tensorflow' has no attribute 'io",), r"module 'tensorflow' has no attribute 'io\b", 0.85, "tensorboard"),
    (("only supports openssl",), r"urllib3 v2[.\d]* only supports OpenSSL[^\n]*", 0.9, "urllib3"),
    (
        ("this example requires a", "requires a source install"),
        r"This example requires a (?:source install|minimum version)[^\n]*",
        0.85,
        "transformers",
    ),
    (
        ("is incompatible with", "are incompatible"),
        r"\b(?:Import|Runtime|Value|Version\w{0,20}|Assertion)Error: [^\n]{0,400}(?:is|are) incompatible",
        0.6,
        "",
    ),
    (
        ("the dependency", "please upgrade", "please update", "please downgrade"),
        r"\b(?:Import|Runtime|Value|Assertion)Error: [^\n]{0,400}please (?:upgrade|update|downgrade)",
        0.6,
        "",
    ),
    (("found an incompatible version of",), r"Found an incompatible version of (?P<name>[\w.-]+)", 0.93, ""),
    (
        ("is required but found", "but found version", "but found "),
        r"\b(?P<name>[\w-]{1,60})\s?(?:[<>=!~]=?\s?[\d.]+[^\n]{0,40})? is required[^\n]{0,40} but found[^\n]*",
        0.85,
        "",
    ),
    (("returned stft", "return_complex parameter"), r"stft requires the return_complex parameter be given", 0.6, ""),
    (
        ("unable to avoid copy while creating",),
        r"Unable to avoid copy while creating an array as requested",
        0.72,
        "numpy",
    ),
    (
        ("requires pytorch", "requires torch", "require pytorch", "require torch", "needs pytorch", "needs torch"),
        r"(?P<name>(?!apex\b)\b[\w-]{2,40})(?: [\w.]{1,40})?(?![^\n]{0,200}but you) (?:requires?|needs) (?:at "
        r"least )?(?:a )?(?:py)?torch\s?(?:version)?"
        r"\s?[>=<~!]*\s?v?\d[^\n]*",
        0.55,
        "torch",
    ),
    (
        (
            "but found",
            "but have",
            "but got",
            "but is",
            "but the installed",
            "but installed",
            "but version",
            "but you have",
        ),
        r"^(?![^\n]*(?:GLIBC|driver|gcc|nvcc|compute capability|shape|tensor|dimension|argument|dtype|expected "
        r"scalar))"
        r"[^\n]{0,200}\b(?:requires?|needs?|required)\b[^\n]{0,80}\d+\.\d+[^\n]{0,60}\bbut\b (?:found|have|got|"
        r"is|the installed|installed|version)\b[^\n]{0,40}\d+\.\d+",
        0.55,
        "",
    ),
    (("a module 'keras", "please install the backwards-compatible"), r"backwards-compatible tf-keras", 0.9, "keras"),
)
_NAMED = ("protobuf", "keras", "transformers", "torch", "setuptools", "tensorboard", "urllib3")
_RESOLVER = (
    r"(?<![\w.-])(?P<name>[A-Za-z][\w.-]{0,60}) v?\d[\w.+!]{0,40}\s(?:requires|has\srequirement)\s"
    r"(?P<want>[\w.-]{1,60})[^\n]{0,80},\s"
    r"but\syou(?:\shave|'ll\shave)\s(?P<there>[\w.-]{1,60})\s(?P<version>[\w.+!]{1,40})(?:\swhich\sis\sincompatible)?"
)
# Linked against torch: which one they ask for is which one they were compiled for.
_LINKED = frozenset(
    "torchvision torchaudio torchtext xformers torch-scatter torch-sparse torchcodec fbgemm-gpu".split()
)
_SYNTAX = (
    (
        ("unsupported operand type(s) for |",),
        r"unsupported operand type\(s\) for \|: '(?:type|ABCMeta|\w+)' and '(?:NoneType|type|\w+)'",
        0.7,
    ),
    (
        ("object is not subscriptable",),
        r"TypeError: '(?:type|ABCMeta|_GenericAlias)' object is not subscriptable",
        0.65,
    ),
)


def told(report: Report) -> Iterator[Told]:
    best: Optional[Told] = None
    for found in (
        *_said(report),
        *_resolver(report),
        *_imports(report),
        *_envelope(report),
        *_arguments(report),
        *_syntax(report),
    ):
        if best is None or found.confidence > best.confidence:
            best = found
    if best is not None:
        yield best


def _said(report: Report) -> Iterator[Told]:
    for (_, _, confidence, what), said in each(report, _SAID):
        name = what if what in _NAMED else said.groups.get("name")
        fixes = [version(f"Install the release of {name or 'the package'} that the message asks for")]
        if what == "protobuf":
            fixes = [
                version(
                    "Install the protobuf that the generated code was made for, or a newer release of its package"
                )
            ]
        elif what == "torch":
            fixes = [
                Fix("change-torch", "Install the torch that the message asks for, with all its extensions"),
                version("Or an older release of the package that asks for it"),
            ]
        elif what == "setuptools":
            fixes = [
                version(
                    "Install setuptools 59.5.0, which this torch was made with, or a newer torch with its extensions"
                )
            ]
        elif what == "tensorboard":
            fixes = [version("Install tensorboard and tensorflow of the same release, or tensorboard alone")]
        elif what == "urllib3":
            fixes = [version("Install urllib3 below 2, which works with this OpenSSL")]
        elif what == "numpy":
            name = "numpy"
            fixes = [
                version("Install NumPy 1 (numpy<2) for as long as the package that makes the array is older"),
                code("Or, in code of your own, numpy.asarray in place of numpy.array(..., copy=False)"),
            ]
        elif what == "python":
            fixes = [
                version(
                    "Install a newer release of the package whose dataclass it is (hydra-core, fairseq, omegaconf)"
                ),
                Fix("change-python", "Or an environment with Python 3.10, which accepts it"),
            ]
        elif what == "weights":
            fixes = [
                code(
                    "Where the file is trusted: torch.load(..., weights_only=False), or add_safe_globals for "
                    "its classes"
                ),
                version("Or a newer release of the package that calls torch.load"),
            ]
        elif confidence == 0.82:
            fixes = [
                version("Loosen or change one of the pins that the message lists, so that one version fits them all")
            ]
        yield _told(confidence, name, (said,), fixes)


def _resolver(report: Report) -> Iterator[Told]:
    if not report.has("but you", "you have"):
        return
    said = report.last(_RESOLVER)
    if said is None:
        return
    asker, wanted = said["name"].lower().replace("_", "-"), said["want"].lower()
    confidence = 0.8 if not failing(report) or "incompatible" in said.line else 0.5
    if wanted == "torch" and asker in _LINKED:
        confidence = 0.5
    other = (
        report.errors and not report.errors[0].warning and not report.errors[0].at <= said.at < report.errors[0].end
    )
    confidence = 0.4 if other else confidence
    fix = version(
        f"Install a {said['name']} that fits {said['there']} {said['version']}, or the version that it asks for"
    )
    yield _told(confidence, said["name"], (said,), [fix])


def _imports(report: Report) -> Iterator[Told]:
    for one in gone(report):
        confidence, torch = _sure(report, one)
        if not confidence:
            continue
        row = moves(one)
        since = (
            f" ({row.package} has it from {row.version} on)" if row and row.change == "added" and row.version else ""
        )
        asker = one.asker if one.asker not in ("", "python", one.top) else ""
        through = _through(report)
        asker = asker or (through if through != one.top else "")
        who = asker.replace("_", "-") or "the package that imports it"
        if torch:
            fixes = [
                Fix("change-torch", f"Install a torch that has {one.path}{since}, and its extensions with it"),
                version(f"Or an older release of {who}, of the time of this torch"),
            ]
        elif row is not None and row.package == "python":
            fixes = [
                version(f"Install a release of {who} that still supports this Python"),
                Fix("change-python", f"Or an environment with Python {row.version} or newer"),
            ]
        else:
            other = row.package if row is not None else one.top.replace("_", "-")
            fixes = [
                version(f"Move {other}{since} or {who}: install the release that the other one's metadata asks for")
            ]
        yield _told(confidence, asker.replace("_", "-") or one.top.replace("_", "-"), hits(report, one), fixes)
        return


def _sure(report: Report, one: Gone) -> "tuple[float, bool]":
    """How sure it is that two packages do not fit, and whether torch is the one that is too old."""
    if (
        one.file
        or one.circular
        or one.own
        or one.where == "unknown location"
        or not one.module
        or one.top in ("apex", "pyramid")
    ):
        return 0, False
    if re.search(r"(?:^|\.)(?:_C|_ext|\w*_c(?:pu|uda|pp)\w*)$", one.path) or (not one.name and "." not in one.module):
        return (0.6, False) if (row := moves(one)) is not None and row.change == "added" else (0, False)
    row = moves(one)
    through = _through(report)
    asker = one.asker if one.asker != "python" else ""
    foreign = (asker or through) not in ("", one.top)
    if building(report) and not foreign:
        return 0.2, False
    if row is not None and row.change == "added":
        return (0.9 if foreign else 0.75 if row.package in BASES else 0.4), row.package == "torch"
    if row is not None:
        return (0.6 if foreign else 0.35), False
    if one.top == "triton" and asker != "triton":
        return 0.85, False
    if one.top == "torch" and one.attribute:
        return (0.72 if foreign else 0.45), True
    if one.module == "transformers" and re.match(
        r"[A-Z]\w{1,60}?(?:For[A-Z]\w+|Model|Config|Processor|Tokenizer\w*)$", one.name[:80]
    ):
        return 0.75, False
    if one.top == "typing" or one.top == "typing_extensions":
        return 0.8, False
    if foreign:
        return 0.68, one.top == "torch" and not one.path.startswith("torch._six")
    return (0.3 if notebook(report) else 0.4), False


def _through(report: Report) -> str:
    """The package whose lazy import failed; '' where none is named."""
    found = report.hit(r"Failed to import (?P<name>\w+)\.") if report.has("failed to import ") else None
    return found["name"] if found is not None else ""


def _envelope(report: Report) -> Iterator[Told]:
    """A lazy import failed, and the text does not say of what."""
    if report.has("because of the following error") and not gone(report):
        said = report.last(r"Failed to import (?P<name>\w+)[^\n]*")
        if said is not None:
            yield _told(
                0.3, said["name"], (said,), [version("Install releases that fit; the lines above name the other one")]
            )


def _arguments(report: Report) -> Iterator[Told]:
    """An installed package passes another one what it does not take."""
    if not report.has("unexpected keyword argument", "object has no attribute", "positional argument"):
        return
    said = report.last(
        r"^[^\w\n]*TypeError: [^\n]*unexpected keyword argument[^\n]*|^[^\w\n]*AttributeError: '\w+' object "
        r"has no[^\n]*"
    )
    if said is None:
        return
    by = owner(above(report, said.at))
    if by == "transformers_modules" or report.has("transformers_modules"):
        yield _told(
            0.72,
            "transformers",
            (said,),
            [version("Install the transformers that the model's own code was written for")],
        )
    elif by not in ("", "python", "torch", "numpy") and "has no" in said.line and not report.has("nonetype"):
        yield _told(
            0.42, by.replace("_", "-"), (said,), [version(f"Install releases of {by} and of what it uses that fit")]
        )
    elif by not in ("", "python", "torch", "numpy") and "unexpected keyword" in said.line:
        yield _told(
            0.62, by.replace("_", "-"), (said,), [version(f"Install releases of {by} and of what it calls that fit")]
        )
    elif "unexpected keyword" in said.line:
        yield _told(0.3, None, (said,), [version("Install the release of the package that the code was written for")])


def _syntax(report: Report) -> Iterator[Told]:
    """A package's code is written for a newer Python."""
    for (_, _, confidence), said in each(report, _SYNTAX):
        by = owner(above(report, said.at))
        if by not in ("", "python"):
            fixes = [
                version(f"Install a release of {by} that still supports this Python"),
                Fix("change-python", "Or an environment with a newer Python"),
            ]
            yield _told(confidence, by.replace("_", "-"), (said,), fixes)
    if report.has("syntaxerror"):
        found = report.last(r"^[^\w\n]*SyntaxError: (?:invalid syntax|future feature|f-string|positional-only)[^\n]*")
        by = owner(above(report, found.at)) if found is not None else ""
        if found is not None and by not in ("", "python", "networkx"):
            fixes = [
                version(f"Install a release of {by} that supports this Python"),
                Fix("change-python", "Or an environment with the Python that it was written for"),
            ]
            yield _told(0.65, by.replace("_", "-"), (found,), fixes)


def _told(confidence: float, package: Optional[str], lines: "tuple[Hit, ...]", fixes: "list[Fix]") -> Told:
    name = package if package and len(package) < 40 else "a package"
    return Told(
        confidence,
        package,
        f"The installed releases of {name} and another package do not work together. Each is whole; one asks "
        f"for what the "
        "other does not have in this release, so one of the two has to move.",
        lines,
        tuple(fixes),
    )

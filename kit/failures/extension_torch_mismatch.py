"""A compiled extension was built against another torch than the one that runs.

What it means
-------------
torch's C++ interface changes with every minor release.  An extension that was compiled against another one fails
when it is loaded, with ``undefined symbol``, ``WinError 127`` or ``operator torchvision::nms does not exist``; or
it crashes; or, rarely, it loads and computes wrong values.  Usually torch was upgraded afterwards, or pip handed
out a wheel from its cache that was built for an older torch.

How it is found
---------------
A compiled file needs symbols, or a library of torch's own name, that this torch does not have: its symbol table is
held against those of torch, without loading either.  Or the torch in the build tag (``+pt28cu126``) or in the
metadata (``torch==2.1.0``) differs from the one in ``torch/version.py``.  The import is then tried in a child
process; its error, a crash included, is evidence.

Example
-------
torchaudio 2.1.0, which requires torch 2.1.0, beside torch 2.13.0.

Fix
---
The wheel that was built for this torch, else a build from source against it; where no wheel fits, torch-scatter can
be replaced by the kit's (``kit shim enable torch_scatter --cover``).  All replace only the extension.

Known limits
------------
A function whose name stayed while its meaning changed is seen by ``kit verify`` alone, which computes with it.
Where the import works without the file (xformers, torchrl), or only a requirement does not fit, it is a warning.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Optional

from kit import symbols
from kit.causes import for_others_only
from kit.facts import Binary, Extension, Facts, Missing, Probe, Torch, normalise
from kit.failures import _compiled, _told, _told_build, _told_prose
from kit.failures._loading import Verdict, judge, lacks, loads, other_torch
from kit.failures._place import Place
from kit.findings import Finding, Fix
from kit.gpus import numbers
from kit.published import extension_fixes
from kit.recorded import recorded
from kit.report import Hit, Report, Told
from kit.requirements import plain

RANK = 41
SHOWS = r"undefined symbol: _ZN3c1015gone_since_longERKSs"
INSTEAD = "Reinstalling the same version would change nothing: pip would take the same file, or the one in its cache."


def find(facts: Facts) -> Iterator[Finding]:
    torch = facts.torch
    if torch is None:
        return
    for extension in facts.extensions:
        verdict = judge(extension, facts)
        if verdict.failure != "extension-torch-mismatch":
            continue
        evidence = [f"torch/version.py: {torch.version}", *other_torch(extension, facts)]
        evidence += lacks(verdict.binaries, extension)
        if for_others_only(extension, facts):
            evidence += [f"{binary.path}: for another torch, by its name" for binary in extension.binaries[:3]]
        evidence += verdict.confirmation()
        fixes = extension_fixes(extension, facts) or [
            Fix(
                "install-matching-wheel",
                f"Install the release of {extension.key} that was built for torch {torch.minor}",
            )
        ]
        built = f" {extension.built_for_torch}" if extension.built_for_torch else ""
        yield Finding(
            "extension-torch-mismatch",
            "error" if _certain(extension, facts, verdict) else "warning",
            extension.package,
            f"{extension.key} was built for another torch{built}. Your torch is {torch.version}; {extension.key} "
            f"{extension.version} was compiled against {_other(extension, facts, verdict)}"
            + _consequence(extension, verdict),
            tuple(evidence),
            tuple(fixes),
        )


def _certain(extension: Extension, facts: Facts, verdict: Verdict) -> bool:
    """Whether it is known to fail: a requirement alone, or a file that its import does without, is only a doubt."""
    tagged = facts.torch is not None and extension.built_for_torch not in (None, facts.torch.minor)
    if verdict.imports:
        return tagged and not extension.binaries
    return bool(verdict.probe or verdict.binaries) or tagged


def _consequence(extension: Extension, verdict: Verdict) -> str:
    if verdict.binaries and verdict.imports:
        files = verdict.binaries[0].path.rpartition("/")[2]
        return f". It can be imported, but without {files}, and what needs that fails."
    if verdict.binaries or (verdict.probe and not verdict.imports):
        return ", so it cannot be loaded."
    if loads(extension):
        return ". All its files load here; whether they compute the same is not known."
    return ", and compiled code does not carry over."


def _other(extension: Extension, facts: Facts, verdict: Verdict) -> str:
    if extension.built_for_torch:
        return f"torch {extension.built_for_torch}"
    first, last = symbols.built_for([m.what for binary in verdict.binaries for m in binary.lacks("symbol")])
    if first or last:
        if first and last:
            return f"torch {first}" if first == last else f"torch {first} to {last}"
        return f"torch {first} or newer" if first else f"torch {last} or older"
    wanted = plain(extension.requires_torch[0]) if other_torch(extension, facts) else "another one"
    return re.sub(r"\s*==\s*", " ", wanted)


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "extension-torch-mismatch")
    if plain is not None:
        yield _cause(report, plain[0], None, [plain[1]], "That is what the text speaks of.")
    found = [
        *_by_symbol(report),
        *_by_library(report),
        *_by_windows(report),
        *_by_operator(report),
        *_by_words(report),
    ]
    yield from found or [*_by_crash(report), *_by_values(report), *_cut_short(report)]
    yield from _told_build.other_api(report)


def _cause(report: Report, confidence: float, package: Optional[str], hits: "list[Hit]", says: str) -> Told:
    package = package or _told.named(report)
    known = report.facts.extension(package) if package else None
    torch = report.facts.torch
    built = f" It was built for torch {known.built_for_torch}." if known and known.built_for_torch else ""
    here = f" The torch here is {torch.version}." if torch and torch.version else ""
    return Told(
        confidence,
        package,
        f"{package or 'A compiled extension'} was built for another torch. {says}{built}{here}",
        tuple(hits),
        tuple(_told.matching(report, package)[:3]),
    )


def _by_symbol(report: Report) -> Iterator[Told]:
    """A symbol of torch's that a file of another package does not find, once for each package."""
    lacks: dict[Optional[str], list[_told.Lack]] = {}
    for lack in _told.symbols(report):
        if _told.judged(lack) == "extension-torch-mismatch":
            lacks.setdefault(lack.package, []).append(lack)
    torch = report.facts.torch
    for package, those in lacks.items():
        names = [lack.what for lack in those]
        certain = any(
            symbols.of_torch(name) or re.match(r"_*(Z\d+)?(THP|THC|aoti_torch|torch_)", name) for name in names
        )
        symbol = symbols.name(names[0])
        clues = [clue for clue in symbols.clues(names, torch.minor if torch else None) if _plausible(clue, torch)]
        says = f"Its compiled file needs {symbol[:80] or 'a symbol'}, which this torch does not have"
        says += f": {clues[0]}." if clues else "."
        confidence = 0.95 if certain and package else 0.9 if certain else 0.7 if package in _told.LINKED else 0.6
        yield _cause(report, confidence, package, [lack.hit for lack in those[:3]], says)


def _plausible(clue: str, torch: Optional[Torch]) -> bool:
    """Whether a clue on the string ABI agrees with the release that runs: PyPI's have the new one from 2.7 on."""
    if "string ABI" not in clue:
        return True
    release = numbers(torch.minor) if torch is not None else ()
    return bool(release) and (release <= (2, 6) if "the new C++" in clue else release >= (2, 6))


def _by_library(report: Report) -> Iterator[Told]:
    """A library of torch's own that this torch does not have."""
    for lack in _told.libraries(report):
        if _told.judged_library(lack, report) == "extension-torch-mismatch":
            library = lack.what.rpartition("/")[2][:60]
            yield _cause(
                report, 0.75, lack.package, [lack.hit], f"Its file needs {library}, which this torch does not have."
            )
            return


def _by_windows(report: Report) -> Iterator[Told]:
    for lack in _told.dlls(report):
        if lack.of_torch or lack.what not in ("126", "127", ""):
            continue
        package = lack.package
        if package in (None, "torch-geometric"):
            package = _told.named(report)
        linked = package in _told.LINKED
        if not linked and (lack.what != "127" or not report.has("torch")):
            continue
        confidence = {"127": 0.88, "126": 0.7, "": 0.6}[lack.what]
        if not linked:
            confidence = 0.78 if package or report.has("torch_geometric") else 0.5
        says = "Windows' loader does not find what its file needs in the libraries of torch."
        yield _cause(report, confidence, package, [lack.hit], says)
        return


# Name spaces of torch's own operators.
_OWN = frozenset("aten prim prims quantized inductor profiler c10d _c10d_functional mkldnn static_runtime".split())


def _by_operator(report: Report) -> Iterator[Told]:
    """Operators that a library should have registered, had it been loaded."""
    if report.has("operator", "_opnamespace", "unknown builtin op"):
        pattern = (
            r"operator (?P<a>\w+)::\w+ does not exist|No such operator (?P<b>\w+)::|Unknown builtin op: (?P<c>\w+)::"
            r"|'_OpNamespace' '(?P<d>\w+)' object has no attribute"
        )
        for found in report.hits(pattern):
            space = next(iter(found.groups.values()))
            if space in _OWN or space.startswith("quantized"):
                continue
            package = {"image": "torchvision", "_C": "", "_moe_C": "vllm"}.get(space, _told.owner(space + ".so"))
            package = package or _told.around(report, found.at)
            says = f"The operators {space}:: are missing because its compiled library was not loaded."
            yield _cause(report, 0.9 if package in _told.LINKED else 0.7, package, [found], says)
            return
    if report.has("custom c++ ops", "has no attribute 'extension'"):
        hit = report.hit(
            r"couldn.?t load custom c\+\+ ops|partially initialized module 'torchvision' has no attribute 'extension'"
        )
        if hit:
            yield _cause(report, 0.92, "torchvision", [hit], "Its operators could not be loaded.")
    # Their releases count in step with torch's and use what the torch of that day has.
    if report.has("torchvision", "torchaudio", "torchtext") and report.has("has no attribute", "cannot import name"):
        hit = report.last(
            r"module 'torch[\w.]*' has no attribute '\w+'|cannot import name '\w+' from '?torch(?:\.[\w.]+)?'?"
        )
        frames = list(range(hit.at, max(hit.at - 8, -1), -1)) if hit else []
        for index in frames:
            where = re.search(r"(?:site|dist)-packages[\\/](torch\w*)", report.lines[index])
            if hit and where:
                package = where.group(1)
                if package in ("torchvision", "torchaudio", "torchtext"):
                    yield _cause(report, 0.9, package, [hit], "It uses what this torch does not have.")
                break


def _by_words(report: Report) -> Iterator[Told]:
    yield from _xformers(report)
    if report.has("graphbolt library", "dgl_sparse", "libtensoradapter"):
        hit = report.hit(
            r"cannot find dgl c\+\+ (?:graphbolt|sparse) library[^\n]*|cannot load[^\n]*(?:graphbolt|dgl_sparse)"
        )
        if hit:
            said = re.search(r"pytorch_([\d.]+\d)", hit.line)
            torch = f"torch {said.group(1)}" if said else "this torch"
            # Its last wheels are for torch 2.4 on Linux, 2.2 elsewhere: after those there is none to install.
            newer = said is not None and numbers(said.group(1)) >= ((2, 5) if ".so" in hit.line else (2, 3))
            yield Told(
                0.7 if newer else 0.95,
                "dgl",
                f"This dgl has no library for {torch}. Each dgl brings a file for every torch that it was built "
                "for, and the one that runs is none of them.",
                (hit,),
                (
                    _told.fix(
                        "change-torch", "Install a torch that this dgl has a file for: look into dgl/graphbolt"
                    ),
                    _told.fix(
                        "install-matching-wheel", f"Install the dgl that was built for {torch}, where there is one"
                    ),
                ),
            )
    if report.has(
        "compiled with pytorch",
        "built with pytorch",
        "compiled against pytorch",
        "built for pytorch",
        "torch version mismatch",
    ):
        hit = report.hit(
            r"(?:compiled|built)\s+(?:with|against|for)\s+(?:py)?torch\s*(?:version)?\s*\(?[\d.]+[^\n]{0,80}"
            r"(?:but|while|you have|running|installed|current)"
        )
        if hit and not report.has("xformers was built for"):
            yield _cause(report, 0.8, _told.around(report, hit.at), [hit], "It says so itself.")
    if report.has("pytorch version", "torch version"):
        hit = report.hit(
            r"expected\s+(?:py)?torch\s+version\s+[\d.]+\s*\S{0,12}\s+but\s+(?:found|got)[^\n]*|"
            r"(?:py)?torch version (?P<one>\d[\d.]*)[^\n]{0,40}(?:was|is) (?:expected|required)"
            r"[^\n]{0,40}(?:but|found)[^\n]*"
        )
        if hit:
            yield _cause(report, 0.9, _told.around(report, hit.at), [hit], "It compares both when it is imported.")
    if report.has("architecture"):
        hit = report.hit(
            r"(?:mach-o[^\n]{0,80}\s*)?(?:\b(?:incompatible|wrong)\s+architecture\b|\bmissing\s+compatible\s+arch)"
            r"|incompatible\s+architecture\s+\(have"
        )
        package = _of_architecture(report, hit) if hit else None
        if hit and package in _told.LINKED:
            yield _cause(report, 0.75, package, [hit], "Its compiled file is for another processor than this Python.")
    if report.has("versions are incompatible"):
        hit = report.hit(r"if your PyTorch and (?P<package>torch\w+) versions are incompatible[^\n]*")
        if hit and not report.has("custom c++ ops"):
            yield _cause(report, 0.88, hit["package"], [hit], "It says so itself.")
    if report.has("issue occurred while importing") and not report.has(
        "undefined", "not found", "cannot", "winerror"
    ):
        hit = report.last(r"issue occurred while importing '(?P<package>[\w-]+)'[^\n]*")
        if hit and not report.has("image not found", "no such file", "no such op", "glibc", "could not find"):
            says = "torch_geometric could not load it; what the loader said is cut off."
            yield _cause(report, 0.55, hit["package"], [hit], says)
    if report.has("requires either"):
        hit = report.hit(r"requires either '?(?:pyg-lib|torch-sparse|torch-cluster)'? or '?(?P<package>torch-\w+)'?")
        if hit:
            says = "torch_geometric leaves out what does not load or is not there, and misses it here."
            yield _cause(report, 0.45, hit["package"], [hit], says)
    if report.has("incompatible torch version"):
        hit = report.hit(r"incompatible torch version \S+ for (?P<package>[\w-]+) version[^\n]*")
        if hit:
            package = normalise(hit["package"])
            real = any(not error.warning for error in report.errors)
            says = "It says so itself, and does without its kernels."
            yield _cause(report, 0.8 if real else 0.55, package, [hit], says)
    if report.has("requires torch=="):
        hit = report.last(
            r"(?P<package>torch\w+|xformers|vllm|flash-attn) [\w.+]+ requires torch==[\w.+]+, but you have torch"
        )
        if hit:
            yield _cause(report, 0.55, normalise(hit["package"]), [hit], "Its metadata asks for exactly one torch.")


def _of_architecture(report: Report, hit: Hit) -> Optional[str]:
    """The package whose file macOS refuses: that of dlopen's argument, which stands before the words or above."""
    near = "\n".join(line[:1000] for line in report.lines[max(0, hit.at - 4) : hit.at + 1])
    file = re.search(r"dlopen\(([^,)\n]+)|'([^'\n]+\.(?:so|dylib))'", near)
    found = _told.owner(file.group(1) or file.group(2)) if file else _told.owner(hit.line)
    return found or _told.around(report, hit.at)


def _xformers(report: Report) -> Iterator[Told]:
    """xformers' banner names what it was built for and what runs; without it, only that nothing was loaded."""
    if report.has("can't load c++/cuda extensions") and not report.has("(you have"):
        hit = report.hit(r"can't load C\+\+/CUDA extensions[^\n]*")
        if hit and _told.cpu_torch(report) is None:
            yield _cause(report, 0.6, "xformers", [hit], "It says so itself, and compares the versions below.")
    if report.has("operator wasn't built") and not report.has("built for:"):
        hit = report.hit(r"operator wasn't built[^\n]*")
        if hit and _told.cpu_torch(report) is None:
            says = "Its operators are missing because its compiled files were not loaded."
            yield _cause(report, 0.82, "xformers", [hit], says)
    if not report.has("(you have"):
        return
    hit = report.hit(
        r"pytorch\s+(?P<built>\d[\w.]*)(?:\+(?P<cuda>\w+))?(?:\s+with\s+CUDA\s+\w+)?\s+\(you have\s+"
        r"(?P<here>\d[\w.]*)(?:\+(?P<other>\w+))?\)"
    )
    if hit is None or hit.groups.get("other") == "cpu":
        return  # the latter is torch's failure: it is a build for the CPU
    same = hit["built"] == hit["here"]
    if same and hit.groups.get("cuda") != hit.groups.get("other"):
        return
    says = f"It was built for torch {hit['built']}, and torch {hit['here']} runs; without its operators it is slow."
    yield _cause(report, 0.5 if same else 0.93, "xformers", [hit], says)


# What is printed where a process dies.
_DIED = (
    r"segmentation fault|segfault|sigsegv|core dumped|exit code:? (?:139|-11|134|-1073741819|3221225477)|0xC0000005"
    r"|access violation|free\(\): invalid pointer|double free or corruption|munmap_chunk"
    r"|kernel (?:appears to have )?died"
    r"|killed by signal 11|kernel crash|signal: 11|吐核|段错误|speicherzugriffsfehler|erreur de segmentation"
)


def _by_crash(report: Report) -> Iterator[Told]:
    """A process that dies where an extension is imported or used."""
    if not report.has(
        "segm", "segf", "sigsegv", "dumped", "exit code", "0xc0000005", "violation", "free()", "died", "段错误"
    ):
        return
    if report.has(
        "compiled using numpy 1.x", "_array_api", "internal compiler error", "device-side assert", "out of memory"
    ):
        return  # what they say is the cause
    hit = report.hit(_DIED)
    package = _told.named(report) if hit else None
    if hit and package is None and report.has("torch_geometric", "torch-geometric"):
        yield _cause(report, 0.7, None, [hit], "Importing what torch_geometric uses ends the process.")
    if hit is not None and package is None and not report.has("import torch", "geometric", "killed", "numpy"):
        yield _cause(
            report, 0.3, None, [hit], "Compiled code that does not fit its torch is what most often ends so."
        )
    if hit is None or package is None:
        return
    line = report.hit(rf"^\W*(?:\w+ )?(?:from|import)\s+{re.escape(package).replace('-', '[-_]')}\b")
    confidence = 0.75 if line else 0.7 if package in _told.PYG else 0.5
    yield _cause(report, confidence, package, [hit, *([line] if line else [])], "Calling it ends the process.")


def _by_values(report: Report) -> Iterator[Told]:
    """Operators that return nothing but zeros or -1 on the GPU, and no error."""
    if not report.has("cuda", "gpu") or not report.has(
        "scatter", "segment_co", "random_walk", "torch_cluster", "torch_sparse", "knn", "fps", "spmm"
    ):
        return
    if report.has("not compiled with", "no kernel image", "undefined symbol", "winerror", "error:"):
        return
    hit = report.hit(
        r"(?:return|output|result|give|produc)\w*\s[^\n]{0,40}?(?:\bzeros\b|\b0s\b|all 0|wrong|incorrect"
        r"|tensor\(\[\[?-1|"
        r"tensor\(\[0)|tensor\(\[\[?(?:\s*(?:0\.?|-1),){3}"
    )
    if hit is None:
        return
    package = next((name for name in _told.PYG if report.has(name, name.replace("-", "_"))), None)
    if package is None:
        package = "torch-cluster" if report.has("random_walk", "knn", "fps") else "torch-scatter"
    yield _cause(report, 0.6, package, [hit], "Kernels that do not fit compute nothing, and say nothing.")


def _cut_short(report: Report) -> Iterator[Told]:
    """The frames of a library's loading, or torch's words on it, without what the loader said."""
    if report.has("could not load this library"):  # what newer torch says around the loader's own words
        hit = report.hit(r"could not load this library:\s*(?P<file>\S+)")
        package = _told.owner(hit["file"]) if hit else None
        if hit and package in _told.LINKED and not report.has("glibc", "cannot open shared", "different cuda"):
            yield _cause(
                report, 0.75, package, [hit], "Loading its compiled file fails; what the loader said is cut off."
            )
            return
    if not report.has("load_library(", "ctypes.cdll(", "_dlopen(") or report.has(
        "libcud", "glibc", ".so.", "winerror"
    ):
        return
    if report.has("cannot open shared"):
        return
    hit = report.last(r"torch\.ops\.load_library\([^\n]*|ctypes\.CDLL\([^\n]*|_dlopen\([^\n]*")
    package = _told.around(report, hit.at) if hit else None
    if hit and package:
        yield _cause(report, 0.6, package, [hit], "Loading its compiled file fails; what the loader said is cut off.")


def example() -> Facts:
    facts = recorded("healthy-cpu")
    symbol = "_ZN2at4_ops10zeros_like4callERKNS_6TensorEN3c108optionalINS5_10ScalarTypeEEE"
    library = Binary(
        "torchaudio/lib/libtorchaudio.so",
        machine="x86_64",
        needs=("libtorch.so", "libtorch_cpu.so", "libc10.so"),
        missing=(Missing("symbol", symbol, "libtorchaudio.so"),),
        loads=False,
        why=("undefined symbol at::_ops::zeros_like::call(...)",),
    )
    audio = Extension(
        package="torchaudio",
        version="2.1.0+cpu",
        origin="torchaudio/version.py",
        location=facts.extensions[0].location,
        modules=("torchaudio",),
        libraries=("torchaudio/lib/_torchaudio.so", "torchaudio/lib/libtorchaudio.so"),
        built_for_cuda="cpu",
        requires_torch=("torch (==2.1.0)",),
        wheel_tags=("cp311-cp311-manylinux1_x86_64",),
        binaries=(library,),
    )
    said = f"OSError: torchaudio/lib/libtorchaudio.so: undefined symbol: {symbol}"
    return dataclasses.replace(
        facts, extensions=(*facts.extensions, audio), probes=(Probe("torch", 0), Probe("torchaudio", 1, said))
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    # c10::gone_since_long(std::string const&), with the string of the old C++ ABI.
    gone = "_ZN3c1015gone_since_longERKSs"
    code = f"int {gone}(void);\nint kit_version(void) {{ return {gone}(); }}\n"
    _, token = _compiled.build_of(place)
    return _compiled.installed(place, "torch-sparse", f"+pt25{token}", _compiled.library(place, code))

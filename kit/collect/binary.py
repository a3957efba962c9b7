"""X-ray of compiled files: what one needs, what it holds, and whether it would load.  Nothing of it is run."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

from kit import gpus, symbols
from kit.causes import links_torch
from kit.codec import encode
from kit.collect import fatbin, loader, startup
from kit.collect.elf import Buffer, Elf, Malformed, newest
from kit.facts import CODE_UNREAD, MISSING_NAMED, minor

Json = dict[str, Any]
LIBRARY = re.compile(r"\.(so(\.\d+)*|pyd|dll|dylib)$")

_TAG = re.compile(r"\.(?:cpython-(\d+)(t?)d?-|(pypy)(\d+)-|(abi3)\.|(cp\d+t?)-win)")
_MACH_O = {b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"}
# The major in the file names of CUDA's libraries is CUDA's own; auditwheel adds a hash: libcudart.41118559.so.12.
_RUNTIME = re.compile(r"lib(?:cudart|cublas|cublasLt|nvrtc|nvJitLink)(?:[.-][0-9a-f]{8})?\.so\.(\d+)(\.\d+)?")


class Target:
    """The environment that compiled files are held against: an interpreter, its import path, and its torch.

    ``torch`` is the folder of the torch package, None where there is none.  ``overlay`` shows files that are not on
    disk; ``torch_minor`` (``'2.13'``) is what reasons refer to.  Where ``problem`` is set, whether a file loads is
    not known, and it says why.
    """

    def __init__(
        self,
        executable: str,
        import_path: Sequence[str],
        torch: Optional[str],
        abi: str,
        environ: Optional[Mapping[str, str]] = None,
        overlay: Optional[Mapping[str, Buffer]] = None,
        torch_minor: Optional[str] = None,
    ) -> None:
        self.abi, self.torch_minor = abi, torch_minor
        self.files = loader.Files(overlay)
        self.process = startup.start(executable, os.environ if environ is None else environ, self.files, import_path)
        self.missing: list[loader.Missing] = []
        self.problem = ""
        if self.process is None:
            self.problem = "not known: this Python is not started by glibc's loader"
            return
        if torch:
            self.missing = startup.import_torch(self.process, torch, import_path)
        if self.missing:
            self.problem = f"not known: torch itself does not load: {_said(self.missing[0])}"

    @classmethod
    def of(cls, data: Json, overlay: Optional[Mapping[str, Buffer]] = None) -> "Target":
        """The environment that :mod:`kit.collect.inside` described."""
        python, torch = data["python"], data["torch"]
        location, release = (torch["location"], minor(torch["version"]) or None) if torch else (None, None)
        return cls(
            python["executable"], python["path"], location, python["abi"], overlay=overlay, torch_minor=release
        )

    def read(self, path: str, shown: Optional[str] = None) -> Json:
        """One file as the dictionary of :class:`kit.facts.Binary`; ``shown`` is the path to name it by."""
        row, elf = self._read(path, shown or path)
        return row if elf is None else self._judge(path, row)

    def extension(self, path: str, shown: str) -> Iterator[Json]:
        """The same of a library in an extension, where it links against torch or holds GPU code: what it bundles of
        other projects (FFmpeg, libjpeg) says nothing of torch."""
        row, elf = self._read(path, shown)
        if elf is None:
            yield row
        elif row["architectures"] or row["ptx"] or links_torch(row["needs"]):
            yield self._judge(path, row)

    def _read(self, path: str, shown: str) -> tuple[Json, Optional[Elf]]:
        row: Json = {"path": shown, "python_tag": python_tag(path), "loads": None, "why": []}
        try:
            elf = self.files.read(path)
        except OSError as error:
            why = [f"cannot be read: {error.strerror or error}"]
            return {**row, "format": "unknown", "loads": False, "why": why}, None
        except Malformed as error:
            return {**row, **self._other_format(path, error)}, None
        self._describe(elf, row)
        return row, elf

    def _judge(self, path: str, row: Json) -> Json:
        if self.process is None or self.missing:
            row["why"].append(self.problem)
        else:
            process = self.process.copy()
            missing = process.open(path)
            row["loads"] = not missing
            if missing:
                row["missing"], row["shadows"], why = explain(process, missing, path, self.torch_minor)
                row["why"] += why
        tag = row["python_tag"]
        if tag and tag != "abi3" and tag != self.abi:
            row["why"].append(
                f"compiled for {tag}: this Python is {self.abi} and does not look for a file of that name"
            )
        return row

    def _other_format(self, path: str, error: Malformed) -> Json:
        data = self.files.head(path)
        if data[:2] == b"MZ":
            return {"format": "PE", "why": ["a file for Windows (PE): not read"]}
        if data[:4] in _MACH_O:
            return {"format": "Mach-O", "why": ["a file for macOS (Mach-O): not read"]}
        if data[:4] == b"\x7fELF":
            return {"format": "ELF", "loads": False, "why": [f"damaged: {error}"]}
        return {"format": "unknown", "loads": False, "why": ["not a compiled file: " + begins(data)]}

    def _describe(self, elf: Elf, row: Json) -> None:
        row["machine"] = elf.machine
        row["needs"] = [symbols.printable(name) for name in elf.needed]
        code = fatbin.DeviceCode()
        try:
            sections = elf.sections()
            regions = [region for name in fatbin.SECTIONS for region in sections.get(name, ())]
            code = fatbin.read(elf.data, regions) if regions else code
        except Malformed as error:
            row["why"].append(f"{CODE_UNREAD}: {error}")
        row["architectures"], row["ptx"], row["ptx_isa"] = list(code.architectures), list(code.ptx), code.ptx_isa
        row["partial"] = list(code.partial)
        row["cuda"] = _cuda(row["needs"], code)
        try:
            needs = elf.needs if elf.bits == 64 else []
        except Malformed:
            needs = []  # loading it says so
        for key, family in (("glibc", "GLIBC"), ("glibcxx", "GLIBCXX"), ("cxxabi", "CXXABI")):
            row[key] = newest(needs, family)

    def torch(self, location: str) -> Iterator[Json]:
        """torch's own compiled files: the one that ``import torch`` loads, and those that tell most of its build."""
        folder = os.path.join(location, "lib")
        compiled = [n for n in sorted(_names(location)) if re.fullmatch(r"_C\..*(so|pyd)", n)]
        for name in [*compiled[:1], *[n for n in sorted(_names(folder)) if re.fullmatch(_TORCH, n)]]:
            path = os.path.join(location if name in compiled else folder, name)
            shown = os.path.relpath(path, os.path.dirname(location))
            row, _ = self._read(path, shown)
            if name in compiled and self.process is not None:
                row["loads"] = not self.missing
                if self.missing:
                    row["missing"], row["shadows"], why = explain(self.process, self.missing, path)
                    row["why"] += why
            yield row


_TORCH = re.compile(r"libtorch_cpu\.so|libtorch_cuda(_\w+)?\.so")


def explain(process: loader.Process, missing: "list[loader.Missing]", path: str, torch: Optional[str] = None) -> Any:
    """(what is missing, shadows, reasons) as facts and sentences, of the ``open`` of ``path`` that just failed.

    ``torch`` is the minor release that an extension meets; None for torch itself, whose symbols tell no release.
    """
    own = os.path.basename(path)
    shadows = [encode(s) for s in process.shadows(missing[:MISSING_NAMED])]
    facts: list[Json] = []
    why: list[str] = []
    for kind in ("file", "library", "version", "symbol"):
        lacks = [m for m in missing if m.kind == kind]
        named = [_fact(process, m) for m in lacks[:MISSING_NAMED]]
        facts += [fact for fact in named if kind != "file"]
        if kind == "library":
            why += _not_found(named, own)
        elif kind != "symbol":
            why += [_said(m, own, fact["here"]) for m, fact in zip(lacks, named)]
        elif lacks:
            more = f", and {len(lacks) - 1} more" if len(lacks) > 1 else ""
            why.append(_said(lacks[0], own) + more)
            why += symbols.clues([m.what for m in lacks], torch) if torch and not shadows else []
    why += [f"{s['name']} is taken from {s['taken']} ({s['how']}); {s['hidden']} has it" for s in shadows]
    return facts, shadows, why


def _fact(process: loader.Process, missing: loader.Missing) -> Json:
    here = None
    if missing.kind == "library":
        here = next(iter(process.elsewhere(missing.what)), None)
    elif missing.kind == "version":
        here = process.newest(missing.of, missing.what.partition("_")[0])
    by = os.path.basename(missing.by)
    return {"kind": missing.kind, "what": missing.what, "by": by, "of": missing.of or None, "here": here}


def _not_found(libraries: "list[Json]", own: str) -> Iterator[str]:
    """One sentence for each file that asks for libraries, and where they lie all the same."""
    for by in dict.fromkeys(library["by"] for library in libraries):
        lacks = [library for library in libraries if library["by"] == by]
        names = ", ".join(library["what"] for library in lacks)
        places = "".join(f"; {library['what']} lies in {library['here']}" for library in lacks if library["here"])
        who = "" if by == own else f"{by} "
        yield f"{who}needs {names}, which {'is' if len(lacks) == 1 else 'are'} not found{places}"


def _said(missing: loader.Missing, own: str = "", here: Optional[str] = None) -> str:
    by = os.path.basename(missing.by)
    who = "" if by == own else f"{by} "
    if missing.kind == "library":
        return f"{who}needs {missing.what}, which is not found"
    if missing.kind == "version":
        return f"{who}needs {missing.what} of {missing.of}" + (f", which ends at {here}" if here else "")
    if missing.kind == "symbol":
        return f"{who and by + ': '}undefined symbol {symbols.name(missing.what)}"
    return f"{who and by + ': '}{missing.what}"


def _cuda(needs: Iterable[str], code: fatbin.DeviceCode) -> Optional[str]:
    """The CUDA of a file: in full where its GPU code tells it, else the major of the libraries that it needs."""
    compiled = code.toolkit or (gpus.cuda_of_ptx(code.ptx_isa) if code.ptx_isa else None)
    for name in needs:
        match = _RUNTIME.fullmatch(name)
        if match:
            major, rest = match.groups()
            linked = major + rest if major == "10" and rest else major  # libcudart.so.11.0 is that of all 11.x
            return compiled if compiled and compiled.partition(".")[0] == major else linked
    return compiled


def python_tag(path: str) -> Optional[str]:
    """The Python in a file's name: ``cp311`` of ``x.cpython-311-x86_64-linux-gnu.so``, ``abi3``, or None."""
    match = _TAG.search(os.path.basename(path))
    if match is None:
        return None
    version, threads, pypy, pypy_version, abi3, windows = match.groups()
    return f"cp{version}{threads}" if version else f"pp{pypy_version}" if pypy else abi3 or windows


def begins(data: bytes) -> str:
    """How a file begins, for an error."""
    if not data:
        return "it is empty"
    return "it holds only zeros at its start" if not data.strip(b"\0") else f"it begins with {data[:8]!r}"


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []

"""Facts about an environment: frozen records and their versioned JSON.  Nothing here reads a machine.

One :class:`Facts` describes one environment on one machine.  ``Facts.from_json(facts.to_json())`` is
equal to ``facts``; a document of another schema, a truncated one or one with unknown fields is refused
with one clear :class:`~kit.errors.KitError`, never half read.
"""

import dataclasses
import json
import re
from dataclasses import field
from functools import cache
from typing import Any, Optional, Union

from kit import codec
from kit.errors import KitError
from kit.record import Record

SCHEMA = 1
CODE_UNREAD = "GPU code not read"  # how the reason begins where a file's GPU code is damaged
MISSING_NAMED = 20  # an extension for another torch may lack hundreds of symbols


class About(Record):
    """Where the facts come from: ``collected`` on a machine, ``reconstructed`` from a report, or an ``example``."""

    name: str
    source: str
    note: str = ""


class Python(Record):
    """The interpreter under test.  ``path`` is its import path as a notebook or ``python -m`` sees it."""

    executable: str
    version: str
    implementation: str
    prefix: str
    base_prefix: str
    venv: bool
    conda: bool
    abi: str
    platform: str
    bits: int
    ext_suffix: str
    externally_managed: bool
    cwd: str
    path: tuple[str, ...]


class Distribution(Record):
    """One installed distribution, or what is left of one (``leftover``: its metadata folder begins with ``~``).

    ``requires`` holds all of torch's requirements, of others those on torch, numpy, triton, NVIDIA's libraries.
    ``real_path`` is ``path`` without links, where that differs; ``compiled`` tells whether its RECORD lists
    shared libraries (None: not looked at, as numpy is not required), ``complete`` whether its metadata could be read.
    """

    name: str
    version: str
    path: str
    real_path: Optional[str] = None
    installer: Optional[str] = None
    requested: bool = False
    direct_url: Optional[str] = None
    editable: bool = False
    leftover: bool = False
    complete: bool = True
    compiled: Optional[bool] = None
    summary: str = ""
    requires: tuple[str, ...] = ()
    networkx_backends: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The normalised name (PEP 503)."""
        return normalise(self.name)


class Missing(Record):
    """Something that a compiled file needs and the loader would not find.

    ``kind`` is ``library``, ``version`` or ``symbol``; ``by`` the file that asks for ``what``, ``of`` the library
    that should have the version or the symbol.  ``here`` is what there is instead: the newest version of that
    library, or the path where a library lies unseen by the loader.
    """

    kind: str
    what: str
    by: str
    of: Optional[str] = None
    here: Optional[str] = None


class Shadow(Record):
    """A library that the loader takes before another one of its name, and that lacks what the other has.

    ``how`` it is found: ``LD_LIBRARY_PATH``, ``RPATH``, ``RUNPATH``, ``/etc/ld.so.cache`` or a default folder.
    """

    name: str
    taken: str
    how: str
    hidden: str


class Binary(Record):
    """One compiled file, read without loading it: what it needs, what it holds, and whether it would load.

    ``format`` is ``ELF``, ``PE`` (Windows), ``Mach-O`` (macOS) or ``unknown``; only ELF is read.  ``cuda`` is the
    CUDA that it was compiled with or needs (``'13.0'``, ``'13'``), ``architectures`` its machine code (``sm_90``,
    ``sm_90a``), ``ptx`` its PTX (``compute_120``, of version ``ptx_isa``), ``partial`` what of both only the smaller
    part of its kernels has.  ``glibc``, ``glibcxx`` and ``cxxabi`` are the newest versions that it asks for.
    ``loads`` is what dlopen with RTLD_NOW answers in a fresh process after ``import torch``; None where that cannot
    be known.  ``missing`` names at most :data:`MISSING_NAMED` things of each kind.
    """

    path: str
    format: str = "ELF"
    machine: Optional[str] = None
    python_tag: Optional[str] = None
    cuda: Optional[str] = None
    architectures: tuple[str, ...] = ()
    ptx: tuple[str, ...] = ()
    ptx_isa: Optional[str] = None
    partial: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    shadows: tuple[Shadow, ...] = ()
    glibc: Optional[str] = None
    glibcxx: Optional[str] = None
    cxxabi: Optional[str] = None
    loads: Optional[bool] = None
    why: tuple[str, ...] = ()

    @property
    def device_code(self) -> bool:
        """Whether it holds code for GPUs."""
        return bool(self.architectures or self.ptx)

    def lacks(self, kind: str) -> tuple[Missing, ...]:
        """What is missing of one kind: ``library``, ``version`` or ``symbol``."""
        return tuple(missing for missing in self.missing if missing.kind == kind)


class Torch(Record):
    """torch as its files describe it: ``version.py``, the RECORD, and its own list of GPU architectures.

    ``cuda`` is ``'13.0'``, or None in a CPU build; ``architectures`` is like ``('sm_75', 'sm_120')`` and
    empty where it could not be read.  File names are relative to the folder that holds ``torch``; ``binaries``
    are its compiled files that were read, ``torch/_C`` first, whose ``loads`` is that of ``import torch``.
    """

    location: str
    version: str
    metadata_version: Optional[str] = None
    cuda: Optional[str] = None
    hip: Optional[str] = None
    git_version: Optional[str] = None
    readable: bool = True
    missing_files: tuple[str, ...] = ()
    changed_files: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    binaries: tuple[Binary, ...] = ()

    @property
    def minor(self) -> str:
        """``'2.13'`` of ``'2.13.0+cu130'``: the part that decides whether a compiled extension fits."""
        return minor(self.version)

    @property
    def released(self) -> bool:
        """Whether it is a release, for which others publish wheels: no nightly, candidate or vendor's build."""
        return bool(re.fullmatch(r"\d+\.\d+\.\d+(\+(cpu|cu\d+|rocm[\d.]+))?", self.version))

    @property
    def build(self) -> str:
        """``'CUDA 13.0'``, ``'ROCm 7.1'`` or ``'CPU only'``."""
        return f"CUDA {self.cuda}" if self.cuda else f"ROCm {self.hip}" if self.hip else "CPU only"

    @property
    def damaged(self) -> bool:
        return bool(self.missing_files or self.changed_files or not self.readable)


class Extension(Record):
    """A distribution whose shared libraries link against torch.

    ``version`` is the fullest one known and ``origin`` the file that gave it; ``built_for_torch``
    (``'2.8'``) and ``built_for_cuda`` (``'12.6'`` or ``'cpu'``) come from its local part and are None
    where it has none, as after a build from source.  ``binaries`` are those of its ``libraries`` that link against
    torch or hold GPU code, read.
    """

    package: str
    version: str
    origin: str
    location: str
    modules: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    missing_files: tuple[str, ...] = ()
    built_for_torch: Optional[str] = None
    built_for_cuda: Optional[str] = None
    requires_torch: tuple[str, ...] = ()
    wheel_tags: tuple[str, ...] = ()
    older_than_torch: bool = False
    binaries: tuple[Binary, ...] = ()

    @property
    def key(self) -> str:
        """The normalised name (PEP 503)."""
        return normalise(self.package)

    def libraries_for(self, device: str) -> tuple[str, ...]:
        """Its libraries for ``'cpu'`` or ``'cuda'``, by the names that torch_scatter and its siblings give them."""
        return tuple(file for file in self.libraries if re.search(rf"_{device}\.(so|pyd)$", file))

    @property
    def built_from_source(self) -> bool:
        """A plain ``linux_x86_64`` wheel without a build tag: no index publishes that, it was compiled."""
        plain = any(re.search(r"-linux_\w+$", tag) for tag in self.wheel_tags)
        return plain and "+" not in self.version


class Module(Record):
    """How ``import name`` resolves: kind is package, module, extension or namespace.

    ``distribution`` is the one that put it there, ``hides`` what stands behind it on the import path.
    """

    name: str
    kind: str
    path: str
    entry: str
    distribution: Optional[str] = None
    children: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    standard_library: bool = False


class OtherPython(Record):
    """Another interpreter that this session's variables or PATH point to, and its torch, if any."""

    how: str
    python: str
    torch: Optional[str] = None


class Gpu(Record):
    """One NVIDIA GPU.  ``capability`` is ``'12.0'``; ``wished`` marks one that was only asked for (``--gpu``)."""

    name: str
    capability: Optional[str] = None
    memory_mb: Optional[int] = None
    wished: bool = False


class Driver(Record):
    """The NVIDIA kernel driver; ``cuda`` is the newest CUDA it supports, ``source`` who said so."""

    version: str
    cuda: Optional[str] = None
    source: str = ""


class Toolkit(Record):
    """A CUDA toolkit with nvcc."""

    path: str
    version: str


class Host(Record):
    """The machine around the interpreter.  ``pci_gpus`` counts NVIDIA display devices on the PCI bus,
    seen without any driver; ``device_nodes`` are NVIDIA's entries in ``/dev``."""

    system: str
    machine: str
    os: str = ""
    kernel: str = ""
    libc: Optional[str] = None
    libstdcxx: Optional[str] = None
    gpus: tuple[Gpu, ...] = ()
    driver: Optional[Driver] = None
    pci_gpus: Optional[int] = None
    device_nodes: tuple[str, ...] = ()
    toolkits: tuple[Toolkit, ...] = ()
    compiler: Optional[str] = None
    container: Optional[str] = None
    scheduler: Optional[str] = None
    job: bool = False


class Probe(Record):
    """What a child process said to ``import``: status is its exit status, negative for a signal, None when
    it ran out of time; ``error`` the last line of its traceback or the end of stderr."""

    imports: str
    status: Optional[int]
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 0


class Loaded(Record):
    """A module in the running process beside the same module on disk."""

    name: str
    version: Optional[str]
    on_disk: Optional[str]
    replaced: tuple[str, ...] = ()


class Kernel(Record):
    """The running process, when the facts are its own.  ``replaced`` of a module lists loaded files that
    are no longer the ones on disk."""

    kind: str
    modules: tuple[Loaded, ...] = ()


class Attempt(Record):
    """An installation that was tried: the command, its exit status, and the last lines of what it said."""

    argv: tuple[str, ...] = ()
    status: Optional[int] = None
    said: tuple[str, ...] = ()


class Unread(Record):
    """Something that could not be read, and why."""

    what: str
    why: str


class Facts(Record):
    """Everything known about one environment on one machine."""

    about: About
    python: Python
    host: Host
    distributions: tuple[Distribution, ...] = ()
    torch: Optional[Torch] = None
    extensions: tuple[Extension, ...] = ()
    modules: tuple[Module, ...] = ()
    others: tuple[OtherPython, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    kernel: Optional[Kernel] = None
    unread: tuple[Unread, ...] = ()
    attempt: Optional[Attempt] = None

    def replacement(self, package: str) -> "Optional[Distribution]":
        """The kit's own replacement of a package (kit.shims), installed in its place or beside it."""
        beside, there = self.distribution(f"kit-graft-{package}"), self.distribution(package)
        return beside or (there if there is not None and there.version.endswith("+kit") else None)

    def distribution(self, name: str) -> Optional[Distribution]:
        """The first complete distribution of this name on the import path, as ``importlib.metadata`` takes it."""
        key = normalise(name)
        return next((d for d in self.distributions if d.key == key and not d.leftover), None)

    def extension(self, name: str) -> Optional[Extension]:
        key = normalise(name)
        return next((e for e in self.extensions if e.key == key), None)

    def module(self, name: str) -> Optional[Module]:
        return next((m for m in self.modules if m.name == name), None)

    def probe(self, name: str) -> Optional[Probe]:
        """The outcome of ``import name`` in a child process, where it was tried."""
        return next((p for p in self.probes if p.imports == name), None)

    @property
    def gpu_seen(self) -> bool:
        """Whether a GPU is here or was asked for."""
        return bool(self.host.gpus)

    def with_gpu(self, capability: str) -> "Facts":
        """The same facts on a machine with one GPU of this compute capability, e.g. ``'12.0'``."""
        capability = compute_capability(capability)
        named = [g for g in self.host.gpus if g.capability == capability]
        gpus = tuple(named) or (Gpu(f"GPU of compute capability {capability}", capability, wished=True),)
        return dataclasses.replace(self, host=dataclasses.replace(self.host, gpus=gpus))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **codec.encode(self)}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_dict(cls, data: Any, source: str = "facts") -> "Facts":
        """Facts from their JSON object.  Raises KitError with the place of the first thing that is wrong."""
        if not isinstance(data, dict):
            raise KitError(f"{source}: a facts file holds one JSON object, this holds {codec.kind_of(data)}")
        if "facts" in data and "verdict" in data:  # the output of `kit doctor --json`
            return cls.from_dict(data["facts"], source)
        if "schema" not in data:
            raise KitError(
                f'{source}: no "schema": this is JSON, but no facts file; make one with `kit collect -o FILE`'
            )
        if data["schema"] != SCHEMA or data["schema"] is True:
            raise KitError(
                f"{source}: facts of schema {data['schema']!r}, this kit reads schema {SCHEMA}; "
                "collect them again with this kit, or read them with the kit that wrote them"
            )
        rest = {key: value for key, value in data.items() if key != "schema"}
        facts: Facts = codec.decode(cls, rest, source)
        return facts

    @classmethod
    def from_json(cls, text: Union[str, bytes], source: str = "facts") -> "Facts":
        """Facts from the text of a facts file; ``source`` is named in errors."""
        return cls.from_dict(codec.read(text, source), source)


def minor(version: str) -> str:
    """``'2.13'`` of ``'2.13.0+cu130'``; '' of what holds no number."""
    return ".".join(re.findall(r"\d+", version)[:2])


def compute_capability(text: str) -> str:
    """A compute capability as people write it (``12.0``, ``sm_120``, ``12``) in one form: ``'12.0'``."""
    match = re.fullmatch(r"(?:sm_)?(1\d|[2-9])(?:\.?(\d))?", text.strip())
    if not match:
        raise KitError(f"not a compute capability: {text!r}; it looks like 8.9, 9.0 or 12.0")
    return f"{match.group(1)}.{match.group(2) or 0}"


@cache  # every rule asks for the same names
def normalise(name: str) -> str:
    """A distribution name in its normal form (PEP 503): ``Torch_Scatter`` -> ``torch-scatter``."""
    return re.sub(r"[-_.]+", "-", name).lower()

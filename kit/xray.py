"""X-ray: what compiled files need and hold, whether they would load here, and whether they run on this GPU."""

import os
from collections.abc import Sequence
from typing import Any, Optional, Union

from kit import causes, codec, gpus
from kit.collect import host
from kit.facts import CODE_UNREAD, Binary, Driver, Facts, Gpu, compute_capability
from kit.record import Record


class File(Record):
    """One compiled file and its verdict.

    ``runs_on_gpu`` is False where it holds no code for a GPU that is here, and None where no GPU is known, or where
    it holds none but calls libraries that may.  ``why`` gives the reasons of both verdicts.
    """

    binary: Binary
    runs_on_gpu: Optional[bool]
    why: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        row = codec.encode(self.binary)
        del row["missing"], row["shadows"]
        for key, kind in (("libraries", "library"), ("versions", "version"), ("symbols", "symbol")):
            row[f"missing_{key}"] = [missing.what for missing in self.binary.lacks(kind)]
        return {**row, "runs_on_gpu": self.runs_on_gpu, "why": list(self.why)}


class XRay(Record):
    """What the X-ray shows: the files, the environment in which they would have to load, and the GPUs."""

    files: tuple[File, ...]
    against: str
    gpus: tuple[Gpu, ...] = ()

    @property
    def verdict(self) -> str:
        """``broken`` where a file would not load, or where GPUs are known and nothing made for torch or for GPUs has
        code for one of them."""
        meant = [f for f in self.files if f.binary.device_code or causes.links_torch(f.binary.needs)]
        known = [file.runs_on_gpu for file in meant if file.runs_on_gpu is not None]
        unserved = bool(self.gpus) and bool(known) and not any(known)
        return "broken" if unserved or any(f.binary.loads is False for f in self.files) else "healthy"

    def to_dict(self) -> dict[str, Any]:
        held = [gpu.capability for gpu in self.gpus]
        return {
            "schema": 1,
            "verdict": self.verdict,
            "against": self.against,
            "gpus": held,
            "files": [file.to_dict() for file in self.files],
        }

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


Path = Union[str, "os.PathLike[str]"]


def xray(path: Union[Path, Sequence[Path], Facts], against: Optional[Path] = None, gpu: Optional[str] = None) -> XRay:
    """Read a compiled file, a wheel, a package's folder, an environment, or several of them, and load none.

    ``against`` is where the files would have to load: an interpreter, the folder of an environment, or a folder that
    holds torch; by default the environment that they lie in, else the one that runs this.  ``gpu`` is a compute
    capability such as ``'12.0'``; by default the GPUs of this machine count.  Of facts, it shows the files that were
    read when they were collected.  Raises KitError where a path is none of these.
    """
    if isinstance(path, Facts):
        return _of_facts(path if gpu is None else path.with_gpu(gpu))
    from kit.collect import paths  # with zipfile, which the other verbs do without

    capability = None if gpu is None else compute_capability(gpu)
    asked = Gpu(f"compute capability {capability}", capability, wished=True) if capability else None
    given = [path] if isinstance(path, (str, os.PathLike)) else path
    where = None if against is None else os.fspath(against)
    readings = [paths.read(os.fspath(one), where) for one in given]
    here, driver = host.gpus()
    held = (asked,) if asked else tuple(codec.decode(Gpu, row, "GPU") for row in here)
    files = [codec.decode(Binary, row, row["path"]) for rows, _ in readings for row in rows]
    words = dict.fromkeys(environment.words for _, environment in readings)
    known = codec.decode(Driver, driver, "driver") if driver else None
    return XRay(tuple(_verdict(b, held, known) for b in files), "; ".join(words), held)


def _of_facts(facts: Facts) -> XRay:
    torch, host = facts.torch, facts.host
    files = [*(torch.binaries if torch else ()), *(b for e in facts.extensions for b in e.binaries)]
    words = f"Python {facts.python.version}, {f'torch {torch.version}' if torch else 'no torch'}"
    return XRay(tuple(_verdict(b, host.gpus, host.driver) for b in files), words, host.gpus)


def _verdict(binary: Binary, held: Sequence[Gpu], driver: Optional[Driver]) -> File:
    if binary.format != "ELF":
        return File(binary, None, binary.why)
    if any(reason.startswith(CODE_UNREAD) for reason in binary.why):
        return File(binary, None, binary.why)
    if not binary.device_code:
        calls = causes.calls_gpu(binary)
        why = "holds no GPU code itself; it calls CUDA's libraries" if calls else "holds no GPU code"
        return File(binary, None if calls else False, (*binary.why, why) if held else binary.why)
    known = gpus.capabilities(held)
    if not known:
        return File(binary, None, (*binary.why, "no GPU is known: name one with --gpu, e.g. --gpu 9.0"))
    answers = [gpus.runs_on(binary, c, gpus.driver_for(gpu, driver)) for c, gpu in known.items()]
    return File(binary, all(runs for runs, _ in answers), (*binary.why, *(said for _, said in answers)))

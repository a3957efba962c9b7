"""Benchmark: the X-ray: reading GPU code against NVIDIA's cuobjdump, all libraries of torch, its part of the doctor.

    python tests/bench_xray.py [--rounds N] [--torch SITE_PACKAGES] [--cuobjdump PATH] [FILE...]

FILE is what both read; else the GPU libraries of the CUDA build of torch in SITE_PACKAGES, or of the torch that runs
this; else a small fixture.  cuobjdump is looked for on PATH and in /usr/local/cuda, else installed from PyPI into a
throwaway environment.  Figures are medians, ratios and differences those of neighbouring runs, as in bench_doctor.
CPU time is user and system.  All is read once before it is timed: what a disk takes is not measured.
"""

import argparse
import gc
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from bench_doctor import Run, measure
from conftest import ROOT, Environment, link_or_copy

from kit.collect import elf, fatbin, loader
from kit.collect.binary import LIBRARY

FIXTURE = ROOT / "tests" / "fixtures" / "fatbin" / "wide.so"
# What takes cuobjdump a few milliseconds cannot be read fifty times faster by anything that Python starts.
LARGE, SMALL = 8 << 20, "no bar: a file below 8 MiB takes cuobjdump itself only milliseconds"
READER_BAR, TORCH_BAR, DOCTOR_BAR = 50, 0.5, 0.1  # times as fast; seconds; seconds
KIT = "import sys; from kit.__main__ import main; sys.exit(main() not in (0, 1))"  # 1: something was found
# The X-ray switched off: its modules are not imported either.  Without its answers the doctor might doubt an import
# and try it, which would take longer than the X-ray.
WITHOUT = f"""
import sys, types
sys.modules["kit.collect.binary"] = types.ModuleType("kit.collect.binary")
import kit
collect = sys.modules["kit.collect"]  # for `kit.collect` is the function
collect.read_binaries = lambda data: None
collect.probe.run_probes = lambda *arguments: []
{KIT}
"""
PYG = ("torch_scatter", "torch_sparse", "torch_cluster", "torch_spline_conv")
EXTENSIONS = (*PYG, "flash_attn", "mmcv", "detectron2", "pytorch3d", "natten", "torchsparse")


class Content(NamedTuple):
    """What the doctor reads of one file, before it asks whether the file would load."""

    needed: list[str]
    glibc: Optional[str]
    code: fatbin.DeviceCode


def read(file: Path) -> Content:
    found = loader.Files().read(str(file))  # opened and mapped anew each time
    sections = found.sections()
    regions = [region for name in fatbin.SECTIONS for region in sections.get(name, ())]
    return Content(found.needed, elf.newest(found.needs, "GLIBC"), fatbin.read(found.data, regions))


def timed(work: Callable[[], object]) -> Run:
    """One call of ``work`` in this process: the mean of as many as take a fiftieth of a second."""
    calls, wall, cpu = 0, time.perf_counter(), time.process_time()
    while not calls or time.perf_counter() - wall < 0.02:
        work()
        calls += 1
    return Run((time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls, 0)


def figures(runs: Sequence[Run]) -> str:
    cpu, wall = statistics.median(run.cpu for run in runs), statistics.median(run.wall for run in runs)
    return f"{span(cpu)} CPU {span(wall)} wall"


def span(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.9995 else f"{1000 * seconds:.3g} ms"


def ratios(theirs: Sequence[Run], ours: Sequence[Run]) -> tuple[float, float]:
    pairs = list(zip(theirs, ours))
    return statistics.median(t.cpu / o.cpu for t, o in pairs), statistics.median(t.wall / o.wall for t, o in pairs)


def said(met: bool) -> str:
    return "met" if met else "MISSED"


def size(*files: Path) -> str:
    count = sum(file.stat().st_size for file in files)
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def compared(listed: Sequence[str], ours: Sequence[str]) -> str:
    """Whether both find the same.  cuobjdump calls sm_103f sm_103, and code that is not linked yet it leaves out."""
    found = dict.fromkeys(name.rstrip("f") for name in ours)
    more, fewer = [n for n in found if n not in listed], [n for n in dict.fromkeys(listed) if n not in found]
    also = f"; kit also {' '.join(more)}, in code for the linker" if more else ""
    return f"both find {' '.join(n for n in found if n in listed)}{also}{f'; NOT kit: {fewer}' if fewer else ''}"


def against_cuobjdump(file: Path, cuobjdump: str, rounds: int, cwd: Path) -> None:
    command = [cuobjdump, "--list-elf", str(file)]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        print(f"  {file.name}: left out, cuobjdump says: {(listed.stdout + listed.stderr).strip()}")
        return
    cubins = re.findall(r"\.(sm_\w+)\.cubin$", listed.stdout, re.M)
    print(f"  {file.name}, {size(file)}, {len(cubins)} cubins; {compared(cubins, read(file).code.architectures)}")
    whole = [sys.executable, "-c", KIT, "xray", str(file), "--json"]
    measure(whole, cwd)
    theirs, reader, kit = [], [], []
    for _ in range(rounds):
        reader.append(timed(lambda: read(file)))
        theirs.append(measure(command, cwd))
        kit.append(measure(whole, cwd))
    cpu, wall = ratios(theirs, reader)
    print(f"    cuobjdump --list-elf, process   {figures(theirs)}")
    print(
        f"    the reader, in a running kit    {figures(reader)}   ratio {cpu:.0f} CPU, {wall:.0f} wall"
        + (
            f"   bar {READER_BAR}: {said(min(cpu, wall) >= READER_BAR)}"
            if file.stat().st_size > LARGE
            else "   " + SMALL
        )
    )
    cpu, wall = ratios(theirs, kit)
    print(
        f"    kit xray FILE --json, process   {figures(kit)}   ratio {cpu:.2g} CPU, {wall:.2g} wall"
        "   (starts Python, reads the environment, asks whether FILE would load in it)"
    )


def own_libraries(files: Sequence[Path], rounds: int) -> None:
    def all_of_them() -> list[Content]:
        return [read(file) for file in files]

    all_of_them()
    runs = [timed(all_of_them) for _ in range(rounds)]
    met = statistics.median(run.wall for run in runs) <= TORCH_BAR
    print(f"  {len(files)} files, {size(*files)}: {figures(runs)}   bar {TORCH_BAR} s wall: {said(met)}")


def add_extensions(environment: Environment, names: Sequence[str], model: importlib.metadata.Distribution) -> None:
    """Distributions of these names, each with the compiled files of ``model`` under names of its own."""
    libraries = [file for file in model.files or () if file.suffix == ".so"]
    for name in names:
        record = []
        for file in libraries:
            target = environment.site / name / file.name
            target.parent.mkdir(exist_ok=True)
            link_or_copy(Path(str(model.locate_file(file))), target)
            record.append(f"{name}/{file.name},,{target.stat().st_size}\n")
        folder = environment.site / f"{name}-{model.version}.dist-info"
        folder.mkdir()
        metadata = re.sub("^Name: .*", f"Name: {name}", model.read_text("METADATA") or "", count=1, flags=re.M)
        (folder / "METADATA").write_text(metadata)
        (folder / "RECORD").write_text("".join(record))
        (folder / "INSTALLER").write_text("pip\n")


def files_read(python: str, cwd: Path, extensions: int) -> int:
    """How many files the X-ray reads in this environment, which has so many extensions; nothing is tried there."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, "-m", "kit", "collect"], cwd=cwd, env=env, capture_output=True, check=True)
    facts = json.loads(done.stdout)
    seen = [extension["binaries"] for extension in facts["extensions"]]
    assert len(seen) == extensions and all(seen) and not facts["probes"], (seen, facts["probes"])
    return len(facts["torch"]["binaries"]) + sum(map(len, seen))


def added(environment: Environment, extensions: int, rounds: int, cwd: Path) -> tuple[float, int]:
    """(CPU seconds that the X-ray adds to a doctor, files that it reads)."""
    python = str(environment.python)
    files = files_read(python, cwd, extensions)
    on, off = ([python, "-c", code, "doctor", "--json"] for code in (KIT, WITHOUT))
    measure(on, cwd), measure(off, cwd)
    pairs = [(measure(on, cwd), measure(off, cwd)) for _ in range(rounds)]
    more = statistics.median(a.cpu - b.cpu for a, b in pairs)
    print(
        f"  torch and {extensions:>2} extensions, {files:>2} files: {figures([a for a, _ in pairs])}   "
        f"without X-ray {figures([b for _, b in pairs])}   it adds {span(more)} CPU   "
        f"bar {span(DOCTOR_BAR)}: {said(more < DOCTOR_BAR)}"
    )
    return more, files


def part_of_the_doctor(rounds: int, folder: Path, cwd: Path) -> None:
    try:
        model = importlib.metadata.distribution("torch_scatter")
    except importlib.metadata.PackageNotFoundError:
        print("  left out: the lab has no torch_scatter, whose compiled files it takes")
        return
    costs = []
    for extensions in (0, len(EXTENSIONS)):
        environment = Environment(folder / f"doctor-{extensions}")
        environment.share("torch", "packaging", "nvidia-ml-py")
        add_extensions(environment, EXTENSIONS[:extensions], model)
        costs.append(added(environment, extensions, rounds, cwd))
    (alone, none), (total, most) = costs
    print(
        f"  for each file {span(total / most)} of the whole, {span((total - alone) / (most - none))} in an extension "
        "(they are copies: ten different ones have fewer symbols in common, and cost more)"
    )


def find_cuobjdump(folder: Path) -> tuple[Optional[str], str]:
    """(path, why there is none)."""
    found = shutil.which("cuobjdump") or shutil.which("cuobjdump", path="/usr/local/cuda/bin")
    if found:
        return found, ""
    environment = Environment(folder / "cuobjdump")
    try:
        environment.pip_install("nvidia-cuda-cuobjdump")
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return None, (str(error).strip().splitlines() or ["pip failed"])[-1]
    file = next(environment.site.glob("nvidia/**/bin/cuobjdump"), None)
    return file and str(file), "its package on PyPI has none for this machine"


def libraries_of(site: Optional[str]) -> list[Path]:
    """The files of ``torch/lib``, where that is a CUDA build: in this folder, or else in the running environment."""
    spec = None if site else importlib.util.find_spec("torch")
    places = [Path(site) / "torch"] if site else [Path(p) for p in (spec and spec.submodule_search_locations) or ()]
    for place in places:
        if (place / "lib" / "libtorch_cuda.so").exists():
            return sorted(f for f in (place / "lib").iterdir() if LIBRARY.search(f.name) and f.is_file())
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch", metavar="SITE_PACKAGES", help="where a CUDA build of torch is installed")
    parser.add_argument("--cuobjdump", metavar="PATH")
    parser.add_argument("file", metavar="FILE", nargs="*", type=Path)
    chosen = parser.parse_args()
    libraries, rounds = libraries_of(chosen.torch), chosen.rounds
    if chosen.torch and not libraries:
        parser.error(f"{chosen.torch} holds no CUDA build of torch (torch/lib/libtorch_cuda.so)")
    for path in (*chosen.file, *([chosen.cuobjdump] if chosen.cuobjdump else ())):
        if not os.path.isfile(path):
            parser.error(f"{path} is no file")
    gc.disable()  # as in a kit process
    print(f"{rounds} rounds each, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = folder / "empty"
        empty.mkdir()
        cuobjdump, why = (os.path.abspath(chosen.cuobjdump), "") if chosen.cuobjdump else find_cuobjdump(folder)
        print("The reader of GPU code against NVIDIA's cuobjdump:")
        if cuobjdump:
            files = chosen.file or [file for file in libraries if read(file).code.architectures] or [FIXTURE]
            for file in files:
                against_cuobjdump(file.absolute(), cuobjdump, rounds, empty)
        else:
            print(f"  left out: no cuobjdump here, and none installed: {why}")
        print("All libraries of torch's CUDA build in one go (sections, GPU code, needs, versions), page cache warm:")
        if libraries:
            own_libraries(libraries, rounds)
        else:
            print("  left out: the torch that runs this is no CUDA build; name one with --torch")
        print(f"What the X-ray adds to kit doctor --json, whole processes, {3 * rounds} rounds:")
        part_of_the_doctor(3 * rounds, folder, empty)


if __name__ == "__main__":
    main()

"""Benchmark: a wheel of torch-scatter by kit.build against plain ``pip wheel``, in turn; are both the same?

    python tests/bench_build.py [--rounds N] [--python PATH]

Against the torch of the lab, or of the interpreter PATH; where that has CUDA, TORCH_CUDA_ARCH_LIST has to name a GPU.
Each build starts from nothing: no wheel is kept, pip's cache is bypassed.  A round takes as long as both builds; with
more than one, figures are medians and the ratio is that of neighbouring builds, so that a machine whose speed drifts
does not matter.  CPU time is user and system, of all compilers together.  Bar: 2.5 times faster in wall time on two
cores.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bench_doctor import Run, measure
from conftest import ROOT

from kit import toolchain
from kit.collect import elf
from kit.errors import KitError

BAR, CORES = 2.5, 2
PLAIN_SECONDS, KIT_SECONDS = 522, 140  # two idle cores, torch 2.13.0 for CPU
OURS = """
import sys
from kit.build import build
print(build("torch-scatter", sys.argv[1], sys.argv[2], sys.argv[3]))
"""


def wheel_below(folder: Path) -> Path:
    (found,) = folder.rglob("*.whl")
    return found


def libraries(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.endswith(".so")}


def symbols(data: bytes) -> tuple[list[str], list[str], list[str]]:
    """(libraries needed, symbols defined, symbols wanted) of a library."""
    listed = subprocess.run(["nm", "-D", "/dev/stdin"], input=data, capture_output=True, check=True).stdout.decode()
    rows = [line[17:].split(maxsplit=1) for line in listed.splitlines()]
    defined = sorted(name for kind, name in rows if kind not in "Uw")
    return list(elf.Elf(data).needed), defined, sorted(name for kind, name in rows if kind in "Uw")


def compared(ours: Path, theirs: Path) -> str:
    kit, pip = libraries(ours), libraries(theirs)
    if sorted(kit) != sorted(pip):
        return f"DIFFERENT FILES: {sorted(kit)}, {sorted(pip)}"
    same = [name for name in kit if kit[name] == pip[name]]
    if len(same) == len(kit):
        return f"all {len(kit)} libraries are the same, byte for byte"
    differ = [name for name in kit if symbols(kit[name]) != symbols(pip[name])]
    alike = (
        f"{len(same)} of {len(kit)} libraries are the same, byte for byte, the others in what they need and define"
    )
    return f"DIFFERENT SYMBOLS: {', '.join(differ)}" if differ else alike


def figures(runs: list[Run]) -> str:
    wall, cpu = statistics.median(run.wall for run in runs), statistics.median(run.cpu for run in runs)
    return f"{wall:5.0f} s wall {cpu:5.0f} s CPU   {max(run.peak for run in runs):.0f} MiB for the largest process"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--python", default=sys.executable, metavar="PATH")
    chosen = parser.parse_args()
    (version,) = re.findall(r"^torch-scatter==(\S+)", (ROOT / "constraints.txt").read_text(), re.M)
    try:
        env = toolchain.toolchain("torch-scatter", toolchain.target(chosen.python, os.environ), os.environ).env
    except KitError as error:
        return print(f"left out: {error}")
    jobs = toolchain.how_many(os.environ)
    print(
        f"{chosen.rounds} round(s), {os.cpu_count()} CPUs, {jobs} compilers at once, load {os.getloadavg()[0]:.1f}; "
        f"usually about {chosen.rounds * (PLAIN_SECONDS + KIT_SECONDS) // 60} minutes for the CPU on two idle cores",
        flush=True,
    )
    plain, kit, verdict = [], [], ""
    os.environ.update({k: v for k, v in env.items() if os.environ.get(k) != v})  # pip gets the right variables too
    for _ in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "empty").mkdir()
            argv = [chosen.python, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-cache-dir"]
            argv += ["--no-binary=torch-scatter", "-w", str(folder / "pip"), f"torch-scatter=={version}"]
            ours = [sys.executable, "-c", OURS, version, chosen.python, str(folder / "kit")]
            kit.append(measure(ours, folder / "empty"))
            print(f"  kit.build   {figures(kit[-1:])}   load {os.getloadavg()[0]:.1f}", flush=True)
            plain.append(measure(argv, folder / "empty"))
            print(f"  pip wheel   {figures(plain[-1:])}   load {os.getloadavg()[0]:.1f}", flush=True)
            verdict = compared(wheel_below(folder / "kit"), wheel_below(folder / "pip"))
    pairs = list(zip(plain, kit))
    wall = statistics.median(theirs.wall / ours.wall for theirs, ours in pairs)
    cpu = statistics.median(theirs.cpu / ours.cpu for theirs, ours in pairs)
    met = ("met" if wall >= BAR else "MISSED") if jobs >= CORES else "no bar on one core"
    print(f"torch-scatter {version} from source: ratio {wall:.1f} wall, {cpu:.1f} CPU   bar {BAR} wall: {met}")
    print(f"  {verdict}")


if __name__ == "__main__":
    main()

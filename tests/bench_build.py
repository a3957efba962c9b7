"""Benchmark: a wheel of torch-scatter by kit.build against plain ``pip wheel``, in turn; are both the same?

    python tests/bench_build.py [--rounds N] [--python PATH]

Against the torch of the lab, or of the interpreter PATH; where that has CUDA, TORCH_CUDA_ARCH_LIST has to name a GPU.
Each build starts from nothing: no wheel is kept, pip's cache is bypassed.  The kit builds before and after each plain
build, which is compared with the mean of both, so that a machine whose speed drifts matters less; with more than one
round the ratio is the median.  Nothing else should run meanwhile: what does takes a share from two compilers as from
one.  CPU time is user and system, of all compilers together.  Bar: 2.5 times faster in wall time on two cores.
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

from kit.build import toolchain
from kit.collect import elf
from kit.errors import KitError

BAR, CORES = 2.5, 2
PLAIN_SECONDS, KIT_SECONDS = 309, 86  # two idle cores, torch 2.13.0 for CPU
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


def symbols(data: bytes) -> tuple[list[str], list[str]]:
    """(libraries needed, symbols defined) of a library.  Weak ones are left out: they are what was not inlined."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        listed = subprocess.run(["nm", "-D", file.name], capture_output=True, check=True, text=True).stdout
    rows = [line[17:].split(maxsplit=1) for line in listed.splitlines()]
    return list(elf.Elf(data).needed), sorted(name for kind, name in rows if kind in "TDBR")


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


def one(name: str, argv: list[str], folder: Path) -> Run:
    """One build into ``folder``, and a line about it."""
    before = os.getloadavg()[0]
    run = measure([*argv, str(folder)], folder.parent / "empty")
    print(
        f"  {name}   {run.wall:5.0f} s wall {run.cpu:5.0f} s CPU   {run.peak:.0f} MiB for the largest process   "
        f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after",
        flush=True,
    )
    return run


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
    minutes = (chosen.rounds * (PLAIN_SECONDS + KIT_SECONDS) + KIT_SECONDS) // 60
    print(
        f"{chosen.rounds} round(s), {os.cpu_count()} CPUs, {jobs} compilers at once, load {os.getloadavg()[0]:.1f}; "
        f"usually about {minutes} minutes, for the CPU on two idle cores",
        flush=True,
    )
    os.environ.update({k: v for k, v in env.items() if os.environ.get(k) != v})  # pip gets the right variables too
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty").mkdir()
        pip = [chosen.python, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-cache-dir"]
        pip += ["--no-binary=torch-scatter", f"torch-scatter=={version}", "-w"]
        ours = [sys.executable, "-c", OURS, version, chosen.python]
        kit, plain, wheels = [one("kit.build", ours, folder / "kit-0")], [], {}
        for number in range(1, chosen.rounds + 1):
            plain.append(one("pip wheel", pip, folder / f"pip-{number}"))
            kit.append(one("kit.build", ours, folder / f"kit-{number}"))
            wheels = {tool: wheel_below(folder / f"{tool}-{number}") for tool in ("kit", "pip")}
        verdict = compared(wheels["kit"], wheels["pip"])
    sides = list(zip(kit, plain, kit[1:]))
    wall = statistics.median(2 * pip.wall / (before.wall + after.wall) for before, pip, after in sides)
    cpu = statistics.median(2 * pip.cpu / (before.cpu + after.cpu) for before, pip, after in sides)
    met = ("met" if wall >= BAR else "MISSED") if jobs >= CORES else "no bar on one core"
    print(f"torch-scatter {version} from source: ratio {wall:.1f} wall, {cpu:.1f} CPU   bar {BAR} wall: {met}")
    print(f"  {verdict}")


if __name__ == "__main__":
    main()

"""The torch-scatter step: a published wheel, else one compiled before, else compile; never pip's cache."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import tempfile
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from kit.lab.place import Lab, LeftOut, Torch, digest, read_page

# What changes the compiled code, and so belongs to the name under which its wheel is kept.
BUILD_FLAGS = (
    *("FORCE_CUDA", "FORCE_ONLY_CPU", "FORCE_ONLY_CUDA", "TORCH_CUDA_ARCH_LIST"),
    *("NVCC_FLAGS", "CFLAGS", "CXXFLAGS", "CC", "CXX"),
)


def get_scatter(lab: Lab) -> None:
    """Put into .venv a torch-scatter that was made for the torch in it."""
    if not lab.scatter:
        raise LeftOut("SCATTER=no")
    pip = [lab.venv_python, "-m", "pip"]
    if (Path(lab.probe()["site"]) / "torch_scatter").exists():
        # It may be for an earlier torch, and pip would keep it, for its version is the same.
        lab.command("scatter", [*pip, "uninstall", "-y", "torch-scatter"])
    wheel = published(lab) or compiled(lab)
    lab.write("scatter", f"Installing {wheel}")
    lab.command("scatter", [*pip, "install", "--no-deps", "--no-cache-dir", "--progress-bar=off", wheel])


def depends(lab: Lab) -> str:
    """What the step's stamp is a hash of."""
    flags = [f"{name}={lab.environ.get(name, '')}" for name in BUILD_FLAGS]
    return digest(*lab.pins("torch-scatter"), *map(str, lab.torch()), *flags)


def version(lab: Lab) -> str:
    return lab.pins("torch-scatter")[0].partition("==")[2]


# --- published wheels -----------------------------------------------------------------------------


def published(lab: Lab) -> str | None:
    """The address of a published wheel for the installed torch; a missing or an empty page means none."""
    torch = lab.torch()
    if torch.release is None:
        return None
    url = f"{lab.pyg_pages}/torch-{torch.release[0]}.{torch.release[1]}.0+{torch.token}.html"
    page, why = read_page(url)
    wheel = matching_wheel(page or "", url, version(lab), torch, lab.probe()["tags"])
    if wheel is None:
        why = why or f"{url} lists none of {version(lab)} for this torch and Python"
        lab.write("scatter", f"No published wheel: {why}.")
    return wheel


def matching_wheel(page: str, url: str, version: str, torch: Torch, tags: Sequence[str]) -> str | None:
    """The best wheel on a page of data.pyg.org for this torch and these tags, as an address."""
    local = "{}+pt{}{}{}".format(version, *torch.release, torch.token) if torch.release else None
    rank = {tag: place for place, tag in enumerate(tags)}
    fits: list[tuple[int, str]] = []
    for href in re.findall(r"href\s*=\s*[\"']([^\"'#]+)", page, re.IGNORECASE):
        name = urllib.parse.unquote(href).rsplit("/", 1)[-1]
        parts = name[: -len(".whl")].split("-") if name.endswith(".whl") else []
        if len(parts) not in (5, 6) or parts[0].lower() != "torch_scatter":
            continue
        if parts[1] != local and not (parts[1] == version and parts[-1].startswith("macosx")):
            continue  # the wheels for macOS carry no local version
        expanded = map("-".join, itertools.product(*(part.split(".") for part in parts[-3:])))
        places = [rank[tag] for tag in expanded if tag in rank]
        if places:
            fits.append((min(places), urllib.parse.urljoin(url, href)))
    return min(fits)[1] if fits else None


# --- wheels compiled here -------------------------------------------------------------------------


def compiled(lab: Lab) -> str:
    """The wheel compiled for exactly this torch, Python and flags; compile it where there is none."""
    env = build_env(lab, lab.torch())
    kept = lab.wheels / wheel_key(lab, lab.torch(), env)
    wheel = next(kept.glob("*.whl"), None) or compile_wheel(lab, lab.torch(), env, kept)
    return str(wheel)


def wheel_key(lab: Lab, torch: Torch, env: dict[str, str]) -> str:
    """The name under which a compiled wheel is kept: everything that makes one build differ from another."""
    flags = digest(*(f"{name}={env.get(name, '')}" for name in BUILD_FLAGS))[:8]
    parts = [
        version(lab),
        f"torch{torch.version}",
        torch.token,
        lab.probe()["python"],
        lab.probe()["platform"],
    ]
    return "-".join([*parts, flags])


def build_env(lab: Lab, torch: Torch) -> dict[str, str]:
    """The environment in which the extension becomes the same kind of build as torch.

    An extension without CUDA under a torch with CUDA imports without a word and fails at its first use on the
    GPU: it is left out rather than built.
    """
    env = {k: v for k, v in lab.install_env().items() if k not in ("FORCE_CUDA", "FORCE_ONLY_CPU")}
    if torch.hip:
        raise LeftOut("this torch is a ROCm build, for which the lab has no recipe")
    if torch.cuda is None:
        env.pop("FORCE_ONLY_CUDA", None)
        return {**env, "FORCE_ONLY_CPU": "1"}
    home = cuda_home(lab, torch.cuda.partition(".")[0])
    if home is None:
        raise LeftOut(
            f"torch {torch.version} has CUDA {torch.cuda}, and no nvcc of that major version was found "
            "(CUDA_HOME, CUDA_PATH, PATH, /usr/local); a build without CUDA would fail on the GPU"
        )
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    seen = sorted(set(re.findall(r"^\d+\.\d+$", lab.runner.ask(query) or "", re.MULTILINE)))
    architectures = env.get("TORCH_CUDA_ARCH_LIST") or ";".join(seen)
    if not architectures:
        raise LeftOut("torch has CUDA and no GPU is visible: name one to compile for, TORCH_CUDA_ARCH_LIST=9.0")
    return {**env, "FORCE_CUDA": "1", "CUDA_HOME": home, "TORCH_CUDA_ARCH_LIST": architectures}


def cuda_home(lab: Lab, major: str) -> str | None:
    """The root of a CUDA toolkit whose nvcc has this major version."""
    found = [lab.environ.get("CUDA_HOME"), lab.environ.get("CUDA_PATH")]
    nvcc = lab.which("nvcc")
    found += [os.path.dirname(os.path.dirname(os.path.realpath(nvcc)))] if nvcc else []
    found += [str(lab.toolkits / "cuda"), *sorted(map(str, lab.toolkits.glob("cuda-*")), reverse=True)]
    for root in filter(None, found):
        said = lab.runner.ask([os.path.join(root, "bin", "nvcc"), "--version"])
        release = re.search(r"release (\d+)\.", said or "")
        if release and release[1] == major:
            return root
    return None


def check_toolchain(lab: Lab) -> None:
    """Without a compiler nothing is tried: the reason is plain, and a build's own message is not."""
    asked = shlex.split(lab.environ.get("CXX", ""))
    names = asked[:1] or ["c++", "g++", "clang++"]
    if not any(map(lab.which, names)):
        raise LeftOut(f"no C++ compiler was found ({', '.join(names)}). On Debian and Ubuntu: apt install g++")
    if not lab.probe()["headers"]:
        raise LeftOut("Python's header files are missing. On Debian and Ubuntu: apt install python3-dev")


def compile_wheel(lab: Lab, torch: Torch, env: dict[str, str], kept: Path) -> Path:
    """Compile the source against the installed torch; the wheel appears in `kept` complete or not at all."""
    check_toolchain(lab)
    kept.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="torch-scatter-"))
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=kept))

    def tick() -> None:
        if torch.cuda is None:
            lab.progress.note = objects_compiled(work)
        lab.progress.tick()

    try:
        env = {**env, "TMPDIR": str(work)}
        if torch.cuda is None:
            # Not with CUDA: torch's build_ext swaps the compiler for each .cu file, and threads mix them up.
            settings = work / "parallel.cfg"
            settings.write_text(f"[build_ext]\nparallel = {os.cpu_count() or 1}\n", encoding="utf-8")
            env["DIST_EXTRA_CONFIG"] = str(settings)
        argv = [
            lab.venv_python,
            "-m",
            "pip",
            "wheel",
            "--no-build-isolation",
            "--no-deps",
            "--progress-bar=off",
        ]
        # --no-cache-dir: pip's own cache would hand the wheel to any other torch.
        argv += ["--no-cache-dir", "--no-binary=torch-scatter", "-w", str(part), *lab.pins("torch-scatter")]
        lab.command("scatter", argv, env, tick)
        wheel = next(part.glob("*.whl"))
        return wheel.replace(kept / wheel.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(part, ignore_errors=True)


def objects_compiled(work: Path) -> str:
    """How far a CPU build is: object files written, of the C++ files that were unpacked."""
    sources = [*work.glob("*/*/csrc/*.cpp"), *work.glob("*/*/csrc/cpu/*.cpp")]
    objects = sum(1 for _ in work.rglob("*.o"))
    return f"{objects} of {len(sources)} files compiled" if sources else ""

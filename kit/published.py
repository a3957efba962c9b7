"""Builds that are published: which torch serves a GPU, which page lists a matching extension.

Everything here comes from the dated tables in ``kit/data`` and is only ever a proposal; what is
installed is judged by reading it.
"""

import re
from collections.abc import Iterator
from typing import Any, Optional

from kit import gpus
from kit.data import table
from kit.facts import Extension, Facts, normalise
from kit.findings import Cost, Fix

PYTORCH_INDEX = "https://download.pytorch.org/whl/"
PYG_PAGES = "https://data.pyg.org/whl/"
PYG = ("torch-scatter", "torch-sparse", "torch-cluster", "torch-spline-conv")
# Pages of patch releases that PyG links to those of X.Y.0 (pyg-lib, upload_final_index.py, 2026-07-22).
PYG_ALIASES = frozenset(
    "1.7.1 1.8.1 1.9.1 1.10.1 1.10.2 1.12.1 1.13.1 2.0.1 2.1.1 2.1.2 2.2.1 2.2.2 2.3.1 2.4.1 2.5.1 2.7.1 2.9.1 "
    "2.12.1".split()
)
# They have no GPU code, by design.
WITHOUT_GPU_CODE = frozenset(["torchtext", "torchdata"])
# Newest source releases on the package index, 2026-11-21; the wheels on PyG's pages carry the same versions.
PYG_VERSIONS = {
    "torch-scatter": "2.1.2",
    "torch-sparse": "0.6.18",
    "torch-cluster": "1.6.3",
    "torch-spline-conv": "1.2.2",
}
# torch-scatter on one core: 9 minutes for the CPU, 24 with code for three GPU architectures (measured).
BUILD_SECONDS, ARCHITECTURE_SECONDS = 540, 300
CPU_TORCH_MB = 192  # the CPU build's wheel
GPU_TORCH_MB = 2740  # torch 2.13.0 and what it requires, Linux x86_64: the sum of its wheels on the package index


def token(cuda: Optional[str]) -> str:
    """``'13.0'`` -> ``'cu130'``, None -> ``'cpu'``: the name of a build in index addresses."""
    return "cu" + cuda.replace(".", "") if cuda else "cpu"


def cuda_of(token: str) -> Optional[str]:
    """``'cu130'`` -> ``'13.0'``, ``'cpu'`` -> None."""
    return f"{token[2:-1]}.{token[-1]}" if token.startswith("cu") else None


def pip(facts: Facts, *arguments: str) -> tuple[str, ...]:
    """pip of the environment under test as an argument list."""
    return (facts.python.executable, "-m", "pip", *arguments)


def shim(facts: Facts, name: str, cover: bool = False) -> tuple[str, ...]:
    """The command that installs a replacement of the kit's into the environment under test."""
    return ("kit", "shim", "enable", name, "--python", facts.python.executable, *(["--cover"] if cover else []))


def replacement(package: str, facts: Facts) -> Optional[Fix]:
    """use-replacement: the kit's own torch_scatter, in place of what is installed; None for every other package,
    where torch or Python is too old for it, and where it is there already."""
    torch = facts.torch
    if normalise(package) != "torch-scatter" or torch is None or facts.replacement(package) is not None:
        return None
    if gpus.numbers(torch.version) < (2, 3) or gpus.numbers(facts.python.version) < (3, 9):
        return None
    cover = facts.distribution(package) is not None
    return Fix(
        "use-replacement",
        "Install the kit's torch_scatter, on torch's own operators: nothing to compile, no C++ interface; slower in "
        "small calls",
        shim(facts, "torch_scatter", cover),
        safety="changes-environment",
        cost=Cost(seconds=5, restart=cover),
    )


def python_minor(facts: Facts) -> str:
    return ".".join(re.findall(r"\d+", facts.python.version)[:2])


def platform(facts: Facts) -> str:
    """The platform as the table of wheels names it: ``linux_x86_64``, ``win_amd64``, ``macos``."""
    return "macos" if facts.host.system == "Darwin" else facts.python.platform


def pyg_row(
    package: str, torch_minor: str, cuda_token: str, python: Optional[str] = None, platform: Optional[str] = None
) -> Optional[dict[str, Any]]:
    """The table's row for wheels of ``package`` (with its ``version``), for a Python and a platform where they are
    given, or None."""
    name = package.replace("-", "_")
    for row in table("pyg_wheels")["pyg_lib" if name == "pyg_lib" else "pyg"]:
        same = row["torch"].rpartition(".")[0] == torch_minor and row["cuda"] == cuda_token
        fits = python in (None, *row["pythons"]) and platform in (None, *row["platforms"])
        if same and fits and name in row.get("packages", [name]):
            version = row["scatter"] if name == "torch_scatter" else row.get("version", PYG_VERSIONS.get(package))
            return {**row, "version": version}
    return None


def torch_row(version: str) -> Optional[dict[str, Any]]:
    """The table's row for a release of torch, such as ``'2.13.0'``; None where it knows none."""
    minor = ".".join(map(str, gpus.numbers(version)[:2]))
    row: Optional[dict[str, Any]] = next((r for r in table("torch_builds")["torch"] if r["minor"] == minor), None)
    return row


def choose_torch(facts: Facts, needs_pyg: Optional[bool] = None) -> Optional[tuple[str, str]]:
    """(version, token) of the published torch nearest to the installed one that has code for every GPU here,
    that the driver runs and that has wheels for this Python; None where the table knows none.

    ``needs_pyg`` keeps to releases for which torch-scatter and its siblings have wheels; by default where
    one of them is installed.
    """
    if needs_pyg is None:
        needs_pyg = _compiled_for_pyg(facts)
    return next(torch_choices(facts, "torch-scatter" if needs_pyg else None), None)


def _compiled_for_pyg(facts: Facts) -> bool:
    """Whether torch-scatter or a sibling is here, and not a replacement, which fits every torch."""
    return any(e.key in PYG and facts.replacement(e.key) is None for e in facts.extensions)


def torch_choices(facts: Facts, package: Optional[str] = None, cpu: bool = False) -> Iterator[tuple[str, str]]:
    """What :func:`choose_torch` chooses from, best first: with wheels of ``package`` where one is given; ``cpu``: the
    builds without CUDA."""
    here = gpus.numbers(facts.torch.minor) or None if facts.torch else None
    python = python_minor(facts)
    candidates: list[tuple[tuple[int, ...], str, str]] = []
    for row in table("torch_builds")["torch"]:
        if python not in row["pythons"]:
            continue
        for name in ["cpu"] if cpu else row["cuda"]:
            if not cpu and not serves(row["minor"], name, facts):
                continue
            if package and not pyg_row(package, row["minor"], name, python, platform(facts)):
                continue
            minor = gpus.numbers(row["minor"])
            # The same release first, then newer ones by distance, then older ones; of one release the build
            # that the package index serves, then the newest CUDA.
            distance = 0 if here is None else 50 * (minor[0] - here[0]) + minor[1] - here[1]
            order = (distance < 0, abs(distance)) if here is not None else (False, -minor[1])
            rank = (*map(int, order), int(name != row["default"]), 0 if cpu else -int(name[2:]))
            candidates.append((rank, row["newest"], name))
    return ((version, name) for _, version, name in sorted(candidates))


def serves(minor: str, name: str, facts: Facts) -> Optional[bool]:
    """Whether this build of torch (``'2.12'``, ``'cu130'``) has code for every GPU here and runs with this driver;
    None of a build that the table does not know."""
    if not _driver_runs(name, facts):
        return False
    row: dict[str, Any] = next((r for r in table("torch_builds")["torch"] if r["minor"] == minor), {"cuda": {}})
    return _serves_gpus(row["cuda"][name], facts) if name in row["cuda"] else None


def _serves_gpus(capabilities: list[str], facts: Facts) -> bool:
    built = ["sm_" + c.replace(".", "") for c in capabilities]
    here = [g.capability or gpus.capability_of(g.name) for g in facts.host.gpus]
    return all(gpus.served(built, c) for c in here if c)


def _driver_runs(name: str, facts: Facts) -> bool:
    driver = facts.host.driver
    return driver is None or gpus.driver_runs(driver.version, cuda_of(name) or "", facts.host.system) is not False


def torch_fix(facts: Facts, why: str, **choice: Any) -> Fix:
    """change-torch to the build that :func:`choose_torch` proposes."""
    chosen = choose_torch(facts, **choice)
    if chosen is None:
        return Fix("change-torch", f"{why}: no published build serves this GPU, driver and Python together")
    version, name = chosen
    if facts.torch and gpus.numbers(version)[:2] < gpus.numbers(facts.torch.minor) and _compiled_for_pyg(facts):
        why += ", the nearest for which torch-scatter has wheels"
    return torch_install(facts, why, version, name)


def torch_install(facts: Facts, why: str, version: str, name: str) -> Fix:
    """change-torch to one build, e.g. ``2.12.1`` and ``cu130``."""
    cuda = cuda_of(name)
    return Fix(
        "change-torch",
        f"{why}: torch {version} {f'for CUDA {cuda}' if cuda else 'for the CPU'}",
        pip(facts, "install", f"torch=={version}", "--index-url", PYTORCH_INDEX + name),
        safety="changes-environment",
        cost=Cost(download_mb=GPU_TORCH_MB if cuda else CPU_TORCH_MB, restart=True),
    )


def extension_fixes(extension: Extension, facts: Facts) -> list[Fix]:
    """What brings an extension in line with the torch that runs, best first; empty where the tables know nothing.

    Where no wheel fits this torch, the first one is, for torch-scatter, the kit's replacement, and the last one a
    torch for which there are wheels.
    """
    wheel, build = matching_wheel(extension, facts), rebuild(extension, facts)
    if wheel is None and facts.torch and any("==" in requirement for requirement in extension.requires_torch):
        # Each of its releases is for one torch, as with xformers: another release fits this one.
        why = f"Install the release of {extension.key} whose metadata requires torch {facts.torch.minor}"
        wheel = Fix("install-matching-wheel", why)
    fixes = [fix for fix in (wheel or replacement(extension.key, facts), build) if fix is not None]
    if wheel is None and extension.key in PYG and facts.torch and facts.torch.cuda and choose_torch(facts, True):
        fixes.append(torch_fix(facts, f"Move to a torch that has wheels of {extension.key}", needs_pyg=True))
    return fixes


def same_again(extension: Extension, facts: Facts) -> list[Fix]:
    """What brings back the files of an extension that fits its torch: the wheel, or the build that it came from."""
    if extension.built_from_source or matching_wheel(extension, facts) is not None:
        return extension_fixes(extension, facts)
    again = Fix("install-matching-wheel", f"Install {extension.key} {extension.version} again, past pip's cache")
    ours = replacement(extension.key, facts)
    return [again] if ours is None else [ours, again]


def matching_wheel(extension: Extension, facts: Facts) -> Optional[Fix]:
    """install-matching-wheel with page, pin and ``--only-binary``; None where no wheel is known to exist."""
    torch = facts.torch
    if torch is None or torch.hip or not torch.released:
        return None
    minor, cuda = gpus.numbers(torch.minor), token(torch.cuda)
    page: tuple[str, ...]
    if extension.key in PYG:
        row = pyg_row(extension.key, torch.minor, cuda, python_minor(facts), platform(facts))
        if row is None:
            return None
        local = "" if facts.host.system == "Darwin" else f"+pt{minor[0]}{minor[1]}{cuda}"
        pin = f"{extension.key}=={row['version']}{local}"
        page = ("--find-links", f"{PYG_PAGES}torch-{torch.minor}.0+{cuda}.html")
    elif extension.key in ("torchvision", "torchaudio") and minor[0] == 2:
        # torchvision 0.15 came with torch 2.0 and both have counted in step since.  torchaudio takes torch's
        # number up to 2.11, its last release (package index, 2026-11-21), which loads with later torch: it
        # uses torch's stable ABI.
        number = f"0.{minor[1] + 15}" if extension.key == "torchvision" else f"2.{min(minor[1], 11)}"
        pin = f"{extension.key}=={number}.*"
        page = ("--index-url", PYTORCH_INDEX + cuda)
    else:
        return None
    # Where the version is the same and the build another, pip would find nothing to do.
    wanted = pin.partition("==")[2]
    same = extension.version == wanted or (wanted[-1] == "*" and extension.version.startswith(wanted[:-1]))
    again = ("--force-reinstall",) if same else ()
    argv = pip(facts, "install", *again, "--no-deps", "--no-cache-dir", "--only-binary=:all:", pin, *page)
    return Fix(
        "install-matching-wheel",
        f"Install the {extension.key} that fits torch {torch.minor}, {torch.build}",
        argv,
        safety="changes-environment",
        cost=Cost(restart=True),
    )


def rebuild(extension: Extension, facts: Facts) -> Optional[Fix]:
    """rebuild-extension against the torch that runs: no isolation, no cache, CUDA forced where torch has it."""
    torch = facts.torch
    if torch is None or extension.key in ("torchvision", "torchaudio"):
        return None
    name, env, why = extension.key, {}, f"Compile {extension.key} against torch {torch.minor}"
    seconds = BUILD_SECONDS
    if torch.cuda and name not in WITHOUT_GPU_CODE:
        listed = sorted({g.capability or gpus.capability_of(g.name) or "" for g in facts.host.gpus} - {""})
        env = {"FORCE_CUDA": "1", "TORCH_CUDA_ARCH_LIST": ";".join(listed) or "8.9;9.0;12.0"}
        major = torch.cuda.partition(".")[0]
        nvcc = next((t for t in facts.host.toolkits if t.version.partition(".")[0] == major), None)
        found = f"found: {nvcc.version}" if nvcc else f"not found: install a CUDA {torch.cuda} toolkit first"
        why += f" for your GPU, needs nvcc {major}.x ({found})"
        seconds += ARCHITECTURE_SECONDS * (len(listed) or 3)
    if name not in PYG and name != "flash-attn":
        return Fix("rebuild-extension", why, env=env, cost=Cost(restart=True))  # no source on the package index
    pin = f"{name}=={PYG_VERSIONS.get(name) or extension.version.partition('+')[0]}"
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--force-reinstall", f"--no-binary={name}"]
    cost = Cost(seconds=seconds if name == "torch-scatter" else None, restart=True)
    return Fix("rebuild-extension", why, pip(facts, "install", *options, pin), env, "changes-environment", cost)

"""The torch-scatter step: a published wheel, one compiled before, or the kit's own; or compiled, where asked for."""

from __future__ import annotations

import itertools
import re
import tempfile
import urllib.parse
import zipfile
from collections.abc import Sequence
from pathlib import Path

from kit import build
from kit.build import Moment, toolchain
from kit.build.nvcc import CannotBuild
from kit.lab.place import Lab, LeftOut, StepFailed, Torch, digest, read_page

COMPILED, REPLACED = "compiled", "the kit's own"
USUAL = 280  # seconds to compile it, on two cores


def get_scatter(lab: Lab) -> str:
    """Put into .venv a torch_scatter that works with the torch in it.  What there is to say about it."""
    if lab.scatter == "no":
        raise LeftOut("SCATTER=no")
    wheel = published(lab)
    if wheel is None:
        wheel = compiled(lab) if lab.scatter == COMPILED else kept(lab)
    if wheel is not None:
        install(lab, [wheel], build.flags(lab.environ))
        return ""
    replace(lab)
    return f"no wheel was found for torch {lab.torch().version}: the kit's own is there, make scatter compiles it"


def install(lab: Lab, wheel: Sequence[str], flags: Sequence[str]) -> None:
    """Install a wheel in place of what is there: that may be for an earlier torch, of the same version."""
    pip = [lab.venv_python, "-m", "pip"]
    if (Path(lab.probe()["site"]) / "torch_scatter").exists():
        lab.command("scatter", [*pip, "uninstall", "-y", "torch-scatter"])
    lab.write("scatter", f"Installing {wheel[-1]}")
    lab.command("scatter", [*pip, "install", "--no-deps", "--no-cache-dir", "--progress-bar=off", *wheel])
    _built_with(lab).parent.mkdir(exist_ok=True)
    _built_with(lab).write_text("\0".join(flags), encoding="utf-8")


def replace(lab: Lab) -> None:
    """Install the kit's own torch_scatter, on torch's operators."""
    from kit.shims import find  # with much of the kit
    from kit.shims.installed import wheel

    shim = find("torch_scatter")
    with tempfile.TemporaryDirectory() as folder:
        wheel(Path(folder), shim.name, shim.package)
        install(lab, ["--no-index", "--find-links", folder, f"{shim.package}=={shim.version}"], ())


def depends(lab: Lab) -> str:
    """What the step's stamp is a hash of.  Who asks for a compiled one cares with which flags, and is not served by
    the kit's own; anybody else takes what is there."""
    there = REPLACED if any(Path(lab.probe()["site"]).glob("torch_scatter-*+kit.dist-info")) else COMPILED
    if lab.scatter == COMPILED:
        parts = [COMPILED, "\0".join(build.flags(lab.environ))]
    elif there == REPLACED:
        parts = [REPLACED, *_own()]
    else:
        parts = [COMPILED, _built_with(lab).read_text("utf-8")]
    return digest(*lab.pins("torch-scatter"), *map(str, lab.torch()), *parts)


def _own() -> list[str]:
    """The files of the kit's own: a copy of them is installed."""
    root = Path(__file__).resolve().parents[1] / "shims" / "torch_scatter"
    return [path.read_text("utf-8") for path in sorted(root.rglob("*.py"))]


def _built_with(lab: Lab) -> Path:
    """Where the flags are written down, of what is installed."""
    return lab.venv / "stamps" / "scatter.flags"


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


def kept(lab: Lab) -> str | None:
    """The wheel that was compiled before for exactly this torch, Python and flags."""
    env = lab.install_env()
    try:
        to = toolchain.target(lab.venv_python, env)
        name = build.key("torch-scatter", version(lab), to, toolchain.toolchain("torch-scatter", to, env))
    except CannotBuild:
        return None
    return next((str(file) for file in (lab.wheels / name).glob("*.whl") if zipfile.is_zipfile(file)), None)


def compiled(lab: Lab) -> str:
    """The wheel compiled for exactly this torch, Python and flags; compile it where there is none.  Where that cannot
    be done the kit's own is put in."""
    lab.progress.usual = USUAL

    def tell(moment: Moment) -> None:
        lab.progress.usual = int(moment.usual or lab.progress.usual)
        lab.progress.note = "" if moment.total is None else f"{moment.done} of {moment.total} files compiled"
        lab.progress.tick()

    try:
        made = build.build(
            "torch-scatter",
            version(lab),
            lab.venv_python,
            str(lab.wheels),
            env=lab.install_env(),
            progress=tell,
            log=str(lab.log("scatter")),
        )
    except CannotBuild as reason:
        replace(lab)
        raise LeftOut(f"{reason}; the kit's own is there instead") from None
    except build.BuildFailed as error:
        raise StepFailed(str(error)) from None
    return made.path

"""The torch-scatter step: a published wheel, else one compiled before, else compile; never pip's cache."""

from __future__ import annotations

import itertools
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from kit import build
from kit.build import Moment
from kit.build.nvcc import CannotBuild
from kit.lab.place import Lab, LeftOut, StepFailed, Torch, digest, read_page


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
    return digest(*lab.pins("torch-scatter"), *map(str, lab.torch()), *build.flags(lab.environ))


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
        raise LeftOut(str(reason)) from None
    except build.BuildFailed as error:
        raise StepFailed(str(error)) from None
    return made.path

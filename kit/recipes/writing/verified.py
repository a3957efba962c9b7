"""Wishes from the facts of an environment that works: its exact packages, all of them."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Optional

from kit import published, redact
from kit.errors import KitError
from kit.facts import Distribution, Facts, compute_capability
from kit.recipes.writing.wish import Pin, Wishes, choose, extension
from kit.symbols import printable

_LEFT_OUT = ("pip", "jupyter-troubleshooting-kit")  # the venv brings the one, --project the other

# Published as source that imports torch: in an isolated build there is none.
_COMPILED = ("flash-attn", "causal-conv1d", "mamba-ssm", "apex")


def of_facts(
    facts: Facts,
    *,
    gpu: Sequence[str] = (),
    python: Optional[str] = None,
    project: Optional[str] = None,
    constraints: Optional[str] = None,
    options: tuple[str, ...] = (),
) -> Wishes:
    """What makes the environment of ``facts`` anew.  KitError where it is broken, or holds what no index has."""
    torch = facts.torch
    if torch is None:
        raise KitError(f"{facts.about.name}: no torch is installed there; name one instead: --torch 2.13.0")
    if not torch.released:
        own = "a ROCm build" if torch.hip else "no release"
        raise KitError(
            f"torch {torch.version} is {own}: this writes recipes for published builds for CUDA and the CPU"
        )
    if torch.hip:
        raise KitError(f"torch {torch.version} is built for ROCm: this writes recipes for CUDA and the CPU")
    _healthy(facts)
    minor_of = published.python_minor(facts)
    if python is not None and python != minor_of:
        raise KitError(
            f"these are the packages of Python {minor_of}: another one (--image-python {python}) has others"
        )
    seen = tuple(g.capability for g in facts.host.gpus if g.capability) if torch.cuda else ()
    named = tuple(compute_capability(one) for one in gpu) or tuple(dict.fromkeys(seen))
    release = torch.version.partition("+")[0]
    version, token, named, minor_of = choose(release, published.token(torch.cuda), named, minor_of)
    place = (torch.minor, token, minor_of)
    platform = published.platform(facts)
    pins, notes, shims = [Pin("torch", f"{version}+{token}", "torch")], [], []
    for dist in sorted(facts.distributions, key=lambda dist: dist.key):
        if dist.leftover or dist.key in ("torch", *_LEFT_OUT) or facts.distribution(dist.key) is not dist:
            continue
        replaced = dist.key[len("kit-graft-") :] if dist.key.startswith("kit-graft-") else dist.key
        if replaced != dist.key or dist.version.endswith("+kit"):
            shims.append("apex.amp" if replaced == "apex" else replaced.replace("-", "_"))
            continue
        pin, note = _pin(dist, place, platform)
        pins += [pin] if pin else []
        notes += [note] if note else []
    if facts.python.conda:
        notes.append("conda made this environment: of these versions the package index may lack some")
    if shims and project is None:
        notes.append(f"left out: the kit's own {', '.join(shims)}; with --project it is put in by kit shim enable")
    return Wishes(
        python=minor_of,
        torch=version,
        token=token,
        pins=tuple(pins),
        gpus=named,
        complete=True,
        replacements=tuple(dict.fromkeys(shims)) if project is not None else (),
        project=project,
        constraints=constraints,
        options=options,
        notes=tuple(notes),
        system=facts.host.system,
    )


def _healthy(facts: Facts) -> None:
    """KitError where the doctor finds an error: a recipe would only make it again."""
    from kit.diagnose import diagnose

    for finding in diagnose(facts):
        if finding.severity == "error":
            raise KitError(
                f"{facts.about.name} is broken ({finding.failure}: {finding.title}): mend it first, kit repair"
            )


def _pin(dist: Distribution, place: tuple[str, str, str], platform: str) -> "tuple[Optional[Pin], str]":
    """The pin of an installed distribution, or None and why it is left out."""
    token = place[1]
    name, plain = dist.key, dist.version.partition("+")[0]
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) or not re.fullmatch(r"\d[\w.!+]*", dist.version):
        # It comes to stand in a command, and facts may be another person's.
        return None, f"left out: {printable(f'{dist.name} {dist.version}')!r}, which is no name and version"
    if name in published.PYG or name == "pyg-lib":
        return extension(name, dist.version, place, platform), ""
    if name in ("torchvision", "torchaudio"):
        return Pin(name, f"{plain}+{token}", "torch"), ""
    if name in _COMPILED:
        return None, f"left out: {name} {dist.version}, which is compiled against torch in a way of its own"
    address = redact.text(dist.direct_url or "")
    if dist.editable or address.startswith("file:"):
        where = "in the folder where it is worked on" if dist.editable else "from a file"
        return None, f"left out: {name} {dist.version}, which was installed {where}: no index has it"
    if re.fullmatch(r"https?://[\w./%+~:@=*-]+\.(whl|tar\.gz|zip)", address):
        return Pin(name, dist.version, "address", address, dist.requested), ""
    if address:
        return None, f"left out: {name} {dist.version} from {address}: the facts hold no commit of it"
    pin = Pin(name, dist.version, named=dist.requested)
    other = (
        f"{name} {dist.version} has a local version, which the package index has not" if "+" in dist.version else ""
    )
    return pin, other


def as_installed(wishes: Wishes, facts: Facts) -> Wishes:
    """The same with torch from where it came: the package index serves one build of each release, and calls it by the
    plain version."""
    torch, row = facts.torch, published.torch_row(wishes.torch)
    plain = torch is not None and torch.metadata_version == wishes.torch
    default = row is not None and row["default"] == wishes.token
    if not plain or (wishes.system == "Linux" and not default):
        return wishes
    pins = tuple(Pin("torch", wishes.torch) if pin.name == "torch" else pin for pin in wishes.pins)
    return dataclasses.replace(wishes, pins=pins)

"""The steps that make an environment, in their order: what is run, and why, for whichever file they stand in.

A Dockerfile has each step in a RUN of its own, an Apptainer definition all of them in %post.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Optional

from kit.recipes.writing.images import Images
from kit.recipes.writing.wish import KERNELS, NEEDS, Pin, Wishes
from kit.record import Record

VENV, PROJECT = "/opt/venv", "/opt/project"
# Newest at the time that still have what torch's build of extensions imports (pkg_resources up to torch 2.2).
_SETUPTOOLS = {True: "69.5.1", False: "80.9.0"}
_WHEEL = "0.45.1"


class Step(Record):
    """``why`` are lines of comment; ``run`` are commands, each of which ends the build where it fails.

    ``copies`` is what has to be copied into the image before, ``cached`` whether pip's cache serves it."""

    why: tuple[str, ...]
    run: tuple[str, ...]
    copies: "tuple[tuple[str, str], ...]" = ()
    cached: bool = False


def site(wishes: Wishes) -> str:
    return f"{VENV}/lib/python{wishes.python}/site-packages"


def setting_up(wishes: Wishes, images: Images) -> Iterator[Step]:
    """From the empty image to everything installed."""
    toolkit = "/usr/local/cuda/bin:" if images.cuda else ""
    yield Step(
        ("One environment, first on PATH: python and pip are this venv's for every shell, notebook and terminal.",),
        (f"python{wishes.python} -m venv {VENV}",),
    )
    options = f"-c {os.path.basename(wishes.constraints)} " if wishes.constraints else ""
    tools = _tools(wishes)
    if tools:
        copies = ((wishes.constraints, "./"),) if wishes.constraints else ()
        why = "What builds packages, for the steps below that build without isolation."
        yield Step((why,), (f"pip install {options}{tools}",), copies, cached=True)
    elif wishes.constraints:
        copies = ((wishes.constraints, "./"),)
        yield Step(("pip itself as the constraints have it.",), (f"pip install {options}pip",), copies, cached=True)
    yield from _packages(wishes, options)
    yield from _extensions(wishes, options)
    if wishes.project is not None:
        extras = f"[{wishes.project}]" if wishes.project else ""
        why = "The folder that the image is built from; .dockerignore keeps out what does not belong into it."
        run = f'pip install {options}--no-build-isolation -e ".{extras}"'
        yield Step((why,), (run,), ((".", "./"),), cached=True)
    for name in wishes.replacements:
        why = f"The kit's own {name.partition('.')[0]}, on torch's operators: nothing to compile."
        yield Step((why,), (f"python -m kit shim enable {name}",))
    path = f"{VENV}/bin:{toolkit}$PATH"
    yield Step(
        ("Login shells too, as JupyterLab's terminals are: for them /etc/profile sets PATH anew, without the venv.",),
        (
            f"echo 'PATH={path}' > /etc/profile.d/venv.sh",
            f"""test "$(bash -lc 'command -v python')" = {VENV}/bin/python""",
        ),
    )


def _tools(wishes: Wishes) -> str:
    """What has to be there to build without isolation, where anything is."""
    if not wishes.compiled and wishes.project is None:
        return ""
    if wishes.constraints:
        return "pip setuptools wheel packaging"
    if wishes.complete and any(pin.name == "setuptools" for pin in wishes.pins):
        return ""
    old = tuple(map(int, wishes.minor.split("."))) <= (2, 2)
    return f"setuptools=={_SETUPTOOLS[old]} wheel=={_WHEEL}"


def _packages(wishes: Wishes, options: str) -> Iterator[Step]:
    first = wishes.of("torch")
    rest = wishes.of("index", "address")
    why = f"torch from its own index: +{wishes.token} is in no other."
    if wishes.compiled:
        why = f"torch first, to compile {_names(wishes.compiled)} against; +{wishes.token} is in its own index alone."
    if wishes.complete:
        why += " These are all packages of an environment that works, so nothing else is resolved: --no-deps."
        options += "--no-deps "
    specs = [pin.spec for pin in (*first, *rest)]
    yield Step((why,), (_install(f"{options}--extra-index-url ${{TORCH_INDEX_URL}}", specs),), cached=True)
    wheels = wishes.of("pyg")
    if wheels:
        why = (
            f"Wheels for torch {wishes.minor}.x, {wishes.token} alone, from their page; --only-binary, or pip would "
        )
        why += "rather take a newer source from the package index, and compile it."
        plain = "--no-deps " if wishes.complete or not any(pin.name in NEEDS for pin in wheels) else ""
        names = ",".join(pin.name for pin in wheels)
        places = f"{plain}--only-binary={names} --find-links ${{PYG_PAGE}}"
        yield Step((why,), (_install(options.replace("--no-deps ", "") + places, [p.spec for p in wheels]),))


def _extensions(wishes: Wishes, options: str) -> Iterator[Step]:
    """Each from its source, then the proof that it is what was wanted."""
    for pin in wishes.compiled:
        run = f"pip install {options}--no-build-isolation --no-deps --no-cache-dir --no-binary={pin.name} {pin.spec}"
        why = f"From source, against this torch (no wheel of {pin.name} is published for it), past every cache."
        yield Step((why,), (run,))
        if wishes.cuda is None:
            continue
        cuobjdump, there = _cuobjdump(wishes), f"test -f {_kernels(pin, wishes)}"
        if cuobjdump is None:
            yield Step(("Is there really CUDA code? An import does not tell.",), (there,))
            continue
        why = "Is there really CUDA code, and for each GPU? An import does not tell. cuobjdump is triton's."
        wanted = [f"grep -F .sm_{gpu.replace('.', '')}. /tmp/elf" for gpu in wishes.architectures]
        dump = f"{cuobjdump} --list-elf \\\n        {_kernels(pin, wishes)} > /tmp/elf"
        yield Step((why,), (there, dump, *wanted, "rm /tmp/elf"))


def _kernels(pin: Pin, wishes: Wishes) -> str:
    return f"{site(wishes)}/{pin.module}/{KERNELS[pin.name]}_cuda.so"


def _cuobjdump(wishes: Wishes) -> Optional[str]:
    """Where triton keeps it: since 3.0 (torch 2.4) with its back ends; before 2.1 it had none."""
    minor = tuple(map(int, wishes.minor.split(".")))
    place = "backends/nvidia" if minor >= (2, 4) else "third_party/cuda" if minor >= (2, 1) else None
    return f"{site(wishes)}/triton/{place}/bin/cuobjdump" if place else None


def proving(wishes: Wishes) -> Iterator[Step]:
    """What ends the build where the environment does not work; no GPU is needed."""
    if wishes.project is None:
        code = self_check(wishes)
        yield Step(("Proof: torch is this build, real operators give right values. No GPU is needed.",), code)
        return
    why: tuple[str, ...] = ("Proof, without a GPU: each of these ends the build with a finding's exit status.",)
    for gpu in wishes.served if wishes.cuda else ():
        yield Step(why, (f"python -m kit doctor --gpu {gpu}",))
        why = ()
    yield Step(why, ("python -m kit verify",))


def self_check(wishes: Wishes) -> tuple[str, ...]:
    """Commands that fail where torch or an extension does not work; quoted with double quotes, for any shell."""
    version = f"{wishes.torch}+{wishes.token}"
    cuda = f"'{wishes.cuda}'" if wishes.cuda else "None"
    checks = [
        f"import torch; found = torch.__version__, torch.version.cuda; assert found == ('{version}', {cuda}), found",
        "import torch; sums = torch.arange(6.).reshape(2, 3).sum(1).tolist(); assert sums == [3.0, 12.0], sums",
    ]
    for pin in wishes.of("pyg", "compiled"):
        if pin.name == "torch-scatter":
            checks.append(
                "import torch, torch_scatter; got = torch_scatter.scatter_max(torch.tensor([1., 3., 2.]), "
                "torch.tensor([0, 0, 1])); assert [t.tolist() for t in got] == [[3.0, 2.0], [1, 2]], got"
            )
        else:
            checks.append(f"import torch, {pin.module}")
    checks += [f"import torch, {pin.module}" for pin in wishes.of("torch")[1:]]
    return tuple(f'python -c "{check}"' for check in checks)


def _install(options: str, specs: Sequence[str]) -> str:
    """One pip command, one requirement on a line where there are many."""
    quoted = [f'"{spec}"' if " " in spec else spec for spec in specs]
    many = len(quoted) > 4
    return f"pip install {options}" + "".join((" \\\n    " if many else " ") + spec for spec in quoted)


def _names(pins: Sequence[Pin]) -> str:
    return " and ".join(pin.name for pin in pins)

"""An Apptainer definition file from wishes: the steps of the Dockerfile, in %post.

By Apptainer's grammar of 1.2 and newer: a header for each stage, Bootstrap first; ``%arguments`` of a stage fill in
``{{ NAME }}`` in that stage alone, in no comment; %post runs in /bin/sh, and %environment is not set there.
"""

from collections.abc import Iterable, Iterator

from kit.recipes.writing.dockerfile import arguments, comment
from kit.recipes.writing.images import images
from kit.recipes.writing.steps import PROJECT, VENV, proving, self_check, setting_up
from kit.recipes.writing.wish import Wishes


def apptainer(wishes: Wishes, head: tuple[str, ...]) -> str:
    """The text; ``head`` are the lines of comment that it begins with."""
    chosen = images(wishes)
    given = arguments(wishes, chosen)
    blocks = [comment(*head).rstrip("\n")]
    if chosen.cuda:
        why = f"The toolkit's folder alone is taken from it; its CUDA is torch's ({wishes.token})."
        blocks.append(_header("CUDA_IMAGE", "cuda", why))
        blocks.append(_section("arguments", [f"CUDA_IMAGE={given['CUDA_IMAGE']}"]))
    blocks.append(_header("PYTHON_IMAGE", "final" if chosen.cuda else "", chosen.why))
    blocks.append(_section("arguments", [f"{name}={value}" for name, value in given.items() if name != "CUDA_IMAGE"]))
    if chosen.cuda:
        blocks.append(_section("files from cuda", [f"{chosen.toolkit} {chosen.toolkit}"]))
    steps = [*setting_up(wishes, chosen), *proving(wishes)]
    copies = dict.fromkeys(copy for step in steps for copy in step.copies)
    if copies:
        blocks.append(
            _section("files", [f"{source} {PROJECT}/{target[2:]}".rstrip("/") for source, target in copies])
        )
    blocks.append(_section("post", _post(wishes, chosen.toolkit if chosen.cuda else "")))
    path = f"{VENV}/bin:" + ("/usr/local/cuda/bin:" if chosen.cuda else "") + "$PATH"
    blocks.append(_section("environment", [f"export VIRTUAL_ENV={VENV}", f"export PATH={path}"]))
    blocks.append(_section("runscript", ['exec python "$@"']))
    test = ["python -m kit verify"] if wishes.project is not None else list(self_check(wishes))
    blocks.append(_section("test", ["set -e", f"export PATH={path}", *test]))
    blocks.append(_section("labels", [f"torch {wishes.torch}+{wishes.token}", f"python {wishes.python}"]))
    gpu = "With an NVIDIA GPU: apptainer exec --nv IMAGE python ..." if wishes.cuda else "It needs no GPU."
    named = ", ".join(pin.spec for pin in wishes.pins if pin.named)[:400]
    blocks.append(_section("help", [f"Python {wishes.python} with {named}.", gpu]))
    return "\n\n".join(blocks) + "\n"


def _post(wishes: Wishes, toolkit: str) -> Iterator[str]:
    yield "set -e"
    if wishes.project is not None or wishes.constraints:
        yield f"cd {PROJECT}"
    yield "# From here on the addresses are arguments: apptainer build --build-arg NAME=VALUE"
    chosen = images(wishes)
    for name in arguments(wishes, chosen):
        if not name.endswith("_IMAGE"):
            yield f"export {name}={{{{ {name} }}}}"
    yield f"export VIRTUAL_ENV={VENV} PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1"
    yield f"export PATH={VENV}/bin:" + ("/usr/local/cuda/bin:" if toolkit else "") + "$PATH"
    if toolkit:
        yield f"ln -s {toolkit} /usr/local/cuda"
        yield "# Without these an extension looks for a GPU, finds none, and is built for the CPU without a word."
        yield f"export CUDA_HOME={toolkit} FORCE_CUDA=1"
        yield f'export TORCH_CUDA_ARCH_LIST="{";".join(wishes.architectures)}"'
    for step in (*setting_up(wishes, chosen), *proving(wishes)):
        yield ""
        yield from comment(*step.why).splitlines()
        yield from step.run


def _header(image: str, stage: str, why: str) -> str:
    """The header of a stage.  Its comment stands below Bootstrap: above, it would belong to the stage before."""
    lines = ["Bootstrap: docker", f"From: {{{{ {image} }}}}", *([f"Stage: {stage}"] if stage else [])]
    return "\n".join([*lines, comment(why).rstrip("\n")])


def _section(name: str, lines: Iterable[str]) -> str:
    body = "\n".join(f"    {line}" if line else "" for text in lines for line in text.split("\n"))
    return f"%{name}\n{body}"

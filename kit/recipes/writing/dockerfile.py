"""A Dockerfile from wishes: pinned, each step with its reason, ending in a proof."""

import textwrap
from collections.abc import Iterator

from kit import gpus
from kit.recipes.writing.images import Images, images
from kit.recipes.writing.steps import PROJECT, VENV, Step, proving, setting_up
from kit.recipes.writing.wish import PYPI, Wishes

WRITTEN = "Written by: "
WIDTH = 116
_ALLOC_CONF = (2, 10)  # torch that reads PYTORCH_ALLOC_CONF, for sure; before it was PYTORCH_CUDA_ALLOC_CONF
_CACHE = "--mount=type=cache,target=/root/.cache/pip"


def dockerfile(wishes: Wishes, head: tuple[str, ...], jupyter: bool = False) -> str:
    """The text.  ``head`` are the lines of comment that it begins with; ``jupyter``: it starts JupyterLab."""
    chosen = images(wishes)
    blocks = [*_begin(wishes, chosen, head), *_settings(wishes, chosen)]
    steps = [*setting_up(wishes, chosen), *proving(wishes)]
    blocks += [_run(steps[0]), _path(chosen)]
    blocks += [f"WORKDIR {PROJECT}" if wishes.project is not None or wishes.constraints else "WORKDIR /work"]
    for step in steps[1:]:
        blocks.append(_run(step))
    start = '["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--allow-root"]' if jupyter else '["python"]'
    if jupyter:
        blocks.append("# JupyterLab's terminals are bash.\nENV SHELL=/bin/bash\nEXPOSE 8888")
    blocks.append(f"CMD {start}")
    return _joined(blocks)


def arguments(wishes: Wishes, chosen: Images) -> dict[str, str]:
    """The build arguments and their defaults: everything that lies at an address."""
    found = {"PYTHON_IMAGE": chosen.python}
    found.update({"CUDA_IMAGE": chosen.cuda} if chosen.cuda else {})
    found.update({"PIP_INDEX_URL": PYPI, "TORCH_INDEX_URL": wishes.torch_index})
    found.update({"PYG_PAGE": wishes.pyg_page} if wishes.of("pyg") else {})
    return found


def comment(*paragraphs: str) -> str:
    """Lines of comment.  A paragraph is wrapped; one that begins with spaces, or with who wrote it, is a command."""
    text = ""
    for paragraph in paragraphs:
        kept = paragraph.startswith((" ", WRITTEN))
        lines = (
            [paragraph] if kept else textwrap.wrap(paragraph, WIDTH, break_on_hyphens=False, break_long_words=False)
        )
        text += "".join(f"# {line}\n" for line in lines)
    return text


def _begin(wishes: Wishes, chosen: Images, head: tuple[str, ...]) -> Iterator[str]:
    given = arguments(wishes, chosen)
    bases = [name for name in ("PYTHON_IMAGE", "CUDA_IMAGE") if name in given]
    yield comment(*head) + "\n".join(f"ARG {name}={given[name]}" for name in bases)
    if chosen.cuda:
        why = f"The toolkit's folder is self-contained; its CUDA has to be that of torch ({wishes.token})."
        yield f"{comment(why)}FROM ${{CUDA_IMAGE}} AS cuda"
    rest = "\n".join(f"ARG {name}={value}" for name, value in given.items() if name not in bases)
    yield f"{comment(chosen.why)}FROM ${{PYTHON_IMAGE}}\n{rest}"


def _settings(wishes: Wishes, chosen: Images) -> Iterator[str]:
    if chosen.cuda:
        yield f"COPY --from=cuda {chosen.toolkit} {chosen.toolkit}\nRUN ln -s {chosen.toolkit} /usr/local/cuda"
        listed = ", ".join(wishes.architectures)
        why = f"""Compiled for compute capability {listed}. Without this list and FORCE_CUDA an extension looks for
            a GPU, finds none in an image build, and is built for the CPU without a word. They are set by ENV: in
            `FORCE_CUDA=1 && pip` the variable would not reach pip."""
        yield (
            comment(" ".join(why.split()))
            + "ENV CUDA_HOME=/usr/local/cuda \\\n    FORCE_CUDA=1 \\\n"
            + f'    TORCH_CUDA_ARCH_LIST="{";".join(wishes.architectures)}"'
        )
    if wishes.cuda:
        why = "With the NVIDIA container runtime: all GPUs, and the two capabilities without which torch finds none."
        yield f"{comment(why)}ENV NVIDIA_VISIBLE_DEVICES=all \\\n    NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    if wishes.cuda and gpus.numbers(wishes.minor) >= _ALLOC_CONF:
        why = "Freed GPU memory serves other sizes too. CUDA_LAUNCH_BLOCKING is left alone: 1 is for one run."
        yield f"{comment(why)}ENV PYTORCH_ALLOC_CONF=expandable_segments:True"


def _path(chosen: Images) -> str:
    toolkit = "/usr/local/cuda/bin:" if chosen.cuda else ""
    return f"ENV VIRTUAL_ENV={VENV} \\\n    PATH={VENV}/bin:{toolkit}$PATH \\\n    PIP_DISABLE_PIP_VERSION_CHECK=1"


def _run(step: Step) -> str:
    copied = "".join(f"COPY {source} {target}\n" for source, target in step.copies)
    joined = " \\\n    && ".join(_broken(command) for command in step.run)
    start = f"RUN {_CACHE} \\\n    " if step.cached else "RUN "
    return f"{comment(*step.why)}{copied}{start}{joined}"


def _broken(command: str) -> str:
    """A long pip command in two lines: its options, and what it installs."""
    if len(command) <= WIDTH - 4 or not command.startswith("pip install ") or "\n" in command:
        return command
    options, _, spec = command.rpartition(" ")
    return f"{options} \\\n        {spec}"


def _joined(blocks: "list[str]") -> str:
    """Blocks with an empty line between them; a RUN without a comment stands under the one before."""
    text = blocks[0]
    for block in blocks[1:]:
        text += ("\n" if block.startswith("RUN python -m kit") else "\n\n") + block
    return text + "\n"

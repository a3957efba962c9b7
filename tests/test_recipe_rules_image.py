"""Rules on images, Pythons, channels and containers: what they must find, and above all where they must be silent."""

import textwrap

import pytest

from kit.recipes.edits import put
from kit.recipes.reading import read
from kit.recipes.rules import Wish, rules
from kit.recipes.rules._builds import builds, toolkit_at
from kit.recipes.rules._image import image
from kit.recipes.rules._python import path_at, python_at

RULES = {rule.id: rule for rule in rules()}
TORCH = "RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128\n"
UBUNTU = "FROM nvidia/cuda:12.8.1-devel-ubuntu22.04\nRUN apt-get update && apt-get install -y python3-pip git g++\n"
SLIM = "FROM python:3.12-slim\n"


def recipe(text, file="Dockerfile"):
    found = read(file, text=textwrap.dedent(text))
    assert not found.unread
    return found


def found(rule, text, file="Dockerfile"):
    one = recipe(text, file)
    return [(one.line(p.span.start), p) for p in RULES[rule].check(one, Wish())]


def lines(rule, text, file="Dockerfile"):
    return [line for line, _ in found(rule, text, file)]


def mended(rule, text, file="Dockerfile"):
    text = textwrap.dedent(text)
    for _, problem in found(rule, text, file):
        return put(text, problem.edits)
    raise AssertionError("nothing was found")


@pytest.mark.parametrize(
    "name, what",
    [
        (
            "nvidia/cuda:12.8.0-runtime-ubuntu22.04",
            {"cuda": "12.8", "nvcc": False, "compiler": False, "glibc": "2.35", "system_python": "3.10"},
        ),
        ("nvcr.io/nvidia/cuda:11.8.0-cudnn8-devel-ubuntu20.04", {"cuda": "11.8", "nvcc": True, "glibc": "2.31"}),
        ("docker.io/nvidia/cuda:12.9.1-base-ubi9", {"flavour": "base", "nvcc": False, "glibc": "2.34"}),
        ("nvidia/cuda:11.3.1-devel-centos7", {"cuda": "11.3", "glibc": "2.17"}),
        ("pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime", {"cuda": "12.8", "nvcc": False, "system": None}),
        ("pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel", {"nvcc": True, "compiler": True}),
        ("python:3.13-slim", {"python": "3.13", "compiler": False, "nvcc": False, "managed": False}),
        ("python:3.11.9-bullseye", {"python": "3.11", "compiler": True, "glibc": "2.31"}),
        ("python:3.12-slim-bookworm", {"python": "3.12", "compiler": False, "glibc": "2.36"}),
        ("python:3.12-alpine3.20", {"musl": True}),
        ("python:3", {"python": None, "family": "python"}),
        ("library/ubuntu:24.04", {"managed": True, "system_python": "3.12"}),
        ("ubuntu:jammy-20240808", {"managed": False, "glibc": "2.35"}),
        ("debian:bookworm-slim", {"managed": True, "system_python": "3.11"}),
        ("debian:12.5", {"glibc": "2.36"}),
        ("rockylinux:8.9", {"glibc": "2.28"}),
        ("nvcr.io/nvidia/pytorch:25.03-py3", {"nvcc": True, "python": None}),
        ("condaforge/mambaforge:latest", {"family": "conda", "nvcc": False}),
        ("mcr.microsoft.com/devcontainers/python:1-3.12-bookworm", {"python": "3.12", "compiler": True}),
    ],
)
def test_what_an_image_holds_by_its_name(name, what):
    seen = image(name)
    assert {key: getattr(seen, key) for key in what} == what


@pytest.mark.parametrize(
    "name",
    ["", "me/cuda:12.8", "nvidia/cuda:latest", "ubuntu", "ubuntu:latest", "debian:sid", "ghcr.io/me/python:3.11",
     "$BASE", "centos", "pytorch/pytorch:latest", "python:3.12-windowsservercore"],
)  # fmt: skip
def test_an_image_that_tells_nothing(name):
    assert image(name) is None


def python(text, file="Dockerfile"):
    one = recipe(text, file)
    install = next(i for i in one.installs if i.package("torch"))
    seen = python_at(one, install)
    return (seen.version, seen.kind) if seen else None


@pytest.mark.parametrize(
    "text, answer",
    [
        (UBUNTU + TORCH, ("3.10", "system")),
        (SLIM + TORCH, ("3.12", "image")),
        (SLIM.replace("-slim", "") + "RUN apt-get install -y python3-pip\n" + TORCH, ("3.12", "image")),
        (UBUNTU + "RUN python3.11 -m venv /v\nENV PATH=/v/bin:$PATH\n" + TORCH, ("3.11", "venv")),
        (UBUNTU + "ENV V=/v\nRUN python3 -m venv $V\nENV PATH=$V/bin:$PATH\n" + TORCH, ("3.10", "venv")),
        (UBUNTU + "RUN python3 -m venv /v\nENV PATH=/v/bin:$PATH\nENV PATH=/usr/local/cuda/bin:$PATH\n" + TORCH,
         ("3.10", "venv")),
        (UBUNTU + "RUN uv venv --python 3.13 /v\nENV PATH=/v/bin:$PATH\n" + TORCH, ("3.13", "venv")),
        (UBUNTU + "RUN python3.12 -m venv /v && . /v/bin/activate && pip install torch\n", ("3.12", "venv")),
        (UBUNTU + "RUN /usr/bin/python3.11 -m pip install torch\n", ("3.11", "extra")),
        (UBUNTU + "RUN pip3.11 install torch\n", ("3.11", "extra")),
        (UBUNTU + "RUN update-alternatives --install /usr/bin/python3 python3 /usr/bin/python3.11 1\n" + TORCH,
         ("3.11", "extra")),
        (UBUNTU + "RUN ln -sf /usr/bin/python3.11 /usr/bin/python3\n" + TORCH, ("3.11", "extra")),
        (UBUNTU + "RUN curl -sS https://bootstrap.pypa.io/get-pip.py | python3.12\n" + TORCH, ("3.12", "extra")),
        (UBUNTU + "RUN python3.12 -m pip install -U pip\n" + TORCH, ("3.12", "extra")),
        (UBUNTU + "FROM python:3.11 AS other\n" + TORCH, ("3.11", "image")),
        (UBUNTU.replace("ubuntu22.04", "ubuntu22.04 AS base") + "FROM base\n" + TORCH, ("3.10", "system")),
        (UBUNTU + "RUN curl https://pyenv.run | bash && pyenv global 3.12\n" + TORCH, None),
        (UBUNTU + "RUN bash Miniconda3-latest-Linux-x86_64.sh -b -p /opt/conda\n" + TORCH, None),
        (UBUNTU + "ENV PATH=/opt/conda/bin:$PATH\n" + TORCH, None),
        (UBUNTU + "COPY --from=builder /opt/python /usr/local\n" + TORCH, None),
        (UBUNTU + "RUN source /opt/conda/etc/profile.d/conda.sh && pip install torch\n", None),
        ("FROM me/mine:1\n" + TORCH, None),
    ],
)  # fmt: skip
def test_which_python_is_installed_into(text, answer):
    assert python(text) == answer


def test_the_python_of_other_files():
    assert python("dependencies:\n- python=3.13\n- pip:\n  - torch==2.2.0\n", "environment.yml") == ("3.13", "conda")
    assert python("dependencies:\n- python>=3.9\n- pip:\n  - torch==2.2.0\n", "environment.yml") is None
    assert python("torch==2.2.0\n", "requirements.txt") is None
    job = """\
    on: push
    jobs:
      test:
        runs-on: ubuntu-24.04
        steps:
        - uses: actions/setup-python@v5
          with: {python-version: "3.13"}
        - run: pip install torch==2.2.0
    """
    assert python(job, ".github/workflows/ci.yml") == ("3.13", "setup")
    two = job + '    - uses: actions/setup-python@v5\n      with: {python-version: "3.9"}\n'
    assert python(textwrap.dedent(job) + two.removeprefix(job), ".github/workflows/ci.yml") is None


def test_path_is_put_together_from_the_image_s_settings():
    text = UBUNTU + "ENV A=/a\nENV PATH=$A/bin:$PATH\nENV PATH=/b/bin:${PATH}\n" + TORCH
    one = recipe(text)
    assert path_at(one, one.commands[-1])[:3] == ["/b/bin", "/a/bin", "/usr/local/sbin"]


FLASH = "RUN pip install --no-build-isolation flash-attn==2.8.3\n"


@pytest.mark.parametrize(
    "text, line",
    [
        ("FROM nvidia/cuda:12.8.1-runtime-ubuntu22.04\n" + TORCH + FLASH, 1),
        ("FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime\n" + FLASH, 1),
        (SLIM + TORCH + "RUN FORCE_CUDA=1 pip install --no-build-isolation torch-scatter\n", 1),
        ("FROM nvidia/cuda:12.8.1-base-ubuntu22.04\nRUN git clone https://github.com/NVIDIA/apex && cd apex && "
         "APEX_CUDA_EXT=1 pip install --no-build-isolation .\n", 1),
        (SLIM + "RUN pip install git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch\n", 1),
        (SLIM + "RUN pip install ./submodules/simple-knn\n", 1),
        ("ARG T=12.8.1-runtime-ubuntu22.04\nFROM nvidia/cuda:$T\n" + TORCH + FLASH, 4),
        (SLIM + "RUN pip install --no-build-isolation git+https://github.com/NVIDIA/apex.git\n", 1),
        (SLIM + "RUN DS_BUILD_OPS=1 pip install --no-build-isolation deepspeed==0.18.2\n", 1),
        (SLIM + "RUN pip install --no-build-isolation mamba-ssm causal-conv1d\n", 1),
        # silence
        (SLIM + "RUN pip install --no-build-isolation git+https://github.com/NVIDIA/apex.git@22.04-dev\n", None),
        ("FROM nvidia/cuda:12.8.1-devel-ubuntu22.04\n" + TORCH + FLASH, None),
        ("FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime\nRUN conda install cuda-nvcc=12.8\n" + FLASH, None),
        (SLIM + "RUN apt-get install -y cuda-toolkit-12-8\n" + FLASH, None),
        (SLIM + "RUN wget https://x.example/cuda_12.8.1.run && sh cuda_12.8.1.run --silent\n" + FLASH, None),
        (SLIM + "RUN ./install.sh\n" + FLASH, None),
        (SLIM + "COPY --from=nvidia/cuda:12.8.1-devel-ubuntu22.04 /usr/local/cuda /usr/local/cuda\n" + FLASH, None),
        (SLIM + "RUN FLASH_ATTENTION_SKIP_CUDA_BUILD=TRUE pip install flash-attn\n", None),
        (SLIM + "RUN pip install --only-binary=:all: flash-attn\n", None),
        (SLIM + "RUN pip install flash-attn --extra-index-url https://wheels.example.com/simple\n", None),
        (SLIM + "RUN pip install https://x.example/flash_attn-2.8.3-cp312-cp312-linux_x86_64.whl\n", None),
        (SLIM + TORCH + "RUN pip install --no-build-isolation torch-scatter\n", None),
        (SLIM + "RUN pip install deepspeed==0.18.2\n", None),
        (SLIM + "RUN pip install mamba-ssm --extra-index-url https://wheels.example.com/simple\n", None),
        (SLIM + "RUN MAMBA_SKIP_CUDA_BUILD=TRUE pip install mamba-ssm\n", None),
        (SLIM + "RUN DS_BUILD_OPS=1 pip install --only-binary=:all: deepspeed==0.18.2\n", None),
        (SLIM + "ENV PIP_EXTRA_INDEX_URL=https://wheels.example.com/simple\n" + FLASH, None),
        (SLIM + "RUN pip install --no-index --find-links /wheels flash-attn\n", None),
        ("FROM me/mine:1\n" + FLASH, None),
    ],
)  # fmt: skip
def test_cuda_code_without_nvcc(text, line):
    assert lines("runtime-image-compiles", text) == ([line] if line else [])


def test_a_toolkit_that_apptainer_takes_from_another_stage_may_be_nvcc():
    compiles = (
        "%post\n    pip install torch==2.13.0\n    export FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST=9.0\n"
        "    pip install --no-build-isolation --no-binary=torch-scatter torch-scatter\n"
    )
    head = "Bootstrap: docker\nFrom: python:3.11-bookworm\n\n"
    assert len(lines("runtime-image-compiles", head + compiles, "image.def")) == 1
    taken = "%files from cuda\n    /usr/local/cuda-13.0 /usr/local/cuda\n\n"
    assert lines("runtime-image-compiles", head + taken + compiles, "image.def") == []


def test_the_devel_image_is_written_in_place_of_the_runtime_image():
    text = "FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime AS run\n" + FLASH
    assert "cudnn9-devel AS run" in mended("runtime-image-compiles", text)


PYTORCH3D = (
    "RUN FORCE_CUDA=1 pip install --no-build-isolation git+https://github.com/facebookresearch/pytorch3d.git\n"
)
APEX = "RUN APEX_CUDA_EXT=1 pip install --no-build-isolation git+https://github.com/NVIDIA/apex.git\n"


@pytest.mark.parametrize(
    "text, count",
    [
        (UBUNTU.replace("12.8.1", "11.8.0") + TORCH + PYTORCH3D, 1),
        (UBUNTU.replace("12.8.1", "13.0.1") + TORCH + PYTORCH3D, 1),
        (UBUNTU.replace("12.8.1", "12.4.1") + TORCH + APEX, 1),  # apex compares the minor version too
        (UBUNTU.replace("12.8.1", "12.4.1") + TORCH + PYTORCH3D, 0),
        (UBUNTU.replace("12.8.1", "11.8.0") + TORCH, 0),  # torch brings its own CUDA
        (UBUNTU.replace("12.8.1", "11.8.0") + TORCH + FLASH, 0),  # its wheel is fetched, whatever nvcc is
        (UBUNTU.replace("12.8.1", "11.8.0") + "RUN pip install torch\n" + PYTORCH3D, 0),  # which CUDA is not known
    ],
)
def test_the_toolkit_against_torch(text, count):
    assert len(lines("base-cuda-against-torch", text)) == count


def test_the_image_of_torch_s_cuda_is_proposed():
    text = UBUNTU.replace("12.8.1-devel", "11.8.0-cudnn8-devel") + TORCH + PYTORCH3D
    assert "FROM nvidia/cuda:12.8.1-cudnn-devel-ubuntu22.04\n" in mended("base-cuda-against-torch", text)
    for other in ("centos7", "rockylinux8", "ubuntu16.04"):  # there is no such image of CUDA 12.8, or it is not known
        assert mended("base-cuda-against-torch", text.replace("ubuntu22.04", other)) == text.replace(
            "ubuntu22.04", other
        )
    one = recipe(text)
    install = one.installs[-1]
    assert [b.name for b in builds(one, install)] == ["pytorch3d"]
    assert (toolkit_at(one, install).there, toolkit_at(one, install).version) == (True, "11.8")


@pytest.mark.parametrize(
    "value, wrong",
    [("utility", True), ("graphics,utility,display", True), ("all", False), ("compute,utility", False), ("$X", False),
     ("", False)],
)  # fmt: skip
def test_driver_capabilities(value, wrong):
    text = f"FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime\nENV NVIDIA_DRIVER_CAPABILITIES={value}\n"
    assert lines("driver-capabilities", text) == ([2] if wrong else [])
    assert (
        lines("driver-capabilities", text.replace("pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime", "ubuntu:22.04"))
        == []
    )
    more = "ENV NVIDIA_DRIVER_CAPABILITIES=${NVIDIA_DRIVER_CAPABILITIES:+$NVIDIA_DRIVER_CAPABILITIES,}graphics\n"
    assert lines("driver-capabilities", text.splitlines()[0] + "\n" + more) == []
    if wrong:
        assert f"NVIDIA_DRIVER_CAPABILITIES=compute,{value}\n" in mended("driver-capabilities", text)


def test_driver_capabilities_of_containers():
    compose = """\
    services:
      a:
        image: nvidia/cuda:12.8.1-base-ubuntu22.04
        gpus: all
        environment:
          - "NVIDIA_DRIVER_CAPABILITIES=utility"
    """
    assert '- "NVIDIA_DRIVER_CAPABILITIES=compute,utility"' in mended("driver-capabilities", compose, "compose.yaml")
    container = (
        '{"image": "nvidia/cuda:12.8.1-base-ubuntu22.04", "containerEnv": {"NVIDIA_DRIVER_CAPABILITIES": "video"}}'
    )
    assert '": "compute,video"' in mended("driver-capabilities", container, ".devcontainer/devcontainer.json")


@pytest.mark.parametrize(
    "image, what, wrong",
    [
        ("3.14", "torch==2.8.0", True),
        ("3.9", "torch==2.9.1", True),
        ("3.9", '"torch>=2.9"', True),
        ("3.13", '"torch<2.5"', True),
        ("3.13", "torch==2.5.1", False),
        ("3.11", "torch==1.13.1", False),
        ("3.13", '"torch>=2.1"', False),
        ("3.9", "torch", False),
        ("3.14", "torch==2.8.0 --extra-index-url https://wheels.example.com/simple", False),
        ("3.14", "torch==$VERSION", False),
        ("3", "torch==1.13.1", False),
        ("3.10", "--pre torch --index-url https://download.pytorch.org/whl/nightly/cu132", True),
        ("3.10", "--pre torch --index-url https://download.pytorch.org/whl/nightly/cu128", False),
        ("3.13", "torch-scatter -f https://data.pyg.org/whl/torch-2.4.0+cu121.html", True),
        ("3.12", "torch-scatter -f https://data.pyg.org/whl/torch-2.4.0+cu121.html", False),
    ],
)
def test_a_python_without_wheels(image, what, wrong):
    assert lines("python-without-wheels", f"FROM python:{image}\nRUN pip install {what}\n") == ([2] if wrong else [])


NOBLE = "FROM ubuntu:24.04\nRUN apt-get update && apt-get install -y python3-pip python3-venv\n"


@pytest.mark.parametrize(
    "text, wrong",
    [
        (NOBLE + TORCH, True),
        (NOBLE.replace("ubuntu:24.04", "debian:bookworm") + "RUN python3 -m pip install torch\n", True),
        (NOBLE + "RUN uv pip install --system torch\n", True),
        (NOBLE.replace("24.04", "22.04") + TORCH, False),
        (NOBLE + "RUN python3 -m venv /v\nENV PATH=/v/bin:$PATH\n" + TORCH, False),
        (NOBLE + "RUN python3 -m venv /v && /v/bin/pip install torch\n", False),
        (NOBLE + "RUN pip install --break-system-packages torch\n", False),
        (NOBLE + "ENV PIP_BREAK_SYSTEM_PACKAGES=1\n" + TORCH, False),
        (NOBLE + "RUN rm /usr/lib/python3.12/EXTERNALLY-MANAGED\n" + TORCH, False),
        (NOBLE + "RUN pip install --target /app torch\n", False),
        (NOBLE.replace("ubuntu:24.04", "python:3.12-bookworm") + TORCH, False),
        (NOBLE.replace("ubuntu:24.04", "me/mine:24.04") + TORCH, False),
    ],
)
def test_an_externally_managed_python(text, wrong):
    assert lines("externally-managed", text) == ([3] if wrong else [])


def test_a_venv_is_put_before_the_instruction():
    mend = mended("externally-managed", NOBLE + TORCH)
    assert "RUN python3 -m venv /opt/venv\nENV PATH=/opt/venv/bin:$PATH\nRUN pip install torch" in mend
    assert lines("externally-managed", mend) == [] == lines("venv-not-active", mend)


VENV = UBUNTU + "RUN python3 -m venv /v\n"


@pytest.mark.parametrize(
    "text, wrong",
    [
        (VENV + TORCH, True),
        (UBUNTU + "RUN python3 -m venv /v && . /v/bin/activate && pip install wheel\n" + TORCH, True),
        (VENV + "ENV PATH=/v/bin:$PATH\n" + TORCH, False),
        (VENV + "RUN . /v/bin/activate && pip install torch\n", False),
        (VENV + "RUN /v/bin/pip install torch\n", False),
        (VENV + "RUN ln -sf /v/bin/pip /usr/bin/pip\n" + TORCH, False),
        (VENV + "RUN echo 'source /v/bin/activate' >> ~/.bashrc\n" + TORCH, False),
        (
            UBUNTU
            + 'ENV VIRTUAL_ENV=/v\nRUN python3 -m venv $VIRTUAL_ENV\nENV PATH="$VIRTUAL_ENV/bin:$PATH"\n'
            + TORCH,
            False,
        ),
        (VENV + "ENV PATH=$SOMETHING:$PATH\n" + TORCH, False),
    ],
)
def test_a_venv_that_is_not_used(text, wrong):
    assert lines("venv-not-active", text) == ([3] if wrong else [])


def test_a_venv_is_looked_at_in_its_own_stage():
    used = UBUNTU + "RUN python3 -m venv /w\nENV PATH=/w/bin:$PATH\n" + TORCH
    assert lines("venv-not-active", VENV + "FROM python:3.12\n" + TORCH) == []
    assert lines("venv-not-active", VENV + TORCH + used) == [3]
    assert lines("venv-not-active", VENV.replace("/v", "v") + TORCH) == []  # relative: its place is not known
    assert lines("venv-not-active", UBUNTU + "RUN pip install wheel && python3 -m venv /v\n" + TORCH) == [3]
    assert (
        lines("venv-not-active", UBUNTU + "RUN python3 -m venv /v && pip install torch\n") == []
    )  # one shell: unclear


EXTRA = UBUNTU + "RUN apt-get install -y python3.11 python3.11-dev\n"


@pytest.mark.parametrize(
    "text, wrong",
    [
        (EXTRA + TORCH, True),
        (EXTRA + "RUN python3 -m pip install torch\n", True),
        (EXTRA + "RUN python3.11 -m pip install torch\n", False),
        (EXTRA + "RUN ln -sf /usr/bin/python3.11 /usr/bin/python3\n" + TORCH, False),
        (EXTRA + "RUN python3.11 -m pip install --upgrade pip\n" + TORCH, False),
        (EXTRA + "RUN python3.11 -m ensurepip\n" + TORCH, False),
        (EXTRA.replace("3.11", "3.10") + TORCH, False),
    ],
)
def test_another_python_beside_the_system_s(text, wrong):
    assert lines("another-python", text) == ([4] if wrong else [])


def test_another_python_is_told_of_once():
    assert lines("another-python", EXTRA + TORCH + "RUN pip install torchvision\n") == [4]
    assert lines("another-python", EXTRA + "RUN pip install tensorboard\n") == []


PAGE = "-f https://data.pyg.org/whl/torch-2.9.0+cu128.html"


@pytest.mark.parametrize(
    "command, failure",
    [
        (f"pip install torch-scatter {PAGE} || pip install torch-scatter", "sdist-preferred"),
        (f"pip install torch-scatter {PAGE} || true", "wheel-not-published"),
        (f"pip install torch-scatter {PAGE} || echo none; python3 train.py", "wheel-not-published"),
        (
            "pip install torch --index-url https://download.pytorch.org/whl/cu128 || pip install torch",
            "wheel-not-published",
        ),
        ("pip install torch || :", "torch-missing"),
        ("pip install torch || exit 0", "torch-missing"),
        ("pip install flash-attn || true", "wheel-not-published"),
        # silence
        ("pip install tensorboard || true", None),
        ("apt-get install -y libgomp1 || true", None),
        ("pip install torch || exit 1", None),
        ("pip install torch || (echo failed && exit 1)", None),
        ("pip install torch || { echo failed; exit 1; }", None),
        ("pip install torch || pip install torch", None),
        ("uv pip install torch || pip install torch", None),
        ("python3 -c 'import torch' || pip install torch", None),
        ("pip install torch || sudo apt-get install -y something", None),
        ("pip install torch && pip install tensorboard || true", None),
        ("pip install torch || { echo again; pip install torch; }", None),
        ("pip install flash-attn || { echo none; echo sorry; }", "wheel-not-published"),
    ],
)
def test_a_hidden_failure(command, failure):
    problems = found("hidden-failure", f"{SLIM}RUN {command}\n")
    assert [problem.failure for _, problem in problems] == ([failure] if failure else [])


def test_a_fallback_is_taken_out_and_what_comes_after_it_stays():
    text = f"{SLIM}RUN pip install torch-scatter {PAGE} \\\n    || pip install torch-scatter \\\n && rm -rf /cache\n"
    assert mended("hidden-failure", text) == f"{SLIM}RUN pip install torch-scatter {PAGE} \\\n && rm -rf /cache\n"
    braces = f"{SLIM}RUN pip install torch-scatter {PAGE} || {{ echo none; }}\n"
    assert mended("hidden-failure", braces) == braces  # found, and left to a person


@pytest.mark.parametrize(
    "base, index, wrong",
    [
        ("ubuntu:22.04", "cu128", True),
        ("ubuntu:22.04", "cu118", False),
        ("ubuntu:24.04", "cu128", False),
        ("ubuntu:24.04", "cu130", True),
        ("debian:12", "cu128", True),
        ("ubuntu:22.04", "cpu", False),
        ("nvidia/cuda:12.8.1-devel-ubuntu22.04", "cu128", False),
        ("me/mine:1", "cu128", False),
    ],
)
def test_the_distribution_s_toolkit(base, index, wrong):
    text = f"FROM {base}\nRUN apt-get install -y g++ nvidia-cuda-toolkit\n" + TORCH.replace("cu128", index)
    assert lines("apt-cuda-toolkit", text) == ([2] if wrong else [])
    if wrong:
        assert "apt-get install -y g++\n" in mended("apt-cuda-toolkit", text)


def test_a_driver_in_an_image():
    assert lines("driver-in-image", "FROM ubuntu:22.04\nRUN apt-get install -y git nvidia-utils-535\n") == [2]
    text = "FROM ubuntu:22.04\nRUN apt-get install -y cuda-12-4\n"
    assert mended("driver-in-image", text).endswith("install -y cuda-toolkit-12-4\n")
    assert (
        lines("driver-in-image", "FROM ubuntu:22.04\nRUN apt-get install -y cuda-toolkit-12-4 cuda-nvcc-12-4\n") == []
    )
    assert lines("driver-in-image", "sudo apt-get install -y nvidia-driver-580\n", "setup.sh") == []  # of a machine


@pytest.mark.parametrize(
    "command, severity",
    [
        ("pytorch==2.9.1 pytorch-cuda=12.8 -c pytorch -c nvidia", "error"),
        ("pytorch=2.7 -c pytorch", "warning"),
        ("pytorch torchvision -c pytorch -c nvidia", "warning"),
        ("pytorch -c pytorch-nightly", "warning"),
        ("pytorch-nightly -c pytorch", "warning"),
        ("pytorch>=2.6 pyg -c pyg -c pytorch", "warning"),
        ("pytorch-scatter -c rusty1s", "warning"),
        ("pytorch==2.1.2 pytorch-cuda=12.1 -c pytorch -c nvidia", None),
        ("pytorch=1.12 cudatoolkit=11.3 -c pytorch", None),
        ("pytorch=2.1 pyg -c pytorch -c pyg", None),
        ("pytorch=2.9 -c conda-forge", None),
        ("pytorch=2.9 -c pytorch -c conda-forge", None),
        ("numpy -c pytorch", None),
        ("pytorch=$VERSION -c pytorch", None),
    ],
)
def test_channels_that_have_ended(command, severity):
    problems = found("dead-channels", f"conda install -y {command}\n", "setup.sh")
    assert [problem.severity for _, problem in problems] == ([severity] if severity else [])


@pytest.mark.parametrize(
    "command, wrong",
    [
        ("pytorch=2.1.2 cudatoolkit=11.8 -c pytorch -c nvidia", True),
        ("pytorch=2.1.2 cudatoolkit=10.2 -c pytorch", True),
        ("pytorch=1.12.1 cudatoolkit=11.3 -c pytorch", False),
        ("pytorch=2.1.2 cudatoolkit=11.8 -c pytorch -c conda-forge", False),  # whose builds do use it
        ("pytorch=2.1.2 pytorch-cuda=11.8 cudatoolkit=11.8 -c pytorch -c nvidia", False),
        ("pytorch=2.1.2=py3.10_cuda11.8_cudnn8.7.0_0 cudatoolkit=11.8 -c pytorch", False),
        ("pytorch cudatoolkit=11.8 -c pytorch", False),
    ],
)
def test_cudatoolkit_beside_a_torch_that_ignores_it(command, wrong):
    text = f"conda install -y {command}\n"
    assert lines("cudatoolkit-ignored", text, "setup.sh") == ([1] if wrong else [])
    if "nvidia" in command and wrong:
        assert "pytorch=2.1.2 pytorch-cuda=11.8 -c" in mended("cudatoolkit-ignored", text, "setup.sh")


@pytest.mark.parametrize(
    "conda, pip, failure",
    [
        ("pytorch=2.8.0", "torch==2.9.1", "torch-broken"),
        ("pytorch", "torch==2.9.1+cu128", "torch-broken"),
        ("pytorch=2.5", "torch-scatter -f https://data.pyg.org/whl/torch-2.5.0+cu124.html", None),
        ("pytorch=2.8.0", "torch==2.8.0", None),
        ("pytorch=2.8.*", "torch==2.8.0", None),
        ("pytorch=2.8.*", "torch==2.9.1", "torch-broken"),
        ("pytorch=2.8.0=cuda129_py312_0", "torch==2.8.0", None),
        ("pytorch>=2.5,<3", "torch==2.8.0", None),
        ("pytorch>=2.5", "torch==2.8.0+cu128", "torch-broken"),
        ("pytorch=2.8", "torch", None),
        ("python=3.12", "torch==2.9.1", None),
    ],
)
def test_torch_from_conda_and_from_pip(conda, pip, failure):
    text = f"channels: [conda-forge, defaults]\ndependencies:\n- {conda}\n- pip:\n  - {pip}\n"
    problems = found("conda-and-pip-torch", text, "environment.yml")
    assert [problem.failure for _, problem in problems] == ([failure] if failure else [])


def test_wheels_of_pyg_beside_conda_forge_s_torch():
    text = """\
    FROM condaforge/miniforge3:25.3.0-3
    RUN conda install -y -c conda-forge pytorch=2.5
    RUN pip install torch-scatter -f https://data.pyg.org/whl/torch-2.5.0+cu124.html
    """
    assert [(n, p.failure) for n, p in found("conda-and-pip-torch", text)] == [(3, "extension-torch-mismatch")]
    assert lines("conda-and-pip-torch", text.replace("conda-forge pytorch", "pytorch pytorch")) == []
    named = text.replace("RUN pip", "RUN conda run -n gnn pip")
    assert lines("conda-and-pip-torch", named) == []  # another environment
    assert lines("conda-and-pip-torch", named.replace("install -y", "install -y -n gnn")) == [3]
    other = text.replace("RUN conda install", "RUN conda create -n x python && conda install")
    assert lines("conda-and-pip-torch", other) == []


SECRET = "wK3v9sQ2mZ7t"


@pytest.mark.parametrize(
    "file, text, wrong",
    [
        ("requirements.txt", f"--extra-index-url https://ci:{SECRET}@pkg.example.com/simple\ntorch\n", True),
        ("requirements.txt", "--extra-index-url https://ci:${TOKEN}@pkg.example.com/simple\ntorch\n", False),
        ("requirements.txt", "--extra-index-url https://user:password@pkg.example.com/simple\ntorch\n", False),
        ("requirements.txt", "--extra-index-url https://ci:<token>@pkg.example.com/simple\ntorch\n", False),
        ("requirements.txt", "git+ssh://git@github.com/o/r.git\n", False),
        ("requirements.txt", "git+https://git@github.com/o/r.git\n", False),
        ("requirements.txt", f"git+https://ghp_{SECRET * 3}@github.com/o/r.git\n", True),
        ("Dockerfile", f"FROM python:3.12\nENV PIP_INDEX_URL=https://ci:{SECRET}@pkg.example.com/simple\n", True),
        ("Dockerfile", "FROM python:3.12\nARG T\nRUN pip install -i https://ci:$T@pkg.example.com/simple x\n", True),
        ("Dockerfile", "FROM python:3.12\nRUN --mount=type=secret,id=t T=$(cat /run/secrets/t) && "
         "pip install -i https://ci:$T@pkg.example.com/simple torch\n", False),
        ("Dockerfile", f"FROM python:3.12\nRUN curl http://admin:{SECRET}@localhost:9000/health\n", False),
        ("Dockerfile", "FROM python:3.12\nARG TOKEN\nRUN pip install git+https://${TOKEN}@github.com/o/r\n", True),
        ("Dockerfile", "FROM python:3.12\nARG USER\nRUN pip install git+https://${USER}@github.com/o/r.git\n", False),
        ("setup.sh", "pip install -i https://ci:$TOKEN@pkg.example.com/simple torch\n", False),
    ],
)  # fmt: skip
def test_a_secret_in_an_address(file, text, wrong):
    problems = found("secret-in-address", text, file)
    assert bool(problems) == wrong
    for _, problem in problems:
        said = repr((problem.summary, problem.evidence, problem.fix, problem.package))
        assert SECRET not in said
        assert SECRET not in repr([edit.new for edit in problem.edits])


def test_a_secret_of_git_is_left_to_a_person():
    text = "FROM python:3.12\nARG TOKEN\nRUN pip install git+https://${TOKEN}@github.com/o/r\n"
    assert mended("secret-in-address", text) == text


def test_a_secret_is_taken_out_of_a_dockerfile():
    text = "FROM python:3.12\nARG T\nRUN pip install -i https://ci:$T@pkg.example.com/simple torch\n"
    mend = mended("secret-in-address", text)
    assert (
        "RUN --mount=type=secret,id=netrc,target=/root/.netrc pip install -i https://pkg.example.com/simple" in mend
    )
    assert lines("secret-in-address", mend) == []


@pytest.mark.parametrize(
    "setting, base, failure",
    [
        ("LD_LIBRARY_PATH=/usr/local/cuda/lib64:$LD_LIBRARY_PATH", "12.1.1-runtime-ubuntu22.04", "library-shadowed"),
        ("LD_LIBRARY_PATH=/usr/local/cuda-12.1/lib64", "12.1.1-devel-ubuntu22.04", "library-shadowed"),
        ("LD_LIBRARY_PATH=/usr/local/cuda/lib64", "12.8.1-devel-ubuntu22.04", None),
        (
            "LD_LIBRARY_PATH=/usr/local/cuda/lib64",
            "11.8.0-devel-ubuntu22.04",
            None,
        ),  # other names: nothing is shadowed
        ("LD_LIBRARY_PATH=/usr/local/nvidia/lib64", "12.1.1-devel-ubuntu22.04", None),
        ("LD_LIBRARY_PATH=/usr/local/cuda/compat:/usr/lib", "12.8.1-devel-ubuntu22.04", "driver-too-old"),
        ("PYTHONPATH=/usr/local/lib/python3.8/site-packages", "12.8.1-devel-ubuntu22.04", "wrong-interpreter"),
        ("PYTHONPATH=/usr/lib/python3.10/site-packages", "12.8.1-devel-ubuntu22.04", None),
        ("PYTHONPATH=/app/src", "12.8.1-devel-ubuntu22.04", None),
    ],
)
def test_folders_that_win(setting, base, failure):
    text = f"FROM nvidia/cuda:{base}\nENV {setting}\nRUN apt-get install -y python3-pip\n{TORCH}"
    problems = found("loader-path", text)
    assert [problem.failure for _, problem in problems] == ([failure] if failure else [])
    if failure:
        assert lines("loader-path", mended("loader-path", text)) == []


@pytest.mark.parametrize(
    "value, right",
    [
        ("expandable_segment:True", "expandable_segments:True"),
        ("max_split_size_mb=128", "max_split_size_mb:128"),
        ("garbage_collection_threshold:0.8,max_split_size:64", None),
        ("expandable_segments:True", None),
        ("garbage_collection_threshold:0.8,max_split_size_mb:64", None),
        ("backend:cudaMallocAsync", None),
        ("roundup_power2_divisions:[256:1,512:2,>:8],expandable_segments:True", None),
        ("option_of_tomorrow:1", None),
    ],
)
def test_options_of_the_allocator(value, right):
    text = f"FROM python:3.12\nENV PYTORCH_CUDA_ALLOC_CONF={value}\n"
    assert lines("debugging-left-on", text) == ([2] if right or "max_split_size:" in value else [])
    if right:
        assert mended("debugging-left-on", text).endswith(f"ALLOC_CONF={right}\n")


def test_debugging_is_for_one_run():
    assert lines("debugging-left-on", "FROM python:3.12\nENV TORCH_USE_CUDA_DSA=1\n") == [2]
    assert lines("debugging-left-on", "FROM python:3.12\nENV CUDA_LAUNCH_BLOCKING=1\n") == [2]
    assert lines("debugging-left-on", "FROM python:3.12\nENV CUDA_LAUNCH_BLOCKING=0\n") == []
    assert lines("debugging-left-on", "CUDA_LAUNCH_BLOCKING=1 python train.py\n", "debug.sh") == []


@pytest.mark.parametrize(
    "rest, wrong",
    [
        ("command: python3 train.py", True),
        ("gpus: all", False),
        ("runtime: nvidia", False),
        ("deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}", False),
        ("extends: {file: gpu.yml, service: base}", False),
    ],
)
def test_a_service_without_its_gpu(rest, wrong):
    text = f"services:\n  train:\n    image: nvidia/cuda:12.8.1-base-ubuntu22.04\n    {rest}\n"
    assert lines("no-gpu-asked", text, "compose.yaml") == ([3] if wrong else [])
    plain = text.replace("nvidia/cuda:12.8.1-base-ubuntu22.04", "postgres:16")
    assert lines("no-gpu-asked", plain, "compose.yaml") == []
    if wrong:
        assert "    gpus: all\n" in mended("no-gpu-asked", text, "compose.yaml")


def test_a_dev_container_without_its_gpu():
    start = '{"image": "nvidia/cuda:12.8.1-devel-ubuntu22.04"'
    file = ".devcontainer/devcontainer.json"
    assert lines("no-gpu-asked", start + "}", file) == [1]
    assert lines("no-gpu-asked", start + ', "runArgs": ["--gpus=all"]}', file) == []
    assert lines("no-gpu-asked", start + ', "hostRequirements": {"gpu": "optional"}}', file) == []
    assert lines("no-gpu-asked", '{"image": "mcr.microsoft.com/devcontainers/python:3.12"}', file) == []


SCATTER = "RUN pip install --no-build-isolation --no-binary=torch-scatter torch-scatter\n"


@pytest.mark.parametrize(
    "text, wrong",
    [
        (SLIM + TORCH + SCATTER, True),
        ("FROM ubuntu:22.04\nRUN apt-get install -y --no-install-recommends python3.11\n" + SCATTER, True),
        (SLIM + "RUN apt-get install -y build-essential\n" + TORCH + SCATTER, False),
        (SLIM + "RUN apt-get install -y gcc g++\n" + TORCH + SCATTER, False),
        (SLIM.replace("-slim", "") + TORCH + SCATTER, False),
        (UBUNTU + TORCH + SCATTER, False),
        (SLIM + "RUN ./prepare.sh\n" + TORCH + SCATTER, False),
        (SLIM + TORCH + APEX.replace("APEX_CUDA_EXT=1 ", ""), False),  # without its extensions it is Python alone
        (SLIM + TORCH + FLASH, False),  # its wheel is fetched
        (SLIM + TORCH + f"RUN pip install torch-scatter {PAGE}\n", False),
        ("FROM me/mine:1\n" + TORCH + SCATTER, False),
    ],
)
def test_no_compiler(text, wrong):
    assert bool(lines("compiler-missing", text)) == wrong
    if wrong:
        assert lines("compiler-missing", mended("compiler-missing", text)) == []


def test_headers_of_the_python_that_compiles():
    text = (
        UBUNTU
        + "RUN apt-get install -y python3.11\nRUN python3.11 -m pip install --no-build-isolation torch-scatter\n"
    )
    assert lines("headers-missing", text) == [3]
    assert "python3.11 python3.11-dev\n" in mended("headers-missing", text)
    assert lines("headers-missing", text.replace("-y python3.11", "-y python3.11 python3.11-dev")) == []
    assert lines("headers-missing", text.replace("3.11", "3.10")) == []  # python3-pip brings python3-dev
    assert lines("headers-missing", text.replace("torch-scatter", "numpy")) == []


@pytest.mark.parametrize(
    "base, what, wrong",
    [
        ("ubuntu:18.04", "torch==2.8.0", True),
        ("nvidia/cuda:11.8.0-devel-centos7", "torch==2.7.1", True),
        ("ubuntu:18.04", "torch==2.5.1", False),
        ("ubuntu:20.04", "torch==2.8.0", False),
        ("ubuntu:20.04", f"torch-scatter {PAGE}", True),
        ("python:3.11-bullseye", f"torch-scatter {PAGE}", True),
        ("ubuntu:22.04", f"torch-scatter {PAGE}", False),
        ("ubuntu:20.04", "torch-scatter -f https://data.pyg.org/whl/torch-2.6.0+cu124.html", False),
        ("python:3.12-alpine", "torch", True),
        ("python:3.12-alpine", "numpy", False),
        ("me/mine:18.04", "torch==2.8.0", False),
    ],
)
def test_a_c_library_that_does_not_fit(base, what, wrong):
    assert lines("old-glibc", f"FROM {base}\nRUN pip install {what}\n") == ([2] if wrong else [])


@pytest.mark.parametrize(
    "text, severity",
    [
        ("torch==2.1.2\nnumpy\n", "warning"),
        ("torch==2.2.2\nnumpy>=1.24\n", "warning"),
        ("torch==2.2.2\nnumpy==2.0.1\n", "error"),
        ("torch==2.2.2\nnumpy==1.26.4\n", None),
        ("torch==2.2.2\nnumpy<2\n", None),
        ("torch==2.2.2\nnumpy~=1.24\n", None),
        ("torch==2.3.0\nnumpy\n", None),
        ("torch\nnumpy\n", None),
        ("torch==2.1.2\nnumpy\nscipy==1.10.1\n", None),  # which itself asks for NumPy 1
        ("torch==1.12.1\nnumpy\n", None),  # of a time with Pythons that have no NumPy 2
    ],
)
def test_numpy_2_beside_an_old_torch(text, severity):
    assert [p.severity for _, p in found("numpy-two", text, "requirements.txt")] == ([severity] if severity else [])


def test_numpy_is_there_already():
    image = "FROM pytorch/pytorch:2.1.2-cuda12.1-cudnn8-runtime\nRUN pip install {}\n"
    assert lines("numpy-two", image.format("numpy tqdm")) == []
    assert lines("numpy-two", image.format("numpy==2.1.0")) == [2]
    assert lines("numpy-two", "FROM python:3.8\nRUN pip install torch==2.1.2 numpy\n") == []


def test_the_dockerfile_of_a_report():
    """A nightly with fallbacks, extensions with fallbacks, and nvcc nowhere."""
    text = """\
    FROM nvidia/cuda:12.8.0-cudnn-runtime-ubuntu22.04
    RUN apt-get update && apt-get install -y python3.10 python3-pip git
    RUN pip3 install --pre torch --index-url https://download.pytorch.org/whl/nightly/cu128 \\
        || pip3 install torch --index-url https://download.pytorch.org/whl/cu121
    RUN pip3 install torch-scatter -f https://data.pyg.org/whl/torch-2.8.0+cu128.html || pip3 install torch-scatter
    RUN FORCE_CUDA=1 pip3 install --no-build-isolation torch-cluster
    """
    assert lines("hidden-failure", text) == [4, 5]
    assert lines("runtime-image-compiles", text) == [1]
    assert lines("externally-managed", text) == []  # Ubuntu 22.04 does not mark its Python
    assert lines("another-python", text) == []  # 3.10 is the system's own
    assert lines("python-without-wheels", text) == []

"""What the rules for torch and its extensions say of recipes that are nearly the same, and what they leave alone."""

import re
from functools import lru_cache

import pytest

from kit.recipes.edits import put
from kit.recipes.reading import read as read_recipe
from kit.recipes.rules import Wish, rules
from kit.recipes.rules._arches import architectures
from kit.recipes.rules._extensions import compiled, extensions
from kit.recipes.rules._torch import cuda_of_image, published_for, torch_at, torch_of_image

read = lru_cache(lambda file, text: read_recipe(file, text=text))
CHECKS = {rule.id: rule.check for rule in rules()}
DEVEL = "FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel\n"
PYTHON = "FROM python:3.11\n"
PAGE = "https://data.pyg.org/whl/torch-"
CU128 = "RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128\n"


def found(rule, text, file="Dockerfile", gpu=None):
    recipe = read(file, text=text)
    return [(recipe.line(p.span.start), p) for p in CHECKS[rule](recipe, Wish(gpu))]


def lines(rule, text, file="Dockerfile", gpu=None):
    return [line for line, _ in found(rule, text, file, gpu)]


def everything(text, file="Dockerfile", gpu=None):
    return [(p.rule, line) for rule in CHECKS for line, p in found(rule, text, file, gpu)]


def mended(rule, text, file="Dockerfile", gpu=None):
    (_, problem), *_ = found(rule, text, file, gpu)
    return put(text, problem.edits)


def last_torch(text, file="Dockerfile"):
    recipe = read(file, text=text)
    return torch_at(recipe, recipe.installs[-1])


@pytest.mark.parametrize(
    ("image", "version", "cuda", "toolkit"),
    [
        ("pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel", "2.9.1", "cu128", "12.8"),
        ("docker.io/pytorch/pytorch:1.13.1-cuda11.6-cudnn8-runtime", "1.13.1", "cu116", "11.6"),
        ("pytorch/pytorch:latest", None, None, None),
        ("nvidia/cuda:12.8.0-devel-ubuntu22.04@sha256:0123", "no torch", None, "12.8"),
        ("python:3.11", "no torch", None, None),
    ],
)
def test_images_are_read_by_their_names(image, version, cuda, toolkit):
    torch = torch_of_image(image)
    assert (torch.version if torch else "no torch") == version
    assert (torch.cuda if torch else None) == cuda
    assert cuda_of_image(image) == toolkit


def test_nvidias_image_has_a_torch_of_its_own():
    assert torch_of_image("nvcr.io/nvidia/pytorch:25.03-py3").ngc


@pytest.mark.parametrize(
    ("line", "version", "cuda", "said"),
    [
        ("pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu126", "2.9.1", "cu126", True),
        (
            "pip install torch==2.1.0+cu118 -f https://download.pytorch.org/whl/torch_stable.html",
            "2.1.0",
            "cu118",
            True,
        ),
        ("pip install torch==2.5.1", "2.5.1", "cu124", False),
        ("pip install torch==2.5.1 -i https://mirror.example.org/simple", "2.5.1", None, False),
        ("PIP_INDEX_URL=https://download.pytorch.org/whl/cpu pip install torch", None, "cpu", True),
        ("pip install 'torch>=2.1'", None, None, False),
        ("conda install pytorch==2.1.0 pytorch-cuda=11.8 -c pytorch -c nvidia", "2.1.0", "cu118", True),
        (
            "pip install https://download.pytorch.org/whl/cu121/torch-2.1.0%2Bcu121-cp310-cp310-linux_x86_64.whl",
            "2.1.0",
            "cu121",
            True,
        ),
    ],
)
def test_the_torch_of_a_command(line, version, cuda, said):
    torch = last_torch(f"{PYTHON}RUN {line}\n")
    assert (torch.version, torch.cuda, torch.said) == (version, cuda, said)


def test_the_torch_that_is_there_is_the_last_one_of_the_same_lineage():
    text = (
        "FROM python:3.11 AS one\nRUN pip install torch==2.5.1\n"
        "FROM python:3.11 AS two\nRUN pip install torch==2.6.0\n"
        "FROM one\nRUN pip install numpy\n"
    )
    assert last_torch(text).version == "2.5.1"


def test_of_two_torches_in_one_shell_only_what_they_share_is_said():
    index = "https://download.pytorch.org/whl/"
    one = f"pip install torch==2.5.1 --index-url {index}cpu"
    other = f"pip install torch==2.5.1 --index-url {index}cu121"
    for shell in (f"if [ -n $CPU ]; then {one}; else {other}; fi", f"{one} || {other}"):
        torch = last_torch(f"{PYTHON}RUN {shell}\nRUN pip install numpy\n")
        assert (torch.version, torch.cuda, torch.said) == ("2.5.1", None, False)
    assert last_torch(f"{PYTHON}RUN {one}\nRUN {other}\nRUN pip install numpy\n").cuda == "cu121"


def test_a_nightly_is_one():
    text = f"{PYTHON}RUN pip install --pre torch --index-url https://download.pytorch.org/whl/nightly/cu130\n"
    torch = last_torch(text)
    assert torch.nightly and torch.cuda == "cu130" and torch.page is None


@pytest.mark.parametrize(
    ("version", "build", "there"),
    [
        ("2.1.2", "cu121", True),
        ("2.1.2", "cu124", False),
        ("2.9.1", "cu121", False),
        ("2.9.1", "cu129", None),
        ("1.9.0", "cu111", None),
    ],
)
def test_which_builds_of_torch_there_are(version, build, there):
    assert published_for(version, build) is there


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("pip install torch_scatter Torch-Sparse numpy", ["torch-scatter", "torch-sparse"]),
        ("pip install git+https://github.com/facebookresearch/detectron2.git@v0.6", ["detectron2"]),
        ("git clone https://github.com/NVIDIA/apex /src/apex && cd /src/apex && pip install .", ["apex"]),
        (
            "git clone -b 0.7 --depth 1 https://github.com/facebookresearch/pytorch3d p3d && pip install ./p3d",
            ["pytorch3d"],
        ),
        ("git clone https://github.com/someone/else && cd else && pip install .", []),
        ("pip install apex", []),
    ],
)
def test_extensions_are_known_by_name_and_by_where_they_were_cloned(line, names):
    recipe = read("Dockerfile", text=f"{DEVEL}RUN {line}\n")
    assert [one.name for one in extensions(recipe, recipe.installs[-1])] == names


@pytest.mark.parametrize(
    ("options", "is_compiled"),
    [
        ("", True),
        (f"-f {PAGE}2.9.0+cu128.html", False),
        (f"-f {PAGE}2.13.0+cu130.html", True),
        ("--only-binary=:all:", False),
        ("--no-binary=torch-scatter", True),
        ("-f https://wheels.example.org/", False),
        (f"-f {PAGE}$(cat version).html", False),
    ],
)
def test_what_is_compiled(options, is_compiled):
    recipe = read("Dockerfile", text=f"{DEVEL}RUN pip install {options} torch-scatter\n")
    one = extensions(recipe, recipe.installs[-1])[0]
    assert (compiled(recipe, recipe.installs[-1], one) is not None) is is_compiled


FINE = {
    "wheels": DEVEL + f"RUN pip install --only-binary=torch-scatter torch-scatter -f {PAGE}2.9.0+cu128.html\n",
    "wheels of a patch": DEVEL
    + f"RUN pip install --only-binary=torch-scatter torch-scatter -f {PAGE}2.9.1+cu128.html\n",
    "build": DEVEL
    + 'ENV FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="8.0 8.6 8.9 9.0 12.0+PTX"\n'
    + "RUN pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2.git@main\n"
    + "RUN git clone https://github.com/NVIDIA/apex && cd apex && \\\n"
    + "    APEX_CPP_EXT=1 APEX_CUDA_EXT=1 pip install -v --no-build-isolation .\n",
    "one torch": PYTHON + CU128,
    "unknown image": "ARG BASE\nFROM $BASE\nRUN pip install --no-build-isolation torch-scatter\n",
    "unknown page": DEVEL + 'ARG PAGE\nRUN pip install --only-binary=torch-scatter torch-scatter -f "$PAGE"\n',
    "mirror": DEVEL + "RUN pip install -i https://pypi.example.org/simple torch-scatter torch\n",
    "other packages": PYTHON + "RUN pip install --pre numpy pandas\n",
}


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_what_is_fine_is_left_alone(text):
    assert everything(text) == []


def test_together_only_where_a_build_is_needed():
    both = "RUN pip install torch==2.9.1 torch-scatter"
    assert lines("torch-and-extension-together", f"{PYTHON}{both}\n") == [2]
    assert lines("torch-and-extension-together", f"{PYTHON}{both} -f {PAGE}2.9.0+cu128.html\n") == []
    assert lines("torch-and-extension-together", f"{PYTHON}{both} -f {PAGE}2.13.0+cu130.html\n") == [2]
    assert lines("torch-and-extension-together", "torch\nnumpy\ntorch-sparse\n", "requirements.txt") == [3]
    project = '[project]\nname = "x"\nversion = "1"\ndependencies = ["torch", "torch-scatter"]\n'
    assert lines("torch-and-extension-together", project, "pyproject.toml") == [4]


def test_together_becomes_two_calls():
    text = f"{PYTHON}RUN python -m pip install --no-cache-dir torch==2.9.1 \\\n    torch-scatter \\\n    numpy\n"
    new = mended("torch-and-extension-together", text)
    assert new == (
        f"{PYTHON}RUN python -m pip install --no-cache-dir torch==2.9.1 \\\n    numpy && python -m pip install "
        f'--no-cache-dir --only-binary=torch-scatter -f "{PAGE}2.9.0+cu128.html" torch-scatter\n'
    )
    assert everything(new) == []


def test_a_list_in_json_is_not_edited_as_a_shells_line():
    (_, problem), *_ = found(
        "torch-and-extension-together", f'{PYTHON}RUN ["pip", "install", "torch", "torch-scatter"]\n'
    )
    assert problem.edits == ()


def test_isolation_with_an_older_pip_is_no_trouble():
    build = "RUN pip install --no-binary=torch-scatter torch-scatter\n"
    assert [p.severity for _, p in found("built-in-isolation", DEVEL + build)] == ["warning"]
    assert [p.severity for _, p in found("built-in-isolation", f"{DEVEL}RUN pip install -U pip\n{build}")] == [
        "error"
    ]
    assert found("built-in-isolation", f"{DEVEL}RUN pip install pip==24.0\n{build}") == []
    assert found("built-in-isolation", f"{DEVEL}ENV PIP_NO_BUILD_ISOLATION=0\n{build}") == []


def test_a_page_is_proposed_for_the_torch_of_the_recipe():
    text = PYTHON + CU128 + "RUN pip install torch-scatter\n"
    (line, problem), *_ = found("extension-without-page", text)
    assert line == 3 and problem.safe
    new = put(text, problem.edits)
    assert f'--only-binary=torch-scatter -f "{PAGE}2.9.0+cu128.html" torch-scatter' in new
    assert everything(new) == []


def test_no_page_is_proposed_where_none_lists_it():
    text = f"{PYTHON}RUN pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cu130\n"
    text += "RUN pip install torch-scatter\n"
    assert found("extension-without-page", text) == []
    assert any(f.kind == "use-replacement" for _, p in found("built-in-isolation", text) for f in p.fix)


def test_only_binary_is_safe_only_where_the_page_has_the_wheel():
    page = f"-f {PAGE}2.9.0+cu128.html"
    known = DEVEL + f"RUN pip install torch-scatter {page}\n"
    older = DEVEL + f"RUN pip install torch-scatter==2.0.9 {page}\n"
    assert [p.safe for text in (known, older) for _, p in found("extension-without-only-binary", text)] == [
        True,
        False,
    ]
    pinned = DEVEL + f"RUN pip install torch-scatter==2.1.2+pt29cu128 {page}\n"
    assert found("extension-without-only-binary", pinned) == []


def test_a_wheel_that_is_older_than_the_sources_loses():
    text = f"torch==1.13.1+cu117\n-f {PAGE}1.13.0+cu117.html\ntorch-scatter\n"
    (_, problem), *_ = found("extension-without-only-binary", text, "requirements.txt")
    assert "2.1.2, is newer" in problem.summary


BUILD = "pip install --no-build-isolation --no-binary=torch-scatter torch-scatter\n"


@pytest.mark.parametrize(
    ("lines_before", "command", "rules_that_speak"),
    [
        ("", BUILD, {"built-without-force-cuda", "arch-list-missing"}),
        ("ENV FORCE_CUDA=1\n", BUILD, {"arch-list-missing"}),
        ("ENV FORCE_CUDA=True TORCH_CUDA_ARCH_LIST=8.6\n", BUILD, {"built-without-force-cuda"}),
        ("ARG FORCE_CUDA=1\nENV TORCH_CUDA_ARCH_LIST=8.6\n", BUILD, set()),
        ("ENV TORCH_CUDA_ARCH_LIST=8.6\n", f"FORCE_CUDA=1 {BUILD}", set()),
        ("ENV TORCH_CUDA_ARCH_LIST=8.6\n", f"export FORCE_CUDA=1 && {BUILD}", set()),
        ("ENV TORCH_CUDA_ARCH_LIST=8.6\n", f"FORCE_CUDA=1 && {BUILD}", {"variable-not-exported"}),
        (
            "ENV TORCH_CUDA_ARCH_LIST=8.6\nRUN export FORCE_CUDA=1\n",
            BUILD,
            {"variable-not-exported", "built-without-force-cuda"},
        ),
        ("ENV FORCE_ONLY_CPU=1\n", BUILD, set()),
    ],
)
def test_builds_without_a_gpu(lines_before, command, rules_that_speak):
    assert {rule for rule, _ in everything(f"{DEVEL}{lines_before}RUN {command}")} == rules_that_speak


def test_a_shell_script_may_see_a_gpu():
    assert everything(f"pip install torch==2.9.1\n{BUILD}", "install.sh") == []


def test_both_variables_come_in_front_of_the_call():
    text = f"{DEVEL}RUN {BUILD}"
    for rule in ("built-without-force-cuda", "arch-list-missing"):
        text = mended(rule, text)
    assert everything(text) == []
    assert re.search(r'RUN FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="[\d.;]+\+PTX" pip install', text)


def test_architectures_are_those_that_the_toolkit_knows():
    assert architectures(Wish(), "cu118") == "7.0;7.5;8.0;8.6;8.9;9.0+PTX"
    assert architectures(Wish(), "13.0") == "7.5;8.0;8.6;8.9;9.0;12.0+PTX"
    assert architectures(Wish("12.0"), "cu128") == "12.0"


def arch(value, comment=""):
    return f'{DEVEL}{comment}ENV TORCH_CUDA_ARCH_LIST="{value}" FORCE_CUDA=1\nRUN {BUILD}'


@pytest.mark.parametrize(
    "value", ["8.6;8.9", "8.0 8.6+PTX", "9.0a;10.0", "Ampere;Hopper", "7.5;8.0;8.6;9.0;12.0+PTX"]
)
def test_lists_that_torch_reads(value):
    assert lines("arch-list-malformed", arch(value)) == []


@pytest.mark.parametrize(
    ("value", "meant"),
    [("8.6,8.9", "8.6;8.9"), ("sm_86", "8.6"), ("86;120", "8.6;12.0"), ("8.6; 8.9", "8.6;8.9"), ("8.6;", "8.6")],
)
def test_lists_that_it_does_not_read(value, meant):
    assert f'"{meant}"' in mended("arch-list-malformed", arch(value))


def test_hopper_is_not_ada():
    said = "# 9.0 is Ada Lovelace (RTX 4090)\n"
    (line, problem), *_ = found("arch-list-of-other-gpus", arch("9.0;12.0", said))
    assert (line, problem.severity) == (3, "error")
    assert found("arch-list-of-other-gpus", arch("8.6;9.0", said)) == []  # 8.6 runs on Ada
    assert found("arch-list-of-other-gpus", arch("9.0;12.0", "# 9.0 Hopper, 12.0 RTX 50\n"))[0][1].severity == "note"
    assert found("arch-list-of-other-gpus", arch("9.0;10.0")) == []


def test_the_list_is_held_against_the_gpu_that_is_named():
    assert lines("arch-list-of-other-gpus", arch("8.6"), gpu="8.9") == []
    assert lines("arch-list-of-other-gpus", arch("8.6"), gpu="12.0") == [2]
    assert '"8.6;12.0"' in mended("arch-list-of-other-gpus", arch("8.6"), gpu="12.0")


@pytest.mark.parametrize(
    ("image", "value", "wrong"),
    [
        ("nvidia/cuda:12.6.3-devel-ubuntu22.04", "8.9;12.0", True),
        ("nvidia/cuda:12.8.1-devel-ubuntu22.04", "8.9;12.0", False),
        ("nvidia/cuda:13.0.1-devel-ubuntu22.04", "7.0;8.0", True),
        ("nvidia/cuda:11.8.0-devel-ubuntu22.04", "7.0;9.0", False),
        ("example/own:12.1", "12.0", False),
    ],
)
def test_architectures_that_nvcc_knows(image, value, wrong):
    text = f'FROM {image}\nENV TORCH_CUDA_ARCH_LIST="{value}" FORCE_CUDA=1\nRUN {BUILD}'
    assert lines("arch-unknown-to-nvcc", text) == ([2] if wrong else [])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (f"-f {PAGE}2.9.0+128.html", f"-f {PAGE}2.9.0+cu128.html"),
        (f"-f {PAGE}2.9.0+cu12.8.html", f"-f {PAGE}2.9.0+cu128.html"),
        (f"-f {PAGE}2.9.0_cu128.html", f"-f {PAGE}2.9.0+cu128.html"),
        (f"-f {PAGE}2.9+cu128.html", f"-f {PAGE}2.9.0+cu128.html"),
        (f"-f {PAGE}2.9.0.html", f"-f {PAGE}2.9.0+cu128.html"),
        (f"-f {PAGE}2.9.0+cu128", f"-f {PAGE}2.9.0+cu128.html"),
        (f"-f {PAGE}2.9.0+cu128+cu128.html", f"-f {PAGE}2.9.0+cu128.html"),
        (f"-f http{PAGE[5:]}2.9.0+cu128.html", f"-f {PAGE}2.9.0+cu128.html"),
        (f"-f htps{PAGE[5:]}2.9.0+cu128.html", f"-f {PAGE}2.9.0+cu128.html"),
        (f"--index-url {PAGE}2.9.0+cu128.html", f"-f {PAGE}2.9.0+cu128.html"),
        ("-f https://data.pyg.org/whl/", f"-f {PAGE}2.9.0+cu128.html"),
        ("--index-url https://download.pytorch.org/whl/121", "--index-url https://download.pytorch.org/whl/cu121"),
        ("--index-url=https://download.pytorch.org/cu121", "--index-url=https://download.pytorch.org/whl/cu121"),
        ("-f https://download.pytorch.org/whl/cu121", "--extra-index-url https://download.pytorch.org/whl/cu121"),
    ],
)
def test_addresses_that_are_wrong(written, meant):
    text = f"{DEVEL}RUN pip install torch-sparse {written}\n"
    assert mended("address-malformed", text) == f"{DEVEL}RUN pip install torch-sparse {meant}\n"


@pytest.mark.parametrize(
    "address",
    [
        f"{PAGE}2.9.0%2Bcu128.html",
        f"{PAGE}1.7.0.html",
        "https://data.pyg.org/whl/nightly/torch-2.14.0+cu130.html",
        "https://pytorch-geometric.com/whl/torch-1.10.0+cu113.html",
        "https://download.pytorch.org/whl/torch_stable.html",
        "https://download.pytorch.org/whl/cu113/torch_stable.html",
        "https://wheels.example.org/torch-2.9+128.html",
        f'"{PAGE}${{TORCH}}+${{CUDA}}.html"',
    ],
)
def test_addresses_that_are_not(address):
    assert lines("address-malformed", f"{DEVEL}RUN pip install torch-sparse -f {address}\n") == []


def test_variables_that_no_shell_fills_in():
    page = f"{PAGE}2.9.0+${{CUDA}}.html"
    text = f"{DEVEL}ARG CUDA=cu128\nRUN pip install torch-sparse -f '{page}'\n"
    assert f'"{page}"' in mended("address-malformed", text)
    empty = f"ARG CUDA=cu128\n{DEVEL}RUN pip install torch-sparse -f {page}\n"
    assert mended("address-malformed", empty) == empty.replace(DEVEL, f"{DEVEL}ARG CUDA\n")
    assert lines("address-malformed", empty.replace(DEVEL, f"{DEVEL}ARG CUDA\n")) == []


@pytest.mark.parametrize(
    ("page", "failure", "severity"),
    [
        ("2.9.0+cu128", None, None),
        ("2.9.1+cu128", None, None),
        ("2.8.0+cu128", "extension-torch-mismatch", "error"),
        ("2.9.0+cpu", "extension-cpu-only", "error"),
        ("2.9.0+cu130", "extension-cuda-mismatch", "error"),
        ("2.9.0+cu126", "extension-cuda-mismatch", "warning"),
    ],
)
def test_pages_of_another_torch(page, failure, severity):
    text = f"{DEVEL}RUN pip install --only-binary=:all: torch-scatter -f {PAGE}{page}.html\n"
    told = [(p.failure, p.severity) for _, p in found("page-of-another-torch", text)]
    assert told == ([(failure, severity)] if failure else [])
    if failure:
        assert f"{PAGE}2.9.0+cu128.html" in mended("page-of-another-torch", text)


def test_a_page_made_from_the_version():
    text = f"{PYTHON}ARG V=2.9.1\nRUN pip install --only-binary=:all: torch-scatter -f {PAGE}${{V}}+cu128.html\n"
    assert [p.severity for _, p in found("page-from-version", text)] == ["note"]
    assert lines("page-from-version", text.replace("2.9.1", "2.9.0")) == []
    nightly = (
        f"{PYTHON}RUN pip install --pre torch --index-url https://download.pytorch.org/whl/nightly/cu128\n"
        'RUN V=$(python -c "import torch; print(torch.__version__)") && \\\n'
        f"    pip install --no-build-isolation torch-scatter -f {PAGE}${{V}}.html\n"
    )
    assert [(line, p.failure) for line, p in found("page-from-version", nightly)] == [(4, "wheel-not-published")]
    assert not found("page-from-version", nightly)[0][1].edits, "which release takes its place is not known yet"
    gone = f"{CU128}RUN pip install torch-scatter -f {PAGE}2.10.0.dev20251101+cu128.html\n"
    assert f"-f {PAGE}2.9.0+cu128.html" in mended("page-from-version", PYTHON + gone)


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        ("torch==2.1.0+cu121", "index-url-malformed"),
        ("torch==2.9.1 --index-url https://download.pytorch.org/whl/cu121", "wheel-not-published"),
        ("torch==2.1.0+cu118 --index-url https://download.pytorch.org/whl/cu121", "index-url-malformed"),
        ("torch --extra-index-url https://download.pytorch.org/whl/cu121", "index-url-malformed"),
        ("torch==2.1.0+121 -f https://download.pytorch.org/whl/torch_stable.html", "index-url-malformed"),
        ("torch --index-url https://download.pytorch.org/whl/cu121", None),
        ("torch==2.5.1 --extra-index-url https://download.pytorch.org/whl/cu121", None),
        ("torch --extra-index-url https://download.pytorch.org/whl/cu132", None),
        ("torch==2.1.0+cu121 -f https://download.pytorch.org/whl/torch_stable.html", None),
        ("torch==2.1.0+cu121 --extra-index-url https://download.pytorch.org/whl", None),
    ],
)
def test_torch_of_another_index(line, failure):
    told = [p.failure for _, p in found("torch-of-another-index", f"{PYTHON}RUN pip install {line}\n")]
    assert told == ([failure] if failure else [])


def test_what_an_old_python_can_have_is_no_newer():
    text = "FROM python:3.8\nRUN pip install torch --extra-index-url https://download.pytorch.org/whl/cu121\n"
    assert lines("torch-of-another-index", text) == []


def test_torch_without_a_version_beside_a_page_of_one():
    page = f"RUN pip install --only-binary=:all: torch-scatter -f {PAGE}2.9.0+cu128.html\n"
    text = f"{PYTHON}RUN pip install torch --index-url https://download.pytorch.org/whl/cu128\n{page}"
    assert "torch==2.9.1 " in mended("torch-unpinned", text)
    assert lines("torch-unpinned", PYTHON + CU128 + page) == []
    # The index for CUDA 12.1 ends with torch 2.5.
    last = f"{PYTHON}RUN pip install torch --index-url https://download.pytorch.org/whl/cu121\n"
    assert lines("torch-unpinned", last + page.replace("2.9.0+cu128", "2.5.0+cu121")) == []


def test_apex_of_the_index():
    assert (
        mended("apex-from-index", "torch==2.9.1\napex==0.9.10.dev0\nnumpy\n", "requirements.txt")
        == "torch==2.9.1\nnumpy\n"
    )
    assert mended("apex-from-index", f"{PYTHON}RUN pip install apex numpy\n") == f"{PYTHON}RUN pip install numpy\n"
    fine = f"{DEVEL}RUN pip install --no-build-isolation 'apex @ git+https://github.com/NVIDIA/apex'\n"
    assert lines("apex-from-index", fine) == []


def test_options_that_pip_no_longer_has():
    clone = "RUN git clone https://github.com/NVIDIA/apex && cd apex && "
    options = '--global-option="--cpp_ext" --global-option="--cuda_ext"'
    text = f"{DEVEL}{clone}pip install -v {options} ./\n"
    new = mended("apex-global-option", text)
    assert new == f"{DEVEL}{clone}APEX_CPP_EXT=1 APEX_CUDA_EXT=1 pip install --no-build-isolation -v ./\n"
    old = f"{DEVEL}{clone}git checkout 23.05 && pip install {options} ./\n"
    assert '--config-settings "--build-option=--cpp_ext"' in mended("apex-global-option", old)
    assert lines("apex-global-option", old.replace("RUN git", "RUN pip install pip==22.3 && git")) == []


def test_apex_without_amp_where_amp_is_wanted():
    use = 'RUN python -c "from apex import amp"\n'
    apex = "RUN pip install --no-build-isolation git+https://github.com/NVIDIA/apex"
    assert lines("apex-amp-gone", f"{DEVEL}{apex}\n{use}") == [2]
    assert lines("apex-amp-gone", f"{DEVEL}{apex}@e13873d\n{use}") == []
    assert lines("apex-amp-gone", f"{DEVEL}{apex}\n") == []


def test_a_release_in_place_of_a_nightly():
    text = f"{PYTHON}RUN pip install --pre torch torchvision --index-url https://download.pytorch.org/whl/nightly/cu128\n"
    new = mended("nightly-where-stable-serves", text)
    assert re.search(r"install torch==2\.\d+\.\d+ torchvision --index-url \S+/whl/cu128$", new.strip())
    assert everything(new) == []
    assert lines("nightly-where-stable-serves", text, "Dockerfile.nightly") == []


@pytest.mark.parametrize(
    ("line", "does"),
    [
        ("RUN pip install torch>=2.1", "version-conflict"),
        ("RUN pip install torch<2.9", "version-conflict"),
        ("RUN pip install 'torch>=2.1'", None),
        ("RUN pip install torch > install.log", None),
        ("RUN pip install torch 2>&1", None),
        ("RUN export TORCH_CUDA_ARCH_LIST=8.6;8.9; pip install numpy", "gpu-arch-missing"),
        ("ENV TORCH_CUDA_ARCH_LIST=8.6;8.9", None),
    ],
)
def test_quotes_that_are_lost(line, does):
    text = f"{PYTHON}{line}\n"
    assert [p.failure for _, p in found("quotes-lost", text)] == ([does] if does else [])
    if does:
        assert lines("quotes-lost", mended("quotes-lost", text)) == []


# As the one in the report that this project grew from is described there.
REPORT = f"""\
FROM nvidia/cuda:12.8.0-devel-ubuntu22.04
RUN apt-get update && apt-get install -y python3.11 python3.11-dev python3.11-venv
RUN python3.11 -m venv /opt/venv
ENV PATH="/opt/venv/bin:$PATH"
# 9.0: Ada Lovelace (RTX 40), 12.0: Blackwell (RTX 50)
ENV TORCH_CUDA_ARCH_LIST="9.0;12.0"
RUN pip install --pre torch torchvision --index-url https://download.pytorch.org/whl/nightly/cu128
RUN TORCH=$(python -c "import torch; print(torch.__version__.split('+')[0])") && \\
    CUDA=$(python -c "import torch; print('cu' + torch.version.cuda.replace('.', ''))") && \\
    pip install --no-build-isolation torch-scatter torch-sparse \\
        -f {PAGE}${{TORCH}}+${{CUDA}}.html
"""


def test_the_report():
    said = {rule: line for rule, line in everything(REPORT) if rule in CHECKS}
    assert said["arch-list-of-other-gpus"] == 6
    assert said["nightly-where-stable-serves"] == 7
    assert said["built-without-force-cuda"] == 10
    assert said["page-from-version"] == 11


OLD = "FROM pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime\n"


@pytest.mark.parametrize(
    "line, version",
    [
        ("pip install torch", "2.1.0"),
        ("pip install 'torch>=2.0'", "2.1.0"),
        ("pip install --pre torch --index-url https://download.pytorch.org/whl/nightly/cu130", "2.1.0"),
        ("pip install -U torch", None),
        ("pip install torch==2.2.0", "2.2.0"),
        ("pip install 'torch>=2.4'", None),
        ("pip install --target /opt/own torch", None),
        ("pip uninstall -y torch && pip install torch", None),
        ("python -m venv /v && /v/bin/pip install torch", None),
    ],
)
def test_a_torch_that_the_image_has_stays(line, version):
    recipe = read("Dockerfile", text=f"{OLD}RUN {line}\n")
    assert torch_at(recipe, recipe.installs[-1]).version == version


def test_torch_that_is_there_already_is_no_newer_one_than_the_page():
    page = f"-f {PAGE}2.1.0+cu121.html"
    text = f"{OLD}RUN pip install torch torchvision\nRUN pip install torch-scatter {page}\n"
    assert "torch-unpinned" not in [rule for rule, _ in everything(text)]
    assert lines("torch-unpinned", text.replace(OLD, PYTHON)) == [2]


@pytest.mark.parametrize(
    "image, before, isolated",
    [
        ("pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel", "", True),
        ("pytorch/pytorch:2.1.0-cuda12.1-cudnn8-devel", "", False),
        ("pytorch/pytorch:2.1.0-cuda12.1-cudnn8-devel", "RUN pip install -U pip\n", True),
        ("pytorch/pytorch:1.12.1-cuda11.3-cudnn8-devel", "RUN pip install -U pip\n", False),  # Python 3.7
        ("nvcr.io/nvidia/pytorch:22.12-py3", "RUN pip install --upgrade pip\n", False),  # Python 3.8
        ("nvcr.io/nvidia/pytorch:24.05-py3", "RUN pip install --upgrade pip\n", True),
        ("nvcr.io/nvidia/pytorch:24.05-py3", "", False),
    ],
)
def test_old_pips_do_not_isolate(image, before, isolated):
    text = f"FROM {image}\n{before}RUN pip install --no-binary=torch-cluster torch-cluster\n"
    assert bool(lines("built-in-isolation", text)) is isolated


def test_sources_that_ask_for_torch_are_built_against_the_newest():
    text = f"{DEVEL}RUN pip install git+https://github.com/rusty1s/pytorch_sparse\n"
    (_, problem), *_ = found("built-in-isolation", text)
    assert "the newest of the index" in problem.summary and "No module" not in problem.summary
    together = "FROM python:3.11\nRUN pip install torch git+https://github.com/rusty1s/pytorch_sparse\n"
    assert not lines("torch-and-extension-together", together)
    assert lines("torch-and-extension-together", together.replace("install torch", "install torch==2.4.0")) == [2]


def test_a_comment_about_ada_counts_wherever_it_stands():
    text = f'{DEVEL}ENV TORCH_CUDA_ARCH_LIST="9.0;12.0"\n\nWORKDIR /srv\n\n# our RTX 4090s need 9.0\n'
    (_, problem), *_ = found("arch-list-of-other-gpus", text)
    assert problem.severity == "error" and put(text, problem.edits).count('"8.9;12.0"') == 1


@pytest.mark.parametrize("program", ["conda run -n gnn pip", "sudo -H python3 -m pip"])
def test_an_option_is_added_whatever_the_call_begins_with(program):
    text = f"{program} install torch-cluster -f {PAGE}2.4.0+cu121.html\n"
    new = mended("extension-without-only-binary", text, "setup.sh")
    assert new.startswith(f"{program} install --only-binary=torch-cluster torch-cluster -f")


def test_a_continued_line_may_begin_with_a_test():
    text = (
        f'{DEVEL}RUN set -eu; \\\n  [ -s /etc/hosts ]; \\\n  [ ! -e /x ]; \\\n  pip install apex\nCMD \\\n [ "sh" ]\n'
    )
    assert not read("Dockerfile", text=text).unread
    assert lines("apex-from-index", text) == [5]


def test_pyg_lib_is_on_its_page_alone():
    assert lines("extension-without-page", f"{DEVEL}RUN pip install pyg-lib\n") == [2]
    assert not lines("extension-without-page", f"{DEVEL}RUN pip install pyg-lib -f {PAGE}2.9.0+cu128.html\n")
    assert not lines(
        "extension-without-page", f"{DEVEL}RUN pip install pyg-lib --index-url https://pypi.corp/simple\n"
    )


@pytest.mark.parametrize(
    "file, text, says",
    [
        ("a.sh", f"pip install torch-scatter -f {PAGE}2.2.0+cu124.html\n", "does not have: cpu, cu118, cu121"),
        ("a.sh", f"pip install torch-scatter -f {PAGE}{{torch.__version__}}.html\n", "nothing fills that in"),
        ("a.sh", "pip install torch==1.9.0+cpu -f https://download.pytorch.org/whl/torch_stable\n", "lacks .html"),
        ("requirements.txt", f"torch-scatter -f {PAGE}2.5.0+cpu.html\n", "a line of its own"),
    ],
)
def test_addresses_that_no_server_or_no_pip_takes(file, text, says):
    (_, problem), *_ = found("address-malformed", text, file)
    assert says in problem.summary
    if problem.edits:
        assert not lines("address-malformed", put(text, problem.edits), file)


def test_the_same_expression_in_a_notebook_is_filled_in():
    source = f"!pip install torch-scatter -f {PAGE}{{torch.__version__}}.html"
    cell = (
        f'{{"cell_type": "code", "source": ["{source}"], "outputs": [], "metadata": {{}}, "execution_count": null}}'
    )
    text = f'{{"nbformat": 4, "nbformat_minor": 4, "metadata": {{}}, "cells": [{cell}]}}'
    assert not lines("address-malformed", text, "gnn.ipynb")


def test_a_page_for_cuda_beside_any_torch_for_the_cpu():
    text = (
        "pip install torch --index-url https://download.pytorch.org/whl/cpu\n"
        f"pip install torch-scatter -f {PAGE}2.4.0+cu121.html\n"
    )
    ((line, problem),) = found("page-of-another-torch", text, "a.sh")
    assert line == 2 and problem.failure == "extension-cuda-mismatch" and "X.Y.0+cpu" in problem.fix[0].why


def test_no_edit_makes_a_version_out_of_a_redirection():
    page = f"-f {PAGE}2.4.0+cu121.html"
    text = f"pip install torch>=2.0 torchvision\npip install torch-scatter {page}\n"
    assert not found("torch-unpinned", text, "a.sh")[0][1].edits
    assert lines("torch-and-extension-together", "pip install torch>=2.0 torch-scatter\n", "a.sh") == [1]
    assert not found("torch-and-extension-together", "pip install torch>=2.0 torch-scatter\n", "a.sh")[0][1].edits


def test_the_fix_names_a_shim_that_there_is():
    (_, problem), *_ = found("apex-from-index", f"{DEVEL}RUN pip install apex timm\n")
    assert any("kit shim enable apex.amp" in fix.why for fix in problem.fix)


SOURCES = """
[project]
name = "own"
version = "1"
dependencies = ["torch==2.8.0", "torch-scatter", "torch_sparse"]

[tool.uv.sources]
torch_scatter = [{ index = "pyg" }]
torch-sparse = { url = "https://wheels.own.example/torch_sparse-0.6.18-cp312-cp312-linux_x86_64.whl" }

[[tool.uv.index]]
name = "pyg"
url = "https://data.pyg.org/whl/torch-2.8.0+cpu.html"
format = "flat"
explicit = true
"""


def test_places_that_uv_is_told():
    assert not everything(SOURCES, "pyproject.toml")
    without = SOURCES.replace("torch-sparse = {", "six = {")
    assert [rule for rule, _ in everything(without, "pyproject.toml")] == ["extension-without-only-binary"]
    wrong = SOURCES.replace('format = "flat"\n', "")
    assert [rule for rule, _ in everything(wrong, "pyproject.toml")] == ["address-malformed"]


def test_an_address_behind_a_requirement_of_an_environment():
    text = (
        "channels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip:\n    - torch==2.5.1\n"
        f"    - torch-cluster -f {PAGE}2.5.0+cu124.html\n"
    )
    assert lines("address-malformed", text, "environment.yml") == [6]
    new = mended("address-malformed", text, "environment.yml")
    assert f"    - --find-links {PAGE}2.5.0+cu124.html\n    - torch-cluster\n" in new
    assert not lines("address-malformed", new, "environment.yml")


def test_an_old_image_has_an_old_pip():
    folder = "COPY apex /apex\nRUN cd /apex && pip install --global-option=--cpp_ext .\n"
    assert not lines("apex-global-option", f"FROM pytorch/pytorch:nightly-devel-cuda10.1-cudnn7\n{folder}")
    assert lines("apex-global-option", f"{DEVEL}{folder}") == [3]


def test_conda_calls_torch_by_its_own_name():
    text = f"conda install pytorch -c pytorch\npip install torch-scatter -f {PAGE}2.2.0+cu121.html\n"
    (_, problem), *_ = found("torch-unpinned", text, "a.sh")
    assert "conda installs" in problem.summary and "pytorch==2.2.2" in problem.fix[0].why


def test_conda_may_fix_an_older_pip():
    text = (
        "dependencies:\n  - python=3.10\n  - pip=24.2\n  - pytorch=2.4.0\n  - pip:\n"
        "    - git+https://github.com/facebookresearch/pytorch3d.git@V0.7.8\n"
    )
    assert not lines("built-in-isolation", text, "environment.yml")
    assert lines("built-in-isolation", text.replace("pip=24.2", "pip=25.3"), "environment.yml") == [6]


def test_other_systems_may_have_the_wheel():
    wheel = "https://wheels.own.example/torch_cluster-1.6.3-cp311-cp311-linux_x86_64.whl"
    text = (
        "torch==2.5.1\ntorch-cluster==1.6.3 ; sys_platform == 'win32'\n"
        f"torch-cluster @ {wheel} ; sys_platform == 'linux'\n"
    )
    assert not lines("torch-and-extension-together", text, "requirements.txt")
    assert lines("torch-and-extension-together", text.split("torch-cluster @")[0], "requirements.txt") == [2]


def test_a_variable_that_may_not_be_needed_is_noted():
    text = f"{DEVEL}RUN export FORCE_CUDA=1\nRUN pip install mmcv==2.1.0 -f https://wheels.own.example/index.html\n"
    assert [problem.severity for _, problem in found("variable-not-exported", text)] == ["note"]
    sources = text.replace("mmcv==2.1.0", "--no-binary=mmcv mmcv==2.1.0")
    assert [problem.severity for _, problem in found("variable-not-exported", sources)] == ["error"]


def test_torch_has_the_index_that_uv_is_told():
    text = (
        '[project]\nname = "own"\nversion = "1"\ndependencies = ["torch"]\n\n[tool.uv.sources]\n'
        'torch = { index = "cuda" }\n\n[[tool.uv.index]]\nname = "cuda"\nexplicit = true\n'
        'url = "https://download.pytorch.org/whl/cu126"\n'
    )
    assert not lines("torch-of-another-index", text, "pyproject.toml")


def test_what_a_command_has_installed_a_requirements_file_does_not_compile(tmp_path):
    (tmp_path / "requirements.txt").write_text("numpy\ntorch-cluster\n")
    text = f"{CU128[4:]}pip install torch-cluster -f {PAGE}2.9.0+cu128.html\npip install -r requirements.txt\n"
    script = tmp_path / "setup.sh"
    assert not lines("extension-without-page", text, str(script))
    assert lines("extension-without-page", text.replace("install torch-cluster", "install torch-sparse"), str(script))

"""The lab's set-up: its steps, stamps and messages, and where torch-scatter comes from. No network."""

from __future__ import annotations

import ast
import base64
import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

from kit.build import BuildFailed, Built, Moment
from kit.build.nvcc import CannotBuild
from kit.lab import browser, scatter, slurm, steps
from kit.lab.__main__ import check_python, free_port, open_lab
from kit.lab.console import Progress, Runner
from kit.lab.place import Lab, StepFailed, Torch, Unusable, read_page, read_torch

ROOT = Path(__file__).resolve().parents[1]
CPU = Torch("2.13.0+cpu", None, None)
CUDA = Torch("2.13.0+cu130", "13.0", None)
TAGS = ["cp311-cp311-manylinux_2_36_x86_64", "cp311-cp311-linux_x86_64", "py3-none-any"]


class FakeRunner:
    """Does to the disk what the real commands would, and remembers them."""

    def __init__(self, root: Path, torch: Torch = CPU) -> None:
        self.root, self.torch = root, torch
        self.site = root / ".venv" / "site"
        self.ran: list[str] = []
        self.envs: dict[str, dict[str, str]] = {}
        self.lacks: str | None = None
        self.fails: str | None = None
        self.stops: str | None = None

    def run(self, argv, log, env, tick) -> int:
        command = " ".join(argv).replace(str(self.root), "ROOT")
        self.ran.append(command)
        self.envs[command] = env
        with log.open("a") as out:
            out.write(f"$ {command}\n")
        tick()
        if self.stops and self.stops in command:
            raise KeyboardInterrupt
        if self.fails and self.fails in command:
            quiet = "".join(f"Collecting package-{number}\n" for number in range(300))
            log.write_text(quiet + "ERROR: No matching distribution found\n" + quiet[-200:] + "The conflict: a pin\n")
            return 1
        if "-m venv" in command:
            binary = self.root / ".venv" / "bin"
            binary.mkdir(parents=True)
            self.site.mkdir()
            (binary / "python").touch()
            (binary / "pip").write_text(f"#!{binary}/python")
            (self.root / ".venv" / "pyvenv.cfg").touch()
        self.scatter(command)
        if " torch==" in command:
            (self.site / "torch").mkdir(exist_ok=True)
            (self.site / "torch" / "version.py").write_text(
                f"from typing import Optional\n__version__ = {self.torch.version!r}\n"
                f"cuda: Optional[str] = {self.torch.cuda!r}\nhip: Optional[str] = None\n"
            )
        return 0

    def scatter(self, command: str) -> None:
        """What pip does to torch_scatter."""
        if "uninstall -y torch-scatter" in command:
            for path in self.site.glob("torch_scatter*"):
                path.rmdir()
        version = re.search(r"install .*torch_scatter(?:==|-)([\d.]+(?:\+kit)?)", command)
        if version:
            assert not [*self.site.glob("torch_scatter*")], "what was there is uninstalled first"
            (self.site / "torch_scatter").mkdir()
            (self.site / f"torch_scatter-{version[1]}.dist-info").mkdir()

    def ask(self, argv) -> str | None:
        command = " ".join(argv)
        if "find_spec('pip')" in command:
            return "3.11.7 (main)" if (self.root / ".venv" / "bin" / "python").exists() else None
        if "sys_tags" in command:
            return json.dumps({"site": str(self.site), "tags": TAGS})
        return None

    def build(self, package, version, python, cache, *, env, progress, log) -> Built:
        """In the place of kit.build.build: compiles nothing."""
        command = f"build {package}=={version} for {python}".replace(str(self.root), "ROOT")
        self.ran.append(command)
        self.envs[command] = env
        progress(Moment("compiling", 4, 7, 60.0, 150.0))
        if self.stops and self.stops in command:
            raise KeyboardInterrupt
        if self.lacks:
            raise CannotBuild(self.lacks)
        if self.fails and self.fails in command:
            Path(log).write_text("x.cpp:1:1: fatal error: y.h: No such file or directory\n")
            raise BuildFailed("compiling torch-scatter 2.1.2 failed: x.cpp:1:1: fatal error")
        return Built(f"{cache}/key/torch_scatter-2.1.2-cp311-cp311-linux_x86_64.whl", 1.0, False)


@pytest.fixture
def pages():
    """A web server on this machine: path to (status, text)."""
    answers: dict[str, tuple[int, str]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answers.get(self.path, (404, ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        answers["base"] = (0, f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=functools.partial(server.serve_forever, 0.02), daemon=True).start()
        yield answers
        server.shutdown()


@pytest.fixture
def lab(tmp_path: Path, pages, monkeypatch) -> Lab:
    root = tmp_path / "clone"
    root.mkdir()
    (root / "pyproject.toml").write_text("[project]\n")
    names = ("torch==2.13.0", "torch-scatter==2.1.2", "pip==26.3", "setuptools==84.2.1", "wheel==0.48.0")
    (root / "constraints.txt").write_text("\n".join([*names, "packaging==26.3", "jupyterlab==4.6.6", ""]))
    made = Lab(
        root,
        {"PATH": str(tmp_path / "tools"), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        Progress(io.StringIO()),
        FakeRunner(root),  # type: ignore[arg-type]
        torch_cpu_page=pages["base"][1] + "/cpu/torch/",
        pyg_pages=pages["base"][1] + "/whl",
        driver_file=tmp_path / "no-driver",
        devices=tmp_path / "no-devices",
    )
    monkeypatch.setattr(scatter.build, "build", made.runner.build)  # type: ignore[attr-defined]
    return made


@pytest.fixture
def compiling(lab: Lab) -> Lab:
    """The lab of who asks for a compiled torch-scatter: make scatter, make test."""
    lab.scatter = "compiled"
    return lab


def said(lab: Lab) -> str:
    return lab.progress.stream.getvalue()  # type: ignore[attr-defined]


def ran(lab: Lab, text: str) -> list[str]:
    return [command for command in lab.runner.ran if text in command]  # type: ignore[attr-defined]


def again(lab: Lab) -> None:
    """A new process on the same disk."""
    lab.runner.ran.clear()  # type: ignore[attr-defined]
    lab.progress = Progress(io.StringIO())
    lab.probed = {}
    steps.prepare(lab)


# --- steps and stamps -----------------------------------------------------------------------------


def test_first_run_does_every_step_in_order_and_never_forces_anything(compiling):
    lab = compiling
    steps.prepare(lab)
    order = [
        "-m venv",
        " torch==2.13.0",
        "-e ROOT[lab,recipes,nodes,test]",
        "build torch-scatter==2.1.2",
        "torch_scatter-2.1.2-cp311",
    ]
    places = [lab.runner.ran.index(ran(lab, part)[0]) for part in order]
    assert places == sorted(places)
    assert not ran(lab, "--force")
    assert re.findall(r"\[\d/5\] .*done in 0:00", said(lab)) and "[4/5] Getting torch-scatter" in said(lab)
    for command in ran(lab, "pip install"):
        assert "-c ROOT/constraints.txt" in command or ".whl" in command


def test_second_run_repeats_nothing(lab):
    steps.prepare(lab)
    again(lab)
    assert lab.runner.ran == [] and said(lab) == ""


def test_changed_pins_redo_what_depends_on_them(lab):
    steps.prepare(lab)
    lab.constraints.write_text(lab.constraints.read_text().replace("jupyterlab==4.6.6", "jupyterlab==4.6.7"))
    again(lab)
    assert ran(lab, "-e ROOT[lab,recipes,nodes,test]") and ran(lab, "torch_scatter==2.1.2+kit")
    assert not ran(lab, "-m venv") and not ran(lab, " torch==")


def test_another_torch_in_the_environment_gets_its_own_torch_scatter(compiling):
    lab = compiling
    steps.prepare(lab)
    lab.constraints.write_text(lab.constraints.read_text().replace("torch==2.13.0", "torch==2.14.1"))
    lab.runner.torch = Torch("2.14.1+cpu", None, None)
    again(lab)
    assert ran(lab, " torch==2.14.1") and ran(lab, "uninstall -y torch-scatter") and ran(lab, "build torch-scatter")


def test_a_torch_that_was_removed_from_the_environment_is_installed_again(lab):
    steps.prepare(lab)
    (lab.runner.site / "torch" / "version.py").unlink()
    again(lab)
    assert ran(lab, " torch==2.13.0") and not ran(lab, "-m venv")


def test_a_failing_step_names_itself_its_log_and_how_to_go_on(lab):
    lab.runner.fails = "-e ROOT"
    with pytest.raises(StepFailed) as failure:
        steps.prepare(lab)
    text = str(failure.value)
    assert text.startswith("The step 'Installing the notebooks' packages' failed")
    assert str(lab.log("packages")) in text and "ERROR: No matching distribution found" in text
    assert "The conflict: a pin" in text and len(text.splitlines()) < 15
    assert text.endswith("run the same command again: finished steps are not repeated.")
    assert said(lab).endswith("[3/5] Installing the notebooks' packages   failed\n")
    assert not (lab.venv / "stamps" / "packages").exists()

    lab.runner.fails = None
    again(lab)
    assert ran(lab, "-e ROOT") and not ran(lab, " torch==") and not ran(lab, "-m venv")


def test_a_step_that_failed_half_way_is_done_again_even_if_its_inputs_are_as_before(lab):
    steps.prepare(lab)
    good = lab.constraints.read_text()
    lab.constraints.write_text(good.replace("jupyterlab==4.6.6", "jupyterlab==0.0.0"))
    lab.runner.fails = "-e ROOT"
    with pytest.raises(StepFailed):
        again(lab)
    lab.constraints.write_text(good)
    lab.runner.fails = None
    again(lab)
    assert ran(lab, "-e ROOT")


def test_a_failing_compile_says_how_to_do_without(compiling):
    lab = compiling
    lab.runner.fails = "build torch-scatter"
    with pytest.raises(StepFailed, match=r"make lab SCATTER=no") as failure:
        steps.prepare(lab)
    assert "compiling torch-scatter 2.1.2 failed" in str(failure.value) and "fatal error: y.h" in str(failure.value)
    assert "Or go on with the kit's own: make lab; or" in str(failure.value)


def test_an_interrupted_step_leaves_no_stamp(compiling):
    lab = compiling
    lab.runner.stops = "build torch-scatter"
    with pytest.raises(KeyboardInterrupt):
        steps.prepare(lab)
    assert not (lab.venv / "stamps" / "scatter").exists()
    assert said(lab).endswith("[4/5] Getting torch-scatter   stopped\n")


def test_a_venv_whose_python_is_gone_is_made_again(lab):
    steps.prepare(lab)
    python = lab.venv / "bin" / "python"
    python.unlink()
    python.symlink_to("/no/such/python3.9")
    again(lab)
    assert ran(lab, "-m venv") and ran(lab, " torch==") and ran(lab, "-e ROOT")


def test_a_venv_that_was_moved_with_its_clone_is_made_again(lab):
    steps.prepare(lab)
    (lab.venv / "bin" / "pip").write_text("#!/elsewhere/.venv/bin/python")
    again(lab)
    assert ran(lab, "-m venv")


def test_a_folder_called_venv_that_is_none_is_refused_and_kept(lab):
    lab.venv.mkdir()
    (lab.venv / "diary.txt").write_text("mine")
    with pytest.raises(Unusable, match="is no virtual environment: move it away"):
        steps.prepare(lab)
    assert (lab.venv / "diary.txt").read_text() == "mine"


def test_only_one_process_changes_the_environment(lab):
    entered = threading.Event()

    def second() -> None:
        with steps.alone(lab):
            entered.set()

    with steps.alone(Lab(lab.root, {}, Progress(io.StringIO()))):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.3) and "waiting for it" in said(lab)
    thread.join(5)
    assert entered.is_set()


@pytest.mark.parametrize(
    "status, output, line, more",
    [
        (0, "Nothing wrong was found.\n\nmore", "[5/5] Checking   Nothing wrong was found.\n", ""),
        (1, "1 error\nwhat it is", "[5/5] Checking   something was found\n", "1 error\nwhat it is\n"),
        (2, "Traceback", "[5/5] Checking   could not be done: status 2", ""),
    ],
)
def test_the_check_shows_a_finding_and_stops_nothing(lab, status, output, line, more):
    def run(argv, log, env, tick):
        assert argv[1:] == ["-m", "kit", "doctor"]
        log.write_text(f"$ command\n{output}\n")
        return status

    lab.log("check").parent.mkdir(parents=True)
    lab.runner.run = run
    steps.check(lab)
    assert line in said(lab) and said(lab).endswith(more or said(lab))


# --- torch ----------------------------------------------------------------------------------------


def test_torch_for_cpu_comes_from_its_page_where_no_gpu_is_visible(lab, pages):
    pages["/cpu/torch/"] = (200, "<a href='torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl'>")
    steps.prepare(lab)
    (command,) = ran(lab, " torch==")
    assert f"--find-links {lab.torch_cpu_page}" in command and "--index-url" not in command


def test_without_that_page_the_log_says_so_and_pip_decides(lab):
    steps.prepare(lab)
    assert "--find-links" not in ran(lab, " torch==")[0]
    assert "No NVIDIA GPU is visible" in lab.log("torch").read_text()
    assert "/cpu/torch/ answers 404" in lab.log("torch").read_text()


def test_where_a_driver_is_visible_torch_is_the_one_with_cuda(lab, pages):
    pages["/cpu/torch/"] = (200, "links")
    lab.driver_file.write_text("NVRM version")
    steps.prepare(lab)
    assert "--find-links" not in ran(lab, " torch==")[0]


def test_torch_is_read_as_text(tmp_path):
    (tmp_path / "torch").mkdir()
    text = "from typing import Optional\nraise SystemExit\n__version__ = '2.13.0+cu130'\ndebug = False\n"
    (tmp_path / "torch" / "version.py").write_text(text + "cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n")
    assert read_torch(tmp_path) == CUDA
    assert (CUDA.token, CUDA.release, CPU.token) == ("cu130", (2, 13), "cpu")
    assert Torch("2.16.0.dev20261120+cu132", "13.2", None).release is None
    assert Torch("2.10.0a0+b4e4ee81d3.nv25.12", "13.1", None).release is None


# --- torch-scatter: published wheels --------------------------------------------------------------


def wheel(
    local: str, python: str = "cp311", platform: str = "linux_x86_64", folder: str = "torch-2.10.0%2Bcu130"
) -> str:
    return f'<a href="{folder}/torch_scatter-2.1.2{local}-{python}-{python}-{platform}.whl">x</a><br>\n'


GOOD = "https://pages.test/whl/torch-2.10.0%2Bcu130/torch_scatter-2.1.2%2Bpt210cu130-cp311-cp311-linux_x86_64.whl"


@pytest.mark.parametrize(
    "page, expected",
    [
        (wheel("%2Bpt210cu130"), GOOD),
        (wheel("+pt210cu130"), GOOD.replace("2.1.2%2B", "2.1.2+")),
        (wheel("%2Bpt210cu130", "cp312") + wheel("%2Bpt210cu130"), GOOD),
        (wheel("%2Bpt210cu130", "cp312"), None),
        (wheel("%2Bpt210cu128"), None),
        (wheel("%2Bpt210cu1301"), None),
        (wheel("%2Bpt210cpu"), None),
        (wheel("%2Bpt21cu130"), None),
        (wheel("%2Bpt2100cu130"), None),
        (wheel(""), None),
        (wheel("%2Bpt210cu130", platform="win_amd64"), None),
        (wheel("%2Bpt210cu130").replace("torch_scatter", "torch_sparse"), None),
        (wheel("%2Bpt210cu130").replace("2.1.2%2B", "2.1.1%2B"), None),
        ("<html><body></body></html>", None),
        ("", None),
    ],
)
def test_only_the_wheel_for_this_torch_and_python_is_taken(page, expected):
    torch = Torch("2.10.0+cu130", "13.0", None)
    url = "https://pages.test/whl/torch-2.10.0+cu130.html"
    assert scatter.matching_wheel(page, url, "2.1.2", torch, TAGS) == expected


def test_wheels_for_macos_carry_no_local_version():
    tags, torch = ["cp311-cp311-macosx_11_0_arm64"], Torch("2.12.1", None, None)
    page = wheel("", platform="macosx_11_0_arm64") + wheel("%2Bpt212cpu")
    found = scatter.matching_wheel(page, "https://pages.test/p.html", "2.1.2", torch, tags)
    assert found is not None and found.endswith("torch_scatter-2.1.2-cp311-cp311-macosx_11_0_arm64.whl")


def test_the_best_tag_wins():
    page = wheel("%2Bpt210cu130") + wheel("%2Bpt210cu130", platform="manylinux_2_28_x86_64.manylinux_2_36_x86_64")
    torch = Torch("2.10.0+cu130", "13.0", None)
    found = scatter.matching_wheel(page, "https://pages.test/p.html", "2.1.2", torch, TAGS)
    assert found is not None and "manylinux_2_36" in found


def test_a_published_wheel_is_installed_by_its_address_and_nothing_is_compiled(lab, pages):
    lab.runner.torch = Torch("2.12.1+cpu", None, None)  # a patch release: its wheels are on the page of X.Y.0
    pages["/whl/torch-2.12.0+cpu.html"] = (200, wheel("%2Bpt212cpu", folder="torch-2.12.0%2Bcpu"))
    steps.prepare(lab)
    (command,) = ran(lab, "torch_scatter-2.1.2%2Bpt212cpu-cp311-cp311-linux_x86_64.whl")
    assert f" {lab.pyg_pages}/torch-2.12.0%2Bcpu/" in command and "--no-deps" in command
    assert not ran(lab, "build torch-scatter")


@pytest.mark.parametrize("wanted, means", [("any", "torch_scatter==2.1.2+kit"), ("compiled", "build torch-scatter")])
@pytest.mark.parametrize("answer, reason", [((403, "no"), "answers 403"), ((200, "<html></html>"), "lists none")])
def test_the_log_says_why_a_page_was_of_no_use(lab, pages, answer, reason, wanted, means):
    pages["/whl/torch-2.13.0+cpu.html"] = answer
    lab.scatter = wanted
    steps.prepare(lab)
    assert ran(lab, means) and reason in lab.log("scatter").read_text()


def test_no_network_is_an_answer_too():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        text, why = read_page(f"http://127.0.0.1:{closed.getsockname()[1]}/")
    assert text is None and "cannot be read" in why


# --- torch-scatter: the kit's own -----------------------------------------------------------------


def test_without_a_wheel_the_kits_own_is_there_at_once_and_one_line_says_so(lab):
    steps.prepare(lab)
    assert (
        "[4/5] Getting torch-scatter   no wheel was found for torch 2.13.0+cpu: the kit's own is there, make scatter "
        "compiles it\n"
    ) in said(lab)
    (install,) = ran(lab, "torch_scatter==2.1.2+kit")
    assert "--no-deps" in install and "--no-index --find-links" in install
    assert not ran(lab, "build torch-scatter")
    again(lab)
    assert lab.runner.ran == []


def test_the_kits_own_is_none_for_the_tests_and_a_compiled_one_stays(lab):
    steps.prepare(lab)
    lab.scatter = "compiled"
    again(lab)
    assert [command.partition(" --")[0] for command in lab.runner.ran] == [
        "build torch-scatter==2.1.2 for ROOT/.venv/bin/python",
        "ROOT/.venv/bin/python -m pip uninstall -y torch-scatter",
        "ROOT/.venv/bin/python -m pip install",
    ]
    for lab.scatter in ("compiled", "any", "compiled"):
        again(lab)
        assert lab.runner.ran == []
    lab.scatter, lab.environ["CC"] = "any", "clang"  # with other flags: that concerns who compiles
    again(lab)
    assert lab.runner.ran == []


def test_a_compile_that_fails_leaves_the_kits_own_in_place(lab):
    steps.prepare(lab)
    lab.scatter, lab.runner.fails = "compiled", "build torch-scatter"
    with pytest.raises(StepFailed):
        again(lab)
    assert [path.name for path in lab.runner.site.glob("torch_scatter-*")] == ["torch_scatter-2.1.2+kit.dist-info"]


def test_a_wheel_that_was_compiled_before_is_better_than_the_kits_own(lab, monkeypatch):
    kept = lab.wheels / "key" / "torch_scatter-2.1.2-cp311-cp311-linux_x86_64.whl"
    kept.parent.mkdir(parents=True)
    monkeypatch.setattr(scatter.toolchain, "target", lambda python, env: python)
    monkeypatch.setattr(scatter.toolchain, "toolchain", lambda package, to, env: "tools")
    monkeypatch.setattr(scatter.build, "key", lambda *arguments: "key")
    kept.write_bytes(b"of a disk that was full")
    steps.prepare(lab)
    assert not ran(lab, str(kept)) and ran(lab, "torch_scatter==2.1.2+kit")
    with zipfile.ZipFile(kept, "w") as archive:
        archive.writestr("torch_scatter/__init__.py", "")
    (lab.venv / "stamps" / "scatter").unlink()
    again(lab)
    assert ran(lab, str(kept)) and not ran(lab, "build") and not ran(lab, "+kit")


def test_another_release_of_the_kits_own_is_installed_anew(lab, monkeypatch):
    steps.prepare(lab)
    monkeypatch.setattr(scatter, "_own", lambda: ["another text"])
    again(lab)
    assert ran(lab, "torch_scatter==2.1.2+kit") and not ran(lab, "-e ROOT")


def test_without_torch_scatter_nothing_is_installed(lab):
    lab.scatter = "no"
    steps.prepare(lab)
    assert "[4/5] Getting torch-scatter   left out: SCATTER=no\n" in said(lab) and not ran(lab, "torch_scatter")


# --- torch-scatter: compiling (kit.build does it, and tests/test_build.py tests that) --------------


def test_compiling_is_for_the_environments_own_python_and_shielded_from_other_ones(compiling):
    lab = compiling
    lab.environ.update(PYTHONPATH="/elsewhere", PIP_TARGET="/elsewhere")
    steps.prepare(lab)
    (command,) = ran(lab, "build torch-scatter")
    assert command == "build torch-scatter==2.1.2 for ROOT/.venv/bin/python"
    assert not {"PYTHONPATH", "PIP_TARGET"} & set(lab.runner.envs[command])
    (install,) = ran(lab, "torch_scatter-2.1.2-cp311")
    assert "--no-cache-dir" in install and str(lab.wheels) in install


def test_compiling_shows_how_far_it_is(compiling):
    lab = compiling
    steps.prepare(lab)
    assert lab.progress.note == "4 of 7 files compiled" and lab.progress.usual == 150


def test_flags_that_change_build_again(compiling):
    lab = compiling
    steps.prepare(lab)
    lab.environ["HOME"] = "/elsewhere"
    again(lab)
    assert not ran(lab, "build torch-scatter")
    lab.environ["CXXFLAGS"] = "-march=native"
    again(lab)
    assert ran(lab, "build torch-scatter")


def test_where_something_is_missing_the_kits_own_stands_in_and_it_is_tried_again(compiling):
    lab = compiling
    lab.runner.lacks = "no C++ compiler was found (g++, c++, clang++); on Debian and Ubuntu: apt install g++"
    steps.prepare(lab)
    assert "[4/5] Getting torch-scatter   left out: no C++ compiler was found (g++, c++, clang++)" in said(lab)
    assert "apt install g++; the kit's own is there instead\n" in said(lab) and ran(lab, "torch_scatter==2.1.2+kit")
    assert not (lab.venv / "stamps" / "scatter").exists()

    lab.runner.lacks = None
    again(lab)
    assert ran(lab, "build torch-scatter") and not ran(lab, " torch==")


# --- progress and commands ------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_off_a_terminal_is_a_line_each_half_minute():
    now, out = [0.0], io.StringIO()
    progress = Progress(out, lambda: now[0])
    progress.begin("[3/5] Installing", 50)
    for second in range(1, 76):
        now[0] = second
        progress.note = "4 of 7 files compiled" if second > 50 else ""
        progress.tick()
    progress.end()
    assert out.getvalue().splitlines() == [
        "[3/5] Installing   usually about 0:50",
        "[3/5] Installing   0:30 of about 0:50",
        "[3/5] Installing   1:00, usually about 0:50, 4 of 7 files compiled",
        "[3/5] Installing   done in 1:15",
    ]


def test_progress_on_a_terminal_is_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    now, out = [0.0], Terminal()
    progress = Progress(out, lambda: now[0])
    progress.begin("[4/5] Getting torch-scatter", 340)
    for tenth in range(100):
        now[0] = tenth / 10
        progress.note = "4 of 7 files compiled"
        progress.tick()
    progress.end("left out: " + "because " * 20)
    lines = out.getvalue().split("\r\x1b[K")[1:]
    assert len(lines) == 1 + 9 + 1  # at the start, each second, at the end
    assert lines[5] == "[4/5] Getting torch-scatter   0:05 of about 5:40, 4 of"[:49]
    assert all("\n" not in line for line in lines[:-1]) and lines[-1].endswith("because because \n")


def test_ctrl_c_ends_a_step_with_all_its_processes(tmp_path):
    script = (
        "import sys; from pathlib import Path; from kit.lab.console import Runner\n"
        "argv = ['sh', '-c', 'sleep 60 & echo $! > pid; wait']\n"
        "Runner().run(argv, Path('log'), {'PATH': '/usr/bin:/bin'}, lambda: None)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=env, stderr=subprocess.PIPE)
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    child.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in child.communicate(timeout=20)[1]
    grandchild = int((tmp_path / "pid").read_text())
    wait_for(lambda: not alive(grandchild))


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text() if Path("/proc/self").exists() else ""
        os.kill(pid, 0)
    except (ProcessLookupError, FileNotFoundError):
        return False
    return ") Z " not in status


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_command_writes_its_log(tmp_path):
    log = tmp_path / "log"
    assert Runner().run([sys.executable, "-c", "print('out'); raise SystemExit(3)"], log, {}, lambda: None) == 3
    assert log.read_text().splitlines()[1:] == ["out"]
    assert Runner().ask(["/no/such/program"]) is None


# --- a browser for the tests ----------------------------------------------------------------------


class Browserless(FakeRunner):
    """No browser starts until one of these ways to install one has been gone."""

    ways: tuple[str, ...] = ()
    there = False

    def run(self, argv, log, env, tick) -> int:
        status = super().run(argv, log, env, tick)
        command = self.ran[-1]
        if "it starts" in command:
            return 0 if self.there else 1
        if "install" in command and any(way in command for way in ("apt-get", "playwright install")):
            self.there = any(way in command for way in self.ways)
            return 0 if self.there else 1
        return status


def archive(script: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as out:
        member = tarfile.TarInfo("package/axe.min.js")
        member.size = len(script)
        out.addfile(member, io.BytesIO(script.encode()))
    return packed.getvalue()


@pytest.fixture
def testing(lab, monkeypatch, tmp_path) -> Lab:
    """The lab of `make test`, without a browser and with a Slurm; the registry serves an axe-core of one word."""
    package = archive("axe")
    monkeypatch.setattr(browser, "AXE_SHA512", base64.b64encode(hashlib.sha512(package).digest()).decode())
    monkeypatch.setattr(browser, "read", lambda url: package)
    monkeypatch.setattr(slurm, "missing", lambda env: [])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    lab.runner = Browserless(lab.root)  # type: ignore[assignment]
    monkeypatch.setattr(scatter.build, "build", lab.runner.build)
    (tmp_path / "tools").mkdir()
    for name in ("apt-get", "chromium"):
        (tmp_path / "tools" / name).write_text("")
    (tmp_path / "tools" / "apt-get").chmod(0o755)
    return lab


def test_a_browser_that_is_here_is_taken_and_nothing_is_installed(testing, tmp_path):
    (tmp_path / "tools" / "chromium").chmod(0o755)
    testing.runner.there = True
    steps.prepare(testing, steps.TEST_STEPS)
    (command,) = ran(testing, "it starts")
    assert f"{tmp_path}/tools/chromium --no-sandbox" in command
    assert not ran(testing, "apt-get") and not ran(testing, "playwright install")
    assert "[5/7] Getting a browser   done in 0:00\n" in said(testing)
    testing.runner.ran.clear()
    steps.prepare(testing, steps.TEST_STEPS)
    assert testing.runner.ran == []
    steps.prepare(testing)
    assert testing.runner.ran == [], "make lab does without"


@pytest.mark.parametrize(
    "user, way, installs",
    [
        (0, "apt-get install -y -q --no-install-recommends chromium", 2),
        (0, "playwright install chromium", 4),
        (1000, "playwright install chromium", 1),
    ],
)
def test_without_one_it_is_installed(testing, monkeypatch, user, way, installs):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    testing.runner.ways = (way,)
    steps.prepare(testing, steps.TEST_STEPS)
    tried = [command for command in testing.runner.ran if "apt-get" in command or "playwright install" in command]
    assert len(tried) == installs and way in tried[-1]


def test_where_none_can_be_had_the_step_fails_by_its_name(testing):
    with pytest.raises(StepFailed) as failure:
        steps.prepare(testing, steps.TEST_STEPS)
    assert str(failure.value).splitlines()[0] == (
        "The step 'Getting a browser' failed: no Chromium is here that starts, and neither apt-get nor playwright "
        "could install one; install one that is called chromium or google-chrome"
    )
    testing.runner.there = True
    again(testing)
    steps.prepare(testing, steps.TEST_STEPS)
    assert ran(testing, "it starts")


def test_axe_core_is_the_very_file_that_is_meant(testing, monkeypatch):
    assert browser.axe(testing.environ) == "axe"
    monkeypatch.setattr(browser, "read", lambda url: archive("another"))
    assert browser.axe(testing.environ) == "axe", "it is kept"
    browser.axe_file(testing.environ).write_bytes(b"of a disk that was full")
    with pytest.raises(StepFailed, match=r"axe-core-4\.14\.1\.tgz is another file than axe-core 4\.14\.1"):
        browser.axe(testing.environ)


def test_axe_core_comes_from_the_registry_that_npm_would_ask(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert browser.registry({}) == "https://registry.npmjs.org/"
    (tmp_path / ".npmrc").write_text("fund=false\nregistry=https://mirror.test/npm\n")
    assert browser.registry({}) == "https://mirror.test/npm/"
    assert browser.registry({"npm_config_registry": "https://other.test/"}) == "https://other.test/"


def test_a_registry_that_does_not_answer_is_one_line():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/axe.tgz"
        with pytest.raises(StepFailed, match="cannot be read"):
            browser.read(url)


# --- the command line -----------------------------------------------------------------------------


def test_an_old_python_is_refused_with_one_line_that_names_a_newer(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: name == "python3.12")
    with pytest.raises(Unusable) as refusal:
        check_python((3, 9, 2), "/usr/bin/python3")
    assert str(refusal.value) == (
        "/usr/bin/python3 is Python 3.9.2, and the lab needs 3.10 or newer: "
        "a newer one is here, make lab PYTHON=python3.12"
    )
    check_python((3, 10, 0), "python3")


def test_an_old_python_can_read_far_enough_to_refuse():
    for path in [*(ROOT / "kit" / "lab").glob("*.py"), ROOT / "kit" / "__init__.py"]:
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 7))


def test_a_python_without_venv_is_refused_with_what_to_install(lab, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unusable, match="apt install python3-venv"):
        steps.prepare(lab)


@pytest.mark.parametrize("arguments", [["fly"], ["lab", "--port", "x"], ["lab", "--loud"], []])
def test_unusable_arguments_are_one_line_and_status_2(arguments):
    done = subprocess.run([sys.executable, "-m", "kit.lab", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_taken_port_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unusable, match=r"choose another, as in make lab PORT=9999"):
            free_port(taken.getsockname()[1])
    with pytest.raises(Unusable):
        free_port(99999)


def test_a_jupyterlab_that_does_not_start_says_why(lab):
    lab.log("jupyterlab").parent.mkdir(parents=True)
    lab.venv_bin.mkdir()
    python = Path(lab.venv_python)
    python.write_text("#!/bin/sh\necho 'ModuleNotFoundError: No module named jupyterlab'\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(StepFailed, match=r"JupyterLab did not start(.|\n)*No module named jupyterlab"):
        open_lab(lab, browser=False, wanted=None)


@pytest.mark.slow
def test_make_lab_prints_an_address_that_answers_and_ends_on_ctrl_c(tmp_path):
    if not (ROOT / ".venv" / "stamps" / "packages").is_file():
        pytest.skip("the lab's own environment was not made here: make test makes it")
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    env.update(JUPYTER_RUNTIME_DIR=str(tmp_path / "runtime"), JUPYTER_CONFIG_DIR=str(tmp_path / "config"))
    with (tmp_path / "out").open("w+") as out:
        make = subprocess.Popen(
            ["make", "lab", "BROWSER=no", f"PORT={port}"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            pattern = re.compile(rf"http://127\.0\.0\.1:{port}/\S+\?token=\w+")
            wait_for(lambda: make.poll() is not None or pattern.search((tmp_path / "out").read_text()), 60)
            address = pattern.search((tmp_path / "out").read_text())
            assert address, (tmp_path / "out").read_text()
            with urllib.request.urlopen(address[0], timeout=20) as answer:
                assert answer.status == 200
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/kernels", timeout=20)
            os.killpg(make.pid, signal.SIGINT)
            make.wait(timeout=30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(make.pid, signal.SIGKILL)
    assert "Stopping JupyterLab" in (tmp_path / "out").read_text()
    with socket.socket() as trial:
        assert trial.connect_ex(("127.0.0.1", port)) != 0

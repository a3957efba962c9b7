"""The notebooks: as they are stored, and run by papermill on recorded machines and on this one."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from conftest import ROOT
from papermill.exceptions import PapermillExecutionError

import kit
from kit import gpus
from kit.throwaway.index import LocalIndex

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DOCTORS = [path for path in NOTEBOOKS if path.name.startswith(("00_", "01_"))]
WHEEL = ROOT / "notebooks" / "02_build_the_wheel_url.ipynb"
AMP = ROOT / "notebooks" / "05_use_amp_without_apex.ipynb"
EXPLAIN = ROOT / "notebooks" / "06_explain_an_error.ipynb"
REPAIR = ROOT / "notebooks" / "03_repair_and_verify.ipynb"
RECORDED = ["healthy-cpu", "rtx5070ti-cpu-only-scatter", "hpc-py39-apex-without-amp"]
# Each takes a kernel of its own; how every finding reads is tested without one, in test_failures.
MACHINES = ["live", *RECORDED, *[name for name in kit.machines() if name not in RECORDED][::4]]
HEALTHY = [name for name in kit.machines() if kit.doctor(machine=name).verdict == "healthy"]


def code_cells(path: Path) -> "list[Any]":
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_the_first_is_the_map_of_the_tour() -> None:
    first, *others = sorted(path.stem for path in NOTEBOOKS)
    text = "".join(cell.source for cell in nbformat.read(ROOT / "notebooks" / f"{first}.ipynb", 4).cells)
    assert re.findall(r"\]\((\w+)\.ipynb\)[^\n]*\| \d minutes? \|", text) == others


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_as_it_was_run(path: Path) -> None:
    cells = code_cells(path)
    # nbval compares nothing of a cell without a count.
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type in ("error", "stream")]
    strip = [sys.executable, "-m", "nbstripout", "--keep-output", "--keep-count", "--keep-id", "--verify", str(path)]
    assert subprocess.run(strip, capture_output=True).returncode == 0
    text = path.read_text()
    assert str(ROOT) not in text
    assert sys.prefix not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_written_to_be_read(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "**What you'll do**" in first.source
    assert "**What you need**" in first.source
    cells = code_cells(path)
    assert [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])] == cells[:1]
    assert max(len(cell.source.splitlines()) for cell in cells) <= 8
    assert not any(cell.source.rstrip().endswith(";") for cell in cells)


def run(path: Path, out: Path, **parameters: object) -> "list[Any]":
    options = {"kernel_name": "python3", "cwd": str(out), "progress_bar": False, "start_timeout": 180}
    try:
        papermill.execute_notebook(str(path), str(out / path.name), parameters, **options)
    except RuntimeError as error:
        # A kernel looks for free ports and binds them later: a test beside this one may have taken one meanwhile.
        if "Kernel died before replying" not in str(error):
            raise
        papermill.execute_notebook(str(path), str(out / path.name), parameters, **options)
    return code_cells(out / path.name)


def shown(cells: "list[Any]") -> str:
    return "\n".join(
        output.data.get("text/plain", "") for cell in cells for output in cell.outputs if "data" in output
    )


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("path", DOCTORS, ids=lambda path: path.stem)
def test_tour_runs_on_every_machine(path: Path, machine: str, tmp_path: Path) -> None:
    text = shown(run(path, tmp_path, machine=machine))
    if machine == "live":
        assert "healthy: nothing wrong was found" in text
    else:
        findings = kit.doctor(machine=machine)
        assert all(f"[{finding.failure}]" in text for finding in findings)
        assert f"{findings.verdict}: " in text


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["live", *RECORDED])
def test_the_wheel_for_a_machine(machine: str, tmp_path: Path) -> None:
    text = shown(run(WHEEL, tmp_path, machine=machine, torch="2.12.1+cpu", package="torch-sparse"))
    facts = kit.collect(probes=False) if machine == "live" else kit.machine(machine)
    minor = gpus.numbers(facts.python.version)[:2]
    taken = f"take: torch_sparse-0.6.18+pt212cpu-cp{minor[0]}{minor[1]}-"
    assert (taken in text) == ((3, 10) <= minor <= (3, 14)), "the Pythons of torch 2.12"
    assert "torch-2.12.0+cpu.html" in text


@pytest.mark.slow
def test_the_wheel_on_a_page(tmp_path: Path) -> None:
    """The notebook reads a real page of a real server where it is told to."""
    name = "torch_scatter-2.1.2+pt212cu130-cp311-cp311-linux_x86_64.whl"
    with contextlib.closing(LocalIndex()) as index:
        (tmp_path / name).write_bytes(b"")
        index.add(tmp_path / name, "2.12.0+cu130")
        text = shown(run(WHEEL, tmp_path, pages=index.page("2.12.0+cu130").rpartition("/")[0]))
        assert any("/whl/torch-2.12.0" in path and status == 200 for _, path, status in index.log)
    assert f"take: {name}" in text and "not read" not in text.partition("take: ")[0]


@pytest.mark.slow
def test_a_repair_and_its_undo(tmp_path: Path) -> None:
    failure = "apex-wrong-package"  # nbval runs the notebook with its own
    text = shown(run(REPAIR, tmp_path, failure=failure))
    assert f"[{failure}]" in text
    assert "applied: repaired and verified, 1 step" in text
    assert "undone: as it was before" in text


@pytest.mark.slow
def test_amp_without_apex(tmp_path: Path) -> None:
    text = shown(run(AMP, tmp_path, failure="apex-wrong-package", level="O2"))
    assert "[apex-wrong-package]" in text and "apex.amp: switched on" in text
    assert "{'computed in': {torch.float16}, 'learned': True}" in text
    assert "and each time that step was skipped" in text
    assert "applied: repaired and verified, 1 step" in text and "undone: as it was before" in text


@pytest.mark.slow
def test_a_text_from_a_file(tmp_path: Path) -> None:
    said = '  File "/opt/venv/lib/python3.11/site-packages/apex/amp/_amp_state.py", line 14, in <module>\n'
    (tmp_path / "out.txt").write_text(f"{said}ModuleNotFoundError: No module named 'torch._six'\n")
    text = shown(run(EXPLAIN, tmp_path, text_file="out.txt"))
    assert "[apex-version-mismatch]" in text
    here = shown(run(EXPLAIN, tmp_path, text_file="out.txt", machine="healthy-cpu"))
    assert "The environment: Python 3" in here


def test_a_chart_is_a_picture_and_its_words() -> None:
    from kit import chart

    drawn = chart.loss_scale([4, 8, 4, 4])
    words = "from 4 at the first of 4 steps to 4 at the last, at most 8; it fell 1 time,"
    assert words in " ".join(repr(drawn).split())
    bundle = drawn._repr_mimebundle_()
    assert bundle["text/html"].startswith("<figure") and f'alt="{drawn.words}"' in bundle["text/html"]
    assert drawn.png.startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_failure_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(PapermillExecutionError) as error:
        run(REPAIR, tmp_path, failure="driver-too-old")
    (line,) = error.value.traceback
    assert line.startswith("driver-too-old cannot be reproduced; what can: apex-amp-removed,")


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_gate_on_every_machine(machine: str, tmp_path: Path) -> None:
    check = ROOT / "notebooks" / "check.ipynb"
    if machine == "live" or machine in HEALTHY:
        assert shown(run(check, tmp_path, machine=machine)).endswith("check passed: nothing wrong was found")
        assert json.loads((tmp_path / "findings.json").read_text())["verdict"] == "healthy"
        return
    with pytest.raises(PapermillExecutionError) as error:
        run(check, tmp_path, machine=machine)
    findings = kit.doctor(machine=machine)
    from kit import show

    assert "\n".join(error.value.traceback) == show.text(findings)  # exactly its lines
    written = json.loads((tmp_path / "findings.json").read_text())
    assert [finding["failure"] for finding in written["findings"]] == [finding.failure for finding in findings]


def papermill_command(tmp_path: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    check, out = ROOT / "notebooks" / "check.ipynb", tmp_path / "out" / "check.ipynb"
    out.parent.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(check),
        str(out),
        "-k",
        "python3",
        "--no-progress-bar",
        *options,
    ]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=180)


@pytest.mark.slow
def test_papermill_command_passes_and_writes_beside_the_output(tmp_path: Path) -> None:
    done = papermill_command(tmp_path, "-r", "require", "torch>=2.9, jupyterlab")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "findings.json").read_text())["verdict"] == "healthy"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-p", "machine", "healthy-gpu", "-p", "gpu", "7.0"], "torch holds no code for this GPU"),
        (["-r", "require", "torch>=99"], "required: torch>=99"),
        (["-p", "machine", "no-such-machine"], "machine: none is called 'no-such-machine'"),
        (["-p", "torch_version", "2.10"], "unknown parameter 'torch_version'"),
        (["-r", "python", "/no/such/python"], "no such interpreter: /no/such/python"),
    ],
)
def test_papermill_command_fails_with_the_reason(tmp_path: Path, options: "list[str]", says: str) -> None:
    done = papermill_command(tmp_path, *options)
    assert done.returncode == 1
    assert says in done.stderr

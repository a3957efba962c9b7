"""What the README claims: its commands, its picture, its map of the notebooks."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import kit

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"^```\n(.*?)^```", README, re.M | re.S)
    for line in block.splitlines()
    if line.strip()
]


def test_its_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).is_file(), link


def test_its_map_names_every_notebook() -> None:
    named = re.findall(r"\]\(notebooks/(\w+)\.ipynb\)", README)
    assert named == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m kit")])
def test_its_commands_work(command: str, tmp_path: Path) -> None:
    argv = [sys.executable if word in ("python", "/opt/venv/bin/python") else word for word in command.split()]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == int("rtx5070ti" in command), done.stdout + done.stderr


def test_its_magics_exist() -> None:
    from kit.__main__ import parser

    assert COMMANDS.count("%load_ext kit") == 1 and callable(kit.load_ipython_extension)
    named = re.findall(r"`%+kit (\w+)`", README)
    assert "repair" in named and "explain" in named
    for verb in named:
        assert parser().parse_args([verb]).verb == verb


@pytest.mark.parametrize("row", re.findall(r"^\| `kit (.+?)` \|", README, re.M))
def test_its_table_of_commands_works(row: str, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(kit.machine("healthy-gpu").to_json())
    shutil.copy(ROOT / "tests" / "fixtures" / "fatbin" / "wide.so", tmp_path / "FILE")
    (tmp_path / "pip.log").write_text("$ pip install torch-scatter\nModuleNotFoundError: No module named 'torch'\n")
    (tmp_path / "Dockerfile").write_text("FROM python:3.11\nRUN pip install torch==2.13.0 torch-scatter\n")
    (tmp_path / "out.txt").write_text("RuntimeError: Not compiled with CUDA support\n")
    done = subprocess.run(
        [sys.executable, "-m", "kit", *row.split()], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    if row == "verify --require cuda":  # fails exactly where no GPU can be used
        assert ("no GPU" in done.stdout) == (done.returncode == 1)
    else:
        assert done.returncode in (0, 1), done.stderr
    assert done.stderr == ""


@pytest.mark.slow
def test_its_gate_works(tmp_path: Path) -> None:
    (command,) = (c for c in COMMANDS if c.startswith("papermill"))
    argv = [sys.executable, "-m", *shlex.split(command.replace("notebooks/", f"{ROOT}/notebooks/"))]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checked.ipynb", "findings.json"]

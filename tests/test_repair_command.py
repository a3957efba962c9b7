"""kit repair, kit undo and kit doctor --log as a person types them, in an environment that is really broken."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, refusal

import kit


def run(*arguments, place=None, stdin=subprocess.DEVNULL):
    """Run kit, in the session of a throwaway environment where one is given."""
    command = [sys.executable, "-m", "kit", *map(str, arguments)]
    if place is None:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, stdin=stdin)
    with place.active():
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, stdin=stdin)


@pytest.mark.slow
def test_see_the_plan_do_it_take_it_back():
    with kit.reproduce("apex-wrong-package") as place:
        python = ("--python", place.python)
        before = place.show()

        shown = run("repair", *python, "--dry-run", place=place)
        assert (shown.returncode, shown.stderr) == (1, "")
        assert "1 step mends what was found" in shown.stdout and "pip uninstall --yes apex" in shown.stdout
        assert shown.stdout.endswith("Nothing has been changed.\n")

        asked = run("repair", *python, place=place)
        assert asked.returncode == 1 and "--yes does the steps" in asked.stderr
        assert place.show() == before and not (place.folder / "venv" / ".kit").exists()

        done = run("repair", *python, "--yes", place=place)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "applied: repaired and verified, 1 step" in done.stdout
        assert "[1/1] uninstalling apex" in done.stderr  # how far it is, in a log
        assert run("doctor", *python, place=place).returncode == 0
        assert "No module named 'apex'" in place.show()

        undone = run("undo", *python, "--json", place=place)
        assert undone.returncode == 0 and json.loads(undone.stdout)["state"] == "undone"
        assert place.show() == before
        again = run("doctor", *python, place=place)
        assert again.returncode == 1 and "[apex-wrong-package]" in again.stdout


@pytest.mark.slow
def test_one_document_and_what_is_kept_can_be_dropped():
    with kit.reproduce("apex-wrong-package") as place:
        python = ("--python", place.python)
        done = run("repair", *python, "--yes", "--json", place=place)
        answer = json.loads(done.stdout)
        assert (done.returncode, done.stderr) == (0, "")
        assert [step["failure"] for step in answer["plan"]["steps"]] == ["apex-wrong-package"]
        receipt = answer["receipt"]
        assert receipt["state"] == "applied" and receipt["verification"]["verdict"] == "healthy"
        assert run("undo", receipt["id"], *python, "--discard", place=place).returncode == 0
        assert "nothing to undo" in refusal(run("undo", *python, place=place))


def test_nothing_to_mend_and_nothing_to_undo(tmp_path):
    healthy = run("repair", "--dry-run")
    assert healthy.returncode == 0 and "nothing to mend" in healthy.stdout
    assert "torch-broken was not found here" in refusal(run("repair", "--only", "torch-broken"))
    assert "no such interpreter" in refusal(run("undo", "--python", "/no/such/python"))


def test_the_log_of_an_installation_that_failed(tmp_path):
    log = tmp_path / "pip.log"
    log.write_text(
        "$ pip install torch-sparse\nerror: metadata-generation-failed\nModuleNotFoundError: No module named 'torch'"
    )
    done = run("doctor", "--log", log)
    assert done.returncode == 1 and "[build-isolation]" in done.stdout
    plan = run("repair", "--log", log, "--dry-run", "--json")
    (step,) = json.loads(plan.stdout)["plan"]["steps"]
    assert plan.returncode == 1 and "--no-build-isolation" in step["argv"]
    assert any(word.startswith("torch-sparse==") for word in step["argv"]), "an exact version"
    assert "cannot be read" in refusal(run("doctor", "--log", tmp_path / "none"))

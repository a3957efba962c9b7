"""kit nodes against a real Slurm: three nodes on this machine, started by the test and ended by process id."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm import NODES, Slurm, missing

from kit.nodes import onefile, place
from kit.nodes.engines import engine, jobs
from kit.nodes.engines import srun as srun_engine
from kit.nodes.records import Asked
from kit.nodes.sameness import comparable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Slurm runs on Linux"),
    pytest.mark.xdist_group("slurm"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    lacks = missing()
    if lacks:
        pytest.fail(
            f"Slurm is not here ({', '.join(lacks)}): as root, apt-get install slurm-wlm munge", pytrace=False
        )
    if os.geteuid() != 0:
        pytest.fail("the test starts Slurm's daemons as root, and this is another user", pytrace=False)
    before = {name: os.environ.get(name) for name in ("SLURM_CONF", "PATH")}
    with Slurm(tmp_path_factory.mktemp("slurm")) as running:
        os.environ.update({name: running.env[name] for name in before})
        yield running
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    assert running.left() == [] and all(p.poll() is not None for p in running.processes)


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """An empty working directory: an engine leaves nothing behind in it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def ask(name, **asked):
    told = []
    answers = list(engine(name)(Asked(**{"limit": 30.0, **asked}), lambda *tick: told.append(tick)))
    assert len({a.node for a in answers}) == len(answers)
    return {a.node: a for a in answers}, told


def program(folder: Path, name: str, text: str) -> str:
    """A program of the shell, in a folder outside the working directory."""
    file = folder / name
    file.write_text("#!/bin/sh\n" + text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


@pytest.mark.parametrize("name", ["srun", "slurm"])
def test_three_nodes_give_the_facts_that_collect_gives_here(slurm, in_folder, name):
    answers, told = ask(name, python=sys.executable)
    assert sorted(answers) == list(NODES)
    assert {a.state for a in answers.values()} == {"answered"}, answers
    command = [sys.executable, "-m", "kit", "collect", "--python", sys.executable]
    here = json.loads(subprocess.run(command, capture_output=True, check=True, cwd=in_folder).stdout)
    # A node is in a job, and has the variables of one; all else is as it is here.
    wanted = {**here, "variables": {}, "host": {**here["host"], "scheduler": "slurm", "job": True}}
    for node, answer in answers.items():
        got = comparable({**answer.data, "variables": {}}, node)
        assert json.loads(got) == json.loads(comparable(wanted, node))
    assert told[-1][1:] == (3, 3) or told[-1][1] >= 2
    assert slurm.ask("squeue", "-h", "--states=running,pending").stdout == ""


def test_what_srun_starts_may_crash_be_killed_or_hang_on_a_node(slurm, in_folder, tmp_path_factory):
    text = f"""
    ulimit -c 0
    case "$SLURMD_NODENAME:$1" in
        node1:-I) kill -SEGV $$ ;;  # the process that reads the node
        node2:-I) kill -KILL $$ ;;
        node3:*) exec sleep 300 ;;  # the interpreter under test; another one reads the node, and says so
    esac
    exec {sys.executable} "$@"
    """
    begun = time.monotonic()
    answers, _ = ask("srun", python=program(tmp_path_factory.mktemp("bin"), "python", text), limit=4.0)
    assert time.monotonic() - begun < 30
    assert (answers["node1"].state, answers["node1"].why) == ("crashed", "SIGSEGV")
    assert (answers["node2"].state, answers["node2"].why) == ("killed", "SIGKILL")
    assert answers["node3"].state in ("silent", "refused") and "4 s" in answers["node3"].why
    assert slurm.ask("pgrep", "-f", "^sleep 300$").stdout == ""


@pytest.mark.parametrize("name", ["srun", "slurm"])
def test_whoever_stops_listening_ends_the_jobs_and_their_processes(slurm, in_folder, tmp_path_factory, name):
    text = f"""
    case "$1 $2" in
        -I*|"-c import sys; sys.exit("*) exec {sys.executable} "$@" ;;  # the process that reads the node
    esac
    exec sleep 301  # what is read
    """
    hangs = program(tmp_path_factory.mktemp("bin"), "hangs", text)
    ticks = []

    def tell(*tick):
        ticks.append(tick)
        if tick[0] == "asking the nodes" and slurm.ask("pgrep", "-f", "^sleep 301$").stdout:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(engine(name)(Asked(python=hangs, limit=40.0, nodes=1), tell))
    end = time.monotonic() + 15
    while slurm.ask("squeue", "-h").stdout or slurm.ask("pgrep", "-f", "^sleep 301$").stdout:
        assert time.monotonic() < end
        time.sleep(0.2)


def test_one_file_a_node_in_a_shared_folder(slurm, tmp_path):
    file = onefile.make(str(tmp_path))
    out = tmp_path / "facts"
    out.mkdir()
    done = slurm.ask(
        "srun", "-N3", "--ntasks-per-node=1", "python3", file, "--python", sys.executable, "-o", str(out)
    )
    assert done.returncode == 0, done.stderr
    from kit.nodes import folder

    answers = {a.node: a for a in folder.answers(str(out))}
    assert sorted(answers) == list(NODES) and {a.state for a in answers.values()} == {"answered"}


def test_the_shell_of_an_salloc_is_on_the_login_node_and_a_step_is_not(slurm):
    code = (
        "from kit.nodes import place; p = place.here(); print(p.scheduler, p.login, p.allocation is None, *p.command)"
    )
    root = Path(srun_engine.__file__).parents[3]
    outside = slurm.ask(sys.executable, "-c", code, cwd=root)
    assert outside.stdout == "slurm True True srun --gres=gpu:1 --time=1:00:00 --pty bash -i\n"
    alloc = slurm.ask("salloc", "-N1", sys.executable, "-c", code, cwd=root)
    assert alloc.stdout == "slurm True False srun --pty bash -i\n"
    step = slurm.ask("srun", "-N1", sys.executable, "-c", code, cwd=root)
    assert step.stdout == "slurm False True\n"
    assert place.here({}).scheduler in ("slurm", None)


def test_within_an_allocation_srun_asks_its_nodes(slurm, tmp_path):
    code = (
        "import sys; from kit.nodes.engines import engine; from kit.nodes.records import Asked\n"
        "print(*sorted((a.node, a.state) for a in engine('srun')(Asked(limit=30, probes=False), None)))"
    )
    root = Path(srun_engine.__file__).parents[3]
    done = slurm.ask("salloc", "-N2", "--nodelist=node[2-3]", sys.executable, "-c", code, cwd=root)
    assert done.stdout == "('node2', 'answered') ('node3', 'answered')\n", done


def test_sbatch_accepts_every_line_of_the_job_script(slurm, tmp_path):
    asked = Asked(partition="main", walltime="00:05:00", options=("--comment=kit",), limit=20)
    script = tmp_path / "job.sh"
    script.write_text(jobs.job_script("slurm", asked, "node2"))
    done = slurm.ask("sbatch", "--test-only", str(script))
    assert done.returncode == 0 and "node2" in done.stderr, done


# -- one node is drained from here on: these stay the last, for to wait until it is back takes long


@pytest.fixture(scope="module")
def drained(slurm):
    done = slurm.ask("scontrol", "update", "nodename=node2", "state=drain", "reason=memory module replaced")
    assert done.returncode == 0, done


def test_a_drained_node_is_told_with_slurms_reason_and_the_others_are_asked(slurm, drained, in_folder):
    answers, _ = ask("srun", nodes=("node1", "node2", "node3", "node9"), probes=False)
    assert {n: a.state for n, a in answers.items()} == {
        "node1": "answered",
        "node2": "refused",
        "node3": "answered",
        "node9": "refused",
    }
    assert answers["node2"].why == "Slurm: drained, memory module replaced"
    assert answers["node9"].why == "Slurm knows no node of this name"
    some, _ = ask("slurm", nodes=2, probes=False)
    assert sorted(some) == ["node1", "node3"], "who asks for two gets two that can answer"


@pytest.mark.parametrize("name", ["srun", "slurm"])
def test_the_command_names_the_group_and_the_node_that_is_down(slurm, drained, in_folder, name):
    command = ["nodes", "--engine", name, "--nodes", "node[1-3]", "--python", sys.executable, "--json"]
    done = slurm.ask(sys.executable, "-m", "kit", *command, cwd=in_folder)
    assert done.returncode == 1, done
    said = json.loads(done.stdout)
    assert [(g["nodes"], g["count"]) for g in said["groups"]] == [("node[1,3]", 2)]
    assert "node2" in json.dumps(said["silent"]) and "memory module replaced" in json.dumps(said["silent"])

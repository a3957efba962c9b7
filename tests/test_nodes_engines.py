"""kit nodes: the one file that a node needs, and the engines that bring it there; no scheduler is needed here."""

import ast
import contextlib
import dataclasses
import errno
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from conftest import Environment
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kit import schedulers
from kit.collect import host, interpreter
from kit.diagnose import diagnose
from kit.errors import KitError
from kit.lab import slurm
from kit.lab.place import LeftOut
from kit.nodes import node, onefile, place
from kit.nodes.engines import asking, engine, inventory, jobs, pbsdsh, srun, workers
from kit.nodes.records import STATES, Asked
from kit.nodes.sameness import comparable
from kit.recorded import recorded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="clusters are Linux machines")

SITE = next(p for p in sys.path if p.endswith("site-packages"))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return onefile.make(str(tmp_path_factory.mktemp("one")))


def run_one(file, *arguments, python=sys.executable, **options):
    command = [python, file, "--python", sys.executable, "--node", "n1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def pythons():
    """Other Pythons on this machine, the oldest first: on PATH, and where a manager of versions keeps them."""
    found = [shutil.which(f"python3.{minor}") for minor in range(8, 20)]
    found += map(str, sorted(Path.home().glob(".*/versions/3.*/bin/python")))
    rows = {}
    code = "import sys; print(sys.executable, *sys.version_info[:3])"
    for python in filter(None, [*found, "/usr/bin/python3"]):
        try:
            said = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
        except OSError:
            continue
        if said.returncode == 0:  # what lies on PATH may be a script that starts another one
            executable, *version = said.stdout.split()
            rows.setdefault(tuple(map(int, version)), executable)
    return dict(sorted(rows.items()))


# -- the one file


def test_the_modules_in_the_one_file_are_written_for_python_38(tmp_path):
    for name, source in onefile.modules().items():
        ast.parse(source, feature_version=(3, 8))
        if not name.startswith("packaging"):  # which asks for its Python as it runs
            (tmp_path / f"{name}.py").write_text(source)
    vermin = [sys.executable, "-c", "import vermin; vermin.main()"]
    done = subprocess.run(
        [*vermin, "-t=3.8-", "--no-tips", "--violations", str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout


def test_the_one_file_holds_what_reads_a_machine_and_nothing_that_needs_more():
    names = set(onefile.modules())
    assert {"kit.collect.inside", "kit.collect.host", "kit.redact", "kit.verify_child"} <= names
    assert not {n for n in names if n.startswith(("kit.show", "kit.failures", "kit.nodes.engines", "kit.repair"))}
    for name, source in onefile.modules().items():
        for n in ast.walk(ast.parse(source)):
            tops = [a.name for a in n.names] if isinstance(n, ast.Import) else []
            tops += [n.module] if isinstance(n, ast.ImportFrom) and not n.level else []
            for top in tops:
                known = {*sys.stdlib_module_names, "packaging", "kit", "pynvml"}
                child = name in ("kit.verify_child", "kit.nodes.measure_child")  # for the interpreter under test
                assert top.partition(".")[0] in known or child, f"{name} imports {top}"


def test_the_one_file_gives_the_facts_that_collect_gives_here(one, tmp_path):
    done = run_one(one, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    command = [sys.executable, "-m", "kit", "collect", "--python", sys.executable]
    here = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path)
    assert row["facts"] == json.loads(here.stdout)
    assert (row["schema"], row["node"], row["seconds"] > 0) == (1, "n1", True)


@pytest.mark.slow
def test_every_python_on_this_machine_reads_the_same(one, tmp_path):
    wanted = json.loads(run_one(one, cwd=tmp_path).stdout)["facts"]
    tried = pythons()
    for version, python in tried.items():
        with open(one, "rb") as source:  # as srun sends it
            command = [python, "-I", "-", "--python", sys.executable, "--node", "n1"]
            done = subprocess.run(command, stdin=source, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        row = json.loads(done.stdout)
        if version < (3, 8):
            assert row["state"] == "refused" and "3.8 or newer is needed" in row["why"]
        else:
            assert row["facts"] == wanted, (version, done.stderr)
        script = "import sys; exec(compile(open({!r}).read().rpartition('if __name__')[0], 'x', 'exec')); "
        script += "sys.meta_path.insert(0, Inside); from packaging.requirements import Requirement as R; "
        script += "print(R('torch>=2,<3; python_version > \"3\"').specifier.contains('2.4'))"
        if version >= (3, 8):  # packaging comes with it, and is asked where a requirement is not plain
            said = subprocess.run([python, "-I", "-c", script.format(one)], capture_output=True, text=True)
            assert said.stdout == "True\n", (version, said.stderr)
    assert sys.version_info[:3] in tried or tried


def test_a_json_py_that_lies_beside_the_one_file_is_not_run(one, tmp_path):
    copy = shutil.copy(one, tmp_path / "kit-node.py")
    (tmp_path / "json.py").write_text("raise SystemExit('mine')")
    done = run_one(copy, cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["facts"]["torch"]


def test_a_file_is_whole_or_not_there_and_a_full_disk_is_told(one, tmp_path):
    done = run_one(one, "-o", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "")
    assert [f.name for f in tmp_path.iterdir()] == ["n1.json"]
    assert json.loads((tmp_path / "n1.json").read_text())["node"] == "n1"
    done = run_one(one, "-o", "/dev/full")
    row = json.loads(done.stdout)
    assert (done.returncode, row["state"]) == (1, "crashed")
    assert row["why"] == "/dev/full cannot be written: No space left on device" and row["why"] in done.stderr
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, one, "--node", "n1"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "No space left on device" in done.stderr and "Traceback" not in done.stderr
    done = run_one(one, "-o", str(tmp_path / "no" / "such" / "x.json"))
    assert (done.returncode, json.loads(done.stdout)["state"]) == (1, "refused")


@pytest.mark.parametrize(
    ("python", "state", "word"),
    [
        ("/no/such/python", "refused", "no such interpreter: /no/such/python"),
        ("hangs", "silent", "not done within 2 s, while reading files"),
        ("crashes", "refused", "SIGSEGV"),
        ("other", "refused", "does not answer as Python 3.8 or newer"),
    ],
)
def test_an_interpreter_that_cannot_be_read_is_a_row(one, tmp_path, python, state, word):
    for name, text in (("hangs", "exec sleep 302"), ("crashes", "kill -SEGV $$"), ("other", "echo hello")):
        (tmp_path / name).write_text(f"#!/bin/sh\nulimit -c 0\n{text}\n")
        (tmp_path / name).chmod(0o755)
    given = str(tmp_path / python) if "/" not in python else python
    done = subprocess.run(
        [sys.executable, one, "--node", "n1", "--python", given, "--limit", "2"], capture_output=True, text=True
    )
    row = json.loads(done.stdout)
    if python == "hangs":
        assert row["state"] in ("silent", "refused") and "2 s" in row["why"]
        assert not running("sleep 302")
    else:
        assert row["state"] == state and word in row["why"], row
    assert done.returncode == 1 and row["state"] in STATES and "facts" not in row


def running(command):
    return subprocess.run(["pgrep", "-f", f"^{command}$"], capture_output=True).stdout != b""


def test_what_the_scheduler_ends_says_so(one, tmp_path):
    (tmp_path / "hangs").write_text("#!/bin/sh\nexec sleep 303\n")
    (tmp_path / "hangs").chmod(0o755)
    command = [sys.executable, one, "--node", "n1", "--python", str(tmp_path / "hangs")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    wait_for(lambda: running("sleep 303"))
    process.send_signal(signal.SIGTERM)
    row = json.loads(process.communicate(timeout=20)[0])
    assert (row["state"], row["why"]) == ("killed", "SIGTERM: ended from outside while reading files")
    assert not running("sleep 303"), "its children are ended with it"


def wait_for(ready, seconds=20):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_limit_in_the_middle_keeps_the_facts(monkeypatch):
    def slow(*_):
        time.sleep(30)

    monkeypatch.setattr(node.probe, "run_probes", slow)
    arguments = node.parser().parse_args(["--limit", "3", "--python", sys.executable])
    row = node.read("n1", arguments)
    assert row["state"] == "late" and row["facts"]["python"]["version"]
    assert row["why"] == "not done within 3 s, while trying imports"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL)[0] == 0


@pytest.mark.parametrize(
    ("error", "state", "why"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/x"),
            "crashed",
            "OSError: No space left on device: /tmp/x",
        ),
        (MemoryError(), "killed", "out of memory"),
        (ZeroDivisionError("division by zero"), "crashed", "ZeroDivisionError: division by zero"),
    ],
)
def test_whatever_goes_wrong_on_a_node_is_a_row(monkeypatch, error, state, why):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(node, "collect", fails)
    row = node.read("n1", node.parser().parse_args([]))
    assert (row["state"], row["why"]) == (state, why)


@given(st.dictionaries(st.sampled_from("abcdef"), st.text(max_size=4000), min_size=1), st.randoms())
@settings(max_examples=40, deadline=None)
def test_lines_of_many_nodes_may_be_mixed(rows, random):
    streams = [[f"kit-node:{n}:begins\n", *node.lines(n, text)] for n, text in rows.items()]
    began, taken, reader = [], {}, None
    reader = node.Lines(began.append)
    while any(streams):
        stream = random.choice([s for s in streams if s])
        whole = reader.take(f"{random.randint(0, 9)}: " + stream.pop(0))
        if whole:
            taken[whole[0]] = whole[1]
    assert taken == rows and sorted(began) == sorted(rows)


def test_lines_that_are_no_lines_of_a_node_are_passed_over():
    reader = node.Lines(lambda name: None)
    for line in ("", "hello", "kit-node:", "kit-node:a:b", "kit-node:a:1:2", "kit-node:a:x:1:zz", "slurm: kit-node"):
        assert reader.take(line) is None
    assert reader.take("kit-node:a:0:1:###") == ("a", "")


@pytest.mark.slow
def test_verify_and_bench_are_in_the_row(one):
    row = json.loads(run_one(one, "--verify", "--bench", "--limit", "120").stdout)
    assert row["verified"]["checks"][0]["name"] == "import torch" and row["verified"]["verdict"] == "healthy"
    measured = row["measured"]
    if measured.get("gpu") is None:
        assert measured["cpu"] and measured["flops_per_second"] > 1e8 and measured["bytes_per_second"] > 1e8


def test_what_cannot_be_measured_says_why(environment, monkeypatch):
    from kit.collect import collect
    from kit.nodes.measure import measure

    facts = collect(str(environment.python))
    assert measure(str(environment.python), facts, 20.0) == (None, "not measured: torch is not installed")
    (environment.site / "torch.py").write_text("raise ImportError('libc10.so: cannot open shared object file')")
    found, why = measure(str(environment.python), collect(sys.executable, probes=False), 20.0)
    assert found is None and why == "not measured: ImportError: libc10.so: cannot open shared object file"


# -- what crosses the network


def word(first):
    letters = st.text("abcdefghijkmnpqrstuvwxyz0123456789", min_size=8, max_size=14)
    return letters.map(lambda s: f"{first}q{s}z")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """An environment in which things can be planted."""
    environment = Environment(tmp_path_factory.mktemp("planted") / "venv")
    for name in ("torch", "alpha"):
        info = environment.site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    return environment


@given(user=word("u"), machine=word("m"), login=word("l"), password=word("p"), token=word("t"), query=word("s"))
@settings(
    max_examples=20,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_crosses_the_network_carries_no_secrets(planted, tmp_path, user, machine, login, password, token, query):
    github, hub = f"ghp_{token * 3}", f"hf_{token * 2}"
    home = f"/people/{user}"
    address = f"https://{login}:{password}@index.corp/simple?sig={query}"
    variables = {
        "USER": user,
        "LOGNAME": user,
        "HOME": home,
        "PIP_INDEX_URL": address,
        "PIP_EXTRA_INDEX_URL": f"{address} https://{github}@other.corp/simple",
        "UV_INDEX_URL": address,
        "PIP_FIND_LINKS": f"/scratch/{user}/wheels",
        "LD_LIBRARY_PATH": f"{home}/lib:/scratch/{user}/lib:/net/{machine}/lib",
        "PYTHONPATH": f"{home}/src",
        "CUDA_HOME": f"{home}/cuda",
        "HF_TOKEN": hub,
        "GITHUB_TOKEN": github,
        "TMPDIR": f"{home}/tmp",
        "PATH": os.environ["PATH"],
    }
    (planted.site / "alpha-1.0.dist-info" / "direct_url.json").write_text(
        json.dumps({"url": f"git+https://{github}@git.corp/{login}.git?token={query}", "dir_info": {}})
    )
    (planted.folder / "pip.conf").write_text(f"[global]\nindex-url = {address}\n")
    (planted.site / "torch").mkdir(exist_ok=True)
    (planted.site / "torch" / "version.py").write_text("__version__ = '1.0'\ncuda = None\n")
    # torch is in doubt, is tried, and its error names everything.
    said = f"cannot open {home}/lib/x.so on {user}@{machine} with {github}, see {address}"
    (planted.site / "torch" / "__init__.py").write_text(f"raise ImportError({said!r})")
    (planted.site / "torch-1.0.dist-info" / "RECORD").write_text("torch/lib/libgone.so,,9\n")
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(host, "uname", lambda: (*os.uname()[:1], f"{machine}.corp", *os.uname()[2:]))
        patch.setattr(sys, "stdout", out)
        assert node.main(["--python", str(planted.python), "--node", "n1"]) == 0
        assert node.main(["--python", f"{home}/{machine}/python", "--node", "n2"]) == 1
        patch.setattr(node, "collect", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full", f"{home}/x")))
        assert node.main(["--python", str(planted.python), "--node", "n3"]) == 1
    text = out.getvalue()
    assert "ImportError" in text and '"PIP_INDEX_URL": "https://****@index.corp' in text, "they were read"
    assert not [secret for secret in (user, machine, password, token, query) if secret in text]
    assert login not in text.replace(f"git.corp/{login}.git", "")  # the repository's own name


# -- where am I


@pytest.mark.parametrize(
    ("env", "commands", "words", "command"),
    [
        ({}, (), "a machine without a scheduler", ""),
        ({}, ("sbatch",), "a login node: Slurm is here", "srun --gres=gpu:1 --time=1:00:00 --pty bash -i"),
        (
            {"SBATCH_ACCOUNT": "physics", "SALLOC_PARTITION": "gpu", "SLURM_QOS": "high", "SBATCH_QOS": "low"},
            ("sbatch",),
            "a login node",
            "srun --account=physics --partition=gpu --gres=gpu:1 --time=1:00:00 --pty bash -i",
        ),
        ({"SLURM_JOB_ID": "7"}, (), "a node in a job of Slurm", ""),
        (
            {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "gpu[01-04]"},
            ("sbatch",),
            "job 7 of Slurm",
            "srun --pty bash -i",
        ),
        (
            {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "gpu[01-04]", "SLURMD_NODENAME": "gpu02"},
            ("sbatch",),
            "a node in a job",
            "",
        ),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "gpu1,login[07-09]"}, ("sbatch",), "a node in a job", ""),
        ({}, ("qsub",), "a login node: PBS", "qsub -I -l select=1:ngpus=1 -l walltime=1:00:00"),
        ({"PBS_JOBID": "7.pbs"}, ("qsub",), "a node in a job of PBS", ""),
        ({}, ("bsub",), "a login node: LSF", "bsub -Is -gpu num=1 -W 1:00 bash"),
        ({"LSB_JOBID": "7"}, (), "a node in a job of LSF", ""),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, (), "a container (kubernetes)", ""),
        (
            {"SLURM_JOB_ID": "7", "APPTAINER_CONTAINER": "/x.sif"},
            (),
            "a job of Slurm, in a container (apptainer)",
            "",
        ),
    ],
)
def test_where_am_i(tmp_path, monkeypatch, env, commands, words, command):
    monkeypatch.setattr(place, "uname", lambda: ("Linux", "login08.cluster", "6.1", "", "x86_64"))
    for name in commands:
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    here = place.here({**env, "PATH": str(tmp_path)}, root=str(tmp_path))
    assert words in str(here) and " ".join(here.command) == command
    if here.login:
        with pytest.raises(KitError, match="--here") as refused:
            place.refuse_to_compute("the benchmark", here)
        assert command in str(refused.value)
    else:
        place.refuse_to_compute("the benchmark", here)


@pytest.mark.parametrize(
    ("sbatch", "env", "files", "scheduler"),
    [
        ("/usr/bin/sbatch", {}, (), None),
        ("/usr/bin/sbatch", {}, ("/etc/slurm/slurm.conf",), "slurm"),
        ("/usr/bin/sbatch", {"SLURM_CONF": "/x/slurm.conf"}, (), "slurm"),
        ("/usr/bin/sbatch", {"SLURM_JOB_ID": "7"}, (), "slurm"),
        ("/opt/slurm/bin/sbatch", {}, (), "slurm"),
    ],
)
def test_a_package_of_slurm_alone_makes_no_login_node(sbatch, env, files, scheduler):
    found = schedulers.where(env, {"sbatch": sbatch}.get, files.__contains__, "host")
    assert found == (scheduler, "SLURM_JOB_ID" in env, None)


def test_doctor_says_that_this_is_a_login_node_and_how_to_get_a_gpu():
    facts = recorded("healthy-gpu")
    bare = {"gpus": (), "driver": None, "device_nodes": (), "pci_gpus": 0}
    login = dataclasses.replace(facts.host, **bare, scheduler="slurm", job=False)
    variables = {"SBATCH_ACCOUNT": "physics"}
    finding = diagnose(dataclasses.replace(facts, host=login, variables=variables))["gpu-not-visible"]
    assert "No GPU here because this is a login node" in finding.summary
    wanted = "srun --account=physics --gres=gpu:1 --time=1:00:00 --pty bash -i"
    assert " ".join(finding.fix[0].argv) == wanted
    for scheduler in ("pbs", "lsf"):
        at = dataclasses.replace(login, scheduler=scheduler)
        argv = diagnose(dataclasses.replace(facts, host=at))["gpu-not-visible"].fix[0].argv
        assert argv == schedulers.interactive(scheduler, {})
    pod = dataclasses.replace(facts.host, **bare, container="kubernetes")
    asked = dataclasses.replace(facts, host=pod, variables={"NVIDIA_VISIBLE_DEVICES": "all"})
    assert "nvidia.com/gpu: 1" in diagnose(asked)["gpu-not-visible"].fix[0].why


@pytest.mark.parametrize(
    ("notation", "names"),
    [
        ("gpu1", ["gpu1"]),
        ("node[01-03,7],login", ["node01", "node02", "node03", "node7", "login"]),
        ("r[1-2]n[09-10]", ["r1n09", "r1n10", "r2n09", "r2n10"]),
        ("a[1-2].x,b", ["a1.x", "a2.x", "b"]),
        ("", []),
        ("a[x-y]", []),
    ],
)
def test_slurms_notation_of_nodes(notation, names):
    assert list(schedulers.expanded(notation)) == names


def test_a_disk_without_room_is_a_fact(tmp_path, full_disk):
    assert host.full_disk({"TMPDIR": str(full_disk)}) == f"{full_disk}: No space left on device"
    assert host.full_disk({"TMPDIR": str(tmp_path)}) == "" == host.full_disk({"TMPDIR": "/no/such"})
    facts = host.collect("/opt/venv", (), {"PATH": "", "TMPDIR": str(full_disk)})
    assert {"what": str(full_disk), "why": "No space left on device"} in facts["unread"]


# -- the lab


def lab_of(tmp_path, attempt):
    def which(name):
        return shutil.which(name, path=str(tmp_path))

    return types.SimpleNamespace(
        environ={"PATH": str(tmp_path)}, which=which, attempt=attempt, install_env=lambda: {"PATH": str(tmp_path)}
    )


def test_the_lab_gets_slurm_from_debian_or_says_that_it_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "SYSTEM", ())
    made = []

    def attempt(step, argv, env):
        made.append(argv[1:])
        if "install" in argv:
            for name in slurm.PROGRAMS:
                (tmp_path / name).write_text("")
                (tmp_path / name).chmod(0o755)
        return True

    lab = lab_of(tmp_path, attempt)
    with pytest.raises(LeftOut, match=r"no Slurm is here .*apt-get install slurm-wlm munge"):
        slurm.get_slurm(lab)
    with pytest.raises(FileNotFoundError):
        slurm.depends(lab)
    (tmp_path / "apt-get").write_text("")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert slurm.get_slurm(lab) == "Slurm and munge are here"
    assert made[-1][-2:] == ["slurm-wlm", "munge"] and slurm.depends(lab)
    made.clear()
    assert slurm.get_slurm(lab) == "Slurm and munge are here" and made == []


# -- engines


def test_an_engine_that_is_not_there():
    for name in ("", "dask", "slrum", "http:/x", "tcp://"):
        with pytest.raises(KitError, match="no engine is called"):
            engine(name)
    assert callable(engine("tcp://10.0.0.1:8786")) and callable(engine("srun"))


@pytest.mark.parametrize("name", ["slurm", "srun", "pbs", "pbsdsh"])
def test_a_scheduler_that_is_not_here(name, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KitError, match=r"(sinfo|pbsnodes) was not found on PATH: .*login node") as error:
        list(engine(name)(Asked(), None))
    assert "\n" not in str(error.value)


def test_an_address_at_which_nobody_answers(monkeypatch):
    monkeypatch.setattr(workers, "CONNECT", 1.0)
    with pytest.raises(KitError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(engine("tcp://127.0.0.1:9")(Asked(), None))


def test_tls_options_are_distributeds_own(tmp_path):
    assert workers.security(()) is None
    made = workers.security(("tls-ca-file=/x/ca.pem", "--tls-client-cert=/x/c.pem", "tls_client_key=/x/k=1.pem"))
    assert made.tls_ca_file == "/x/ca.pem" and made.tls_client_key == "/x/k=1.pem" and made.require_encryption
    for option in ("--partition=x", "tls-ca-file", "tls-nonsense=1"):
        with pytest.raises(KitError):
            workers.security((option,))


def test_sinfo_is_read_and_nodes_that_are_down_are_told(monkeypatch):
    said = """n1|idle|gpu*|none
n2|allocated|gpu*|none
n3|drained|gpu*|gpu fell off the bus
n4|down*|gpu*|Not responding
n5|idle~|cpu|none
n1|idle|cpu|none
n6|mixed*|gpu*|none
n10|mixed|gpu*|none
"""
    monkeypatch.setattr(inventory, "command", lambda argv, *_: types.SimpleNamespace(out=said))
    there = inventory.slurm()
    assert inventory.preferred(there) == ["n1", "n2", "n10", "n3", "n4", "n6"]
    refused = inventory.refused(["n1", "n3", "n4", "n6", "n7"], there, "slurm")
    assert [(a.node, a.why) for a in refused] == [
        ("n3", "Slurm: drained, gpu fell off the bus"),
        ("n4", "Slurm: down*, Not responding"),
        ("n6", "Slurm: mixed*"),
        ("n7", "Slurm knows no node of this name"),
    ]
    asked = Asked(nodes=("n10", "n1", "n10"))
    assert asking.chosen(asked, inventory.preferred(there)) == ["n10", "n1"]
    assert asking.chosen(Asked(nodes=2), inventory.preferred(there)) == ["n1", "n2"]


def test_the_command_of_srun_names_what_is_asked():
    asked = Asked(
        python="/opt/x/bin/python",
        limit=30,
        partition="gpu",
        account="phys",
        verify=True,
        gpus=1,
        options=("--qos=x",),
    )
    argv = srun.command(asked, ["n1", "n2", "n3"])
    assert argv[0] == "srun" and {"--nodelist=n[1-3]", "--ntasks-per-node=1", "--nodes=3", "--no-kill"} <= set(argv)
    assert {"--partition=gpu", "--account=phys", "--gres=gpu:1", "--qos=x"} <= set(argv) and "--overlap" not in argv
    assert argv[argv.index("sh") + 3 :][:2] == ["/opt/x/bin/python", "-"] and argv[-1] == "--lines"
    assert "--overlap" in srun.command(asked, ["n1"], inside=True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("srun: error: n2: task 1: Segmentation fault (core dumped)", {"n2": ("crashed", "SIGSEGV")}),
        ("srun: error: n[2-3]: tasks 1-2: Killed", dict.fromkeys(("n2", "n3"), ("killed", "SIGKILL"))),
        (
            "srun: error: n3: task 2: Exited with exit code 127",
            {"n3": ("refused", "nothing could be started there (exit status 127)")},
        ),
        ("srun: error: n3: task 2: Exited with exit code 9", {"n3": ("crashed", "exit status 9, without a word")}),
        (
            "srun: error: Task launch for StepId=7.0 failed on node n1: Invalid job credential",
            {"n1": ("refused", "Invalid job credential")},
        ),
        ("srun: error: Node failure on n4", {"n4": ("killed", "Slurm: node failure")}),
        ("srun: job 7 queued and waiting for resources", {}),
    ],
)
def test_what_srun_says_of_its_tasks(line, expected):
    step = srun._Step.__new__(srun._Step)
    step.said, step.why = [], {}
    step.complaint(line)
    assert step.why == expected


@pytest.mark.parametrize(
    ("status", "err", "state", "why"),
    [
        (-11, b"", "crashed", "SIGSEGV"),
        (-9, b"", "killed", "SIGKILL (often: out of memory)"),
        (137, b"", "killed", "SIGKILL (often: out of memory)"),
        (127, b"kit-node: no Python 3.8 or newer is on this node\n", "refused", "no Python 3.8"),
        (1, b"Traceback\nOSError: [Errno 28] No space left on device\n", "crashed", "No space left on device"),
        (0, b"", "crashed", "without a word"),
        (None, b"", "silent", "no answer within 60 s"),
    ],
)
def test_how_a_process_without_an_answer_ended(status, err, state, why):
    answer = asking.ended("n1", status, b"", err, Asked())
    assert answer.state == state and why in answer.why and answer.node == "n1"


def test_an_answer_that_came_late_and_one_that_was_cut_off():
    row = {"schema": 1, "node": "n1", "facts": {"python": {}}, "seconds": 61.2}
    answer = asking.ended("n1", 0, json.dumps(row).encode(), b"", Asked())
    assert (answer.state, answer.why) == ("late", "61 s, and 60 s were given")
    row["seconds"] = 3
    assert asking.ended("n1", 0, b"a greeting\n" + json.dumps(row).encode(), b"", Asked()).state == "answered"
    assert asking.answered("n1", json.dumps(row)[:-9], Asked()).state == "unreadable"


# -- PBS, whose commands are stood in for: Debian has no PBS

# What the manual page qsub(1B) of OpenPBS documents, as far as our scripts use it.
DIRECTIVE = {
    "-N": r"[A-Za-z][\w.+-]{0,229}",
    "-l": r"select=\d+(:\w+=[\w.-]+)*(\+\d+(:\w+=[\w.-]+)*)*|place=\w+(:\w+)*|walltime=(\d+:)?\d\d:\d\d",
    "-q": r"[\w@.-]+",
    "-A": r"[\w.-]+",
    "-j": r"oe|eo|n",
    "-o": r"\S+",
    "-e": r"\S+",
}


def directives(script):
    """(option, value) of every #PBS line, which all have to stand before the first command."""
    lines = script.splitlines()
    assert lines[0].startswith("#!")
    head = list(itertools.takewhile(lambda line: line.startswith("#") or not line.strip(), lines))
    rows = [line[len("#PBS ") :].split(None, 1) for line in head if line.startswith("#PBS ")]
    assert len(rows) == sum("#PBS" in line for line in lines)
    return rows


@pytest.mark.parametrize("engine_name", ["pbs", "pbsdsh"])
def test_the_job_scripts_for_pbs_hold_documented_directives(engine_name, tmp_path):
    import re

    asked = Asked(queue="gpuq", account="phys", limit=90, folder=str(tmp_path), python="/opt/a b/python", gpus=2)
    if engine_name == "pbs":
        script = jobs.job_script("pbs", asked, "node07")
        assert "select=1:ncpus=1:ngpus=2:host=node07" in script and "--name node07" in script
    else:
        script = pbsdsh.script(asked, ["node1", "node2"], str(tmp_path), str(tmp_path / "kit-node.py"))
        assert (
            "-l select=1:ncpus=1:ngpus=2:host=node1+1:ncpus=1:ngpus=2:host=node2" in script
            and "place=scatter" in script
        )
    rows = directives(script)
    for option, value in rows:
        assert re.fullmatch(DIRECTIVE[option], value), (option, value)
    assert {"-q": "gpuq", "-A": "phys", "-N": "kit-nodes"}.items() <= dict(rows).items()
    checked = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.fixture
def fake_pbs(tmp_path, monkeypatch):
    """Commands of PBS that do here what the real ones do on a cluster of three nodes and one that is down."""
    state = {f"node{i}": {"state": "free"} for i in (1, 2, 3)} | {"node4": {"state": "offline", "comment": "fans"}}
    (tmp_path / "nodes.json").write_text(json.dumps({"nodes": state}))
    programs = {
        "pbsnodes": f'[ "$*" = "-a -F json" ] && cat {tmp_path}/nodes.json',
        "qsub": f"""
            id=$$  # several may be called at the same time
            grep -o 'host=[a-z0-9]*' "$1" | cut -d= -f2 > {tmp_path}/nodefile.$id
            log=$(sed -n 's/^#PBS -o //p' "$1"); cp "$1" {tmp_path}/script.$id
            export PBS_JOBID=$id.pbs PBS_NODEFILE={tmp_path}/nodefile.$id
            setsid sh {tmp_path}/script.$id > "$log" 2>&1 < /dev/null &
            echo $! > {tmp_path}/pid.$id; echo $id.pbs""",
        "qstat": f"kill -0 $(cat {tmp_path}/pid.${{1%.pbs}}) 2>/dev/null",
        "qdel": f"kill -TERM -$(cat {tmp_path}/pid.${{1%.pbs}}); echo $1 >> {tmp_path}/deleted",
        "pbsdsh": """
            shift; i=0
            for n in $(cat "$PBS_NODEFILE"); do PBS_NODENUM=$i "$@" & i=$((i + 1)); done; wait""",
    }
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path


def test_pbsdsh_writes_a_file_for_each_node(fake_pbs):
    answers = {a.node: a for a in engine("pbsdsh")(Asked(python=sys.executable, limit=30, probes=False), None)}
    assert {n: a.state for n, a in answers.items()} == {
        **dict.fromkeys(["node1", "node2", "node3"], "answered"),
        "node4": "refused",
    }
    assert answers["node4"].why == "PBS: offline, fans"
    assert list((fake_pbs / "work").iterdir()) == [], "the folder that was made for it is gone"


@pytest.mark.slow
def test_pbs_through_a_job_for_each_node(fake_pbs):
    asked = Asked(python=sys.executable, limit=40, nodes=("node1", "node3", "node4"), probes=False)
    answers = {a.node: a for a in engine("pbs")(asked, None)}
    assert {n: a.state for n, a in answers.items()} == {"node1": "answered", "node3": "answered", "node4": "refused"}
    scripts = {script.suffix[1:]: script.read_text() for script in fake_pbs.glob("script.*")}
    assert sorted(n for n in ("node1", "node2", "node3") for t in scripts.values() if f"host={n}" in t) == [
        "node1",
        "node3",
    ]
    # dask-jobqueue has named the jobs to qdel by their number.
    assert sorted((fake_pbs / "deleted").read_text().split()) == sorted(scripts)
    assert list((fake_pbs / "work").iterdir()) == []


def test_a_chunk_that_cannot_write_and_one_that_says_nothing(fake_pbs):
    shared = fake_pbs / "shared"
    (shared / "node2.json.part").mkdir(parents=True)  # which cannot be written
    python = fake_pbs / "python"
    python.write_text(f'#!/bin/sh\n[ "$PBS_NODENUM$1" = "2-I" ] && exec sleep 304\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    asked = Asked(python=str(python), limit=4, folder=str(shared), nodes=("node1", "node2", "node3"), probes=False)
    answers = {a.node: a for a in engine("pbsdsh")(asked, None)}
    assert (answers["node1"].state, answers["node2"].state, answers["node3"].state) == (
        "answered",
        "refused",
        "silent",
    )
    assert "Is a directory" in answers["node2"].why and "wrote no file within 4 s" in answers["node3"].why
    assert (fake_pbs / "deleted").read_text().endswith(".pbs\n") and not running("sleep 304")
    assert (shared / "node1.json").is_file()


# -- Dask

# What a worker does as it starts, and what it does instead when it is asked.
SETUP = "import os, sys\ndef dask_setup(worker):\n    {}\n"
ASKED = """
import ctypes, os, signal, subprocess, time
def dask_setup(worker):
    start = subprocess.Popen
    subprocess.Popen = lambda argv, *a, **k: {} if "-I" in argv else start(argv, *a, **k)
"""
SEGFAULT = ASKED.format("ctypes.string_at(0)")
STOP = ASKED.format("os.kill(os.getpid(), signal.SIGSTOP)")
SLOW = ASKED.replace("{}", "(open({!r}, 'w').close(), time.sleep(60))")
GONE = SETUP.format("os.unlink(sys.executable)")
HANG = SETUP.replace("{}", "open({!r}, 'w').write('import time; time.sleep(305)')")


class Dask:
    """A scheduler and workers on loopback addresses, one for each host; all are ended by process id."""

    def __init__(self, folder):
        self.folder, self.processes, self.file = folder, {}, folder / "scheduler.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file), "--no-dashboard"]
        self.start("scheduler", [sys.executable, "-m", "distributed.cli.dask_scheduler", *options])
        self.number = 1

    def start(self, name, argv, **env):
        log = (self.folder / f"{name}.log").open("wb")
        self.processes[name] = subprocess.Popen(
            argv,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **env},
            cwd=self.folder,
        )

    def worker(self, name, preload="", python=sys.executable, nanny=False, **env):
        self.number += 1
        options = ["--scheduler-file", str(self.file), "--host", f"127.0.0.{self.number}", "--name", name]
        options += ["--nthreads", "1", "--no-dashboard", "--nanny" if nanny else "--no-nanny"]
        options += ["--local-directory", str(self.folder)]
        if preload:
            (self.folder / f"{name}.py").write_text(preload)
            options += ["--preload", str(self.folder / f"{name}.py")]
        self.start(name, [str(python), "-m", "distributed.cli.dask_worker", *options], **env)

    @property
    def address(self):
        wait_for(lambda: self.file.exists() and self.file.read_text().endswith("}"), 40)
        return json.loads(self.file.read_text())["address"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
        for process in reversed(self.processes.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)

    def ready(self, count):
        with workers.connected(self.address) as client:
            wait_for(lambda: len(workers.known(client)) == count, 60)


def venv_of_workers(folder, python=sys.executable):
    """A virtual environment whose packages are the lab's, behind its own."""
    subprocess.run([python, "-m", "venv", "--without-pip", "--symlinks", str(folder)], check=True)
    site = next((folder / "lib").glob("python3.*")) / "site-packages"
    (site / "lab.pth").write_text(SITE + "\n")
    return folder / "bin" / "python", site


def another_python():
    """A Python of another version, best of another minor one, that takes the lab's distributed; None without one."""
    others = {version: python for version, python in pythons().items() if version != sys.version_info[:3]}
    for _, python in sorted(others.items(), key=lambda row: row[0][:2] == sys.version_info[:2]):
        code = f"import sys, venv; sys.path.append({SITE!r}); import distributed.cli.dask_worker"
        if subprocess.run([python, "-I", "-c", code], capture_output=True).returncode == 0:
            return python
    return None


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a disk without room."""
    folder = tmp_path / "full"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "kit", str(folder)], capture_output=True, text=True
    )
    assert made.returncode == 0, f"the test needs to mount a file system of 64 KiB: {made.stderr}"
    try:
        with pytest.raises(OSError, match="No space left"), (folder / "filling").open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_workers_of_which_each_fails_in_its_own_way(tmp_path, full_disk):
    torn = tmp_path / "torn"  # appears when the worker that is killed from outside has begun
    other, site = venv_of_workers(tmp_path / "other")
    (site / "torch").mkdir()
    (site / "torch" / "version.py").write_text("__version__ = '2.4.1+cu121'\ncuda = '12.1'\n")
    (site / "torch" / "__init__.py").write_text("")
    gone, _ = venv_of_workers(tmp_path / "gone")
    slow, slow_site = venv_of_workers(tmp_path / "slow")
    another = another_python()
    begun = time.monotonic()
    with Dask(tmp_path) as dask:
        dask.worker("plain")
        dask.worker("segfaults", SEGFAULT, nanny=True)
        dask.worker("stops", STOP)
        dask.worker("killed", SLOW.format(str(torn)))
        dask.worker("othertorch", python=other)
        dask.worker("gone", GONE, python=gone)
        dask.worker("hangs", HANG.format(str(slow_site / "sitecustomize.py")), python=slow)
        dask.worker("full", TMPDIR=str(full_disk))
        if another:
            dask.worker("otherpython", python=venv_of_workers(tmp_path / "another", another)[0])
        dask.ready(len(dask.processes) - 1)
        answers = {}

        def tell(what, done, total):
            if torn.exists() and dask.processes["killed"].poll() is None:
                dask.processes["killed"].kill()

        for answer in engine(dask.address)(Asked(limit=9.0), tell):
            assert answer.node not in answers
            answers[answer.node] = answer
    said = {name: (answer.state, answer.why) for name, answer in answers.items()}
    assert said["plain"] == ("answered", "")
    assert said["segfaults"] == ("crashed", "SIGSEGV: its Dask worker ended while it was asked")
    assert said["killed"] == ("killed", "its Dask worker ended while it was asked")
    assert said["stops"][0] == "silent" and "without a sign of life" in said["stops"][1]
    assert said["hangs"] == ("silent", "no answer within 9 s")
    assert said["gone"][0] == "refused" and "cannot be started: No such file" in said["gone"][1]
    assert said["full"][0] == "answered" and said["full"][1].endswith("full: No space left on device")
    assert said["othertorch"] == ("answered", "")
    facts = {name: answer.data for name, answer in answers.items() if answer.data}
    assert facts["othertorch"]["torch"]["version"] == "2.4.1+cu121"
    assert {"No space left on device"} == {u["why"] for u in facts["full"]["unread"] if u["what"].endswith("/full")}
    expected = {"plain", "segfaults", "killed", "stops", "hangs", "gone", "full", "othertorch"}
    if another:
        expected.add("otherpython")
        assert said["otherpython"] == ("answered", "")
        assert facts["otherpython"]["python"]["version"] != facts["plain"]["python"]["version"]
    assert set(answers) == expected
    # The rest is complete: the healthy node's facts are those of this machine.
    here = subprocess.run(
        [sys.executable, "-m", "kit", "collect", "--python", sys.executable], capture_output=True, cwd=tmp_path
    )
    ours = {**json.loads(here.stdout), "kernel": None}
    assert comparable(facts["plain"], "plain") == comparable(ours, "plain")
    assert not running("sleep 305") and time.monotonic() - begun < 90
    assert not subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True).stdout


@pytest.mark.slow
def test_local_asks_this_machine_as_often_as_there_are_workers():
    answers = {a.node: a for a in engine("local")(Asked(workers=3, limit=60), None)}
    assert sorted(answers) == ["local1", "local2", "local3"]
    assert {a.state for a in answers.values()} == {"answered"}
    assert len({comparable(a.data, a.node) for a in answers.values()}) == 1
    assert answers["local1"].data["python"]["executable"].endswith(os.path.basename(interpreter(sys.executable)))


def test_local_does_not_compute_on_a_login_node(tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(KitError, match=r"this is a login node: Slurm is here.*leave --bench"):
        list(engine("local")(Asked(bench=True), None))


def test_local_is_one_machine():
    with pytest.raises(KitError, match="knows no names of nodes"):
        list(engine("local")(Asked(nodes=("n1",)), None))
    for number in (-1, 65):
        with pytest.raises(KitError, match="from 1 to 64"):
            list(engine("local")(Asked(workers=number), None))


@pytest.mark.slow
def test_who_stops_listening_to_local_ends_its_children(tmp_path):
    hangs = tmp_path / "hangs"
    hangs.write_text("#!/bin/sh\nexec sleep 306\n")
    hangs.chmod(0o755)
    answers = engine("local")(
        Asked(python=str(hangs), workers=2, limit=50), lambda *_: running("sleep 306") and 1 / 0
    )
    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        list(answers)
    wait_for(lambda: not running("sleep 306"))
    assert time.monotonic() - begun < 30


def test_ctrl_c_is_left_as_it_was():
    """dask-jobqueue ends the process at SIGINT once it is imported: a notebook's kernel would die of an interrupt."""
    code = (
        "import signal\nfrom kit.nodes.engines import asking\nbefore = signal.getsignal(signal.SIGINT)\n"
        "asking.needs('dask_jobqueue')\nprint(signal.getsignal(signal.SIGINT) is before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr

"""python -m kit: real processes, their exit statuses, and exactly what they say on stdout and stderr."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import refusal

import kit
from kit.facts import Facts

ROOT = Path(__file__).resolve().parent.parent

FINDING = {"failure", "severity", "package", "summary", "evidence", "fix"}
FIX = {"kind", "why", "argv", "env", "safety", "cost"}
COST = {"seconds", "download_mb", "restart", "undo"}


def run(*arguments, cwd=None, **env):
    """Run kit; its output as bytes would be, without any translation."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    command = [sys.executable, "-m", "kit", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=cwd, env=environment, encoding="utf-8"
    )


def refused(*arguments, **values):
    """The one line of a command whose input or arguments cannot be used."""
    return refusal(run(*arguments, **values))


# -- exit statuses


def test_the_exit_status_is_the_verdict():
    assert run("doctor", "--facts", "healthy-gpu").returncode == 0
    broken = run("doctor", "--facts", "torch-broken")
    assert (broken.returncode, broken.stderr) == (1, "")
    assert run("page", "torch-broken").returncode == 0
    assert run("--version").stdout == f"kit {kit.__version__}\n"
    assert run("--help").returncode == 0


def test_a_note_alone_is_nothing_wrong(tmp_path):
    data = kit.machine("hpc-py39-apex-without-amp").to_dict()
    data["modules"] = [m for m in data["modules"] if m["name"] != "apex"]
    file = tmp_path / "note.json"
    file.write_text(json.dumps(data))
    done = run("doctor", "--facts", file)
    assert done.returncode == 0 and done.stdout.splitlines()[0].startswith("healthy: ")
    assert done.stdout.splitlines()[-2] == "1 note"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "VERB"),
        (["dance"], "invalid choice: 'dance'"),
        (["doctor", "--loud"], "unrecognized arguments: --loud"),
        (["doctor", "surplus"], "unrecognized arguments: surplus"),
        (["doctor", "--facts"], "expected one argument"),
        (["doctor", "--facts", "healthy-cpu", "--python", "python3"], "not allowed with argument"),
        (["doctor", "--facts", "no-such-machine.json"], "no-such-machine.json cannot be read: No such file"),
        (["doctor", "--facts", ""], "cannot be read"),
        (["doctor", "--facts", "/"], "/ cannot be read: Is a directory"),
        (["doctor", "--facts", "healthy-cpu", "--gpu", "RTX 4090"], "not a compute capability: 'RTX 4090'"),
        (["doctor", "--facts", "healthy-cpu", "--gpu", ""], "not a compute capability: ''"),
        (["doctor", "--python", "/no/such/python"], "no such interpreter: /no/such/python"),
        (["doctor", "--python", "/"], "/ is a directory"),
        (["doctor", "--python", ""], "no such interpreter"),
        (["collect", "--python", "/no/such/python"], "no such interpreter: /no/such/python"),
        (["verify", "--python", "/no/such/python"], "no such interpreter: /no/such/python"),
        (["page", "no-such-failure"], "no failure is called 'no-such-failure'; there are apex-amp-removed"),
        (["page"], "required: ID"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_status_2(arguments, said):
    assert said in refused(*arguments)


def test_a_facts_file_that_was_cut(tmp_path):
    file = tmp_path / "cut.json"
    text = kit.machine("healthy-cpu").to_json()
    file.write_text(text[: len(text) // 2])
    assert f"{file}: cut off" in refused("doctor", "--json", "--facts", file)
    file.write_bytes(b"\x7fELF\xff\xfe")
    assert f"{file}: not a facts file" in refused("doctor", "--facts", file)


@pytest.mark.skipif(os.name != "posix", reason="a shell script as interpreter")
def test_an_interpreter_that_is_none(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'I am no Python' >&2\nexit 3\n")
    python.chmod(0o755)
    assert refused("doctor", "--json", "--python", python).endswith("I am no Python (exit status 3)")


def test_output_that_cannot_be_written(tmp_path):
    assert "cannot be written: No such file" in refused("collect", "-o", tmp_path / "no" / "facts.json")
    assert "cannot be written: Is a directory" in refused("collect", "-o", tmp_path)


# -- JSON


@pytest.mark.parametrize(
    "name", ["healthy-cpu", "hpc-py39-apex-without-amp", "rtx5070ti-cpu-only-scatter", "duplicate-metadata"]
)
def test_json_is_one_document_with_exactly_the_contracts_keys(name):
    done = run("doctor", "--facts", name, "--json")
    data = json.loads(done.stdout)  # one document: anything after it would be an error
    assert done.stderr == ""
    assert set(data) == {"schema", "verdict", "findings", "facts"} and data["schema"] == 1
    assert data["verdict"] == ("broken" if done.returncode else "healthy")
    for finding in data["findings"]:
        assert set(finding) == FINDING
        assert finding["severity"] in ("error", "warning", "note")
        assert finding["package"] is None or isinstance(finding["package"], str)
        assert all(isinstance(e, str) for e in finding["evidence"])
        for fix in finding["fix"]:
            assert set(fix) == FIX and set(fix["cost"]) == COST
            assert fix["argv"] is None or all(isinstance(word, str) for word in fix["argv"])
            assert fix["safety"] in ("safe", "changes-environment", "manual") and isinstance(fix["env"], dict)
            assert isinstance(fix["cost"]["restart"], bool) and isinstance(fix["cost"]["undo"], bool)
            assert all(fix["cost"][k] is None or isinstance(fix["cost"][k], int) for k in ("seconds", "download_mb"))
    assert Facts.from_dict(data["facts"]) == kit.machine(name)
    assert data == kit.doctor(machine=name).to_dict()


def test_json_is_ascii_for_every_terminal():
    done = run("doctor", "--facts", "rtx5070ti-cpu-only-scatter", "--json", PYTHONIOENCODING="ascii")
    assert done.stdout.isascii() and json.loads(done.stdout)["verdict"] == "broken"


def test_a_gpu_that_is_asked_for_changes_the_verdict():
    done = run("doctor", "--facts", "healthy-gpu", "--gpu", "7.0", "--json")
    assert [f["failure"] for f in json.loads(done.stdout)["findings"]] == ["gpu-arch-missing"]
    assert run("doctor", "--facts", "healthy-gpu", "--gpu", "sm_90").returncode == 0


def test_collected_facts_are_read_again_elsewhere(tmp_path):
    file = tmp_path / "facts.json"
    done = run("collect", "-o", file, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    facts = kit.load(str(file))
    assert facts.about.source == "collected" and facts.python.version == ".".join(map(str, sys.version_info[:3]))
    doctor = run("doctor", "--facts", file)
    assert doctor.returncode == int(kit.diagnose(facts).verdict == "broken") and doctor.stderr == ""
    again = run("collect", cwd=tmp_path)
    assert Facts.from_json(again.stdout).distributions == facts.distributions


def test_another_interpreter_is_collected_from_outside(tmp_path):
    done = run("collect", "--python", sys.executable, cwd=tmp_path)
    facts = Facts.from_json(done.stdout)
    assert facts.kernel is None, "only the running process has one"
    assert facts.python.cwd == facts.python.path[0]


def test_a_file_comes_before_a_recorded_machine_of_its_name(tmp_path):
    (tmp_path / "healthy-cpu").write_text(kit.machine("torch-broken").to_json())
    assert run("doctor", "--facts", "healthy-cpu", cwd=tmp_path).returncode == 1
    assert run("doctor", "--facts", "healthy-cpu", cwd="/").returncode == 0


# -- text


@pytest.mark.parametrize("name", kit.machines())
def test_the_text_has_the_verdict_first_the_count_before_last_and_the_next_command_last(name):
    from kit import show

    findings = kit.doctor(machine=name)
    lines = show.text(findings).splitlines()
    assert lines[0].startswith(f"{findings.verdict}: ")
    assert re.fullmatch(r"no findings|\d+ (error|warning|note)s?(, \d+ (warning|note)s?)*", lines[-2])
    assert re.fullmatch(r"Next: \S.*", lines[-1])
    text = " ".join(" ".join(lines).split())
    for finding in findings:
        assert finding.failure in text and finding.title in text
        assert " ".join(finding.rest.split()) in text
        for fix in finding.fix:
            assert fix.why in text and (fix.command() or "") in text


def test_the_command_prints_that_text():
    from kit import show

    done = run("doctor", "--facts", "hpc-py39-apex-without-amp")
    assert done.stdout == show.text(kit.doctor(machine="hpc-py39-apex-without-amp")) + "\n"
    assert done.stdout.splitlines()[-2] == "1 error, 1 note"


def test_the_page_of_a_failure():
    done = run("page", "extension-cpu-only")
    assert done.stdout == str(kit.page("extension-cpu-only"))
    assert (
        done.stdout.startswith("A compiled extension was built without CUDA")
        and "Known limits\n------" in done.stdout
    )


# -- terminals, pipes, disks


def test_a_terminal_without_utf8(tmp_path):
    for env in (
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ):
        done = run("doctor", "--facts", "healthy-gpu", **env)
        assert (done.returncode, done.stderr) == (0, "") and "torch 2.13.0" in done.stdout
    data = kit.machine("stale-kernel").to_dict()
    data["about"]["name"] = "J\u00f6rgs \udce9 \u2603"  # a name that was no UTF-8 either
    file = tmp_path / "odd.json"
    file.write_text(json.dumps(data))
    for arguments in (["--json"], []):
        for encoding in ("ascii", "utf-8"):
            done = run("doctor", "--facts", file, *arguments, PYTHONIOENCODING=encoding)
            assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@pytest.mark.parametrize("verb", ["doctor --facts torch-broken --json", "page torch-broken"])
def test_a_reader_that_leaves_is_no_error(verb):
    script = f"{{ {sys.executable} -m kit {verb}; echo status $? >&2; }} | true"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert re.fullmatch(r"status (0|1|141)\n", done.stderr), done.stderr
    script = f"{sys.executable} -m kit {verb} | head -1"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "verb",
    ["doctor --facts torch-broken --json", "doctor --facts healthy-cpu", "page torch-broken", "collect"],
)
def test_a_full_disk_is_one_line(verb):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "kit", *verb.split()]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == "kit: the output cannot be written: No space left on device\n"


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
def test_closed_output_is_no_traceback():
    script = f"{sys.executable} -m kit doctor --facts torch-broken >&-; echo $?"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("1\n", "")


# -- nothing of the user


def test_what_is_collected_here_names_no_person_and_no_secret(tmp_path):
    home = tmp_path / "home" / "jdoe"
    home.mkdir(parents=True)
    secrets = {
        "PIP_INDEX_URL": "https://bob:s3cr3t@pypi.corp/simple",
        "PIP_EXTRA_INDEX_URL": "https://x/simple?token=beef42",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{home}/src",
        "UV_INDEX_URL": "https://ghp_0123456789abcdef0123456789abcdef@github.com/x",
    }
    done = run("collect", cwd=home, HOME=str(home), USER="jdoe", **secrets)
    text = done.stdout
    assert done.returncode == 0 and Facts.from_json(text).python.cwd == "~"
    for secret in ("jdoe", "s3cr3t", "beef42", "ghp_", str(home)):
        assert secret not in text
    assert "pypi.corp/simple" in text


@pytest.mark.skipif(os.name != "posix" or not hasattr(os, "mkfifo"), reason="needs POSIX limits")
def test_a_facts_file_is_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "facts.json"
    file.write_text("the old one")
    limited = [
        "bash",
        "-c",
        'ulimit -f 1; trap "" XFSZ; exec "$@"',
        "-",
        sys.executable,
        "-m",
        "kit",
        "collect",
        "-o",
    ]
    done = subprocess.run([*limited, str(file)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"kit: {file} cannot be written: File too large\n"
    assert file.read_text() == "the old one"
    assert os.listdir(tmp_path) == ["facts.json"]
    subprocess.run([sys.executable, "-m", "kit", "collect", "-o", str(file)], cwd=tmp_path, check=True, timeout=60)
    assert json.loads(file.read_text())["schema"] == 1
    assert os.listdir(tmp_path) == ["facts.json"]

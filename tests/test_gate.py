"""kit/gate.py: what papermill delivers becomes settings, and the gate fails with exactly its lines."""

import json
import math
import os

import pytest

import kit
from kit import gate
from kit.errors import KitError
from kit.gate import BadParameter, CheckFailed, Settings, check, settings


def refused(**namespace):
    with pytest.raises(BadParameter) as error:
        settings(namespace)
    (line,) = error.value._render_traceback_()
    assert line == str(error.value) and "\n" not in line
    return line


# -- parameters


def test_nothing_given_is_the_live_machine_as_it_is():
    assert settings({}) == Settings("live", None, None, (), None)
    assert settings({"machine": "", "python": " ", "gpu": "", "require": "", "findings": ""}) == Settings()


def test_the_namespace_of_a_notebook_is_no_parameter():
    class Made:
        pass

    def helper():
        pass

    namespace = {
        "__name__": "__main__",
        "_": 3,
        "_ih": [""],
        "In": [""],
        "Out": {},
        "exit": 1,
        "quit": 2,
        "open": open,
        "get_ipython": 1,
        "kit": kit,
        "gate": gate,
        "settings": settings,
        "Settings": Settings,
        "Made": Made,
        "helper": helper,
        "machine": "healthy-gpu",
    }
    assert settings(namespace).machine == "healthy-gpu"


@pytest.mark.parametrize(
    ("given", "gpu"),
    [
        (12.0, "12.0"),
        (12, "12.0"),
        (8.9, "8.9"),
        (9, "9.0"),
        (120, "12.0"),
        (89, "8.9"),
        ("12.0", "12.0"),
        ("12", "12.0"),
        (" sm_90 ", "9.0"),
        ("", None),
    ],
)
def test_a_capability_as_papermill_delivers_it(given, gpu):
    assert settings({"gpu": given}).gpu == gpu


@pytest.mark.parametrize("gpu", ["RTX 4090", "12.0.1", 0, -1, 1.2, 90.0, math.nan, math.inf, "12.0 "[:-1] + "x"])
def test_what_is_no_capability_is_refused(gpu):
    assert "not a compute capability" in refused(gpu=gpu) and refused(gpu=gpu).startswith("gpu: ")


@pytest.mark.parametrize("value", [True, None, ["12.0"], {"a": 1}, b"12.0"])
@pytest.mark.parametrize("name", gate.KNOWN)
def test_other_types_are_refused(name, value):
    assert refused(**{name: value}).startswith(f"{name} must be text")


def test_a_number_is_a_capability_and_nothing_else():
    assert refused(machine=12.0) == "machine must be text, this is 12.0; pass it with papermill's -r machine ..."


def test_an_unknown_name_is_refused_where_papermill_only_warns():
    assert refused(machin="healthy-gpu") == f"unknown parameter 'machin'; there are {', '.join(gate.KNOWN)}"


def test_a_machine_that_is_not_recorded_names_those_that_are():
    line = refused(machine="healthy")
    assert "'healthy'" in line and "healthy-gpu" in line and "torch-broken" in line


def test_a_recorded_machine_has_no_interpreter():
    assert "recorded machine 'healthy-gpu'" in refused(machine="healthy-gpu", python="/usr/bin/python3")
    assert settings({"machine": "live", "python": "/usr/bin/python3"}).python == "/usr/bin/python3"


@pytest.mark.parametrize(
    ("given", "require"),
    [
        ("cuda", ("cuda",)),
        ("cuda, torch>=2.9 ,", ("cuda", "torch>=2.9")),
        (" ", ()),
        ("torch==2.13.0+cu130", ("torch==2.13.0+cu130",)),
    ],
)
def test_requirements(given, require):
    assert settings({"require": given}).require == require


@pytest.mark.parametrize("given", ["torch=>2", "cuda!", "cuda,,>=2", "torch 2.9"])
def test_what_is_no_requirement_is_refused(given):
    assert "is neither cuda nor a requirement" in refused(require=given)


def test_settings_show_themselves_and_lead_to_facts():
    shown = repr(settings({"machine": "healthy-cpu", "gpu": 12.0, "require": "cuda"}))
    assert shown.splitlines() == [
        "machine  healthy-cpu",
        "python   the machine's own",
        "gpu      12.0",
        "require  cuda",
    ]
    facts = settings({"machine": "healthy-cpu", "gpu": 12.0}).facts()
    assert facts.host.gpus[0].capability == "12.0" and facts.about.name == "healthy-cpu"


def test_an_interpreter_that_is_not_there_is_one_line_too(tmp_path):
    chosen = settings({"python": str(tmp_path / "python")})
    with pytest.raises(KitError, match="no such interpreter"):
        chosen.facts()


# -- the gate


@pytest.fixture
def file(tmp_path):
    return tmp_path / "findings.json"


def test_a_healthy_machine_passes_and_its_findings_are_written(file):
    passed = check(settings({"machine": "healthy-gpu", "findings": str(file), "require": "cuda,torch>=2.9"}))
    assert repr(passed) == "check passed: nothing wrong was found"
    data = json.loads(file.read_text())
    assert (data["schema"], data["verdict"], data["findings"], data["unmet"]) == (1, "healthy", [], [])
    assert data["facts"]["torch"]["version"] == "2.13.0+cu130"


def test_a_broken_machine_fails_with_its_findings_and_nothing_else(file):
    with pytest.raises(CheckFailed) as error:
        check(settings({"machine": "rtx5070ti-cpu-only-scatter", "findings": str(file)}))
    from kit import show

    lines = error.value._render_traceback_()
    assert lines == show.text(kit.doctor(machine="rtx5070ti-cpu-only-scatter")).splitlines()
    assert lines[0] == "broken: torch-scatter holds no GPU code" and lines[-1].startswith("Next: ")
    assert [f["failure"] for f in json.loads(file.read_text())["findings"]] == ["extension-cpu-only"]


@pytest.mark.parametrize(
    ("machine", "require", "unmet"),
    [
        ("healthy-cpu", "cuda", ["cuda: torch is a CPU build", "cuda: no GPU is visible"]),
        ("healthy-gpu", "torch>=99", ["torch>=99: 2.13.0 is installed"]),
        ("healthy-gpu", "torch>=2.9, nonexistent-package", ["nonexistent-package: not installed"]),
        ("healthy-cpu", "torch-scatter<1,cuda", ["torch-scatter<1: ", "cuda: torch is", "cuda: no GPU"]),
    ],
)
def test_what_is_required_and_not_there_closes_it(file, machine, require, unmet):
    with pytest.raises(CheckFailed) as error:
        check(settings({"machine": machine, "require": require, "findings": str(file)}))
    lines = error.value._render_traceback_()
    said = json.loads(file.read_text())["unmet"]
    assert len(said) == len(unmet) and all(a.startswith(b) for a, b in zip(said, unmet))
    assert lines[: len(said)] == [f"required: {problem}" for problem in said]
    assert lines[len(said)].startswith("healthy: ")


def test_a_torch_without_metadata_is_missing_a_version_and_no_crash(file):
    with pytest.raises(CheckFailed) as error:
        check(settings({"machine": "torch-missing", "require": "cuda", "findings": str(file)}))
    assert "required: cuda: torch is not installed" in error.value._render_traceback_()


def test_a_gpu_that_was_asked_for_counts(file):
    with pytest.raises(CheckFailed) as error:
        check(settings({"machine": "healthy-cpu", "gpu": 8.9, "findings": str(file)}))
    assert error.value._render_traceback_()[0] == "broken: torch is a CPU build"


def test_findings_that_cannot_be_written_are_one_line(tmp_path):
    with pytest.raises(BadParameter) as error:
        check(settings({"machine": "healthy-cpu", "findings": str(tmp_path / "no" / "such.json")}))
    assert error.value._render_traceback_() == [
        f"findings: {tmp_path}/no/such.json cannot be written: No such file or directory"
    ]


def test_findings_go_into_the_working_directory_where_papermill_is_not_the_parent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(settings({"machine": "healthy-cpu"}))
    assert os.listdir(tmp_path) == ["findings.json"]

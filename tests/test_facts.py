"""kit/facts.py: the JSON loses nothing, and whatever is not a facts file is refused with one clear line."""

import dataclasses
import json
import random
import subprocess
import sys
from typing import Union, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kit
from kit.errors import KitError
from kit.facts import SCHEMA, Facts, Gpu, compute_capability

EXAMPLE = kit.machine("hpc-py39-apex-without-amp")
quick = settings(
    max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def strategy(kind):
    """Any value of a field's type: the dataclasses themselves say what there is to generate."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Union:
        return st.none() | strategy(arguments[0])
    if origin is tuple:
        return st.lists(strategy(arguments[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)
    if dataclasses.is_dataclass(kind):
        return st.builds(kind, **{f.name: strategy(f.type) for f in dataclasses.fields(kind)})
    return {str: st.text(max_size=8), bool: st.booleans(), int: st.integers()}[kind]


@quick
@given(strategy(Facts))
def test_a_round_trip_loses_nothing(facts):
    assert Facts.from_json(facts.to_json()) == facts
    assert Facts.from_json(facts.to_json().encode()) == facts
    assert Facts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts


@pytest.mark.parametrize("name", kit.machines())
def test_every_recorded_machine_survives_a_round_trip(name):
    facts = kit.machine(name)
    text = facts.to_json()
    assert Facts.from_json(text) == facts
    assert Facts.from_json(text).to_json() == text, "the same facts are the same text"
    assert json.loads(text)["schema"] == SCHEMA


def test_the_text_is_ascii_so_that_no_terminal_and_no_locale_can_harm_it():
    odd = dataclasses.replace(EXAMPLE, variables={"CC": "/home/jörg/\udce9/gcc · ☃"})
    assert odd.to_json().isascii()
    assert Facts.from_json(odd.to_json()) == odd


def refused(text):
    """The one line that refuses this text."""
    with pytest.raises(KitError) as error:
        Facts.from_json(text, "far.json")
    line = str(error.value)
    assert line.startswith("far.json") and "\n" not in line and len(line) < 300
    return line


def damaged(**change):
    """A facts file with one of its top-level values changed."""
    return json.dumps({**EXAMPLE.to_dict(), **change})


TEXT = EXAMPLE.to_json()
CUTS = sorted(random.Random(7).sample(range(1, len(TEXT) - 2), 30))


@pytest.mark.parametrize("cut", CUTS)
def test_a_file_cut_anywhere_is_said_to_be_cut_off(cut):
    assert "cut off" in refused(TEXT[:cut])
    assert "cut off" in refused(TEXT[:cut].encode())


@pytest.mark.parametrize("inside", ["true", "false", "null", '"a string"', "12", "\\u00e9"])
def test_a_file_cut_within_a_word_is_said_to_be_cut_off(inside):
    text = '{"schema": 1, "x": ' + (f'"{inside}"' if inside.startswith("\\") else inside) + "}"
    for cut in range(2, len(text)):
        assert "cut off" in refused(text[:cut])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        (b"", "empty"),
        ("torch==2.13.0\n", "not JSON"),
        ("Traceback (most recent call last):\n  ...", "not JSON"),
        ('{"schema": 1,, "python": {}}', "not JSON"),
        ("{'schema': 1}", "not JSON"),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe\x80", "binary"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\xf0", "binary"),
        ("[" * 100_000, "not JSON"),
        ("[]", "a list"),
        ("null", "null"),
        ("17", "a number"),
        ('"text"', "text"),
        ("true", "true or false"),
        ("{}", "schema"),
        ('{"cells": [], "nbformat": 4}', "schema"),
        ('{"schema": 2}', "schema 2"),
        ('{"schema": "1"}', "schema '1'"),
        ('{"schema": null}', "schema None"),
        ('{"schema": 1}', "'about' is missing"),
        ('{"schema": true, "about": {}}', "schema True"),
        (damaged(surprise=1), "unknown field 'surprise'"),
        (damaged(probes=None), "probes: a list is expected, this is null"),
        (damaged(probes=["torch"]), "probes[0]: an object is expected, this is text"),
        (damaged(distributions={}), "distributions: a list is expected, this is an object"),
        (damaged(variables={"CC": 1}), "variables.CC: str is expected, this is a number"),
        (damaged(variables=["CC"]), "variables: an object is expected, this is a list"),
        (damaged(torch="2.13.0"), "torch: an object is expected, this is text"),
        (damaged(host=None), "host: an object is expected, this is null"),
    ],
)
def test_what_is_no_facts_file_is_refused_with_its_reason(text, said):
    assert said in refused(text)


def test_true_is_no_number_and_a_number_no_truth():
    python = EXAMPLE.to_dict()["python"]
    assert "python.bits: int is expected" in refused(damaged(python={**python, "bits": True}))
    assert "python.bits: int is expected" in refused(damaged(python={**python, "bits": 64.0}))
    assert "python.venv: bool is expected" in refused(damaged(python={**python, "venv": 1}))
    assert "python.version: str is expected" in refused(damaged(python={**python, "version": 3.11}))


def test_a_missing_and_an_unknown_field_deep_inside_are_named_with_their_place():
    data = EXAMPLE.to_dict()
    data["distributions"] = [dict(d) for d in data["distributions"]]
    del data["distributions"][1]["version"]
    assert "distributions[1]: the field 'version' is missing" in refused(json.dumps(data))
    data["distributions"][1].update(version="1", colour="red")
    assert "distributions[1]: unknown field 'colour'" in refused(json.dumps(data))


def test_fields_with_a_default_may_be_left_out():
    data = {key: EXAMPLE.to_dict()[key] for key in ("schema", "about", "python")}
    facts = Facts.from_dict({**data, "host": {"system": "Linux", "machine": "x86_64"}})
    assert facts.torch is None and facts.host.gpus == () and facts.variables == {}


def test_what_doctor_prints_is_accepted_as_facts(tmp_path):
    command = [sys.executable, "-m", "kit", "doctor", "--json", "--facts"]
    first = subprocess.run([*command, "torch-broken"], capture_output=True, text=True, timeout=60)
    file = tmp_path / "doctor.json"
    file.write_text(first.stdout)
    assert kit.load(str(file)) == kit.machine("torch-broken")
    second = subprocess.run([*command, str(file)], capture_output=True, text=True, timeout=60)
    assert (second.returncode, second.stdout) == (first.returncode, first.stdout)
    assert first.returncode == 1


# -- compute capabilities


@pytest.mark.parametrize(
    ("text", "capability"),
    [
        ("12.0", "12.0"),
        ("8.9", "8.9"),
        ("sm_120", "12.0"),
        ("sm_89", "8.9"),
        ("120", "12.0"),
        ("89", "8.9"),
        (" 9.0 ", "9.0"),
        ("12", "12.0"),
        ("9", "9.0"),
        ("sm_103", "10.3"),
        ("10", "10.0"),
        ("7.5", "7.5"),
    ],
)
def test_a_compute_capability_in_every_form(text, capability):
    assert compute_capability(text) == capability
    (gpu,) = EXAMPLE.with_gpu(text).host.gpus
    assert gpu.capability == capability


@pytest.mark.parametrize(
    "text",
    ["", "12.0 nonsense", "nonsense", "sm_", "12.0.1", "1.2", "90.0", "12,0", "-9.0", "12.", "RTX 4090"],
)
def test_what_is_no_compute_capability_is_refused(text):
    with pytest.raises(KitError, match=r"looks like 8\.9, 9\.0 or 12\.0"):
        EXAMPLE.with_gpu(text)


def test_a_wish_keeps_the_gpu_that_is_there_and_replaces_any_other():
    facts = kit.machine("healthy-gpu")
    assert facts.with_gpu("8.9").host.gpus == facts.host.gpus and not facts.host.gpus[0].wished
    (gpu,) = facts.with_gpu("9.0").host.gpus
    assert gpu == Gpu("GPU of compute capability 9.0", "9.0", wished=True)
    assert facts.with_gpu("9.0").host.driver == facts.host.driver
    assert facts.host.gpus[0].capability == "8.9", "the facts themselves are frozen"


# -- looking things up


def test_names_are_compared_in_their_normal_form():
    facts = kit.machine("healthy-gpu")
    assert facts.distribution("Torch_Scatter") is facts.distribution("torch-scatter") is not None
    assert facts.extension("torch.scatter") is not None
    assert facts.distribution("torch_scatter_2") is None


def test_a_leftover_is_no_distribution():
    facts = kit.machine("duplicate-metadata")
    leftovers = tuple(d for d in facts.distributions if d.leftover)
    assert leftovers and dataclasses.replace(facts, distributions=leftovers).distribution("networkx") is None


@pytest.mark.parametrize(
    ("version", "released", "minor"),
    [
        ("2.13.0", True, "2.13"),
        ("2.13.0+cu130", True, "2.13"),
        ("2.9.1+cpu", True, "2.9"),
        ("2.9.1+rocm6.4", True, "2.9"),
        ("2.15.0.dev20261101+cu130", False, "2.15"),
        ("2.13.0rc2", False, "2.13"),
        ("2.13.0a0+gitabc", False, "2.13"),
        ("2.6.0a0+ecf3bae40a.nv25.01", False, "2.6"),
        ("", False, ""),
    ],
)
def test_releases_are_told_from_everything_else(version, released, minor):
    torch = dataclasses.replace(EXAMPLE.torch, version=version)
    assert (torch.released, torch.minor) == (released, minor)

"""kit/nodes: thousands of answers become a few groups, what stands out is named, and no secret is put out."""

import argparse
import dataclasses
import html.parser
import json
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_redact import HOME, HOST, PLANTS, SECRETS, USER, positions, put

import kit
from kit import nodes, redact, show
from kit.errors import KitError
from kit.facts import Distribution, Driver, Facts, Gpu, Module, Torch
from kit.nodes import baseline, chart, command, document, folder, gate, grouping, names, outliers, sameness, simulated
from kit.nodes.difference import changes, leading, main, tree
from kit.nodes.records import Answer, Asked, Nodes
from kit.show.nodes import nodes_page

USUAL = kit.machine("healthy-gpu")
# By which fact each kind of drift has to be found.
PATHS = {
    "driver": "host.driver.version",
    "kernel": "host.kernel",
    "C library": "host.libc",
    "kind of GPU": "host.gpus",
    "number of GPUs": "host.gpus",
    "GPU lost": "host.gpus",
    "torch": "torch.version",
    "extension": "extensions[torch-scatter].libraries",
    "Python": "python.version",
    "toolkit": "host.toolkits[/usr/local/cuda].version",
    "variable": "variables.LD_LIBRARY_PATH",
    "package": "distributions[networkx].version",
}
ROWS = list(simulated.rows(60, dict.fromkeys(simulated.DRIFT, 2)))


def answers(rows: "list[dict[str, Any]]") -> "list[Answer]":
    return [folder.said(json.dumps(row), "?") for row in rows]


def facts_of(count: int, facts: Facts = USUAL, first: int = 1) -> "list[Answer]":
    return [Answer(f"n{i}", "answered", facts=facts) for i in range(first, first + count)]


def host(facts: Facts = USUAL, **changed: Any) -> Facts:
    return dataclasses.replace(facts, host=dataclasses.replace(facts.host, **changed))


def variables(**values: str) -> Facts:
    return dataclasses.replace(USUAL, variables=values)


# -- groups


@pytest.mark.parametrize("kind", simulated.DRIFT)
def test_each_kind_of_drift_is_found_and_named(kind: str) -> None:
    found = grouping.group(answers(list(simulated.rows(40, {kind: 3}))))
    first, other = found.groups
    assert (len(first.nodes), other.nodes) == (37, ("node11", "node12", "node13"))
    assert not first.differs
    paths = [change.path for change in other.differs]
    assert PATHS[kind] in paths
    text = show.text(found)
    assert "node[11-13]" in text and "37 nodes" in text
    (change,) = [change for change in other.differs if change.path == PATHS[kind]]
    shown = show.html(found)
    assert change.now is None or kind in ("extension", "GPU lost") or change.now in shown
    assert document.of(found)["groups"][1]["differs"][PATHS[kind]] == change.now


def test_twelve_kinds_at_once_and_each_is_diagnosed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    diagnose = grouping.diagnose
    monkeypatch.setattr(grouping, "diagnose", lambda facts: seen.append(facts) or diagnose(facts))
    found = grouping.group(answers(ROWS))
    assert [len(group.nodes) for group in found.groups] == [36, *[2] * 12]
    assert len(seen) == 13
    kinds = {frozenset(group.nodes) for group in found.groups[1:]}
    assert kinds == {frozenset({f"node{16 + 2 * at}", f"node{17 + 2 * at}"}) for at in range(12)}
    with_findings = {group.nodes[0]: [f.failure for f in group.findings] for group in found.groups if group.findings}
    assert with_findings["node16"] == ["driver-too-old"]
    assert with_findings["node26"] == ["gpu-not-visible"]
    assert "extension-cpu-only" in with_findings["node30"]


SAME = {
    "what the facts say of themselves": dataclasses.replace(USUAL, about=kit.About("x", "reconstructed", "y")),
    "the process that collected": dataclasses.replace(USUAL, kernel=kit.facts.Kernel("notebook")),
    "memory below a GiB": host(gpus=(dataclasses.replace(USUAL.host.gpus[0], memory_mb=24564 - 90),)),
}


@pytest.mark.parametrize("what", SAME)
def test_what_differs_between_healthy_nodes_is_left_out(what: str) -> None:
    found = grouping.group([*facts_of(3), Answer("other", "answered", facts=SAME[what])])
    assert len(found.groups) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"CC": "gcc", "CXX": "g++"}, {"CXX": "g++", "CC": "gcc"}, True),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "2,3"}, True),
        ({"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "GPU-5e1f0bb2-1111-2222-3333-444455556666"}, True),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "0"}, False),
        ({"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": ""}, False),
        ({"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "-1"}, False),
        ({"PIP_TARGET": "/scratch/1234567/x"}, {"PIP_TARGET": "/scratch/1234599/x"}, True),
        ({"PIP_TARGET": "/tmp/slurm-job.812/x"}, {"PIP_TARGET": "/tmp/slurm-job.4711/x"}, True),
        ({"PIP_TARGET": "/var/spool/slurmd/job00812"}, {"PIP_TARGET": "/var/spool/slurmd/job00813"}, True),
        ({"PIP_TARGET": "/tmp/tmpab12cd34/lib"}, {"PIP_TARGET": "/tmp/tmpzz99yy88/lib"}, True),
        ({"LD_LIBRARY_PATH": "/opt/a:/scratch/812/lib"}, {"LD_LIBRARY_PATH": "/opt/a:/scratch/813/lib"}, True),
        ({"LD_LIBRARY_PATH": "/opt/a:/opt/b"}, {"LD_LIBRARY_PATH": "/opt/b:/opt/a"}, False),
        ({"LD_LIBRARY_PATH": "/usr/local/cuda-12.4/lib64"}, {"LD_LIBRARY_PATH": "/usr/local/cuda-12.6/lib64"}, False),
        ({"PYTHONPATH": "/scratch/envs/torch-2.9"}, {"PYTHONPATH": "/scratch/envs/torch-2.10"}, False),
        ({"PYTHONPATH": "/opt/812/x"}, {"PYTHONPATH": "/opt/813/x"}, False),
        ({"PYTHONPATH": "/local/one7/x"}, {"PYTHONPATH": "/local/two8/x"}, True),
    ],
)
def test_what_is_the_jobs_own_is_left_out_and_what_counts_is_not(
    one: "dict[str, str]", other: "dict[str, str]", same: bool
) -> None:
    rows = [Answer("one7", "answered", facts=variables(**one)), Answer("two8", "answered", facts=variables(**other))]
    assert (len(grouping.group(rows).groups) == 1) == same


def test_a_node_that_is_called_like_a_package_is_no_other() -> None:
    rows = [Answer(node, "answered", facts=USUAL) for node in ("torch", "a1.cluster", "lib")]
    assert len(grouping.group(rows).groups) == 1


def test_the_working_directory_is_left_out_and_what_lies_in_it_is_not() -> None:
    def at(cwd: str, *modules: Module) -> Facts:
        python = dataclasses.replace(USUAL.python, cwd=cwd, path=(cwd, *USUAL.python.path[1:]))
        return dataclasses.replace(USUAL, python=python, modules=(*USUAL.modules, *modules))

    other = at("/home/<user>/b", Module("apex", "namespace", "/home/<user>/b/apex", "/home/<user>/b"))
    rows = [at("/home/<user>/a"), at("/home/<user>/b"), other]
    found = grouping.group([Answer(f"n{i}", "answered", facts=facts) for i, facts in enumerate(rows)])
    assert [group.nodes for group in found.groups] == [("n0", "n1"), ("n2",)]


@pytest.mark.parametrize("name", kit.machines())
def test_what_is_compared_are_facts_and_the_same_again(name: str) -> None:
    facts = kit.machine(name)
    text = sameness.comparable(facts.to_dict(), "node7")
    again = Facts.from_dict(json.loads(text))
    assert sameness.comparable(again.to_dict(), "node8") == text
    assert not changes(tree(json.loads(text)), tree(again.to_dict()))
    fresh = dataclasses.replace(facts, kernel=None)  # what a process holds that was replaced meanwhile is its own
    assert [f.failure for f in kit.diagnose(again)] == [f.failure for f in kit.diagnose(fresh)]


def test_the_largest_group_is_the_reference_and_of_two_the_healthy_one() -> None:
    other = simulated.drifted("driver")
    found = grouping.group([*facts_of(2, other), *facts_of(2, first=3)])
    assert found.groups[0].nodes == ("n3", "n4") and found.groups[0].verdict == "healthy"
    found = grouping.group([*facts_of(3, other), *facts_of(2, first=4)])
    assert found.groups[0].nodes == ("n1", "n2", "n3") and found.groups[0].verdict == "broken"
    (change,) = [change for change in found.groups[1].differs if change.path == "host.driver.version"]
    assert (change.was, change.now) == ("550.54.15", "580.95.05")


def test_what_comes_with_another_fact_stands_behind_it() -> None:
    def torch(version: str, cuda: str) -> Facts:
        libraries = [
            Distribution(f"nvidia-{n}", f"{cuda}.1", f"/x/{n}.dist-info") for n in ("cublas", "cudnn", "nccl")
        ]
        both = (Distribution("torch", version, "/x"), *libraries)
        return dataclasses.replace(USUAL, torch=Torch("/x", version, cuda=cuda), distributions=both, extensions=())

    found = grouping.group(
        [*facts_of(2, torch("2.9.1+cu128", "12.8")), *facts_of(1, torch("2.9.1+cu130", "13.0"), 3)]
    )
    (other,) = found.groups[1:]
    paths = [change.path for change in other.differs]
    assert main(paths) == ["torch.version"] and len(paths) > 4
    assert main([p for p in paths if "cublas" in p]) == ["distributions[nvidia-cublas].version"]
    assert leading("variables.LD_LIBRARY_PATH") and not leading("torch.binaries[torch/_C.so].glibc")
    assert "and 5 facts that go with it" in show.text(found)


def test_one_name_with_two_answers_is_told() -> None:
    found = grouping.group([*facts_of(2), Answer("n2", "answered", facts=simulated.drifted("driver"))])
    (row,) = found.silent
    assert (row.nodes, row.why) == (("n2",), grouping.TWICE)
    assert len(found.names) == 2
    same = grouping.group([*facts_of(2), *facts_of(2)])
    assert not same.silent and same.groups[0].nodes == ("n1", "n2")


def test_a_gpu_that_is_asked_for_counts_for_every_group() -> None:
    found = grouping.group(facts_of(2), gpu="7.0")
    assert [f.failure for f in found.groups[0].findings] == ["gpu-arch-missing"]


def test_no_answer_at_all() -> None:
    found = grouping.group([])
    assert found == Nodes() and found.verdict == "healthy" and "no node was asked" in show.text(found)
    show.html(found), document.of(found)


def test_each_node_its_own_facts_stays_short() -> None:
    rows = [Answer(f"n{i:03}", "answered", facts=variables(CONDA_PREFIX=f"/data/env-{i}")) for i in range(150)]
    found = grouping.group(rows)
    assert len(found.groups) == 150
    text = show.text(found)
    assert len(text.splitlines()) < 60
    assert "and 138 more groups" in text and "CONDA_PREFIX: 150 values" in text
    assert len(show.html(found)) < 60_000


# -- nodes that did not answer as asked


BAD = {
    "empty": (b"", "the facts file is empty"),
    "blank": (b" \n", "the facts file is empty"),
    "cut off": (json.dumps(ROWS[0]).encode()[:4000], "cut off after 4000 characters"),
    "binary": (b"\x80\x81\x00\xff", "not a facts file (binary data)"),
    "no JSON": (b"srun: error: Unable to create job step", "not JSON"),
    "a list": (b"[1]", "it holds a list"),
    "an object": (b"{}", "no facts file that this kit reads (schema None)"),
    "another schema": (b'{"schema": 2, "node": "n", "facts": {}}', "(schema 2)"),
    "facts of another schema": (json.dumps({**USUAL.to_dict(), "schema": 7}).encode(), "facts of schema 7"),
    "no facts": (b'{"schema": 1, "node": "b", "facts": null}', "it holds no facts"),
    "facts that are none": (b'{"schema": 1, "node": "b", "facts": {"schema": 1}}', "the field 'about' is missing"),
    "facts that are text": (b'{"schema": 1, "node": "b", "facts": "x"}', "no facts file that this kit reads"),
    "a state of its own": (b'{"schema": 1, "node": "b", "state": "fine"}', "(state 'fine')"),
    "nested": (b'{"schema": 1, "node": "b", "facts": {"a":' + b"[" * 5000 + b"]" * 5000 + b"}}", ""),
    "another field": (json.dumps({**USUAL.to_dict(), "extra": 1}).encode(), "unknown field 'extra'"),
    "a number for text": (json.dumps({**USUAL.to_dict(), "host": 7}).encode(), "host: an object is expected"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_holds_no_facts_is_told_and_the_rest_is_complete(what: str, tmp_path: Path) -> None:
    data, why = BAD[what]
    simulated.write(str(tmp_path), 4, {"driver": 1})
    (tmp_path / "b.json").write_bytes(data)
    found = nodes.check(str(tmp_path))
    (row,) = found.silent
    assert (row.nodes, row.state) == (("b",), "unreadable") and why in row.why
    assert "collect -o" not in row.why and len(row.why) < 300
    assert [len(group.nodes) for group in found.groups] == [3, 1]
    assert found.verdict == "broken" and f"b (1) · unreadable: {row.why[:30]}" in show.text(found)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated.write(str(tmp_path), 3, {})
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "large.json").write_text(json.dumps(ROWS[0]) + " " * 100_000)
    (tmp_path / "notes.txt").write_text("no facts")
    monkeypatch.setattr(folder, "LARGEST", 100_000)
    told = {row.nodes: row.why for row in nodes.check(str(tmp_path)).silent}
    assert set(told) == {("folder",), ("large",)}
    assert "cannot be read: Is a directory" in told["folder",] and "no facts file" in told["large",]


@pytest.mark.parametrize(
    ("place", "says"), [("none", "cannot be read"), ("empty", "no facts files"), ("file", "is a file")]
)
def test_a_folder_that_cannot_be_used_is_one_clear_line(place: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match=says):
        nodes.check(str(tmp_path / place))


def test_every_state_is_told_as_what_it_is() -> None:
    rows = [
        *facts_of(3),
        Answer("slow", "late", facts=USUAL, why="75 s, and 60 s were given"),
        Answer("slow2", "late", facts=USUAL, why="81 s, and 60 s were given"),
        Answer("gone", "silent", why="no answer within 60 s"),
        Answer("segv", "crashed", why="SIGSEGV"),
        Answer("oom", "killed", why="SIGKILL (often: out of memory)"),
        Answer("typo", "refused", why="no such interpreter: /opt/vnv/bin/python"),
        Answer("full", "answered", facts=USUAL, why="No space left on device: /tmp"),
        Answer("lost", "answered"),
    ]
    found = grouping.group(rows)
    told = {row.nodes: (row.state, row.why) for row in found.silent}
    assert told["slow", "slow2"] == ("late", "more than the 60 s that were given")
    assert told["segv",] == ("crashed", "SIGSEGV") and told["oom",][0] == "killed"
    assert told["typo",] == ("refused", "no such interpreter: /opt/vnv/bin/python")
    assert told["lost",] == ("unreadable", "it answered without facts")
    assert told["full",] == ("answered", "No space left on device: /tmp")
    assert set(found.groups[0].nodes) == {"n1", "n2", "n3", "slow", "slow2", "full"}
    assert found.verdict == "broken" and len(found.names) == 11
    text = show.text(found)
    assert all(
        word in text for word in ("gone (1) · silent: no answer within 60 s", "SIGSEGV", "/opt/vnv/bin/python")
    )
    with pytest.raises(KitError, match="unknown state"):
        grouping.group([Answer("x", "fine")])


def test_nodes_that_should_be_in_a_folder_and_are_not(tmp_path: Path) -> None:
    simulated.write(str(tmp_path), 3, {})
    found = nodes.check(str(tmp_path), nodes="node[1-5]")
    (row,) = found.silent
    assert (row.nodes, row.state, row.why) == (("node4", "node5"), "silent", "it has written no file")


# -- names


@pytest.mark.parametrize(
    ("given", "notation"),
    [
        ([f"node{i:03}" for i in (*range(1, 129), 130)], "node[001-128,130]"),
        (["n1", "n2", "n10"], "n[1-2,10]"),
        (["n01", "n02", "n1", "n2"], "n[1-2,01-02]"),
        (["gpu-a1", "gpu-a2", "login", "cpu7"], "cpu7,gpu-a[1-2],login"),
        (["n1.hpc.example.org", "n2.hpc.example.org"], "n[1-2].hpc.example.org"),
        (["10.0.0.1", "10.0.0.2"], "10.0.0.[1-2]"),
        (["only"], "only"),
        ([], ""),
    ],
)
def test_names_in_the_schedulers_notation(given: "list[str]", notation: str) -> None:
    random.Random(3).shuffle(given)
    assert names.compact(given) == notation
    if given:
        assert sorted(names.expand(notation)) == sorted(given)


@pytest.mark.parametrize(
    "name",
    ["@all", "a,b", "n[1-9]", "a b", "a!b", "a&b", "$(id)", "<b>", "é", "\x1b[31m", "-x", "a*", "9" * 20],
)
def test_a_name_that_is_none_is_quoted_and_means_nothing(name: str) -> None:
    assert names.compact([name, "n1", "n2"]) == f"n[1-2],{json.dumps(name)}"


@pytest.mark.parametrize("notation", ["", "@all", "n[1-3", "n1 n2", "n[1-3]]", "a!b", "n[3-1]", "n[a-b]", "[]"])
def test_what_is_no_notation_is_refused(notation: str) -> None:
    with pytest.raises(KitError, match="not names of nodes"):
        names.expand(notation)


@pytest.mark.parametrize("notation", ["n[1-100000000]", "n[1-9999]m[1-9999]", "n[0-99999],m[0-9]"])
def test_a_notation_of_too_many_is_refused_before_it_is_made(notation: str) -> None:
    with pytest.raises(KitError, match="more than 100,000 nodes"):
        names.expand(notation)


@given(st.sets(st.from_regex(r"(n|gpu-|r1c)[0-9]{1,4}(\.x)?", fullmatch=True), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_names_come_back(given: "set[str]") -> None:
    assert set(names.expand(names.compact(given))) == given


def test_thousands_of_names_in_no_order_are_folded_at_once() -> None:
    """ClusterShell alone takes many seconds for these."""
    some = random.Random(7)
    given = {f"ip-{some.randrange(9)}-{some.randrange(99)}-{some.randrange(256)}.x2.y" for _ in range(1500)}
    began = time.perf_counter()
    told = names.compact(given)
    assert time.perf_counter() - began < 5
    assert set(names.expand(told)) == given and len(told) < 0.7 * len(",".join(given))
    grid = [f"10.0.{a}.{b}" for a in range(3) for b in range(1, 101)]
    assert names.compact(grid) == "10.0.0.[1-100],10.0.1.[1-100],10.0.2.[1-100]"
    assert names.compact(grid[:150]) == "10.0.0.[1-100],10.0.1.[1-50]"


def test_people_count_nodes() -> None:
    assert names.ordered(["n10", "n9", "n1", "n" + "9" * 5000])[:3] == ("n1", "n9", "n10")


# -- baseline


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    rows = [*facts_of(4), *facts_of(2, host(gpus=(Gpu("NVIDIA L4", "8.9", 23034),)), first=5)]
    file = tmp_path / "nodes.json"
    file.write_text(json.dumps(document.record(grouping.group(rows))))
    return str(file)


def drift(rows: "list[Answer]", file: str) -> Nodes:
    return grouping.group(rows, baseline=baseline.load(file))


def test_as_recorded_is_no_drift(recorded: str) -> None:
    rows = [*facts_of(4), *facts_of(2, host(gpus=(Gpu("NVIDIA L4", "8.9", 23034),)), first=5)]
    found = drift(rows, recorded)
    assert not found.drift and found.verdict == "healthy" and "as in nodes.json" in show.text(found)
    assert not drift(facts_of(3, first=50), recorded).drift, "a new node of a known kind"


def test_what_changed_and_where(recorded: str) -> None:
    found = drift([*facts_of(2), *facts_of(2, simulated.drifted("driver"), first=3)], recorded)
    (row,) = found.drift
    assert row.nodes == ("n3", "n4") and not row.new
    assert [(c.was, c.now) for c in row.changes if c.path == "host.driver.version"] == [("580.95.05", "550.54.15")]
    assert found.verdict == "broken"
    assert "driver: 580.95.05 -> 550.54.15" in show.text(found)
    told = document.of(found)["drift"]
    assert told[0]["nodes"] == "n[3-4]" and told[0]["changes"][0]["path"] == "host.driver.version"


def test_a_node_is_held_against_what_was_recorded_of_it(recorded: str) -> None:
    """n5 had an L4; as n1 is, it is not as it was, although a node of that kind was recorded."""
    (row,) = drift(facts_of(1, first=5), recorded).drift
    assert row.nodes == ("n5",) and [c.path for c in row.changes if leading(c.path)] == ["host.gpus"]


def test_all_drift_alike_is_seen_only_with_a_baseline(recorded: str) -> None:
    everywhere = facts_of(4, simulated.drifted("kernel"))
    assert grouping.group(everywhere).verdict == "healthy"
    (row,) = drift(everywhere, recorded).drift
    assert len(row.nodes) == 4 and [change.path for change in row.changes] == ["host.kernel"]


@pytest.mark.parametrize(
    ("facts", "new"),
    [
        (host(gpus=(Gpu("NVIDIA H200", "9.0", 143771),)), True),
        (host(machine="aarch64"), True),
        (host(gpus=USUAL.host.gpus * 8), False),
        (simulated.drifted("GPU lost"), False),
        (simulated.drifted("driver"), False),
    ],
)
def test_a_new_kind_of_node_is_named(facts: Facts, new: bool, recorded: str) -> None:
    found = drift(facts_of(1, facts, first=90), recorded)
    (row,) = found.drift
    assert row.new == new and row.changes
    assert ("a new kind of node" in show.text(found)) == new == ("a new kind of node" in show.html(found))


def test_a_node_that_was_not_recorded_is_held_against_its_own_kind(recorded: str) -> None:
    """It has four facts of the other kind's, and the GPU of this one's."""
    usual = dataclasses.replace(USUAL, variables={"A": "1", "B": "2", "CC": "3", "CXX": "4"})
    file = Path(recorded)
    told = json.loads(file.read_text())
    told["groups"][0]["facts"]["variables"] = usual.variables
    file.write_text(json.dumps(told))
    (row,) = drift(facts_of(1, host(usual, gpus=(Gpu("NVIDIA L4", "8.9", 23034),)), first=9), recorded).drift
    assert {change.path for change in row.changes} == {f"variables.{name}" for name in usual.variables}


def test_a_facts_file_and_a_recorded_machine_are_baselines(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_text(USUAL.to_json())
    for name in (str(file), "healthy-gpu"):
        assert not drift(facts_of(2), name).drift
        assert drift(facts_of(2, simulated.drifted("package")), name).drift


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("{}", 'no "schema"'),
        ('{"schema": 1, "groups": []}', "without nodes"),
        ('{"schema": 2, "groups": [1]}', "no baseline of this kit"),
        ('{"schema": 1, "groups": [{"nodes": "n1", "count": 1, "findings": []}]}', "group 1 holds no facts"),
        (
            json.dumps({"schema": 1, "groups": [{"nodes": "n1", "facts": USUAL.to_dict()}]}),
            "a list of nodes is expected",
        ),
        ('{"schema": 1, "groups": [{"nodes": [], "facts": {"schema": 1}}]}', "group 1: the field 'about' is missing"),
    ],
)
def test_a_baseline_that_is_none_is_one_clear_line(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    file.write_text(text)
    with pytest.raises(KitError, match=re.escape(says)) as error:
        baseline.load(str(file))
    assert "\n" not in str(error.value)
    with pytest.raises(KitError, match="no such baseline"):
        baseline.load(str(tmp_path / "none.json"))


def test_a_recorded_node_without_a_file_is_silent(recorded: str, tmp_path: Path) -> None:
    place = tmp_path / "facts"
    for answer in facts_of(4):
        folder.keep(answer, str(place))
    found = nodes.check(str(place), baseline=recorded)
    assert [row.nodes for row in found.silent] == [("n5", "n6")] and found.verdict == "broken"
    assert not found.drift


# -- active checks


def speeds(*values: float, kind: str = "NVIDIA H100", first: int = 1) -> "list[Answer]":
    return [
        Answer(f"n{first + i}", "answered", facts=USUAL, measured={"gpu": kind, "rows_per_second": value})
        for i, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([100, 101, 99, 70, 100], {"n4": 0.7}),
        ([100, 101, 99, 81, 100], {}),
        ([100, 100, 70, 70], {"n3": 0.7, "n4": 0.7}),
        ([70, 100], {}),
        ([40, 100], {"n1": 0.4}),
        ([100], {}),
        ([0, 0, 0], {}),
        ([0, 5, 5], {"n1": 0.0}),
        ([100, 100, 60, 130, 100], {"n3": 0.6}),
    ],
)
def test_outliers_among_gpus_of_a_kind(values: "list[float]", found: "dict[str, float]") -> None:
    result = grouping.group(speeds(*values))
    assert {outlier.node: pytest.approx(outlier.ratio) for outlier in result.outliers} == found
    assert (result.verdict == "broken") == bool(found)


def test_kinds_and_measures_are_not_mixed() -> None:
    rows = [*speeds(100, 100, 100), *speeds(10, 10, 11, kind="NVIDIA T4", first=4)]
    assert not grouping.group(rows).outliers
    several = [
        Answer(
            "m1", "answered", facts=USUAL, measured=[{"gpu": "NVIDIA H100", "index": i, "rows_per_second": v, "b": 5}]
        )
        for i, v in enumerate((99, 101, 60))
    ]
    (outlier,) = grouping.group([*rows, *several]).outliers
    assert (outlier.node, outlier.index, outlier.measure, outlier.peers) == ("m1", 2, "rows_per_second", 5)
    assert "m1 GPU 2: 60% of its peers in rows per second (60 against 100)" in " ".join(
        show.text(grouping.group([*rows, *several])).split()
    )


@pytest.mark.parametrize(
    ("measured", "failed"),
    [
        ({"gpu": "X", "why": "CUDA error: out of memory"}, "CUDA error: out of memory"),
        ("fast", "its answer cannot be read"),
        ([1], "its answer cannot be read"),
        ({"gpu": None, "rows_per_second": 5}, ""),
        ({"gpu": "X", "rows_per_second": float("nan"), "b": True, "c": "5", "d": None, "e": -1}, ""),
        (None, ""),
    ],
)
def test_what_could_not_be_measured_is_told(measured: Any, failed: str) -> None:
    found = grouping.group([Answer("n1", "answered", facts=USUAL, measured=measured)])
    assert [row.detail for row in found.failed] == ([failed] if failed else [])
    assert not found.outliers


def test_processors_are_compared_where_they_are_named() -> None:
    rows = [{"gpu": None, "cpu": "EPYC", "flops": v} for v in (100.0, 100.0, 50.0)]
    assert [
        o.ratio for o in outliers.outliers(m for i, r in enumerate(rows) for m in outliers.measured(f"n{i}", r))
    ] == [0.5]


def test_failed_verification_is_grouped_by_what_failed() -> None:
    def checked(*failed: "tuple[str, str]") -> "dict[str, Any]":
        checks = [{"name": "import torch", "ok": True, "detail": "2.13.0", "seconds": 1.0}]
        checks += [{"name": name, "ok": False, "detail": said, "seconds": 0.1} for name, said in failed]
        return {"schema": 1, "verdict": "broken" if failed else "healthy", "checks": checks}

    wrong = ("scatter_max", "silent zeros")
    rows = [Answer(f"n{i}", "answered", facts=USUAL, verified=checked(wrong)) for i in (1, 2, 9)]
    rows += [Answer("n4", "answered", facts=USUAL, verified=checked(wrong, ("GPU", "none")))]
    rows += [Answer("n5", "answered", facts=USUAL, verified=checked())]
    rows += [Answer("n6", "answered", facts=USUAL, verified={"checks": 5})]
    found = grouping.group(rows)
    assert [(row.check, row.detail, row.nodes) for row in found.failed] == [
        ("scatter_max", "silent zeros", ("n1", "n2", "n4", "n9")),
        ("GPU", "none", ("n4",)),
        ("verify", "its answer cannot be read", ("n6",)),
    ]
    assert found.verdict == "broken" and "n[1-2,4,9] (4) · scatter_max: silent zeros" in show.text(found)


# -- what is put out


def everything(found: Nodes) -> str:
    """All that `kit nodes` can write about an answer."""
    page, record = nodes_page(found), json.dumps(document.record(found))
    return "\n".join(
        [show.text(found), show.html(found), json.dumps(document.of(found)), page, record, chart.groups(found).words]
    )


def test_the_document() -> None:
    rows = [*answers(ROWS[:20]), Answer("b", "silent", why="no answer within 60 s"), *speeds(100, 100, 50)]
    told = json.loads(json.dumps(drift(rows, "healthy-gpu").to_dict()))
    assert list(told) == [
        "schema",
        "verdict",
        "nodes",
        "groups",
        "silent",
        "failed",
        "outliers",
        "baseline",
        "drift",
    ]
    assert (told["schema"], told["verdict"], told["nodes"], told["baseline"]) == (1, "broken", 24, "healthy-gpu")
    assert sum(group["count"] for group in told["groups"]) == 23
    for group in told["groups"]:
        assert set(group) == {"nodes", "count", "verdict", "differs", "findings"}
        assert all(isinstance(key, str) and (v is None or isinstance(v, str)) for key, v in group["differs"].items())
        assert all({"failure", "severity", "summary", "fix"} <= set(finding) for finding in group["findings"])
    assert told["silent"] == [{"nodes": "b", "count": 1, "state": "silent", "why": "no answer within 60 s"}]
    assert [(o["node"], o["ratio"]) for o in told["outliers"]] == [("n3", 0.5)]
    assert all(set(row) == {"nodes", "count", "new", "changes"} for row in told["drift"])


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: "list[tuple[str, str | None]]") -> None:
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a\x1b[2J\x07b",
    "\u202egnp.exe",
    "$(reboot);`id`",
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_and_facts_are_shown_and_do_nothing(text: str) -> None:
    bad = dataclasses.replace(
        host(kernel=text, os=text, gpus=(Gpu(text, "8.9", 24000),), driver=Driver(text, None, text)),
        variables={"LD_LIBRARY_PATH": text, text: "x", "gpus": text},
        distributions=(Distribution(text, text, text),),
    )
    rows = [
        *facts_of(3),
        Answer(text, "answered", facts=bad, verified={"checks": [{"name": text, "ok": False, "detail": text}]}),
    ]
    rows += [Answer("s", "crashed", why=text), *speeds(1, 9, 9, kind=text)]
    found = drift(rows, "healthy-gpu")
    tags = Tags()
    tags.feed(nodes_page(found))
    assert "img" not in tags.seen and "script" not in tags.seen
    shown = show.text(found)
    assert shown.replace("\n", "").isprintable()
    json.dumps(document.of(found)).encode()
    shown.encode(), nodes_page(found).encode("utf-8", "strict" if text != HOSTILE[-1] else "replace")


def test_colour_is_not_the_only_sign_and_the_table_scrolls_by_itself() -> None:
    page = nodes_page(grouping.group(answers(ROWS)))
    assert "<strong>≠ 550.54.15</strong>" in page and ">as A<" in page
    assert 'tabindex="0" style="overflow-x:auto' in page and "color-scheme:light dark" in page
    assert 'name="viewport"' in page


@given(st.permutations(range(24)))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_order_of_the_answers_does_not_matter(order: "list[int]") -> None:
    rows = [*answers(ROWS[10:30]), Answer("x1", "silent", why="a"), Answer("x2", "silent", why="a"), *speeds(1, 9)]
    assert len(rows) == 24
    against = baseline.load("healthy-gpu")
    first = grouping.group(rows, baseline=against)
    again = grouping.group([rows[i] for i in order], baseline=against)
    assert again == first and show.text(again) == show.text(first) and show.html(again) == show.html(first)


def test_a_chart_says_the_same_in_words() -> None:
    found = grouping.group([*answers(ROWS), Answer("x", "silent", why="no answer")])
    drawn = chart.groups(found)
    assert drawn.png.startswith(b"\x89PNG")
    assert drawn.words.startswith("The 61 nodes in the order of their names, by group: A 36 (node[01-15,40-60]);")
    assert drawn.words.endswith("other groups 14; no facts 1.")
    assert chart.groups(Nodes()).words.endswith("by group: none.")


PLACES = list(positions(USUAL.to_dict()))
PLACES = [place for place in PLACES if place[0] not in ("about",) and place[-1] not in ("name", "package")]


@pytest.mark.slow
@given(data=st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_nothing_of_a_person_is_put_out(data: st.DataObject, tmp_path: Path) -> None:
    """Planted on the node, redacted there, then asked for in all that comes out."""
    plants = data.draw(st.lists(st.sampled_from(sorted(PLANTS)), min_size=1, max_size=4, unique=True))
    raw = {**USUAL.to_dict(), "variables": {"PIP_EXTRA_INDEX_URL": "x", "LD_LIBRARY_PATH": "x", "PYTHONPATH": "x"}}
    raw["unread"] = [{"what": "GPUs", "why": "x"}]
    raw = json.loads(json.dumps(raw))
    places = [*positions({k: raw[k] for k in ("variables", "unread")}), *PLACES]
    gone: set[str] = set()
    for plant in plants:
        text, secrets = PLANTS[plant]
        put(raw, data.draw(st.sampled_from(places[:4] if data.draw(st.booleans()) else places)), f"x={text}")
        gone.update(secrets)
    said = redact.redactor(HOME, USER, HOST)(raw)
    row = {"schema": 1, "node": "n7", "facts": said}
    file = tmp_path / "n7.json"
    file.write_text(json.dumps(row))
    rows = [*facts_of(3), folder.answer(str(file), "n7")]
    out = everything(drift(rows, "healthy-gpu"))
    assert not [secret for secret in gone if secret in out]


@pytest.mark.parametrize("kind", SECRETS)
def test_what_a_node_left_in_is_still_taken_out(kind: str) -> None:
    """Tokens and passwords in addresses that no node has redacted, wherever they stand."""
    secret = SECRETS[kind]
    address = "https://bob:s3cr3t@pypi.corp/simple?key=beef"
    facts = dataclasses.replace(
        variables(PIP_INDEX_URL=address, LD_LIBRARY_PATH=f"/opt/{secret}/lib"),
        unread=(kit.facts.Unread("nvidia-smi", f"exit status 9: {secret}"),),
        distributions=(Distribution("x", "1", "/x", direct_url=f"git+https://{secret}@git.corp/x"),),
    )
    checks = {"checks": [{"name": "import x", "ok": False, "detail": f"at {address} {secret}"}]}
    rows = [
        Answer("n1", "answered", facts=facts, verified=checks),
        Answer("n2", "crashed", why=f"{address} {secret}"),
    ]
    rows += [Answer("n3", "answered", data={"schema": secret}), *speeds(1, 9, 9, kind=f"GPU {secret}")]
    rows += [Answer("n4", "answered", facts=USUAL, measured={"gpu": "x", "why": secret})]
    out = everything(drift(rows, "healthy-gpu"))
    assert not [word for word in (secret, "s3cr3t", "beef") if word in out]


# -- the command and the gate


def run(*argv: str) -> "tuple[int, str]":
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    said: list[str] = []
    return command.run(parser.parse_args(argv), said.append), "".join(said)


def test_the_command_reads_records_and_compares(tmp_path: Path) -> None:
    good, bad = str(tmp_path / "good"), str(tmp_path / "bad")
    simulated.write(good, 8, {})
    simulated.write(bad, 8, {"driver": 2})
    record, page = str(tmp_path / "nodes.json"), str(tmp_path / "page.html")
    status, text = run(good, "--record", record)
    assert status == 0 and text.startswith("healthy: 8 nodes, all alike")
    assert len(json.loads(Path(record).read_text())["groups"]) == 1
    status, text = run(good, "--baseline", record, "--json")
    assert status == 0 and json.loads(text)["drift"] == []
    status, text = run(bad, "--baseline", record, "--html", page)
    assert status == 1 and "2 are not as in nodes.json" in " ".join(text.split())
    assert Path(page).read_text().startswith("<!doctype html>")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["DIR", "--engine", "slurm"], "--engine asks nodes, and DIR only reads"),
        (["DIR", "--verify"], "--verify asks nodes"),
        (["--limit", "0"], "--limit is the seconds"),
        (["DIR", "--gpu", "x"], "not a compute capability"),
        (["DIR", "--nodes", "n[1-"], "not names of nodes"),
        (["DIR", "--baseline", "/no/such/file"], "no such baseline"),
        (["DIR", "--html", "/no/such/folder/page.html"], "cannot be written"),
        (["--engine", "cloud"], "cloud"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(argv: "list[str]", says: str, tmp_path: Path) -> None:
    simulated.write(str(tmp_path), 2, {})
    with pytest.raises(KitError, match=re.escape(says)) as error:
        run(*[str(tmp_path) if word == "DIR" else word for word in argv])
    assert "\n" not in str(error.value)


def test_nothing_to_record(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("")
    with pytest.raises(KitError, match="nothing to record"):
        run(str(tmp_path), "--record", str(tmp_path / "r"))


def test_what_was_asked_is_kept_and_reads_the_same(tmp_path: Path) -> None:
    rows = [
        *answers(ROWS[:18]),
        *speeds(9, 9, 1),
        Answer("../x/y", "crashed", why="SIGSEGV"),
        Answer("n[1]", "silent"),
    ]
    for row in rows:
        folder.keep(row, str(tmp_path / "kept"))
    assert sorted(os.listdir(tmp_path)) == ["kept"]
    assert nodes.check(str(tmp_path / "kept")) == grouping.group(rows)


def test_an_engine_is_asked_and_what_it_says_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def engine(question: Asked, tell: Any) -> "Iterator[Answer]":
        asked.append(question)
        yield from facts_of(2)
        tell("asking", 2, 3)

    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr("kit.nodes.engines.engine", {"slurm": engine}.__getitem__)
    options: dict[str, Any] = {"python": "/x/python", "limit": 5.0, "partition": "gpu"}
    kept = str(tmp_path / "kept")
    found = nodes.check(engine="slurm", nodes="n[1-3]", keep=kept, tell=lambda *t: told.append(t), **options)
    assert asked == [Asked(nodes=("n1", "n2", "n3"), folder=kept, **options)] and told == [("asking", 2, 3)]
    assert [(row.nodes, row.why) for row in found.silent] == [(("n3",), "no answer came")]
    assert sorted(os.listdir(kept)) == ["n1.json", "n2.json"]
    assert nodes.check(engine="slurm", nodes="2", tell=lambda *t: None).verdict == "healthy"
    assert asked[1].nodes == 2


def test_the_gate(tmp_path: Path) -> None:
    good = grouping.group(facts_of(3), baseline=baseline.load("healthy-gpu"))
    assert repr(gate.check(good)) == "check passed: 3 nodes, nothing wrong was found, and as in healthy-gpu"
    other = drift(facts_of(3, simulated.drifted("kernel")), "healthy-gpu")
    file = tmp_path / "findings.json"
    with pytest.raises(kit.nodes.gate.CheckFailed) as error:
        gate.check(other, str(file))
    assert "\n".join(error.value._render_traceback_()) == show.text(other)
    assert "kernel: 6.1.0-25-amd64 -> 6.1.0-31-amd64" in str(error.value)
    assert json.loads(file.read_text())["verdict"] == "broken"
    with pytest.raises(KitError, match="cannot be written"):
        gate.check(good, str(tmp_path / "none" / "f.json"))


@pytest.mark.slow
@pytest.mark.parametrize("drift", [{}, {"kernel": 3}])
def test_the_notebook_is_a_gate_for_papermill(drift: "dict[str, int]", tmp_path: Path) -> None:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    facts, base, out = str(tmp_path / "facts"), str(tmp_path / "nodes.json"), tmp_path / "out.json"
    nodes.record(nodes.check(simulated.write(str(tmp_path / "good"), 6, {})), base)
    simulated.write(facts, 6, drift)
    notebook = str(ROOT / "notebooks" / "09_check_every_node.ipynb")
    given = {"folder": facts, "baseline": base, "findings": str(out)}
    options = {"kernel_name": "python3", "progress_bar": False, "start_timeout": 180, "cwd": str(tmp_path)}
    if not drift:
        papermill.execute_notebook(notebook, str(tmp_path / "o.ipynb"), given, **options)
        assert json.loads(out.read_text())["verdict"] == "healthy"
        return
    with pytest.raises(PapermillExecutionError) as error:
        papermill.execute_notebook(notebook, str(tmp_path / "o.ipynb"), given, **options)
    assert "\n".join(error.value.traceback) == show.text(nodes.check(facts, baseline=base))
    assert json.loads(out.read_text())["drift"][0]["nodes"] == "node[2-4]"


def test_a_simulated_cluster_says_what_it_cannot() -> None:
    with pytest.raises(KitError, match="no drift is called"):
        simulated.drifted("weather")
    with pytest.raises(KitError, match="4 nodes cannot have 5"):
        list(simulated.rows(4, {"driver": 5}))

"""kit/redact.py: nothing of a person leaves the machine, and what the rules read stays as it is."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kit
from kit import redact
from kit.facts import Facts

USER, HOST, HOME = "jdoe", "node07.cluster.example.org", "/export/people/jdoe"
SECRETS = {
    "github": "ghp_" + "a1B2" * 9,
    "github, fine": "github_pat_" + "11ABCDE0Y" * 3,
    "gitlab": "glpat-" + "Xy12-" * 4,
    "hugging face": "hf_" + "QwErTy" * 5,
    "aws": "AKIA" + "Z7" * 8,
    "slack": "xoxb-" + "12345-" * 4,
    "pypi": "pypi-AgEIcHlwaS5vcmc" + "CJ" * 20,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
}
# (how it is planted, what must be gone)
PLANTS = {
    "home": (f"{HOME}/envs/x/bin/python", [HOME, USER]),
    "home alone": (HOME, [USER]),
    "home in a list of paths": (f"/usr/bin:{HOME}/lib:/opt:{HOME}", [USER]),
    "home in a sentence": (f"cannot import name 'amp' from 'apex' ({HOME}/src/apex/__init__.py)", [USER]),
    "user in another path": (f"/scratch/{USER}/venv/lib", [USER]),
    "user behind an option": (f"gcc -I/scratch/{USER}/include -L/scratch/{USER}", [USER]),
    "user in a Windows path": (rf"C:\Users\{USER}\miniconda3\python.exe", [USER]),
    "user in a network path": (rf"\\server\{USER}\share", [USER]),
    "user and host": (f"{USER}@{HOST}", [USER, HOST, "node07"]),
    "short host": ("ssh://node07/srv/x", ["node07"]),
    "host in a path": (f"/tmp/{HOST}/x", ["node07"]),
    "host with a port": (f"http://{HOST}:8080/simple", ["node07"]),
    "credentials": ("https://bob:s3cr3t@pypi.corp/simple", ["bob", "s3cr3t"]),
    "credentials with an at": ("https://bob:pa55@cr3t@pypi.corp/simple", ["bob", "pa55", "cr3t"]),
    "a token as the user": ("git+https://t0ken123@git.corp/x.git@main", ["t0ken123"]),
    "several addresses": ("https://a:pw1@h/simple https://b:pw2@i/simple", ["pw1", "pw2"]),
    "a query": ("https://bucket.s3/x.whl?X-Amz-Signature=feed&k=beef#sha256=1", ["feed", "beef"]),
    **{name: (f"token={secret}", [secret, secret[6:-3]]) for name, secret in SECRETS.items()},
    "a token in an address": (f"https://{SECRETS['github']}@github.com/x", [SECRETS["github"]]),
    "a token in a path": (f"/opt/{SECRETS['hugging face']}/x", [SECRETS["hugging face"]]),
    "a token in a word": (f"MY_{SECRETS['github']}", [SECRETS["github"]]),
}


@pytest.fixture(scope="module")
def redactor():
    return redact.redactor(HOME, USER, HOST)


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_is_gone(redactor, name):
    planted, secrets = PLANTS[name]
    for value in (planted, f"before {planted} after", f'"{planted}"', f"x={planted}"):
        said = redactor(value)
        assert not [s for s in secrets if s in said], said
        assert redactor(said) == said, "once is enough"


def positions(value, place=()):
    """The place of every string of a JSON-like value."""
    if isinstance(value, str):
        yield place
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from positions(item, (*place, key))


def put(value, place, text):
    *way, last = place
    for key in way:
        value = value[key]
    value[last] = text


# One of everything that facts can hold, so that every string position exists.
DATA = json.loads(
    json.dumps(
        dataclasses.replace(
            kit.machine("hpc-py39-apex-without-amp"),
            variables={"PYTHONPATH": "x", "PIP_INDEX_URL": "x"},
            probes=kit.machine("torch-broken").probes,
            kernel=kit.machine("stale-kernel").kernel,
            others=kit.machine("wrong-interpreter").others,
        ).to_dict()
    )
)
PLACES = list(positions(DATA))


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(sorted(PLANTS))), min_size=1, max_size=60))
def test_wherever_it_is_planted_in_facts_it_is_gone(planted):
    data = json.loads(json.dumps(DATA))
    secrets = set()
    for place, name in planted:
        put(data, place, PLANTS[name][0])
    for place in PLACES:  # what a later plant has overwritten is not looked for
        value = data
        for key in place:
            value = value[key]
        secrets.update(s for text, gone in PLANTS.values() if text == value for s in gone)
    said = json.dumps(redact.redactor(HOME, USER, HOST)(data))
    assert not [s for s in secrets if s in said]


def test_every_position_at_once_and_the_facts_can_still_be_read():
    data = json.loads(json.dumps(DATA))
    for place in PLACES:
        put(data, place, f"{HOME}/x https://u:pw@{HOST}/y?k=v {SECRETS['github']}")
    clean = redact.redactor(HOME, USER, HOST)(data)
    text = json.dumps(clean)
    assert not [s for s in (USER, "node07", "pw@", "k=v", "ghp_") if s in text]
    assert isinstance(Facts.from_dict(clean), Facts)


@pytest.mark.parametrize(
    "name", ["healthy-cpu", "healthy-gpu", "rtx5070ti-cpu-only-scatter", "torchaudio-of-another-torch"]
)
@pytest.mark.parametrize("word", ["torch", "numpy", "apex", "torch_scatter", "linux", "x86_64"])
def test_a_machine_or_a_person_called_like_a_package_renames_none(name, word):
    data = json.loads(json.dumps(kit.machine(name).to_dict()))
    clean = redact.redactor(f"/home/{word}", word, word)(data)
    assert Facts.from_dict(clean) == kit.machine(name)


@pytest.mark.parametrize(
    "value",
    [
        "torch",
        "torch/lib/libtorch_cpu.so",
        "torch 2.13.0+cu130",
        "requires torch: not installed",
        "torch==2.13.0",
        "/opt/venv/lib/python3.11/site-packages/torch/version.py",
        "import torch, torch_scatter",
        "torch-2.13.0.dist-info",
        "https://download.pytorch.org/whl/cu130",
        "torch @ 2.0",
        "pypi-attestations-and-more-words",
        "hf_xet",
        "a\\b",
    ],
)
def test_what_says_nothing_of_a_person_stays(value):
    assert redact.redactor("/home/torch", "torch", "torch")(value) == value


def test_root_is_nobody_and_localhost_nowhere():
    clean = redact.redactor("/root", "root", "localhost")
    assert clean("/root/x") == "~/x"
    assert clean("/srv/root/x http://localhost:8888/tree") == "/srv/root/x http://localhost:8888/tree"


def test_only_a_whole_component_is_a_name(redactor):
    assert redactor("/opt/jdoe2/x") == "/opt/jdoe2/x"
    assert redactor(HOME + "2/x") == "/export/people/jdoe2/x"
    assert redactor("/mnt" + HOME + "/x") == "/mnt/export/people/<user>/x"


def test_no_home_and_no_names_change_nothing():
    for home in ("", "/"):
        assert redact.redactor(home, "", "")("/usr/lib/x y@z") == "/usr/lib/x y@z"


def test_values_that_are_no_text_stay(redactor):
    assert redactor({"a": [1, None, True, 2.5], "b": (HOME,)}) == {"a": [1, None, True, 2.5], "b": ["~"]}


# Folders as they occur, with and without what is redacted; a path of one to five of them.
PARTS = st.sampled_from(
    [
        "export",
        "people",
        USER,
        "lib",
        "lib64",
        "python3.11",
        "site-packages",
        "torch",
        "jdoe2",
        "x.y",
        "node07",
    ]
)
PATHS = st.lists(PARTS, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(PATHS, PATHS)
def test_distinct_folders_stay_distinct_and_what_lies_in_another_still_does(one, other):
    clean = redact.redactor(HOME, USER, "node07")
    assert (clean(one) == clean(other)) == (one == other)
    above_home = f"{HOME}/".startswith(f"{other}/") and other != HOME  # ~ no longer tells where it lies
    if one.startswith(other + "/") and not above_home:
        assert clean(one).startswith(clean(other) + "/")
    assert clean(clean(one)) == clean(one)

"""`kit wheel`: pages like PyG's on a real server, real wheels and real pip; tags, reasons, what helps otherwise."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import zipfile
from urllib.parse import quote

import pytest
from web_server import serving

import kit
from kit import show
from kit.__main__ import main
from kit.errors import KitError
from kit.facts import Driver, Gpu, Torch
from kit.published import choose_torch, torch_choices
from kit.wheels import wheels
from kit.wheels.fit import Target, platforms, reasons, tags

SECRET = "s3cr3t-w0rd"


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy") or name == "NETRC":
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_CACHE_HOME"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture
def server():
    with serving() as one:
        yield one


def machine(torch="2.12.1+cu130", python="3.11.7", libc="glibc 2.36", gpu=None, driver=None, system="Linux", **more):
    """A healthy machine with another torch, Python, libc, GPU, driver or platform."""
    facts = kit.machine("healthy-gpu")
    cuda = re.search(r"\+cu(\d+)(\d)$", torch or "")
    minor = python.split(".")
    named = {"abi": more.pop("abi", f"cp{minor[0]}{minor[1]}"), "version": python}
    named.update({k: more.pop(k) for k in ("platform", "implementation", "bits") if k in more})
    host = dataclasses.replace(
        facts.host,
        libc=libc,
        system=system,
        gpus=(Gpu(gpu),) if gpu else (),
        driver=Driver(driver, None, "NVML") if driver else None,
        **more,
    )
    return dataclasses.replace(
        facts,
        host=host,
        python=dataclasses.replace(facts.python, **named),
        torch=Torch("/site", torch, cuda=f"{cuda[1]}.{cuda[2]}" if cuda else None) if torch else None,
        extensions=(),
        distributions=(),
    )


MAC = {"system": "Darwin", "platform": "darwin_arm64", "os": "Darwin 24.1.0", "machine": "arm64", "libc": None}
WINDOWS = {"system": "Windows", "platform": "win_amd64", "machine": "AMD64", "libc": None}
ARM = {"platform": "linux_aarch64", "machine": "aarch64"}


def page(folder, *names, before="", after=""):
    """As PyG writes it: relative links with %2B."""
    rows = "".join(f'<a href="{quote(f"{folder}/{name}")}">{name}</a><br/>\n' for name in names)
    return f"<!DOCTYPE html>\n<html>\n<body>\n{before}{rows}{after}</body>\n</html>"


def pyg_names(package="torch_scatter", version="2.1.2", local="pt212cu130", pythons=(310, 311, 312, 313, 314)):
    return [
        f"{package}-{version}+{local}-cp{p}-cp{p}-{platform}.whl"
        for p in pythons
        for platform in ("linux_x86_64", "win_amd64")
    ]


def listed(server, facts, *names, package="torch-scatter", minor="2.12", token="cu130", **options):
    server.page(f"/whl/torch-{minor}.0+{token}.html", page(f"torch-{minor}.0+{token}", *names))
    (answer,) = wheels(package, facts, index=server.url + "/whl", **options).packages
    return answer


def why(answer, filename):
    (candidate,) = [c for c in answer.candidates if c.filename == filename]
    assert candidate.fits is not bool(candidate.why_not)
    return list(candidate.why_not)


# -- the page and what it lists


def test_the_wheel_of_a_page(server):
    facts = machine()
    answer = listed(server, facts, *pyg_names(), *pyg_names("torch_sparse", "0.6.18"))
    assert answer.index_url == f"{server.url}/whl/torch-2.12.0+cu130.html"
    name = "torch_scatter-2.1.2%2Bpt212cu130-cp311-cp311-linux_x86_64.whl"
    assert answer.best == f"{server.url}/whl/torch-2.12.0%2Bcu130/{name}"
    assert len(answer.candidates) == 10 and sum(c.fits for c in answer.candidates) == 1 and answer.otherwise == ()
    assert why(answer, "torch_scatter-2.1.2+pt212cu130-cp310-cp310-linux_x86_64.whl") == [
        "built for cp310, yours is cp311"
    ]
    assert why(answer, "torch_scatter-2.1.2+pt212cu130-cp311-cp311-win_amd64.whl") == [
        "built for Windows (win_amd64), yours is Linux x86_64"
    ]
    assert answer.install.argv[1:] == (
        *("-m", "pip", "install", "--no-deps", "--no-cache-dir", "--only-binary=:all:"),
        *("torch-scatter==2.1.2+pt212cu130", "--find-links", answer.index_url),
    )


@pytest.mark.parametrize(
    ("torch", "address"),
    [
        ("2.12.1+cu126", "torch-2.12.0+cu126"),
        ("2.7.1+cu128", "torch-2.7.0+cu128"),
        ("2.10.0+cpu", "torch-2.10.0+cpu"),
        ("2.14.1+cu130", "torch-2.14.0+cu130"),
        ("1.13.1+cu117", "torch-1.13.0+cu117"),
    ],
)
def test_the_address_is_that_of_the_minor_release(torch, address):
    (answer,) = wheels("torch_scatter", machine(torch), offline=True).packages
    assert answer.index_url == f"https://data.pyg.org/whl/{address}.html"
    (answer,) = wheels("torch-scatter", machine("2.8.0+cu128"), torch=torch, offline=True).packages
    assert answer.index_url == f"https://data.pyg.org/whl/{address}.html"


def test_the_address_of_torch_itself_and_of_nightlies():
    torch, lib = wheels(
        ["torch", "pyg-lib"], machine("2.12.1+cu130"), torch="2.12.1", cuda="12.6", offline=True
    ).packages
    assert torch.index_url == "https://download.pytorch.org/whl/cu126/torch/"
    assert lib.index_url == "https://data.pyg.org/whl/torch-2.12.0+cu126.html"
    torch, lib, scatter = wheels(
        ["torch", "pyg-lib", "torch-scatter"], machine(), torch="2.16.0.dev20261120+cu132", offline=True
    ).packages
    assert torch.index_url == "https://download.pytorch.org/whl/nightly/cu132/torch/"
    assert lib.index_url == "https://data.pyg.org/whl/nightly/torch-2.16.0+cu132.html"
    assert scatter.index_url == "https://data.pyg.org/whl/torch-2.16.0+cu132.html"


@pytest.mark.parametrize("status", [403, 404])
def test_a_page_that_is_not_there(server, status):
    server.answers["/whl/torch-2.12.0+cu130.html"] = (status, {}, b"<Error><Code>AccessDenied</Code></Error>")
    (answer,) = wheels("torch-scatter", machine(), index=server.url + "/whl").packages
    assert (answer.best, answer.candidates, answer.source) == (None, (), "page")
    assert any("there is no page for torch 2.12, cu130" in note for note in answer.notes)


def test_a_page_that_answers_and_lists_nothing(server):
    answer = listed(server, machine(), "pyg_lib-0.8.0+pt212cu130-cp310-abi3-manylinux_2_28_x86_64.whl")
    assert answer.candidates == () and "the page answers, and lists no torch-scatter" in answer.notes
    ours, lib = answer.otherwise[:2]
    assert ours.kind == lib.kind == "use-replacement" and ours.argv[:4] == ("kit", "shim", "enable", "torch_scatter")
    assert "code that imports torch_scatter itself still needs" in lib.why
    assert "pyg-lib==0.8.0+pt212cu130" in lib.argv and answer.index_url in lib.argv


@pytest.mark.parametrize(("lib", "package", "offered"), [
    ("0.6.0", "torch-scatter", False), ("0.7.0", "torch-scatter", True), ("0.6.0", "torch-cluster", True),
    ("0.5.0", "torch-spline-conv", False), ("0.10.0", "torch-scatter", True), ("0.9.0", "torch-sparse", False),
])  # fmt: skip
def test_pyg_lib_is_offered_where_it_took_over(server, lib, package, offered):
    name = f"pyg_lib-{lib}+pt212cu130-cp311-cp311-manylinux_2_28_x86_64.whl"
    answer = listed(server, machine(), name, package=package)
    assert any("Install pyg-lib" in fix.why for fix in answer.otherwise) is offered
    ours = [fix for fix in answer.otherwise if fix.kind == "use-replacement" and "the kit's" in fix.why]
    assert len(ours) == (package == "torch-scatter")


# -- links that lead astray


def test_links_that_are_no_addresses_are_not_followed(server, other_port=1):
    name = "torch_scatter-2.1.2+pt212cu130-cp311-cp311-linux_x86_64.whl"
    names = [name.replace("2.1.2", f"2.2.{at}") for at in range(8)]
    astray = [
        f"javascript:/{names[0]}",
        f"file:///tmp/{names[1]}",
        f"data:text/html,/{names[2]}",
        f"http://localhost:{server.port}/{names[3]}",
        f"http://127.0.0.1:{other_port}/{names[4]}",
        f"//evil.example/{names[5]}",
        f"ftp://127.0.0.1/{names[6]}",
        f"https://127.0.0.1.evil.example/{names[7]}",
    ]
    rows = "".join(f'<a href="{href}">x</a>' for href in [*astray, "javascript:void(0)", "http://[::1/x.whl", "#top"])
    server.page("/whl/torch-2.12.0+cu130.html", page("torch-2.12.0+cu130", name, before=rows))
    (answer,) = wheels("torch-scatter", machine(), index=server.url + "/whl").packages
    assert answer.best.endswith("torch_scatter-2.1.2%2Bpt212cu130-cp311-cp311-linux_x86_64.whl")
    for refused, word in zip(names, ("javascript:", "file:", "data:", *["another host"] * 3, "ftp:", "another host")):
        (said,) = why(answer, refused)
        assert word in said and ("address, which is not followed" in said) is ("host" not in word)
    assert [c.url for c in answer.candidates if not c.fits] == [""] * 8
    assert any(note.startswith("2 links of the page") for note in answer.notes)


def test_a_base_element_leads_nowhere_else_either(server):
    name = "torch_scatter-2.1.2+pt212cu130-cp311-cp311-linux_x86_64.whl"
    text = page("torch-2.12.0+cu130", name, before='<base href="http://evil.example/">')
    server.page("/whl/torch-2.12.0+cu130.html", text)
    (answer,) = wheels("torch-scatter", machine(), index=server.url + "/whl").packages
    assert answer.best is None and "another host" in why(answer, name)[0]


def test_pytorchs_own_file_host_is_followed_and_no_other():
    from kit.wheels.pages import listed as listed_of
    from kit.wheels.web import Page

    name = "torch-2.12.1%2Bcu130-cp311-cp311-manylinux_2_28_x86_64.whl"
    text = f'<a href="https://download-r2.pytorch.org/whl/cu130/{name}#sha256={"ab" * 32}">x</a>'
    at = Page("https://download.pytorch.org/whl/cu130/torch/", text)
    target = Target(Torch("", "2.12.1+cu130", cuda="13.0"), "cu130")
    ((good,), _) = listed_of("torch", at, target, machine())
    assert good.fits and good.url == f"https://download-r2.pytorch.org/whl/cu130/{name}" and good.sha256 == "ab" * 32
    ((bad,), _) = listed_of(
        "torch", dataclasses.replace(at, url="https://mirror.example/whl/cu130/torch/"), target, machine()
    )
    assert not bad.fits and bad.url == ""
    plain = dataclasses.replace(at, text=text.replace("https://download-r2", "http://download-r2"))
    assert not listed_of("torch", plain, target, machine())[0][0].fits


def test_an_index_that_redirects_elsewhere_is_an_error(server, capsys):
    server.answers["/whl/torch-2.12.0+cu130.html"] = (302, {"Location": f"http://localhost:{server.port}/y"}, b"")
    with pytest.raises(KitError, match="redirects to another host"):
        wheels("torch-scatter", machine(), index=server.url + "/whl")


def test_withdrawn_wheels_and_other_pythons_of_a_simple_index(server):
    name = "torch_scatter-2.1.{}+pt212cu130-cp311-cp311-linux_x86_64.whl"
    rows = f'<a href="{quote(name.format(2))}#sha256=00" data-requires-python="&gt;=3.10">x</a>'
    rows += f'<a href="{quote(name.format(3))}" data-yanked="broken">x</a>'
    rows += f'<a href="{quote(name.format(4))}" data-requires-python="&gt;=3.12">x</a>'
    server.page("/simple/torch-scatter/", rows)
    (answer,) = wheels("torch-scatter", machine(), index=server.url + "/simple/").packages
    assert answer.index_url == server.url + "/simple/torch-scatter/" and "2.1.2" in answer.best
    assert why(answer, name.format(3)) == ["withdrawn by its authors: broken"]
    assert why(answer, name.format(4)) == ["requires Python >=3.12, yours is 3.11.7"]
    assert answer.install.argv[-2:] == ("--index-url", server.url + "/simple")


def test_credentials_of_an_index_are_nowhere_in_the_answer(server):
    server.page("/whl/torch-2.12.0+cu130.html", page("torch-2.12.0+cu130", *pyg_names()))
    index = f"http://me:{SECRET}@127.0.0.1:{server.port}/whl"
    found = wheels(["torch-scatter", "torch-sparse"], machine(), index=index)
    assert "Authorization" in server.asked[0][1] and found.packages[0].best
    said = [json.dumps(found.to_dict()), repr(found), *show.mimebundle(found).values()]
    gone = wheels("torch-scatter", machine("2.9.0+cu130"), index=index.replace(str(server.port), "1"))
    said += [json.dumps(gone.to_dict()), repr(gone)]
    assert "refused" in said[-2] and not [text for text in said if SECRET in text or "****" in text]


# -- file names and reasons


CASES = [
    # (file name, machine, target torch, reasons)
    ("torch_scatter-2.1.2+pt28cu126-cp311-cp311-linux_x86_64.whl", {}, "2.9.1+cu126",
     ["+pt28cu126 against torch 2.9"]),
    ("torch_scatter-2.1.2+pt28cu126-cp311-cp311-linux_x86_64.whl", {}, "2.8.0+cu128",
     ["+pt28cu126 against torch 2.8 built for cu128"]),
    ("torch_scatter-2.1.2+pt28cpu-cp311-cp311-linux_x86_64.whl", {}, "2.8.0+cu128",
     ["+pt28cpu against torch 2.8 built for cu128"]),
    ("torch_scatter-2.1.2+pt210cu128-cp311-cp311-linux_x86_64.whl", {}, "2.10.0+cu128", []),
    ("torch_scatter-2.1.2+pt21cu121-cp311-cp311-linux_x86_64.whl", {}, "2.10.0+cu121",
     ["+pt21cu121 against torch 2.10"]),
    ("torch_scatter-2.1.1+pt113cu117-cp310-cp310-linux_x86_64.whl", {"python": "3.10.1"}, "1.13.1+cu117", []),
    ("torch_scatter-2.1.2-cp311-cp311-linux_x86_64.whl", {}, "2.8.0+cu128",
     ["its name does not tell for which torch it was built"]),
    ("torch_scatter-2.1.2+pt28cu128-cp310-cp310-linux_x86_64.whl", {"python": "3.13.1"}, "2.8.0+cu128",
     ["built for cp310, yours is cp313"]),
    # the libc behind the plain label
    ("torch_scatter-2.1.2+pt28cu128-cp311-cp311-linux_x86_64.whl", {"libc": "glibc 2.31"}, "2.8.0+cu128",
     ["linux_x86_64 built on glibc 2.32, yours is 2.31"]),
    ("torch_scatter-2.1.2+pt26cu124-cp311-cp311-linux_x86_64.whl", {"libc": "glibc 2.31"}, "2.6.0+cu124", []),
    ("torch_scatter-2.1.2+pt26cu124-cp311-cp311-linux_x86_64.whl", {"libc": "glibc 2.28"}, "2.6.0+cu124",
     ["linux_x86_64 built on glibc 2.29, yours is 2.28"]),
    ("torch_scatter-2.1.2+pt28cu128-cp311-cp311-linux_x86_64.whl", {"libc": "musl"}, "2.8.0+cu128",
     ["linux_x86_64 built on glibc 2.32, yours is musl 1.2"]),
    ("pyg_lib-0.5.0+pt26cu124-cp311-cp311-linux_x86_64.whl", {"libc": "glibc 2.32"}, "2.6.0+cu124",
     ["linux_x86_64 built on glibc 2.33, yours is 2.32"]),
    ("pyg_lib-0.6.0+pt28cu128-cp311-cp311-manylinux_2_28_x86_64.whl", {"libc": "glibc 2.28"}, "2.8.0+cu128", []),
    ("pyg_lib-0.6.0+pt28cu128-cp311-cp311-manylinux_2_28_x86_64.whl", {"libc": "glibc 2.17"}, "2.8.0+cu128",
     ["built on glibc 2.28 (manylinux_2_28_x86_64), yours is 2.17"]),
    ("pyg_lib-0.6.0+pt28cu128-cp311-cp311-manylinux_2_28_x86_64.whl", {"libc": "musl"}, "2.8.0+cu128",
     ["built on glibc 2.28 (manylinux_2_28_x86_64), yours is musl 1.2"]),
    ("pyg_lib-0.6.0+pt28cu128-cp311-cp311-musllinux_1_2_x86_64.whl", {}, "2.8.0+cu128",
     ["built on musl 1.2 (musllinux_1_2_x86_64), yours is glibc 2.36"]),
    ("pyg_lib-0.6.0+pt28cu128-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl", {"libc": "glibc 2.17"},
     "2.8.0+cu128", []),
    # platforms
    ("pyg_lib-0.9.0+pt213cu130-cp310-abi3-manylinux_2_28_aarch64.whl", {}, "2.13.0+cu130",
     ["built for aarch64, yours is x86_64"]),
    ("pyg_lib-0.9.0+pt213cu130-cp310-abi3-manylinux_2_28_aarch64.whl", ARM, "2.13.0+cu130", []),
    ("torch_scatter-2.1.2+pt28cpu-cp311-cp311-linux_aarch64.whl", ARM, "2.8.0+cpu", []),
    ("torch_scatter-2.1.2+pt28cu128-cp311-cp311-win_amd64.whl", WINDOWS, "2.8.0+cu128", []),
    ("torch_scatter-2.1.2+pt28cu128-cp311-cp311-linux_x86_64.whl", WINDOWS, "2.8.0+cu128",
     ["built for Linux (linux_x86_64), yours is Windows amd64"]),
    ("torch_scatter-2.1.2+pt28cu128-cp311-cp311-win_amd64.whl", {**WINDOWS, "bits": 32}, "2.8.0+cu128",
     ["built for amd64, yours is x86"]),
    ("torch_scatter-2.1.2-cp311-cp311-macosx_10_9_universal2.whl", MAC, "2.8.0", []),
    ("pyg_lib-0.9.0+pt213-cp310-abi3-macosx_11_0_arm64.whl", MAC, "2.13.0", []),
    ("pyg_lib-0.9.0+pt213-cp310-abi3-macosx_16_0_arm64.whl", MAC, "2.13.0",
     ["built for macOS 16.0 and newer, yours is 15.0"]),
    ("pyg_lib-0.9.0+pt212-cp310-abi3-macosx_11_0_arm64.whl", MAC, "2.13.0", ["+pt212 against torch 2.13"]),
    ("torch_scatter-2.1.2-cp311-cp311-macosx_11_0_x86_64.whl", MAC, "2.8.0", ["built for x86_64, yours is arm64"]),
    # the stable ABI and free threading
    ("pyg_lib-0.9.0+pt213cu130-cp310-abi3-manylinux_2_28_x86_64.whl", {"python": "3.14.0"}, "2.13.0+cu130", []),
    ("pyg_lib-0.9.0+pt213cu130-cp310-abi3-manylinux_2_28_x86_64.whl", {"python": "3.9.1"}, "2.13.0+cu130",
     ["built for CPython 3.10 and newer (abi3), yours is cp39"]),
    ("pyg_lib-0.9.0+pt213cu130-cp310-abi3-manylinux_2_28_x86_64.whl", {"python": "3.14.0", "abi": "cp314t"},
     "2.13.0+cu130", ["built for CPython 3.10 and newer (abi3), not free-threaded, yours is cp314t (free-threaded)"]),
    ("torch_scatter-2.1.2+pt28cu128-cp313-cp313-linux_x86_64.whl", {"python": "3.13.0", "abi": "cp313t"},
     "2.8.0+cu128", ["built for cp313, yours is cp313t (free-threaded)"]),
    ("torch-2.12.0+cu130-cp314-cp314t-manylinux_2_28_x86_64.whl", {"python": "3.14.0"}, "2.12.0+cu130",
     ["built for cp314t (free-threaded), yours is cp314"]),
    ("torch-2.12.0+cu130-cp314-cp314t-manylinux_2_28_x86_64.whl", {"python": "3.14.0", "abi": "cp314t"},
     "2.12.0+cu130", []),
    ("torch_scatter-2.1.2+pt28cu128-cp310-cp310-linux_x86_64.whl", {"python": "3.10.0", "abi": "pypy310",
     "implementation": "pypy"}, "2.8.0+cu128", ["built for cp310, yours is pypy310"]),
    # torch itself
    ("torch-2.10.0-3-cp310-cp310-manylinux_2_28_x86_64.whl", {"python": "3.10.1"}, "2.10.0+cu128", []),
    ("torch-2.11.0+cu130-cp311-cp311-manylinux_2_28_x86_64.whl", {}, "2.12.1+cu130", ["torch 2.11.0 against 2.12.1"]),
    ("torch-2.12.1+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", {}, "2.12.1+cu130",
     ["built for cpu, asked for cu130"]),
    ("torch-2.12.1-cp311-none-macosx_11_0_arm64.whl", MAC, "2.12.1", []),
    ("torch-2.12.1-cp311-cp311-win_amd64.whl", WINDOWS, "2.12.1+cu130", ["built for cpu, asked for cu130"]),
    ("torch-2.12.1-cp311-cp311-manylinux_2_28_x86_64.whl", {}, "2.12.1+cu130", []),  # the package index's default
    ("torch-2.10.0-cp311-cp311-manylinux_2_28_aarch64.whl", ARM, "2.10.0+cpu", []),
    # nightlies
    ("pyg_lib-0.9.0.dev20260901+pt214cu130-cp310-abi3-manylinux_2_28_x86_64.whl", {}, "2.14.0+cu130",
     ["a nightly or a candidate, and your torch is a release"]),
    ("pyg_lib-0.9.0.dev20260901+pt214cu130-cp310-abi3-manylinux_2_28_x86_64.whl", {}, "2.14.0.dev20260820+cu130", []),
    # what is no wheel's name
    ("torch_scatter-2.1.2.whl", {}, "2.8.0+cu128", ["its name is not that of a wheel"]),
    ("torch_scatter-what-cp311-cp311-linux_x86_64.whl", {}, "2.8.0+cu128", ["its name is not that of a wheel"]),
]  # fmt: skip


@pytest.mark.parametrize(("filename", "where", "torch", "said"), CASES)
def test_why_a_wheel_does_not_fit(filename, where, torch, said):
    facts = machine(torch, **where)
    token = "cpu" if "+" not in torch else torch.partition("+")[2]
    package = filename.partition("-")[0].replace("_", "-")
    assert reasons(package, filename, Target(facts.torch, token), facts) == said


@pytest.mark.parametrize(
    ("torch", "words"),
    [
        ("2.10.0.dev20251101+cu128", "a nightly"),
        ("2.9.0a0+5228986c39.nv25.9", "NVIDIA's containers"),
        ("2.8.0rc3+cu128", "a release candidate"),
        ("2.7.1+rocm6.3", "ROCm"),
    ],
)
def test_no_published_wheel_fits_a_torch_that_is_no_release(torch, words):
    facts = machine(torch)
    facts = dataclasses.replace(
        facts, torch=dataclasses.replace(facts.torch, cuda="12.8", hip="6.3" if "rocm" in torch else None)
    )
    minor = torch.split(".")[1][0] if torch[2:4] != "10" else "10"
    (said,) = [
        r
        for r in reasons(
            "torch-scatter",
            f"torch_scatter-2.1.2+pt2{minor}cu128-cp311-cp311-linux_x86_64.whl",
            Target(facts.torch, "cu128"),
            facts,
        )
        if not r.startswith("+pt")
    ]
    assert words in said
    assert wheels("torch-scatter", facts, offline=True).verdict == "missing"


def test_the_tags_are_those_that_this_interpreter_has_of_itself():
    """Against packaging's own answer for the running interpreter: the same tags in the same order."""
    from packaging.tags import sys_tags

    assert list(tags(kit.collect())) == list(sys_tags())


@pytest.mark.parametrize(
    ("where", "first", "has", "not_has"),
    [
        ({"libc": "glibc 2.28"}, "linux_x86_64", {"manylinux_2_28_x86_64", "manylinux2014_x86_64"},
         {"manylinux_2_29_x86_64"}),
        ({**ARM, "libc": "glibc 2.17"}, "linux_aarch64", {"manylinux2014_aarch64", "manylinux_2_17_aarch64"},
         {"manylinux2010_aarch64"}),
        ({"libc": "musl"}, "linux_x86_64", {"musllinux_1_2_x86_64"}, {"manylinux_2_17_x86_64"}),
        ({"bits": 32}, "linux_i686", {"manylinux_2_36_i686"}, {"linux_x86_64"}),
        (WINDOWS, "win_amd64", set(), {"win32"}),
        (MAC, "macosx_15_0_arm64", {"macosx_11_0_universal2"}, {"macosx_16_0_arm64"}),
        ({**MAC, "os": "Darwin 25.0.0"}, "macosx_26_0_arm64", {"macosx_15_0_arm64"}, set()),
    ],
)  # fmt: skip
def test_platforms(where, first, has, not_has):
    found = platforms(machine(**where))
    assert found[0] == first and has <= set(found) and not not_has & set(found)


# -- the best one, held against real pip


def wheel_file(folder, filename):
    name, version = filename.split("-")[:2]
    info, tag = f"{name}-{version}.dist-info", "-".join(filename[:-4].split("-")[-3:])
    with zipfile.ZipFile(folder / filename, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")


def what_pip_takes(url, requirement, facts, folder):
    """The file that real pip downloads for another interpreter."""
    options = [f"--platform={name}" for name in platforms(facts)]
    python = ".".join(facts.python.version.split(".")[:2])
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-index"]
    command += ["--find-links", url, "--dest", str(folder), "--python-version", python, *options]
    command += ["--implementation", "cp", "--abi", facts.python.abi, "--no-cache-dir"]
    command += [] if facts.python.abi.endswith("t") else ["--abi", "abi3"]
    done = subprocess.run([*command, requirement], capture_output=True, text=True, timeout=120)
    files = os.listdir(folder)
    assert done.returncode == 0 or "No matching distribution" in done.stderr, done.stderr
    return files[0] if files else None


MATRIX = {
    "recorded": kit.machine("healthy-gpu"),
    "recorded, Python 3.9": kit.machine("hpc-py39-apex-without-amp"),
    "recorded, Python 3.10": kit.machine("rtx5070ti-cpu-only-scatter"),
    "Python 3.14": machine(python="3.14.0"),
    "free-threaded": machine(python="3.14.0", abi="cp314t"),
    "old glibc": machine(libc="glibc 2.27", python="3.12.1"),
    "aarch64": machine(**ARM),
    "musl": machine(libc="musl"),
    "Windows": machine(**WINDOWS),
    "macOS": machine(**MAC),
}
LABELS = (
    "manylinux_2_28_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_28_aarch64",
    "win_amd64",
    "musllinux_1_2_x86_64",
)


@pytest.mark.parametrize("name", MATRIX)
def test_the_best_wheel_is_the_one_that_pip_takes(name, server, tmp_path):
    """pyg-lib: manylinux labels, which pip and the kit read alike; versions, abi3 and build numbers compete."""
    facts = dataclasses.replace(MATRIX[name], torch=Torch("", "2.12.1+cu130", cuda="13.0"))
    facts = dataclasses.replace(facts, host=dataclasses.replace(facts.host, gpus=(), driver=None))
    names = [
        f"pyg_lib-{version}+pt212cu130-{python}-{label}.whl"
        for version in ("0.9.0", "0.10.0", "0.8.0-1")
        for python in ("cp39-cp39", "cp310-cp310", "cp311-cp311", "cp312-cp312", "cp314-cp314t")
        for label in (*LABELS, "macosx_11_0_universal2")
        if (version, python) != ("0.10.0", "cp312-cp312")
    ]
    names = [re.sub(r"0\.8\.0-1\+(\w+)-", r"0.8.0+\1-1-", n) for n in names]
    names += [f"pyg_lib-0.10.0+pt212cu130-cp310-abi3-{label}.whl" for label in LABELS]
    names += [f"pyg_lib-0.10.0+pt212cu130-{at}-cp311-cp311-manylinux_2_28_x86_64.whl" for at in (2, 10)]
    names.append("pyg_lib-0.10.0+pt212cu130-99-cp310-abi3-manylinux_2_28_x86_64.whl")  # the tag counts before it
    for filename in names:
        wheel_file(tmp_path, filename)
        server.answers["/whl/torch-2.12.0%2Bcu130/" + quote(filename)] = (200, {}, (tmp_path / filename).read_bytes())
    answer = listed(server, facts, *names, package="pyg-lib")
    (tmp_path / "got").mkdir()
    taken = what_pip_takes(answer.index_url, "pyg-lib", facts, tmp_path / "got")
    best = next((c.filename for c in answer.candidates if c.fits), None)
    assert best == taken and (best is None) is (name == "never")
    if name in ("recorded", "Python 3.14", "old glibc"):  # that the cases differ
        assert {"recorded": "-10-cp311", "Python 3.14": "abi3", "old glibc": "manylinux2014"}[name] in best


def test_pip_would_take_what_the_glibc_forbids(server, tmp_path):
    """The reason for our own rule: the label linux_x86_64 says nothing, so pip installs what cannot load."""
    facts = machine(libc="glibc 2.31")
    name = "torch_scatter-2.1.2+pt212cu130-cp311-cp311-linux_x86_64.whl"
    wheel_file(tmp_path, name)
    server.answers["/whl/torch-2.12.0%2Bcu130/" + quote(name)] = (200, {}, (tmp_path / name).read_bytes())
    answer = listed(server, facts, name)
    (tmp_path / "got").mkdir()
    assert what_pip_takes(answer.index_url, "torch-scatter==2.1.2+pt212cu130", facts, tmp_path / "got") == name
    assert answer.best is None and why(answer, name) == ["linux_x86_64 built on glibc 2.32, yours is 2.31"]


def test_the_command_for_the_best_one_is_what_pip_understands(server, tmp_path):
    facts = kit.collect()
    facts = dataclasses.replace(facts, torch=Torch("", "2.12.1+cu130", cuda="13.0"))
    tag = facts.python.abi
    name = f"torch_scatter-2.1.2+pt212cu130-{tag}-{tag}-linux_x86_64.whl"
    wheel_file(tmp_path, name)
    server.answers["/whl/torch-2.12.0%2Bcu130/" + quote(name)] = (200, {}, (tmp_path / name).read_bytes())
    argv = listed(server, facts, name).install.argv
    assert argv[0] == os.path.abspath(sys.executable) or os.path.expanduser(argv[0]) == sys.executable
    done = subprocess.run(
        [sys.executable, *argv[1:], "--target", str(tmp_path / "got")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "got" / "torch_scatter.py").exists()


# -- GPU and driver together


V100, ADA, BLACKWELL = "Tesla V100-SXM2-16GB", "NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 5090"


@pytest.mark.parametrize(
    ("torch", "gpu", "driver", "said"),
    [
        ("2.12.1+cu130", V100, "580.95.05", "torch 2.12 for cu130 has no code for Tesla V100-SXM2-16GB (7.0)"),
        ("2.12.1+cu126", V100, "580.95.05", None),
        ("2.12.1+cu130", ADA, "570.86.15", "cu130 needs driver 580 or newer, yours is 570.86.15"),
        ("2.12.1+cu126", ADA, "570.86.15", None),
        (
            "2.12.1+cu126",
            BLACKWELL,
            "580.95.05",
            "torch 2.12 for cu126 has no code for NVIDIA GeForce RTX 5090 (12.0)",
        ),
        ("2.12.1+cu130", BLACKWELL, "580.95.05", None),
        ("2.12.1+cu130", None, None, None),
        ("2.12.1+cpu", V100, "390.1", None),
    ],
)
def test_a_wheel_serves_the_gpu_and_the_driver(server, torch, gpu, driver, said):
    token = torch.partition("+")[2]
    answer = listed(server, machine(torch, gpu=gpu, driver=driver), *pyg_names(local=f"pt212{token}"), token=token)
    if said is None:
        assert answer.best
    else:
        assert answer.best is None and all(said in c.why_not for c in answer.candidates)


def test_a_v100_with_a_new_driver_is_sent_to_cuda_12():
    facts = machine(torch=None, gpu=V100, driver="580.95.05")
    scatter, torch = wheels(["torch-scatter", "torch"], facts, offline=True).packages
    assert scatter.index_url.endswith("torch-2.12.0+cu126.html") and "pt212cu126-cp311" in scatter.best
    assert torch.best.endswith("/whl/cu126/torch-2.14.1%2Bcu126-cp311-cp311-manylinux_2_28_x86_64.whl")
    assert "torch is not installed; taken: torch 2.12.1+cu126" in scatter.notes[0]
    wrong = machine("2.12.1+cu130", gpu=V100, driver="580.95.05")
    (scatter,) = wheels("torch-scatter", wrong, offline=True).packages
    assert scatter.best is None and [fix.kind for fix in scatter.otherwise] == ["change-torch"]
    assert "torch==2.12.1" in scatter.otherwise[0].argv and scatter.otherwise[0].argv[-1].endswith("/cu126")
    assert "2.1.2+pt212cu126" in scatter.otherwise[0].why
    (torch,) = wheels("torch", wrong, offline=True).packages
    assert "/cu126/torch-2.12.1%2Bcu126" in torch.best
    (torch,) = wheels("torch", wrong, torch="2.12.1", cuda="cu130", offline=True).packages
    assert torch.best is None and torch.otherwise[0].argv[-1].endswith("/cu126")


def test_a_cpu_torch_on_a_machine_with_a_gpu_is_answered_with_cuda():
    (torch,) = wheels("torch", machine("2.12.1+cpu", gpu=ADA, driver="580.95.05"), offline=True).packages
    assert "/cu130/torch-2.12.1%2Bcu130" in torch.best
    (torch,) = wheels("torch", machine("2.12.1+cpu"), offline=True).packages
    assert "/cpu/torch-2.12.1%2Bcpu" in torch.best


@pytest.mark.parametrize(
    ("given", "cuda", "where", "address"),
    [
        ("2.12", None, {"gpu": ADA, "driver": "580.95.05", "torch": None}, "cu130"),
        ("2.12", None, {"gpu": V100, "driver": "580.95.05", "torch": None}, "cu126"),
        ("2.12", None, {"gpu": ADA, "driver": "550.1", "torch": None}, "cu126"),
        ("2.12", None, {"torch": None}, "cpu"),
        ("2.12", None, {"torch": "2.12.1+cu132"}, "cu132"),
        ("2.12", "cu126", {}, "cu126"),
        ("2.12.1+cu126", None, {}, "cu126"),
        ("2.12.1+cu126", "12.6", {}, "cu126"),
        ("2.12", "CPU", {}, "cpu"),
    ],
)
def test_the_build_where_it_is_not_named(given, cuda, where, address):
    (answer,) = wheels("torch-scatter", machine(**where), torch=given, cuda=cuda, offline=True).packages
    assert answer.index_url.endswith(f"torch-2.12.0+{address}.html")


@pytest.mark.parametrize(
    ("packages", "options", "words"),
    [
        ("numpy", {}, "not among the packages"),
        ("torch-scatter", {"torch": "newest"}, "not a version of torch"),
        ("torch-scatter", {"torch": "2.12", "cuda": "121"}, "not a build of torch"),
        ("torch-scatter", {"torch": "2.12.1+cu126", "cuda": "cu130"}, "is not built for cu130"),
        ("torch-scatter", {"index": "ftp://x/"}, "only http and https"),
        ("torch-scatter", {"index": "http://[x/"}, "not the address of an index"),
    ],
)
def test_what_cannot_be_used_is_said(packages, options, words):
    with pytest.raises(KitError, match=words):
        wheels(packages, machine(), **options)


# -- what helps otherwise


def test_what_helps_is_ranked_by_what_works_here():
    facts = dataclasses.replace(kit.machine("healthy-gpu"), extensions=())
    (answer,) = wheels("torch-scatter", facts, offline=True).packages
    assert [f.kind for f in answer.otherwise] == [*["use-replacement"] * 2, "rebuild-extension", "change-torch"]
    build = answer.otherwise[2]
    assert build.env == {"FORCE_CUDA": "1", "TORCH_CUDA_ARCH_LIST": "8.9"} and "--no-build-isolation" in build.argv
    host = dataclasses.replace(facts.host, toolkits=())
    (answer,) = wheels("torch-scatter", dataclasses.replace(facts, host=host), offline=True).packages
    assert [f.kind for f in answer.otherwise] == [*["use-replacement"] * 2, "change-torch", "rebuild-extension"]
    host = dataclasses.replace(facts.host, compiler=None)
    (answer,) = wheels("torch-scatter", dataclasses.replace(facts, host=host), offline=True).packages
    assert answer.otherwise[-1].kind == "rebuild-extension" and "no C++ compiler" in answer.otherwise[-1].why
    works = kit.machine("scatter-built-for-90-and-120")
    (answer,) = wheels("torch-scatter", works, offline=True).packages
    ours = answer.otherwise[-1]
    assert "the kit's torch_scatter" in ours.why and ours.argv[-1] == "--cover", "what works is replaced last"


def test_a_build_is_offered_only_for_the_torch_that_is_there():
    (answer,) = wheels("torch-scatter", machine("2.13.0+cu130"), torch="2.14.1+cu130", offline=True).packages
    assert "rebuild-extension" not in [fix.kind for fix in answer.otherwise]


def test_another_torch_is_proposed_only_where_its_page_lists_a_wheel_that_fits(server):
    facts = machine("2.13.0+cu130", gpu=ADA, driver="580.95.05")
    for minor, token in (("2.13", "cu130"), ("2.12", "cu130")):
        server.page(f"/whl/torch-{minor}.0+{token}.html", page(f"torch-{minor}.0+{token}"))  # both are empty
    first, second = [c for c in torch_choices(facts, "torch-scatter") if c[0] == "2.12.1"][:2]
    assert first == ("2.12.1", "cu130")
    server.page(f"/whl/torch-2.12.0+{second[1]}.html", page("x", *pyg_names(local=f"pt212{second[1]}")))
    (answer,) = wheels("torch-scatter", facts, index=server.url + "/whl").packages
    (moved,) = [fix for fix in answer.otherwise if fix.kind == "change-torch"]
    assert moved.argv[-1].endswith(second[1]) and f"2.1.2+pt212{second[1]}" in moved.why


def test_an_old_glibc_is_sent_to_a_torch_whose_wheels_load_there():
    (answer,) = wheels(
        "torch-scatter", machine("2.6.0+cu118", libc="glibc 2.31", gpu=ADA, driver="580.1"), offline=True
    ).packages
    assert answer.best
    facts = machine("2.7.1+cu128", libc="glibc 2.31", gpu=ADA, driver="580.1", python="3.12.1")
    (answer,) = wheels("torch-scatter", facts, offline=True).packages
    assert answer.best is None
    for fix in answer.otherwise:
        assert fix.kind != "change-torch" or "torch==2.6" in " ".join(fix.argv)


def test_a_python_for_which_nothing_is_built_is_said():
    (answer,) = wheels("torch-scatter", machine("2.15.0+cu132", python="3.15.0"), offline=True).packages
    assert answer.otherwise[-1].kind == "change-python" and "Python 3.14" in answer.otherwise[-1].why
    free = machine("2.12.1+cu130", python="3.13.1", abi="cp313t")
    (answer,) = wheels("torch-scatter", free, offline=True).packages
    assert answer.best is None and answer.otherwise[-1].kind == "change-python"


def test_a_nightly_is_rebuilt_or_replaced_by_its_release():
    facts = kit.machine("rtx5070ti-cpu-only-scatter")
    (answer,) = wheels("torch-scatter", facts, offline=True).packages
    assert [f.kind for f in answer.otherwise] == ["use-replacement", "rebuild-extension", "change-torch"]
    assert "torch==2.10.0" in answer.otherwise[2].argv


# -- without the network


def test_the_table_speaks_where_nobody_answers(monkeypatch):
    monkeypatch.setenv("PIP_RETRIES", "0")
    (answer,) = wheels("torch-scatter", machine(), index="http://127.0.0.1:1/whl").packages
    assert answer.source == "table" and answer.best and "Connection refused" in answer.notes[0]
    assert re.search(r"the page was not read; the table of 20\d\d-\d\d-\d\d speaks, .* by rule", answer.notes[0])
    (offline,) = wheels("torch-scatter", machine(), offline=True).packages
    assert offline.notes[0].startswith("offline: the page was not read") and offline.source == "table"
    assert offline.best == (
        "https://data.pyg.org/whl/torch-2.12.0%2Bcu130/torch_scatter-2.1.2%2Bpt212cu130-cp311-cp311-linux_x86_64.whl"
    )


def test_a_copy_of_a_page_tells_its_age(server):
    listed(server, machine(), *pyg_names())
    from test_web import age_cache

    age_cache(7200)
    server.answers.clear()
    server.answers["/whl/torch-2.12.0+cu130.html"] = (500, {}, b"")
    (answer,) = wheels("torch-scatter", machine(), index=server.url + "/whl").packages
    assert answer.best and answer.source == "page" and answer.notes[0].endswith("this is the copy of 2 hours ago")


@pytest.mark.parametrize(
    "package", ["torch-scatter", "torch-sparse", "torch-cluster", "torch-spline-conv", "pyg-lib", "torch"]
)
@pytest.mark.parametrize("name", kit.machines())
def test_every_machine_has_an_answer(package, name):
    facts = kit.machine(name)
    try:
        found = wheels(package, facts, offline=True)
    except KitError as error:
        assert facts.torch is None or "name one" in str(error)
        return
    (answer,) = found.packages
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert answer.best is None or all(c.why_not for c in answer.candidates if not c.fits)
    assert show.text(found) == show.text(found) and answer.index_url in show.text(found)
    for fix in answer.otherwise:
        if fix.kind == "change-torch" and facts.host.gpus:
            version, token = fix.argv[4].partition("==")[2], fix.argv[-1].rpartition("/")[2]
            assert (version, token) in list(torch_choices(facts)) or token == "cpu"
    if facts.torch is None and facts.gpu_seen:
        assert choose_torch(facts, False) is not None


# -- the contract


def test_the_json_of_the_command_line(server, capsys):
    server.page("/whl/torch-2.12.0+cu130.html", page("torch-2.12.0+cu130", *pyg_names()))
    argv = ["wheel", "torch-scatter", "torch_sparse", "--facts", "healthy-gpu", "--torch", "2.12.1+cu130", "--json"]
    assert main([*argv, "--index", server.url + "/whl"]) == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err == "" and document["schema"] == 1
    scatter, sparse = document["packages"]
    assert {"package", "index_url", "best", "candidates", "otherwise"} <= set(scatter)
    assert scatter["package"] == "torch-scatter" and sparse["best"] is None and sparse["otherwise"]
    assert all({"filename", "url", "fits", "why_not"} <= set(c) for c in scatter["candidates"])
    assert [c["url"] for c in scatter["candidates"] if c["fits"]] == [scatter["best"]]
    fix = {"kind", "why", "argv", "env", "safety", "cost"}
    assert all(set(f) == fix and isinstance(f["argv"], (list, type(None))) for f in sparse["otherwise"])
    assert set(scatter["install"]) == fix
    assert main([*argv[:2], *argv[3:], "--index", server.url + "/whl"]) == 0


def test_the_text_names_what_to_take_and_groups_the_rest(server, capsys):
    server.page("/whl/torch-2.12.0+cu130.html", page("torch-2.12.0+cu130", *pyg_names()))
    argv = ["wheel", "torch-scatter", "--facts", "healthy-gpu", "--torch", "2.12", "--cuda", "cu130"]
    assert main([*argv, "--index", server.url + "/whl"]) == 0
    text = capsys.readouterr().out
    assert "torch-scatter: 1 of 10 wheels fits torch 2.12, cu130" in text
    assert "take: torch_scatter-2.1.2+pt212cu130-cp311-cp311-linux_x86_64.whl" in text
    assert "   5  built for Windows (win_amd64), yours is Linux x86_64" in text
    assert text.count("cp310") == 1 and len(text.splitlines()) < 25


def test_unusable_arguments_are_one_line(capsys):
    for argv in (["numpy"], ["torch-scatter", "--torch", "x"], ["torch-scatter", "--index", "x"]):
        assert main(["wheel", *argv, "--facts", "healthy-gpu"]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("kit: ") and err.count("\n") == 1

"""Which pip serves which environment, and which environments are refused: real Pythons, as far as they are here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import repairs
from repairs import healthy, install, package, plan, works, yes

from kit.errors import KitError
from kit.facts import normalise
from kit.repair import apply, undo
from kit.repair.installer import Installer, choose
from kit.repair.places import ask, metadata, sources

OTHERS = sorted(
    (p for p in Path(sys.base_prefix).parent.glob("3.*/bin/python") if int(p.parts[-3].split(".")[1]) >= 8),
    key=lambda p: int(p.parts[-3].split(".")[1]),
)


@pytest.fixture
def index(tmp_path):
    shelf = tmp_path / "shelf"
    package(shelf, "alpha", "1.0")
    package(shelf, "alpha", "2.0")
    made = repairs.Index(shelf)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def repaired(python, index, folder):
    """Install alpha 2.0 over 1.0 and take it back; what pip was used."""
    to = choose(str(python))
    before = repairs.picture(folder)
    receipt = apply(
        plan(str(python), install(str(python), "--no-deps", "alpha==2.0", index=index)),
        yes,
        examine=healthy,
        prove=works,
    )
    assert (receipt.state, receipt.why) == ("applied", "")
    assert [p for site in to.sites for p in os.listdir(site) if p.startswith("alpha-")] == ["alpha-2.0.dist-info"]
    undo(receipt)
    assert repairs.difference(before, repairs.picture(folder)) == []
    return receipt.pip


@pytest.mark.slow
@pytest.mark.parametrize("python", OTHERS, ids=lambda p: p.parts[-3])
def test_environments_of_every_python(python, tmp_path, index):
    folder = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
    inside = folder / "bin" / "python"
    to = choose(str(inside))
    assert (to.kind, to.root) == ("venv", str(folder))
    repairs_pip = [sys.executable, "-m", "pip", "--python", str(inside), "install", "-q", "--no-deps", "--no-index"]
    minor = int(python.parts[-3].split(".")[1])
    if minor >= 10:  # the lab's pip serves these
        subprocess.run([*repairs_pip, str(index.folder / "alpha-1.0-py3-none-any.whl")], check=True)
    why = repaired(inside, index, folder)
    assert why.endswith("brings: the environment has none") and f"Python 3.{minor}" in why


@pytest.mark.slow
def test_an_environment_with_its_own_pip(tmp_path, index):
    place = repairs.Place(tmp_path / "venv", index.folder / "alpha-1.0-py3-none-any.whl", pip=True)
    assert repaired(place.python, index, place.folder).endswith("of the environment")


@pytest.mark.slow
def test_an_environment_whose_pip_is_too_old_to_say_what_it_would_do(tmp_path, index):
    place = repairs.Place(tmp_path / "venv", index.folder / "alpha-1.0-py3-none-any.whl", pip=True)
    init = place.site / "pip" / "__init__.py"
    init.write_text(init.read_text().replace("__version__ = ", "__version__ = '20.0.2'  # "))
    assert "brings" in choose(place.python).why, "a newer one is at hand"
    assert "brings" in repaired(place.python, index, place.folder)


@pytest.mark.slow
def test_an_old_pip_alone_downloads_and_leaves_out_what_is_there(tmp_path, index, monkeypatch):
    repairs.wheel(index.folder, "needs", "1.0", {"needs.py": ""}, requires=["alpha"])
    place = repairs.Place(tmp_path / "venv", index.folder / "alpha-2.0-py3-none-any.whl", pip=True)
    monkeypatch.setattr("kit.repair.change.REPORTS", (99, 0))
    before = repairs.picture(place.folder)
    receipt = apply(
        plan(place.python, install(place.python, "needs", index=index)), yes, examine=healthy, prove=works
    )
    assert receipt.state == "applied"
    assert (place.site / "needs.py").exists()
    assert repairs.difference(before, place.picture()).__len__() < 20
    assert not any("alpha" in line for line in repairs.difference(before, place.picture()))


@pytest.mark.slow
def test_the_kits_own_pip_where_the_environment_and_its_python_have_none(tmp_path, index, monkeypatch):
    place = repairs.Place(tmp_path / "venv", index.folder / "alpha-1.0-py3-none-any.whl")
    real = ask

    def poorer(executable):
        return {**real(executable), "bundled": None}

    monkeypatch.setattr("kit.repair.installer.ask", poorer)
    assert repaired(place.python, index, place.folder).endswith("of the kit's own Python")


@pytest.mark.slow
@pytest.mark.network
def test_an_environment_made_by_uv(tmp_path, index):
    tools = tmp_path / "tools"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", str(tools), "uv"], env=_indexed()
    )
    if done.returncode != 0:
        pytest.skip("uv cannot be had here")
    folder = tmp_path / "venv"
    uv = [str(tools / "bin" / "uv"), "--offline", "--no-config"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True, env=_plain(tmp_path))
    wheel = str(index.folder / "alpha-1.0-py3-none-any.whl")
    into = ["--python", str(folder / "bin" / "python"), "--no-deps", "--no-index", wheel]
    subprocess.run([*uv, "pip", "install", "-q", *into], check=True, env=_plain(tmp_path))
    assert choose(str(folder / "bin" / "python")).kind == "uv"
    assert "brings" in repaired(folder / "bin" / "python", index, folder)


def _plain(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "VIRTUAL_ENV"))}
    return {**kept, "UV_CACHE_DIR": str(tmp_path / "cache")}


def _indexed():
    return {k: v for k, v in os.environ.items() if k != "PIP_CONFIG_FILE"}


def copied_python(tmp_path):
    """A Python that is no virtual environment and may be changed freely: its standard library is linked."""
    prefix, minor = tmp_path / "usr", f"python3.{sys.version_info[1]}"
    library = prefix / "lib" / minor
    library.mkdir(parents=True)
    (prefix / "bin").mkdir()
    for item in (Path(sys.base_prefix) / "lib" / minor).iterdir():
        if item.name not in ("site-packages", "__pycache__"):
            (library / item.name).symlink_to(item)
    (library / "site-packages").mkdir()
    real = Path(os.path.realpath(sys.executable))
    (prefix / "bin" / minor).write_bytes(real.read_bytes())
    (prefix / "bin" / minor).chmod(0o755)
    for name in os.listdir(Path(sys.base_prefix) / "lib"):
        if name.startswith("libpython"):
            (prefix / "lib" / name).symlink_to(Path(sys.base_prefix) / "lib" / name)
    python = prefix / "bin" / minor
    env = {**os.environ, "LD_LIBRARY_PATH": str(prefix / "lib")}
    said = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, env=env)
    if said.stdout.strip() != str(prefix):
        pytest.skip(f"this Python cannot be copied: {said.stdout}{said.stderr}")
    return python, library / "site-packages"


@pytest.mark.slow
def test_a_systems_python_for_its_administrator(tmp_path, index):
    python, _ = copied_python(tmp_path)
    assert choose(str(python)).kind == "system"
    repaired(python, index, tmp_path / "usr")


def test_a_managed_python_is_refused(tmp_path):
    python, site = copied_python(tmp_path)
    (site.parent / "EXTERNALLY-MANAGED").write_text("[externally-managed]\nError=ask apt\n")
    with pytest.raises(
        KitError, match=r"manages its packages \(PEP 668\); make an environment .*kit repair --into PATH"
    ):
        choose(str(python))
    inside = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", str(inside)], check=True)
    assert choose(str(inside / "bin" / "python")).kind == "venv", "an environment made with it is its owner's"


def test_conda_keeps_what_is_condas(tmp_path):
    python, site = copied_python(tmp_path)
    meta = tmp_path / "usr" / "conda-meta"
    meta.mkdir()
    for name, by in (("numpy", "conda"), ("scipy", ""), ("torch", "pip"), ("alpha", "uv")):
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        if by:
            (info / "INSTALLER").write_text(f"{by}\n")
    (meta / "scipy-1.0-0.json").write_text('{"files": ["lib/python3/site-packages/scipy-1.0.dist-info/METADATA"]}')
    (meta / "numpy-1.0-0.json").write_text('{"files": ["lib/python3/site-packages/numpy-1.0.dist-info/METADATA"]}')
    to = choose(str(python), ["torch", "alpha", "new-one"])
    assert to.kind == "conda"
    for name in ("numpy", "scipy"):
        with pytest.raises(
            KitError, match=rf"{name} was installed by conda .*; let conda .*: conda install -p \S+ {name}="
        ):
            choose(str(python), [name])


def test_a_read_only_environment_is_refused(tmp_path):
    place = repairs.Place(tmp_path / "venv")
    mounted = ["mount", "--bind", "-o", "ro", str(place.folder), str(place.folder)]
    if subprocess.run(mounted, capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted read-only here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place.folder)], check=True)
        with pytest.raises(KitError, match=r"cannot be written by this user.*kit repair --into PATH"):
            choose(place.python)
    finally:
        subprocess.run(["umount", str(place.folder)], check=True)
    assert choose(place.python).kind == "venv"


@pytest.mark.slow
def test_a_users_own_folder_of_a_systems_python(tmp_path, index, monkeypatch):
    python, site = copied_python(tmp_path)
    base = tmp_path / "local"
    monkeypatch.setenv("PYTHONUSERBASE", str(base))
    monkeypatch.setattr(
        "kit.repair.installer._writable", lambda folder: not str(folder).startswith(str(tmp_path / "usr"))
    )
    (site / "theirs-1.0.dist-info").mkdir()
    (site / "theirs-1.0.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1.0\n")
    to = choose(str(python), ["alpha"])
    assert (to.kind, to.root) == ("user", str(base))
    with pytest.raises(
        KitError, match=r"theirs lies in .*site-packages, which only the system's administrator.*--into"
    ):
        choose(str(python), ["theirs"])
    base.mkdir()
    system = repairs.picture(tmp_path / "usr")
    repaired(python, index, base)
    assert repairs.difference(system, repairs.picture(tmp_path / "usr")) == []


def test_a_users_own_folder_that_is_switched_off(tmp_path, monkeypatch):
    python, _ = copied_python(tmp_path)
    monkeypatch.setattr(
        "kit.repair.installer._writable", lambda folder: not str(folder).startswith(str(tmp_path / "usr"))
    )
    real = ask
    monkeypatch.setattr(
        "kit.repair.installer.ask", lambda exe: {**real(exe), "user": {**real(exe)["user"], "on": False}}
    )
    with pytest.raises(KitError, match="belong to the system's administrator"):
        choose(str(python))


def test_no_pip_at_all(tmp_path, monkeypatch):
    place = repairs.Place(tmp_path / "venv")
    real = ask
    monkeypatch.setattr("kit.repair.installer.ask", lambda exe: {**real(exe), "bundled": None})
    monkeypatch.setattr("kit.repair.installer.POINTS", (99, 0))
    with pytest.raises(KitError, match=r"has pip; try .* -m ensurepip"):
        choose(place.python)


def test_settings_of_pip_that_stay_and_those_that_do_not(tmp_path):
    (tmp_path / "pip.conf").write_text("[global]\nproxy = http://p\n[install]\ntarget = /x\nno-deps = true\n")
    listed = (
        "global.index-url='https://one'\nglobal.user='true'\ninstall.find-links='/a\\n/b'\n:env:.index-url='no'\n"
    )
    variables = {"PIP_INDEX_URL": "https://two", "PIP_PREFIX": "/y", "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    assert sources(listed, variables) == {
        "PIP_INDEX_URL": "https://two",
        "PIP_FIND_LINKS": "/a\n/b",
        "PIP_PROXY": "http://p",
    }


def test_what_pip_is_not_told(monkeypatch):
    for name in ("PIP_TARGET", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "UV_INDEX_URL", "__PYVENV_LAUNCHER__"):
        monkeypatch.setenv(name, "/x")
    to = Installer("python", ("python", "-m", "pip"), "venv", "/r", (), {}, (26, 0), "")
    env = to.environment({"PIP_INDEX_URL": "https://one"}, TMPDIR="/t")
    assert "/x" not in env.values()
    assert (env["PIP_INDEX_URL"], env["PIP_CONFIG_FILE"], env["PIP_NO_INPUT"]) == ("https://one", os.devnull, "1")
    assert env["TMPDIR"] == "/t" and env["PATH"] == os.environ["PATH"]


def test_metadata_of_a_distribution(tmp_path):
    for name in (
        "Torch_Scatter-2.1.dist-info",
        "torch_scatter-2.0.egg-info",
        "~orch_scatter-1.dist-info",
        "torch-2.dist-info",
    ):
        (tmp_path / name).mkdir()
    found = [os.path.basename(path) for path in metadata([str(tmp_path), "/nowhere"], "torch-scatter")]
    assert found == ["Torch_Scatter-2.1.dist-info", "torch_scatter-2.0.egg-info"]
    assert normalise("Torch_Scatter") == "torch-scatter"


def test_an_interpreter_that_does_not_answer(tmp_path):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    fake.chmod(0o755)
    with pytest.raises(KitError, match="does not say where its packages lie: broken"):
        choose(str(fake))

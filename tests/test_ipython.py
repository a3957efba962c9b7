"""``%load_ext kit``: the card under a traceback, the magics, completion, the restart, and no trace after it."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest
from IPython.core.completer import provisionalcompleter

import kit
from kit import jupyter
from kit.errors import KitError
from kit.ipython import extension


@pytest.fixture(scope="module")
def _shell():
    from IPython.testing.globalipapp import start_ipython

    shell = start_ipython()
    yield shell


@pytest.fixture
def shell(_shell):
    _shell.run_line_magic("load_ext", "kit")
    yield _shell
    _shell.run_line_magic("unload_ext", "kit")
    for name in ("shown", "apex"):
        _shell.user_ns.pop(name, None)


@pytest.fixture
def shown(shell, monkeypatch):
    """What the kit displays, as it stands in a log."""
    found = []

    def display(thing, **options):
        found.append(thing["text/plain"] if options.get("raw") else repr(thing))

    monkeypatch.setattr("kit.ipython._display", display)
    return found


def run(shell, code):
    return shell.run_cell(code, store_history=False)


# -- the card


def test_a_cell_that_passes_or_fails_by_itself_gets_no_card(shell, shown, capsys):
    run(shell, "1 + 1")
    run(shell, "1 / 0")
    run(shell, "no_such_name")
    run(shell, "import json; json.loads('{')")
    run(shell, "def f(:")
    assert shown == []


@pytest.fixture
def wrong_apex(tmp_path, monkeypatch):
    """The web toolkit called apex, as its modules and metadata show it."""
    package = tmp_path / "apex"
    package.mkdir()
    for name in ("__init__", "interfaces", "views", "forms"):
        (package / f"{name}.py").write_text("")
    info = tmp_path / "apex-0.9.10.dev0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: apex\nVersion: 0.9.10.dev0\n")
    (info / "RECORD").write_text("apex/__init__.py,,\napex-0.9.10.dev0.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("apex", None)


def test_a_broken_environment_gets_a_card(shell, shown, wrong_apex, capsys):
    run(shell, "from apex import amp")
    assert len(shown) == 1
    assert shown[0].startswith("error: This apex is not NVIDIA's  [apex-wrong-package]")
    assert "uninstall" in shown[0] and "apex 0.9.10.dev0" in shown[0]
    shown.clear()
    explanation = shell.run_line_magic("kit", "explain")  # the last traceback again
    assert explanation.causes[0].failure == "apex-wrong-package"


def test_what_the_live_facts_refute_gets_no_card(shell, shown, capsys):
    """The words are those of a broken torch_scatter, and this one loads."""
    said = "/x/site-packages/torch_scatter/_version_cpu.so: undefined symbol: _ZN5torch3jit17parseSchemaOrNameERKSs"
    run(shell, f"raise OSError({said!r})")
    assert shown == []


def test_a_look_alike_gets_one_line(shell, shown, capsys):
    run(shell, "raise RuntimeError('CUDA error: device-side assert triggered')")
    assert len(shown) == 1
    assert shown[0].startswith("kit: not the environment. ") and "\n" not in shown[0]
    shown.clear()
    run(shell, "raise IndexError('index out of range in self')")  # which nobody takes for the installation's fault
    assert shown == []


def test_an_error_in_a_chain_counts(shell, shown, wrong_apex, capsys):
    code = """
try:
    from apex import amp
except ImportError as error:
    raise RuntimeError('Failed to import transformers.trainer because of the following error '
                       '(look up to see its traceback):\\n' + str(error)) from error
"""
    run(shell, code)
    assert len(shown) == 1 and "not NVIDIA's" in shown[0]


def test_an_error_of_the_kits_own_gets_no_card(shell, shown, capsys):
    run(shell, "import kit.errors; raise kit.errors.KitError('undefined symbol: _ZN2at')")
    assert shown == []


# -- the magics


def test_the_verbs(shell, shown, capsys):
    facts = kit.collect()
    assert shell.run_line_magic("kit", "collect").torch == facts.torch
    assert shell.run_line_magic("kit", "doctor --facts healthy-cpu").verdict == "healthy"
    assert shell.run_line_magic("kit", "doctor --facts rtx5070ti-cpu-only-scatter")["extension-cpu-only"]
    assert shell.run_line_magic("kit", "page numpy-abi").text == kit.page("numpy-abi").text
    assert shell.run_line_magic("kit", "wheel torch-scatter --facts healthy-cpu --offline").packages
    assert "apex.amp" in str(shell.run_line_magic("kit", "shim list"))
    assert not hasattr(shell.run_line_magic("kit", "repair --dry-run"), "state"), "a plan, no receipt"
    shell.run_line_magic("kit", "doctor --help")
    assert "--facts FILE" in capsys.readouterr().out


def test_recipes_and_nodes(shell, tmp_path):
    recipe = tmp_path / "requirements.txt"
    recipe.write_text("apex\n")
    checked = shell.run_line_magic("kit", f"recipe check {recipe}")
    assert [fault.failure for fault in checked] == ["apex-wrong-package"] and checked.verdict == "broken"
    (tmp_path / "node1.json").write_text(kit.machine("healthy-gpu").to_json())
    answer = shell.run_line_magic("kit", f"nodes {tmp_path} --nodes node[1-2] --record {tmp_path / 'known'}")
    assert "node2" in repr(answer) and (tmp_path / "known").is_file()
    assert kit.page("page-of-another-torch").text.startswith("The page of wheels")


def test_shims_in_this_kernel(shell):
    shown = str(shell.run_line_magic("kit", "shim enable apex.amp"))
    assert "apex.amp: switched on" in shown and "torch_scatter:" not in shown
    assert importlib.util.find_spec("apex") is not None
    assert "apex.amp: switched on" in str(shell.run_line_magic("kit", "shim list"))
    shell.run_line_magic("kit", "shim disable apex.amp")
    assert importlib.util.find_spec("apex") is None


def test_pasted_text_below_the_magic(shell):
    text = "ImportError: /lib64/libm.so.6: version `GLIBC_2.29' not found (required by /x/torch_spline_conv/_b.so)"
    shell.run_cell_magic("kit", "explain", text)
    explanation = shell.run_cell_magic("kit", "explain", text)
    assert explanation.causes[0].failure == "libc-too-old" and not explanation.whole
    with pytest.raises(KitError, match="%%kit takes text for one verb"):
        shell.run_cell_magic("kit", "doctor", text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("frobnicate", "invalid choice: 'frobnicate'"),
        ("shim enable", "%kit shim list, or"),
        ("shim list --python /usr/bin/python3", "in a terminal"),
        ("explain /no/such/file", "cannot be read"),
        ("doctor --facts /no/such/file", "cannot be read"),
        ("repair --frob", "unrecognized arguments: --frob"),
    ],
)
def test_bad_input_is_one_clear_error(shell, line, said):
    with pytest.raises(KitError, match=said) as error:
        shell.run_line_magic("kit", line)
    assert "\n" not in str(error.value)


def test_explain_before_anything_failed(shell, monkeypatch):
    monkeypatch.delattr(sys, "last_value", raising=False)
    with pytest.raises(KitError, match="no cell has failed"):
        shell.run_line_magic("kit", "explain")


@pytest.mark.parametrize(
    ("line", "there", "not_there"),
    [
        ("%kit ", {"doctor", "explain", "repair", "undo", "verify", "shim", "wheel", "bench"}, {"--help"}),
        ("%kit re", {"repair"}, {"doctor"}),
        ("%kit doctor --f", {"--facts"}, {"--gpu"}),
        ("%kit shim ", {"list", "enable", "disable"}, {"apex.amp"}),
        ("%kit shim enable ", {"apex.amp", "torch_scatter"}, {"disable"}),
        ("%kit recipe ", {"check", "write", "page"}, {"list"}),
        ("%kit nodes --b", {"--baseline", "--bench"}, {"--facts"}),
        ("%%kit ex", {"explain"}, {"undo"}),
    ],
)
def test_completion(shell, line, there, not_there):
    with provisionalcompleter():  # as the kernel does
        found = {line[: c.start] + c.text for c in shell.Completer.completions(line, len(line))}
    found = {completed.split()[-1] for completed in found}
    assert there <= found and not not_there & found


def test_no_trace_is_left(_shell):
    def state():
        return (
            {kind: set(names) for kind, names in _shell.magics_manager.magics.items()},
            [list(map(str, callbacks)) for callbacks in _shell.events.callbacks.values()],
            set(_shell.strdispatchers["complete_command"].strs),
            set(_shell.user_ns),
            set(_shell.user_ns_hidden),
        )

    before = state()
    for _ in range(2):
        _shell.run_line_magic("load_ext", "kit")
        _shell.run_line_magic("reload_ext", "kit")
        assert extension(_shell) is extension(_shell)
        assert state() != before
        _shell.run_line_magic("unload_ext", "kit")
        assert state() == before


def test_the_first_magic_after_a_restart_goes_on(shell, shown, monkeypatch, tmp_path):
    file = tmp_path / "kernel-0-1-2.json"
    file.write_text("{}")
    monkeypatch.setattr(jupyter, "connection_file", lambda: str(file))
    monkeypatch.setattr(jupyter, "restart", lambda: "The kernel restarts.")
    from kit.repair import Receipt

    receipt = Receipt("20260101-000000-abcd", "/v/.kit/x", "/v/bin/python", "applied", seconds=1.0)
    assert extension(shell).restart(receipt) == "The kernel restarts."
    note = tmp_path / "kit-kernel-0-1-2.json"
    assert note.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(kit, "verify", lambda: "verified")
    assert shell.run_line_magic("kit", "") == "verified" and shown == [repr(receipt)]
    assert not note.exists()
    shown.clear()
    shell.run_line_magic("kit", "doctor --facts healthy-cpu")
    assert shown == []


# -- a real server, a real kernel


@pytest.mark.slow
def test_a_kernel_really_restarts(tmp_path):
    from jupyter_client import BlockingKernelClient

    runtime = tmp_path / "runtime"
    env = {
        **os.environ,
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_TOKEN": "secret",
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.port_retries=50"],
        env={**env, "JUPYTER_CONFIG_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    client = BlockingKernelClient()
    try:
        said = _when(lambda: json.loads((runtime / f"jpserver-{server.pid}.json").read_text()))
        headers = {"Authorization": "token secret", "Content-Type": "application/json"}

        def ask(path, data=None):
            request = urllib.request.Request(said["url"] + path, headers=headers, data=data)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())

        _when(lambda: ask("api/status"))
        kernel = ask("api/kernels", b'{"name": "python3"}')["id"]
        client.load_connection_file(str(runtime / f"kernel-{kernel}.json"))
        client.start_channels()
        client.wait_for_ready(timeout=60)

        def value(expression):
            reply = client.execute_interactive(
                "", user_expressions={"it": expression}, timeout=60, output_hook=lambda message: None
            )
            return reply["content"]["user_expressions"]["it"]["data"]["text/plain"]

        first = value("__import__('os').getpid()")
        assert value("__import__('kit.jupyter').jupyter.remember({'text': 'mended'})") == "None"
        client.execute("import kit.jupyter; kit.jupyter.restart()")
        _when(lambda: not os.path.exists(f"/proc/{first}") or None)
        client.stop_channels()
        client = BlockingKernelClient()
        client.load_connection_file(str(runtime / f"kernel-{kernel}.json"))
        client.start_channels()
        client.wait_for_ready(timeout=60)
        assert value("__import__('os').getpid()") != first
        assert value("__import__('kit.jupyter').jupyter.remembered()") == "{'text': 'mended'}"
        assert value("__import__('kit.jupyter').jupyter.remembered()") == "None"
    finally:
        client.stop_channels()
        server.terminate()
        server.wait(30)


def _when(answer, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            found = answer()
            if found is not None:
                return found
        except (OSError, ValueError):
            pass
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.1)


def test_without_a_server_it_is_done_by_hand(monkeypatch, tmp_path):
    assert "by hand" in jupyter.restart()  # no kernel
    monkeypatch.setattr(jupyter, "connection_file", lambda: str(tmp_path / "kernel-1-2.json"))
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert "No Jupyter server" in jupyter.restart()
    gone = {"url": "http://127.0.0.1:9/", "token": "x"}
    (tmp_path / "jpserver-1.json").write_text(json.dumps(gone))
    assert "did not restart" in jupyter.restart() and "by hand" in jupyter.restart()

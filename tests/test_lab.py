"""The notebooks, the card and the panels in a real JupyterLab and in Notebook 7, driven through a real Chromium."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import PATIENCE, Notebook, Server, launch, tour
from conftest import ROOT, Environment
from playwright.sync_api import Browser, Locator, expect, sync_playwright

import kit
from kit.throwaway import Throwaway

# One server, one browser: all of it in one process, one after the other.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lab")]

expect.set_options(timeout=PATIENCE * 1000)

EVIL = "<img src=nowhere-to-be onerror=window.__pwned=1>"


@pytest.fixture(scope="module")
def shots() -> Path:
    """Where the pictures are kept: KIT_SCREENSHOTS, which `make test` sets."""
    folder = Path(os.environ.get("KIT_SCREENSHOTS") or tempfile.mkdtemp(prefix="kit-screenshots-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Screenshots: {folder}")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("jupyter"))
    for path in tour():
        shutil.copy(path, server.work)
    shutil.copytree(ROOT / "notebooks" / "images", server.work / "images")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def book(server: Server, browser: Browser, shots: Path, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """A page for one notebook.  At the end: a picture, nothing in the console, and no kernel that runs on."""
    options = getattr(request, "param", {})
    context = browser.new_context(**{"viewport": {"width": 1250, "height": 900}, **options})
    book = Notebook(server, context.new_page(), shots)
    try:
        yield book
        assert book.problems == []
    finally:
        with contextlib.suppress(Exception):
            book.shot(re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-"))
        context.close()
        server.end_kernels()


def audit(book: Notebook, name: str) -> None:
    """Light and dark: a picture, and what axe-core finds."""
    for dark in (False, True):
        book.theme(dark)
        with book.whole():
            book.shot(f"{name}-{'dark' if dark else 'light'}")
            assert book.violations() == []
    book.theme(False)


# --- the tour -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", tour(), ids=lambda path: path.stem)
def test_tour(path: Path, book: Notebook) -> None:
    book.open(path.name)
    book.run_all()
    assert book.failed() == []
    code = book.page.locator(".jp-Notebook .jp-CodeCell")
    prompts = [text.strip() for text in code.locator(".jp-InputPrompt").all_text_contents()]
    assert prompts == [f"[{number}]:" for number in range(1, code.count() + 1)]
    audit(book, path.stem)


def test_the_audit_sees_what_is_wrong(book: Notebook, server: Server) -> None:
    pale = "<p style='color:#bbb;background:#fff'>pale words</p>"
    name = server.write("pale.ipynb", f"from IPython.display import HTML\nHTML({pale!r})")
    book.open(name)
    book.run(0)
    (found,) = book.violations()
    assert found.startswith("color-contrast (serious)") and "pale words" in found


# --- hostile text ---------------------------------------------------------------------------------

HOSTILE = [
    f"import dataclasses, os, pathlib\nimport kit\nfrom kit import show, widgets\nevil = {EVIL!r}",
    "broken = kit.machine('rtx5070ti-cpu-only-scatter')\n"
    "part = dataclasses.replace(broken.extensions[0], package=evil, version=evil, origin=evil)\n"
    "python = dataclasses.replace(broken.python, executable='/opt/\"it\\'s\\n' + evil, version=evil)\n"
    "facts = dataclasses.replace(broken, extensions=(part,), python=python)\n"
    "facts",
    "kit.diagnose(facts)",
    "kit.plan(kit.diagnose(facts))",
    "place = pathlib.Path('it\\'s \"quoted\"\\n' + evil.replace('/', '') + '.so')\n"
    "place.write_bytes(b'\\x7fELF' + evil.encode())\n"
    "kit.xray(str(place))",
    "log = f'''Traceback (most recent call last):\n"
    '  File "/opt/{evil}/site-packages/torch_scatter/__init__.py", line 1, in <module>\n'
    "OSError: /opt/{evil}/site-packages/torch_scatter/_version_cuda.so: undefined symbol: {evil}'''\n"
    "kit.explain(log)",
    "widgets.explain(log)",
    "widgets.doctor(kit.diagnose(facts))",
    "widgets.repair(kit.plan(kit.diagnose(facts)))",
]


def test_hostile_text_is_text(book: Notebook, server: Server) -> None:
    book.open(server.write("hostile.ipynb", *HOSTILE))
    book.run(*range(len(HOSTILE)))
    assert book.failed() == []
    for index in range(1, len(HOSTILE)):
        expect(book.outputs(index).first).to_contain_text("<img src=nowhere-to-be")
    assert book.page.evaluate("window.__pwned") is None
    assert book.outputs().locator("img").count() == 0
    assert not [url for url in book.asked if "nowhere-to-be" in url]


# --- kernels in environments that really have a failure -------------------------------------------


@contextlib.contextmanager
def offered(server: Server, place: Throwaway, name: str) -> Iterator[Throwaway]:
    """This environment as a kernel of the server: with ipykernel, ipywidgets and the kit in it."""
    with place:
        # The kit is installed there as it is in the lab: as a path to its folder.
        Environment.share(place, "ipykernel", "ipywidgets", "numpy", "jupyter-troubleshooting-kit")  # type: ignore
        with place.active():
            names = ("PATH", "VIRTUAL_ENV", "XDG_CACHE_HOME", *place.variables)
            env = {name: os.environ[name] for name in names}
        argv = [place.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": name, "language": "python", "env": env}
        folder = server.kernels / name
        folder.mkdir()
        (folder / "kernel.json").write_text(json.dumps(spec))
        try:
            yield place
        finally:
            server.end_kernels()
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def apex(server: Server) -> Iterator[Throwaway]:
    """The package index's apex, which is not NVIDIA's."""
    with offered(server, kit.reproduce("apex-wrong-package"), "apex") as place:
        yield place


@pytest.fixture
def sparse(server: Server) -> Iterator[Throwaway]:
    """torch-sparse, compiled against another torch."""
    with offered(server, kit.reproduce("extension-torch-mismatch"), "sparse") as place:
        yield place


@pytest.fixture
def replaced(server: Server) -> Iterator[Throwaway]:
    """A package of which the next release is installed while a kernel runs (``place.next``)."""
    place = Throwaway()
    old = {"torch_helpers/__init__.py": "__version__ = '1.0'\n"}
    new = {
        "torch_helpers/__init__.py": "__version__ = '2.0'\ndef helper(): return 'of 2.0'\n",
        "torch_helpers/layers.py": "from torch_helpers import helper\n",
    }
    place.share("torch")
    place.install(place.wheel("torch-helpers", "1.0", old))
    place.next = place.wheel("torch-helpers", "2.0", new)  # type: ignore[attr-defined]
    with offered(server, place, "replaced"):
        yield place


def card(book: Notebook, index: int) -> Locator:
    """What follows the traceback of a cell."""
    return book.cell(index).locator(".jp-OutputArea-child").nth(1)


def button(book: Notebook, name: str) -> Locator:
    return book.outputs().get_by_role("button", name=name, exact=True)


FAILS = ["%load_ext kit", "1 + 1", "from apex import amp", "undefined_name"]


def test_a_wrong_apex(book: Notebook, server: Server, apex: Throwaway) -> None:
    book.open(server.write("apex.ipynb", *FAILS, kernel="apex"))
    book.run(0, 1, 2, 3)
    assert (book.text(0), book.text(1)) == ("", "2")
    (traceback,) = book.failed(2)
    assert "ImportError: cannot import name 'amp'" in traceback
    expect(card(book, 2)).to_contain_text("This apex is not NVIDIA's")
    expect(card(book, 2)).to_contain_text("apex-wrong-package")
    (traceback,) = book.failed(3)
    assert "NameError" in traceback and book.outputs(3).count() == 1
    audit(book, "card")


def test_a_wrong_apex_in_notebook_7(book: Notebook, server: Server, apex: Throwaway) -> None:
    book.open(server.write("apex7.ipynb", *FAILS, kernel="apex"), app="notebook")
    book.run(0, 1, 2, 3)
    assert (book.text(0), book.text(1), book.outputs(3).count()) == ("", "2", 1)
    assert "ImportError: cannot import name 'amp'" in book.failed(2)[0]
    expect(card(book, 2)).to_contain_text("apex-wrong-package")
    button(book, "Dry run").click()
    expect(book.outputs(2).last).to_contain_text("Dry run. These steps would be done")


PHONE = {"viewport": {"width": 390, "height": 844}}
# As a browser does it: half as many pixels of CSS, each twice as large.
ZOOMED = {"viewport": {"width": 625, "height": 450}, "device_scale_factor": 2}


@pytest.mark.parametrize("book", [PHONE, ZOOMED], ids=["phone", "zoomed"], indirect=True)
def test_small_windows(book: Notebook, server: Server, apex: Throwaway, request: pytest.FixtureRequest) -> None:
    book.open(server.write("small.ipynb", "%load_ext kit", "from apex import amp", "%kit", kernel="apex"))
    book.sidebar(False)
    book.run(0, 1, 2)
    for output in book.outputs().all():
        wide = output.evaluate("one => [one.scrollWidth, one.clientWidth]")
        assert wide[0] <= wide[1] + 1, output.text_content()
    for name in ("Dry run", "Repair", "Cancel", "Undo", "Show the log"):
        one = button(book, name).first
        one.scroll_into_view_if_needed()
        box = one.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= book.page.viewport_size["width"]  # type: ignore
    button(book, "Dry run").first.click()
    expect(book.outputs(1).last).to_contain_text("Dry run. These steps would be done")
    audit(book, request.node.callspec.id)


# --- the panel of a repair ------------------------------------------------------------------------

# Every text that a panel shows, also for a moment.
LISTEN = """panel => {
  window.__seen = [];
  const look = () => window.__seen.push(panel.innerText);
  new MutationObserver(look).observe(panel, {subtree: true, childList: true, characterData: true});
}"""


def listen(book: Notebook, index: int) -> None:
    book.cell(index).locator(".jp-Cell-outputArea").evaluate(LISTEN)


def seen(book: Notebook) -> str:
    return "\n".join(book.page.evaluate("window.__seen"))


def test_a_repair_in_place(book: Notebook, server: Server, sparse: Throwaway) -> None:
    book.open(server.write("sparse.ipynb", "%load_ext kit", "import torch_sparse", "'still here'", kernel="sparse"))
    book.page.evaluate("window.__page = 'never loaded anew'")
    before = sorted(path.name for path in sparse.site.glob("torch_sparse*"))
    book.run(0, 1)
    assert "undefined symbol" in book.failed(1)[0]
    expect(card(book, 1)).to_contain_text("extension-torch-mismatch")
    panel = book.outputs(1).last
    button(book, "Dry run").click()
    expect(panel).to_contain_text("Dry run. These steps would be done")
    assert sorted(path.name for path in sparse.site.glob("torch_sparse*")) == before

    listen(book, 1)
    height = button(book, "Repair").bounding_box()["y"]  # type: ignore[index]
    button(book, "Repair").click()
    expect(button(book, "Cancel")).to_be_enabled()
    expect(button(book, "Repair")).to_be_disabled()
    assert abs(button(book, "Repair").bounding_box()["y"] - height) < 2, "the panel jumps"  # type: ignore[index]
    book.run(2)  # while the repair is under way
    assert "still here" in book.text(2)
    expect(panel).to_contain_text("repaired and verified")
    expect(panel).to_contain_text("import torch_sparse works now, in this kernel")
    expect(panel).to_contain_text("healthy")
    assert re.search(r"\[1/1\] .*\d:\d\d", seen(book)) and "verifying" in seen(book)
    book.shot("repaired")
    book.run(1)
    assert book.failed(1) == [] and button(book, "Repair").count() == 0
    assert book.page.evaluate("window.__page") == "never loaded anew"


def test_undo_at_a_click(book: Notebook, server: Server, apex: Throwaway) -> None:
    book.open(server.write("undo.ipynb", "%load_ext kit", "%kit repair", kernel="apex"))
    book.page.evaluate("window.__page = 'never loaded anew'")
    book.run(0, 1)
    panel = book.outputs(1).last
    expect(button(book, "Undo")).to_be_disabled()
    button(book, "Repair").click()
    expect(panel).to_contain_text("repaired and verified")
    assert not (apex.site / "apex").exists()
    button(book, "Show the log").click()
    expect(book.page.get_by_role("region", name="What pip says")).to_be_visible()
    button(book, "Undo").click()
    expect(panel).to_contain_text("as it was before")
    expect(button(book, "Repair")).to_be_enabled()
    assert (apex.site / "apex" / "__init__.py").exists()
    assert book.page.evaluate("window.__page") == "never loaded anew"


def test_cancel_takes_back(book: Notebook, server: Server, apex: Throwaway) -> None:
    book.open(server.write("cancel.ipynb", "%load_ext kit", "%kit repair", kernel="apex"))
    book.run(0, 1)
    panel = book.outputs(1).last
    button(book, "Repair").click()
    expect(button(book, "Cancel")).to_be_enabled()
    button(book, "Cancel").click()
    expect(button(book, "Repair")).to_be_enabled()
    expect(panel).to_contain_text("cancelled")
    assert (apex.site / "apex" / "__init__.py").exists()


PID = "import os\nos.getpid()"


def test_a_replaced_module_and_the_restart(book: Notebook, server: Server, replaced: Throwaway) -> None:
    cells = ["%load_ext kit", "import torch_helpers\nkept = 1", "import torch_helpers.layers", "%kit", "kept", PID]
    book.open(server.write("replaced.ipynb", *cells, kernel="replaced"))
    book.run(0, 1)
    replaced.install(replaced.next)  # type: ignore[attr-defined]
    book.run(2)
    assert "cannot import name 'helper' from 'torch_helpers'" in book.failed(2)[0]
    expect(card(book, 2)).to_contain_text("stale-kernel")
    process = book.process(5)
    button(book, "Restart kernel").click()
    book.ended(process)
    book.run(0, 2, 3)
    assert book.failed(2) == []
    expect(book.outputs(3).last).to_contain_text("healthy")
    book.run(4)
    assert "NameError" in book.failed(4)[0], "variables are lost in a restart"


TOLERANT = """\
import warnings

import torch

__version__ = "0.6.18+pt25cpu"
try:
    torch.ops.load_library(__file__.replace("__init__.py", "_version_cpu.so"))
except OSError as error:
    warnings.warn(f"torch_sparse is not used: {error}", stacklevel=2)
"""


def test_a_repair_that_needs_a_restart(book: Notebook, server: Server, sparse: Throwaway) -> None:
    sparse.write(sparse.site / "torch_sparse" / "__init__.py", TOLERANT)
    cells = ["%load_ext kit", "import torch_sparse", "%kit repair", "%kit", "torch_sparse.__version__", PID]
    book.open(server.write("restart.ipynb", *cells, kernel="sparse"))
    book.run(0, 1, 2)
    panel = book.outputs(2).last
    expect(button(book, "Restart kernel")).to_be_hidden()
    button(book, "Repair").click()
    expect(panel).to_contain_text("repaired and verified")
    expect(panel).to_contain_text("Restart the kernel.")
    process = book.process(5)
    button(book, "Restart kernel").click()
    book.ended(process)
    book.run(0, 3)
    expect(book.outputs(3).first).to_contain_text("repaired and verified")
    expect(book.outputs(3).last).to_contain_text("healthy")
    book.run(1, 4)
    assert book.failed(1) == [] and book.text(4) == "'0.6.18'"


# --- with the keyboard alone ----------------------------------------------------------------------

FOCUS = """() => {
  const one = document.activeElement;
  if (!one || !one.closest('.jp-OutputArea-output')) return null;
  return one.tagName === 'INPUT' ? one.type : one.tagName === 'SUMMARY' ? 'summary' : one.innerText.trim();
}"""


def tab_to(book: Notebook, name: str) -> list[str]:
    """Press Tab until this has the focus; what had it on the way."""
    passed = []
    for _ in range(80):
        book.page.keyboard.press("Tab")
        passed.append(book.page.evaluate(FOCUS))
        if passed[-1] == name:
            return passed
    raise AssertionError(f"Tab does not lead to {name}: {passed}")


def test_with_the_keyboard_alone(book: Notebook, server: Server, apex: Throwaway) -> None:
    book.open(server.write("keys.ipynb", "%load_ext kit", "from apex import amp", kernel="apex"))
    book.run(0, 1)
    panel, keys = book.outputs(1).last, book.page.keyboard
    card(book, 1).scroll_into_view_if_needed()
    tab_to(book, "summary")  # the evidence of the card
    tab_to(book, "checkbox")
    keys.press("Space")
    expect(panel.get_by_role("checkbox")).not_to_be_checked()
    tab_to(book, "Repair")
    keys.press("Enter")
    expect(panel).to_contain_text("no step is checked")
    keys.press("Shift+Tab")
    keys.press("Shift+Tab")
    keys.press("Space")
    expect(panel.get_by_role("checkbox")).to_be_checked()
    tab_to(book, "Dry run")
    keys.press("Space")
    expect(panel).to_contain_text("Dry run. These steps would be done")
    tab_to(book, "Repair")
    outline = "getComputedStyle(document.activeElement)"
    assert book.page.evaluate(f"{outline}.outlineStyle !== 'none' || {outline}.boxShadow !== 'none'"), "focus is seen"
    keys.press("Enter")
    expect(panel).to_contain_text("repaired and verified")
    tab_to(book, "Undo")
    keys.press("Enter")
    expect(panel).to_contain_text("as it was before")
    assert (apex.site / "apex" / "__init__.py").exists()


def test_the_paste_area(book: Notebook, server: Server) -> None:
    book.open(server.write("paste.ipynb", "from kit import widgets\nwidgets.explain()"))
    book.run(0)
    area = book.page.get_by_label("What was printed")
    area.fill(f"RuntimeError: Not compiled with CUDA support\n{EVIL}")
    button(book, "Explain").click()
    expect(book.outputs(0)).to_contain_text("extension-cpu-only")
    assert book.page.evaluate("window.__pwned") is None and book.outputs(0).locator("img").count() == 0
    audit(book, "paste")


def test_the_choice_of_a_wheel(book: Notebook, server: Server) -> None:
    cell = (
        "import kit\nfrom kit import widgets\nwidgets.wheels(kit.machine('rtx5070ti-cpu-only-scatter'), offline=True)"
    )
    book.open(server.write("wheels.ipynb", cell))
    book.run(0)
    for name in ("torch", "CUDA", "Python", "GPU"):
        expect(book.page.get_by_label(name, exact=True)).to_be_visible()
    book.page.get_by_label("CUDA", exact=True).select_option("cpu")
    button(book, "Find the wheel").click()
    expect(book.outputs(0)).to_contain_text("cpu.html")
    audit(book, "wheels")

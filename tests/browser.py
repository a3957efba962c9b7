"""A real JupyterLab and a real Chromium for the tests: notebooks are opened, run and looked at as a person would.

The state of a notebook is asked of JupyterLab itself (``window.jupyterapp``), never guessed from time passing.
"""

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import nbformat
from conftest import ROOT
from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, Playwright, expect

from kit.lab.browser import ROOT_OPTIONS, axe, candidates

PATIENCE = 120.0  # seconds for anything that a page, a kernel or a server does; a slow machine is no failure

# What an application says to its console whatever notebook is open, a single `1` too: these two are faults of
# Notebook 7's own start (settings of an extension that it does not bring, a command that only JupyterLab has).
HARMLESS = {
    "lab": (),
    "notebook": (
        r"^exception: Cannot read properties of undefined \(reading 'schema'\)$",
        r"^exception: Command 'filebrowser:open-path' not registered\.$",
    ),
}

SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    # A closed page must not ask whether to stop its kernel, nor a saved file whether to be saved again.
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}

STATE = """() => {
  const panel = window.jupyterapp?.shell?.currentWidget;
  const session = panel?.sessionContext;
  if (!session?.session?.kernel || !panel.content?.model) return null;
  return {kernel: session.session.kernel.status, id: session.session.kernel.id};
}"""

# Counts the commands of one name that are finished, whoever gave them: a menu, a button or a key.
WATCH = """() => {
  window.__finished = {};
  window.jupyterapp.commands.commandExecuted.connect((_, done) => {
    const count = () => { window.__finished[done.id] = (window.__finished[done.id] || 0) + 1; };
    done.result.then(count, count);
  });
}"""

# What Python and IPython print, in colours of theirs and of JupyterLab's.
NOT_OURS = ", ".join(f"[data-mime-type='application/vnd.jupyter.{name}']" for name in ("stderr", "error"))

# How much of the notebook is outside of the window, seen from its beginning.
HIDDEN = """() => new Promise(answer => {
  const book = document.querySelector('.jp-Notebook');
  const outer = book.querySelector('.jp-WindowedPanel-outer') || book;
  outer.scrollTop = 0;
  requestAnimationFrame(() => requestAnimationFrame(() => {
    const cells = book.querySelectorAll('.jp-Cell');
    const end = cells[cells.length - 1].getBoundingClientRect().bottom;
    answer(Math.ceil(end - outer.getBoundingClientRect().bottom));
  }));
})"""

RUN_CELL = """async index => {
  const {shell, commands} = window.jupyterapp;
  shell.currentWidget.content.activeCellIndex = index;
  await commands.execute('notebook:run-cell');
}"""


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


class Server:
    """JupyterLab with Notebook 7 beside it, on this machine alone, with settings and folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder, folder / "work"
        self.kernels = folder / "data" / "kernels"
        self.token = secrets.token_hex(16)
        self.log = folder / "server.log"
        self.work.mkdir(parents=True)
        self.kernels.mkdir(parents=True)
        settings = folder / "settings"
        settings.mkdir()
        (settings / "overrides.json").write_text(json.dumps(SETTINGS))
        self.address = f"http://127.0.0.1:{free_port()}"

    def start(self) -> None:
        names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
        own = {f"JUPYTER_{name}": str(self.folder / name.partition("_")[0].lower()) for name in names}
        own |= {f"JUPYTERLAB_{name}_DIR": str(self.folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
        own |= {"IPYTHONDIR": str(self.folder / "ipython"), "JUPYTER_TOKEN": self.token}
        # The lab's kernel, not one of the home folder; no options for pip: environments bring their own.
        own |= {"JUPYTER_PREFER_ENV_PATH": "1", "VIRTUAL_ENV": sys.prefix}
        own |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        env = {
            name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTEST_", "JUPYTER"))
        }
        argv = [sys.executable, "-m", "jupyterlab", "--no-browser", "--LabApp.expose_app_in_browser=True"]
        argv += ["--JupyterNotebookApp.expose_app_in_browser=True", f"--ServerApp.root_dir={self.work}"]
        argv += [f"--ServerApp.port={self.address.rpartition(':')[2]}", "--ServerApp.port_retries=0"]
        argv += [
            f"--LabApp.app_settings_dir={self.folder / 'settings'}",
            "--ServerApp.shutdown_no_activity_timeout=900",
        ]
        argv += ["--allow-root"] if os.geteuid() == 0 else []
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                argv, env={**env, **own}, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        end = time.monotonic() + PATIENCE
        while not self.answers():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("status") is not None
        return False

    def ask(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"{self.address}/api/{path}", method=method)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def end_kernels(self) -> None:
        for session in self.ask("sessions"):
            with contextlib.suppress(OSError):  # one that has ended by itself
                self.ask(f"sessions/{session['id']}", "DELETE")

    def stop(self) -> None:
        """With all its kernels, which have process groups of their own: an orderly end stops them."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def write(self, name: str, *cells: str, kernel: str = "python3") -> str:
        """A notebook of these cells, not yet run; one that begins with ``#`` and a space is text."""
        new = nbformat.v4
        made = [new.new_markdown_cell(c) if c.startswith("# ") else new.new_code_cell(c) for c in cells]
        spec = {"name": kernel, "display_name": kernel, "language": "python"}
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new.new_notebook(cells=made, metadata={"kernelspec": spec}), path)
        return name


def launch(playwright: Playwright) -> Browser:
    """The first browser that starts; `make test` has put one there."""
    said = []
    for path in candidates(os.environ):
        try:
            return playwright.chromium.launch(executable_path=path or None, args=list(ROOT_OPTIONS))
        except Error as error:
            said.append(f"{path or 'of playwright'}: {error.message.splitlines()[0]}")
    raise AssertionError("no Chromium starts; `make test` installs one. " + "; ".join(said))


class Notebook:
    """One notebook in one page of the browser.  ``problems`` are what the page's console called errors."""

    def __init__(self, server: Server, page: Page, shots: Path) -> None:
        self.server, self.page, self.shots = server, page, shots
        self.app = "lab"
        self.problems: list[str] = []
        self.asked: list[str] = []  # the address of every request
        page.set_default_timeout(PATIENCE * 1000)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._wrong(f"exception: {error.message}"))
        page.on("request", lambda request: self.asked.append(request.url))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._wrong(f"{message.text} ({message.location.get('url', '')})")

    def _wrong(self, text: str) -> None:
        if not any(re.search(pattern, text) for pattern in HARMLESS[self.app]):
            self.problems.append(text)

    # -- opening, running

    def open(self, name: str, app: str = "lab") -> None:
        """In JupyterLab (``lab``) or Notebook 7 (``notebook``); until the kernel waits for work."""
        self.app = app
        path = {"lab": f"lab/workspaces/{secrets.token_hex(4)}/tree/", "notebook": "notebooks/"}[app] + name
        self.page.goto(f"{self.server.address}/{path}?token={self.server.token}")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.idle()
        self.page.evaluate(WATCH)

    def idle(self) -> dict[str, Any]:
        """Wait until the kernel is idle."""
        self.page.wait_for_function(f"(({STATE})() || {{}}).kernel === 'idle'", polling=100)
        return self.state()

    def state(self) -> dict[str, Any]:
        return dict(self.page.evaluate(STATE))

    def command(self, id: str, **arguments: object) -> None:
        call = "([id, options]) => window.jupyterapp.commands.execute(id, options).then(() => null)"
        self.page.evaluate(call, [id, arguments])

    def run(self, *cells: int) -> None:
        """Run these cells, one after the other, and wait for each."""
        for index in cells:
            self.page.evaluate(RUN_CELL, index)
        self.idle()

    def process(self, cell: int) -> int:
        """The process of the kernel, which this cell asks for."""
        self.run(cell)
        return int(self.text(cell))

    def ended(self, process: int) -> None:
        """Wait until this process of the kernel is gone.  A page is not told when the server restarts a kernel."""
        end = time.monotonic() + PATIENCE
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < end:
                os.kill(process, 0)
                time.sleep(0.1)
            raise AssertionError("the kernel was not restarted")

    def run_all(self) -> None:
        """Run > Run All Cells, in the menu."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
        self.page.wait_for_function("window.__finished['notebook:run-all-cells']", timeout=PATIENCE * 3000)
        self.idle()

    # -- looking

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def outputs(self, index: Optional[int] = None) -> Locator:
        """What a cell put out, or all cells: never their source, in which the same words stand."""
        where = self.page.locator(".jp-Notebook") if index is None else self.cell(index)
        return where.locator(".jp-OutputArea-output")

    def text(self, index: Optional[int] = None) -> str:
        # Not the inner text: of what is not in the window there is none.
        return "\n".join(self.outputs(index).all_text_contents())

    def html(self, index: Optional[int] = None) -> str:
        return "\n".join(self.outputs(index).evaluate_all("all => all.map(one => one.innerHTML)"))

    def failed(self, index: Optional[int] = None) -> list[str]:
        """Tracebacks, and what went to stderr."""
        where = self.page.locator(".jp-Notebook") if index is None else self.cell(index)
        return where.locator(NOT_OURS).all_text_contents()

    # -- as other people see it

    def theme(self, dark: bool) -> None:
        self.command("apputils:change-theme", theme="JupyterLab Dark" if dark else "JupyterLab Light")
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-light", "false" if dark else "true")
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)

    def size(self, width: int, height: int) -> None:
        self.page.set_viewport_size({"width": width, "height": height})

    def sidebar(self, shown: bool) -> None:
        if self.page.locator("#jp-left-stack").is_visible() != shown:
            self.command("application:toggle-left-area")

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """The window as high as the notebook, so that nothing is left to scroll to."""
        before = self.page.viewport_size or {"width": 1250, "height": 900}
        for _ in range(8):  # what comes into view is laid out then, and may be higher than was thought
            hidden = int(self.page.evaluate(HIDDEN))
            if hidden <= 0:
                break
            high = self.page.viewport_size or before
            self.size(before["width"], high["height"] + hidden)
        try:
            yield
        finally:
            self.size(before["width"], before["height"])

    def shot(self, name: str) -> Path:
        """A picture of what the window shows."""
        path = self.shots / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def violations(self) -> list[str]:
        """What axe-core calls serious or critical in the outputs, each with the rule and the element."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(axe(os.environ))
            # JupyterLab's body has no height and hides what overflows: axe would take every element for hidden.
            self.page.evaluate("document.body.style.minHeight = '100vh'")
        found = self.page.evaluate(
            "within => axe.run({include: [[within]]}, {resultTypes: ['violations']})",
            f".jp-OutputArea-output:not({NOT_OURS})",
        )
        return [
            f"{rule['id']} ({rule['impact']}): {rule['help']}: {node['html'][:200]} {node.get('failureSummary', '')}"
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]


def tour() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))

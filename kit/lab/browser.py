"""A browser for the tests, and axe-core, which looks for what a person without eyes or hands would miss in a page."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import os
import re
import shutil
import tarfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from kit.build import cache_folder
from kit.lab.place import Lab, StepFailed

# Debian's, Ubuntu's and Fedora's names first.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ROOT_OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")

AXE = "4.14.1"
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
NPM = "https://registry.npmjs.org/"
NPM_SECONDS = 60

# Playwright's own browser is the one that it starts where it is given no path.
START = """
import sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=sys.argv[1] or None, args=sys.argv[2:])
    page = browser.new_page()
    page.goto("data:text/plain,it starts")
    print(page.inner_text("body"), browser.version)
    browser.close()
"""


def candidates(env: Mapping[str, str]) -> list[str]:
    """The browsers that are worth trying, best first: those on PATH, and '' for playwright's own."""
    found = [shutil.which(name, path=env.get("PATH", os.defpath)) for name in NAMES]
    return [path for path in found if path] + [""]


def depends(lab: Lab) -> str:
    """What the step's stamp is a hash of; OSError, and so none, where a file is missing."""
    axe_file(lab.environ).stat()
    return "".join([*lab.pins("playwright"), *candidates(lab.environ), AXE])


def get_browser(lab: Lab) -> None:
    """A Chromium that starts: one that is here, the system's package, or playwright's own; and axe-core."""
    if not starts(lab):
        for install in (from_the_system, from_playwright):
            if install(lab) and starts(lab):
                break
        else:
            raise StepFailed(
                "no Chromium is here that starts, and neither apt-get nor playwright could install one; install one "
                f"that is called {NAMES[0]} or {NAMES[2]}"
            )
    axe(lab.environ)


def starts(lab: Lab) -> bool:
    """Whether one of the candidates starts and shows a page."""
    for path in candidates(lab.environ):
        if lab.attempt("browser", [lab.venv_python, "-c", START, path, *ROOT_OPTIONS]):
            return True
    return False


def from_the_system(lab: Lab) -> bool:
    """Debian's chromium, where this user may install packages.  Ubuntu's needs snapd, and may not start."""
    apt = lab.which("apt-get")
    if apt is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    env = {**lab.install_env(), "DEBIAN_FRONTEND": "noninteractive"}
    lab.attempt("browser", [apt, "update", "-q"], env)  # old lists may still do
    install = [apt, "install", "-y", "-q", "--no-install-recommends"]
    return any(lab.attempt("browser", [*install, name], env) for name in NAMES[:2])


def from_playwright(lab: Lab) -> bool:
    return lab.attempt("browser", [lab.venv_python, "-m", "playwright", "install", "chromium"])


# --- axe-core -------------------------------------------------------------------------------------


def axe_file(env: Mapping[str, str]) -> Path:
    """The package as the registry serves it, in the kit's own folder in the user's cache."""
    return Path(cache_folder(env)).parent / f"axe-core-{AXE}.tgz"


def axe(env: Mapping[str, str]) -> str:
    """The script axe-core, out of the cache or from the npm registry, if it is the very file that is meant."""
    kept = axe_file(env)
    package = kept.read_bytes() if kept.is_file() else b""
    if not is_axe(package):
        url = f"{registry(env)}axe-core/-/axe-core-{AXE}.tgz"
        package = read(url)
        if not is_axe(package):
            raise StepFailed(f"{url} is another file than axe-core {AXE}: its sha512 differs")
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_bytes(package)
        part.replace(kept)
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode("utf-8")


def is_axe(package: bytes) -> bool:
    return base64.b64encode(hashlib.sha512(package).digest()).decode() == AXE_SHA512


def registry(env: Mapping[str, str]) -> str:
    """The address of the npm registry, as npm's own configuration names it."""
    said = next((env[name] for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY") if env.get(name)), "")
    file = Path(env.get("NPM_CONFIG_USERCONFIG") or Path.home() / ".npmrc")
    if not said and file.is_file():
        line = re.search(r"^\s*registry\s*=\s*[\"']?(https?://[^\s\"']+)", file.read_text("utf-8", "replace"), re.M)
        said = line[1] if line else ""
    return (said or NPM).rstrip("/") + "/"


def read(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "jupyter-troubleshooting-kit"})
    try:
        with urllib.request.urlopen(request, timeout=NPM_SECONDS) as answer:
            return bytes(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StepFailed(f"{url} cannot be read: {getattr(error, 'reason', error)}") from None

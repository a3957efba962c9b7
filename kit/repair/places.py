"""Where the packages of an interpreter lie, and where its pip gets new ones: both are asked, not guessed."""

import ast
import configparser
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from kit.collect import redactor
from kit.collect.run import run
from kit.errors import KitError
from kit.facts import normalise

LIMIT = 60.0  # seconds for a question to Python or pip

# pip's settings that say where packages come from; all others could lead an installation elsewhere.
_SOURCES = re.compile(
    r"(index_url|extra_index_url|find_links|no_index|trusted_host|cert|client_cert|proxy|timeout|default_timeout|retries"
    r"|keyring_provider|cache_dir|use_feature|use_deprecated)$"
)

# Runs in the interpreter under test, as pip would: what it answers decides what pip would do there.
_ASK = r"""
import json, os, re, sys, sysconfig
try:
    import site
    user = {"base": site.getuserbase(), "site": site.getusersitepackages(), "on": bool(site.ENABLE_USER_SITE)}
except Exception:
    user = {"base": "", "site": "", "on": False}
paths = sysconfig.get_paths()
name = getattr(sysconfig, "get_preferred_scheme", lambda kind: os.name + "_user")("user")
try:
    user["paths"] = sysconfig.get_paths(name)
except Exception:
    user["paths"] = {}
managed = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
try:
    managed = open(managed, encoding="utf-8", errors="replace").read()
except OSError:
    managed = None
own = bundled = None
try:
    import pip
    own = [pip.__version__, os.path.dirname(os.path.dirname(os.path.abspath(pip.__file__)))]
except Exception:
    pass
try:
    import ensurepip
    folders = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled"), sysconfig.get_config_var("WHEEL_PKG_DIR")
    wheels = [os.path.join(f, n) for f in folders if f and os.path.isdir(f) for n in os.listdir(f)]
    wheels = [w for w in wheels if os.path.basename(w).startswith("pip-") and w.endswith(".whl")]
    bundled = max(wheels, key=lambda w: [int(n) for n in re.findall(r"\d+", os.path.basename(w))], default=None)
except Exception:
    pass
print("kit-installer:" + json.dumps({
    "prefix": sys.prefix, "venv": sys.prefix != sys.base_prefix, "minor": "%d.%d" % sys.version_info[:2],
    "paths": paths, "user": user, "managed": managed, "pip": own, "bundled": bundled}))
"""


def ask(executable: str) -> dict[str, Any]:
    """What the interpreter says of itself.  Raises KitError where it gives no answer."""
    env = {k: v for k, v in os.environ.items() if not re.match(r"PYTHON(?!USERBASE)", k)}
    # From the root folder, for the working directory stands first on the import path.
    outcome = run([executable, "-c", f"import os, sys; sys.path[:1] = []; os.chdir(os.sep)\n{_ASK}"], LIMIT, env)
    answer = [line for line in outcome.out.splitlines() if line.startswith("kit-installer:")]
    if not answer:
        last = (outcome.err.strip().splitlines() or ["no output"])[-1][:200]
        raise KitError(f"{redactor()(executable)} does not say where its packages lie: {redactor()(last)}")
    data: dict[str, Any] = json.loads(answer[-1].partition(":")[2])
    return data


def new(folder: str, like: str) -> str:
    """Make a virtual environment of the Python that the interpreter ``like`` is of; returns its interpreter.

    Raises KitError where that cannot be.
    """
    base = run([like, "-I", "-c", "import sys; print(getattr(sys, '_base_executable', sys.executable))"], LIMIT)
    make = [base.out.strip() or like, "-I", "-m", "venv"]
    made = run([*make, folder], 5 * LIMIT)
    if made.status != 0:  # a system's Python without ensurepip
        made = run([*make, "--without-pip", folder], 5 * LIMIT)
    if made.status != 0:
        raise KitError(f"no environment can be made of {redactor()(like)}: {made.err.strip()[-200:]}")
    return os.path.join(folder, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))


def metadata(sites: Iterable[str], name: str) -> list[str]:
    """Every metadata folder or file of this distribution; those that pip left over (``~orch``) are none."""
    endings, found = (".dist-info", ".egg-info", ".egg-link", ".egg"), []
    for site in sites:
        for item in sorted(os.listdir(site)) if os.path.isdir(site) else ():
            stem, ending = os.path.splitext(item)
            if ending in endings and normalise(stem.partition("-")[0]) == normalise(name):
                found.append(os.path.join(site, item))
    return found


def sources(listed: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Where packages come from, as ``PIP_*`` variables: from what ``pip config list`` says, and pip's variables."""
    lines = [line.partition("=") for line in listed.splitlines()]
    settings = [(key, _unquoted(value)) for key, _, value in lines if not key.startswith(":env:")]
    settings += _configured(variables.get("PIP_CONFIG_FILE", ""))  # pip lists that file since 24.0 only
    settings += [(f":env:.{key[4:].lower()}", value) for key, value in variables.items()]
    found: dict[str, str] = {}
    for key, value in settings:  # the later ones rule
        section, _, name = key.rpartition(".")
        name = name.replace("-", "_").lower()
        if section in ("global", "install", "download", ":env:") and _SOURCES.match(name):
            found["PIP_" + name.upper()] = value
    return found


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return value


def _configured(file: str) -> list[tuple[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return []
    return [(f"{section}.{key}", value) for section in parser.sections() for key, value in parser.items(section)]

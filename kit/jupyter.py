"""The Jupyter server that started this kernel: restarts it, and what is to be known after that.

A kernel keeps its id, and so its connection file, when it is restarted.  Beside that file a note is left.
"""

import contextlib
import json
import os
import re
import urllib.error
import urllib.request
from typing import Any, Optional

BY_HAND = "Restart it by hand: Kernel, Restart Kernel"
_TIMEOUT = 10.0  # seconds


def connection_file() -> str:
    """The connection file of this kernel; '' where this process is none."""
    with contextlib.suppress(ImportError, RuntimeError):
        from ipykernel.connect import get_connection_file

        return str(get_connection_file())
    return ""


def restart() -> str:
    """Have the server restart this kernel.  What comes back is why it does not: the server ends this process."""
    file = connection_file()
    kernel = re.fullmatch(r"kernel-([\w-]+)\.json", os.path.basename(file))
    server = _server(os.path.dirname(file)) if kernel else None
    if kernel is None or server is None:
        return f"No Jupyter server of this kernel was found. {BY_HAND}."
    address = f"{server['url'].rstrip('/')}/api/kernels/{kernel.group(1)}"
    try:
        _ask(address, server, "GET")
        _ask(f"{address}/restart", server, "POST")
    except (OSError, ValueError) as error:  # urllib's own are OSErrors
        return f"The Jupyter server did not restart this kernel ({error}). {BY_HAND}."
    return "The kernel restarts. Then run %load_ext kit and %kit, which go on from here."


def _server(folder: str) -> Optional[dict[str, Any]]:
    """What the server that started this process says of itself in the folder of connection files."""
    parent = os.environ.get("JPY_PARENT_PID", "")
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(folder, f"jpserver-{int(parent)}.json"), encoding="utf-8") as stream:
            said = json.load(stream)
        return said if isinstance(said.get("url"), str) else None
    return None


def _ask(address: str, server: dict[str, Any], method: str) -> None:
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"no address: {address}")
    headers = {"Authorization": f"token {server['token']}"} if server.get("token") else {}
    request = urllib.request.Request(address, method=method, headers=headers, data=b"" if method == "POST" else None)
    # The server is on this machine: no proxy is asked.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_TIMEOUT):
        pass


# -- what is to be known after the restart


def _note() -> str:
    file = connection_file()
    return os.path.join(os.path.dirname(file), f"kit-{os.path.basename(file)}") if file else ""


def remember(said: dict[str, Any]) -> None:
    """Leave a note for this kernel after its restart.  OSError where it cannot be written."""
    note = _note()
    if note:
        with open(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            json.dump(said, stream)


def remembered() -> Optional[dict[str, Any]]:
    """The note that was left before the restart, once; None where there is none."""
    note = _note()
    try:
        with open(note, encoding="utf-8") as stream:
            said = json.load(stream)
    except (OSError, ValueError):
        return None
    forget()
    return said if isinstance(said, dict) else None


def forget() -> None:
    """Remove the note."""
    with contextlib.suppress(OSError):
        os.unlink(_note())

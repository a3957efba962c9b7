"""What the tests of repairs share: small wheels, an index of them, an environment, and its exact picture."""

import base64
import functools
import hashlib
import http.server
import os
import re
import stat
import subprocess
import sys
import threading
import venv
import zipfile
from pathlib import Path

from kit.facts import About, Facts, Host, Python
from kit.findings import Cost, Finding, Findings
from kit.repair.plan import Plan, Step
from kit.verify import Check, Verification


def wheel(
    folder, name, version, files, scripts=(), requires=(), data=(), tag="py3-none-any", metadata=None, pure=True
):
    """A real wheel: ``files`` maps paths below site-packages to text or bytes, ``data`` those below NAME.data."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    about = metadata or f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    about += "".join(f"Requires-Dist: {r}\n" for r in requires)
    members = dict(files)
    members.update({f"{stem}.data/{path}": text for path, text in dict(data).items()})
    members[f"{info}/METADATA"] = about
    members[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: {str(pure).lower()}\nTag: {tag}\n"
    )
    if scripts:
        lines = "".join(f"{script} = {target}\n" for script, target in dict(scripts).items())
        members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}"
    members = {path: text.encode() if isinstance(text, str) else text for path, text in members.items()}
    record = ""
    for path, content in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    members[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name_, content in members.items():
            archive.writestr(name_, content)
    return path


def package(folder, name, version, modules=4, size=2000, **more):
    """A wheel with several modules, a subpackage, a script and a data file; no two versions have the same files."""
    module = name.replace("-", "_")
    files = {f"{module}/__init__.py": f"__version__ = {version!r}\n", f"{module}_extra.py": f"x = {version!r}\n"}
    files.update({f"{module}/m{n}.py": f"# {version}\n" + "x = 1\n" * (size // 6) for n in range(modules)})
    files[f"{module}/only_{version.replace('.', '_')}.py"] = "y = 2\n"
    files[f"{module}/sub_{version.replace('.', '_')}/deep/__init__.py"] = "z = 3\n"
    files[f"{module}/lib/blob.bin"] = os.urandom(size)
    more.setdefault("scripts", {f"{name}-run": f"{module}:main", f"{name}-{version}": f"{module}:main"})
    more.setdefault("data", {f"data/share/{name}/note.txt": version, f"scripts/{name}.sh": "#!/bin/sh\n"})
    return wheel(folder, name, version, files, **more)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Index:
    """A local index: ``/files/`` serves a folder, ``/simple/NAME/`` lists it with hashes, ``pages`` overrule."""

    def __init__(self, folder):
        self.folder, self.pages, self.asked = Path(folder), {}, []
        handler = functools.partial(self.handler(), directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def handler(index):
        class Handler(Quiet):
            def do_GET(self):
                index.asked.append(self.path)
                answer = index.pages.get(self.path)
                if callable(answer):
                    return answer(self)
                if self.path.startswith("/simple/"):
                    answer = answer or index.page(self.path.strip("/").split("/")[1])
                if answer is None:
                    return super().do_GET()
                body = answer.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler

    def page(self, name):
        files = [
            f for f in sorted(self.folder.glob("*.whl")) if f.name.lower().startswith(name.replace("-", "_") + "-")
        ]
        rows = [
            f'<a href="/{f.name}#sha256={hashlib.sha256(f.read_bytes()).hexdigest()}">{f.name}</a>' for f in files
        ]
        return "<!DOCTYPE html><html><body>" + "<br>".join(rows) + "</body></html>"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Place:
    """A virtual environment without pip, with some wheels installed in it."""

    def __init__(self, folder, *wheels, pip=False):
        self.folder = Path(folder)
        venv.create(self.folder, with_pip=pip, symlinks=True)
        self.python = str(self.folder / "bin" / "python")
        self.site = next((self.folder / "lib").glob("python3.*")) / "site-packages"
        if wheels:
            self.install(*wheels)

    def install(self, *wheels):
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", "-q", "--no-deps", "--no-index"]
        subprocess.run([*pip, *map(str, wheels)], check=True, env={**os.environ, "PIP_CONFIG_FILE": os.devnull})

    def picture(self, root=None):
        return picture(root or self.folder)


def picture(root):
    """Everything below ``root``: kind, mode, time, content; byte code and the kit's own folder aside."""
    found = {}
    for place, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f not in ("__pycache__", ".kit")]
        for path in [place, *(os.path.join(place, name) for name in (*folders, *files))]:
            info = os.lstat(path)
            content = ""
            if stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(info.st_mode):
                with open(path, "rb") as stream:
                    content = hashlib.sha256(stream.read()).hexdigest()
            found[os.path.relpath(path, root)] = (stat.filemode(info.st_mode), info.st_mtime_ns, content)
    return found


def difference(before, after):
    """What is not the same in two pictures, in words; [] where they are equal."""
    return [
        f"{p}: {before.get(p)} -> {after.get(p)}" for p in sorted({*before, *after}) if before.get(p) != after.get(p)
    ]


def facts(python, **more):
    executable = Python(
        python, "3.11.7", "cpython", "", "", True, False, "cp311", "linux_x86_64", 64, ".so", False, "", ()
    )
    return Facts(About("test", "example"), executable, Host("Linux", "x86_64"), **more)


def step(*argv, failure="extension-broken", package="alpha"):
    return Step(failure, package, "install-matching-wheel", "why", argv, {}, "changes-environment", Cost(undo=True))


def install(python, *words, index=None, **more):
    where = ("--index-url", f"{index.address}/simple/") if index else ()
    return step(python, "-m", "pip", "install", *words, *where, **more)


def plan(python, *steps, left=()):
    return Plan(facts(python), tuple(steps), tuple(left))


def finding(failure="extension-broken", package="alpha", severity="error"):
    return Finding(failure, severity, package, f"{package} is broken. More.")


def healthy(python):
    return Findings(facts(python))


def works(python):
    return Verification((Check("import torch", True, "fine", 0.1),), python)


def fails(python):
    return Verification(
        (Check("import torch", True, "", 0.1), Check("matmul on cpu", False, "wrong values", 0.1)), python
    )


def yes(plan):
    return True


def re_search(pattern, text):
    return re.search(pattern, text)

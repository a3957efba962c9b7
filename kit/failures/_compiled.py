"""What the failures that are reproduced share: packages compiled against torch, small and otherwise real."""

import re
from typing import Any, Union

from kit.failures._place import Place
from kit.published import PYG_VERSIONS

SOURCE = "int kit_version(void) { return 1; }\n"
_INIT = """\
import glob
import os

import torch

__version__ = "{version}"
for file in glob.glob(os.path.join(os.path.dirname(__file__), "_version*.so")):
    torch.ops.load_library(file)
"""
# As the setup.py of torch-scatter and its siblings: it imports torch, and nothing says that it needs it.
_SETUP = """\
import os

import torch
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class Build(build_ext):
    def finalize_options(self):
        super().finalize_options()
{headers}

folder = os.path.join(os.path.dirname(torch.__file__), "lib")
linked = ["-L" + folder, "-Wl,--no-as-needed", "-lc10", "-Wl,--allow-shlib-undefined"]
setup(
    name="{name}",
    version="{version}",
    packages=["{module}"],
    ext_modules=[Extension("{module}._version_cpu", ["csrc/version.c"], extra_link_args=linked)],
    cmdclass={{"build_ext": Build}},
)
"""


def build_of(place: Place) -> tuple[str, str]:
    """``('2.13', 'cpu')``: the minor of the torch that is shared, and the token of its build."""
    text = (place.site / "torch" / "version.py").read_text()
    minor = re.search(r"__version__ = '(\d+\.\d+)", text)
    cuda = re.search(r"^cuda\b[^=\n]*= '(\d+)\.(\d+)", text, re.M)
    return minor.group(1) if minor else "0.0", f"cu{cuda.group(1)}{cuda.group(2)}" if cuda else "cpu"


def page(place: Place) -> str:
    """The page of wheels for the torch that is shared."""
    minor, token = build_of(place)
    return place.index.page(f"{minor}.0+{token}")


def library(place: Place, code: str = SOURCE, *links: Any) -> Any:
    """A library that links against torch, and against ``links``, which need not be there when it is loaded."""
    linked = [place.site / "torch" / "lib" / "libc10.so", *links]
    options = ("-Wl,--no-as-needed", *linked, "-Wl,--allow-shlib-undefined", "-Wl,-z,lazy")
    return place.compile(code, "_version_cpu.so", *options)


def stub(place: Place, soname: str, *versions: str) -> Any:
    """A library of this name to link with: of each version it has a function, ``kit_0``, ``kit_1``, ..."""
    nodes = "".join(f"{version} {{ global: kit_{i}; }};\n" for i, version in enumerate(versions))
    code = "".join(f"int kit_{i}(void) {{ return {i}; }}\n" for i in range(max(1, len(versions))))
    script = place.write(place.work / "versions.map", nodes)
    options = [f"-Wl,--version-script={script}"] if versions else []
    made = place.compile(code, soname, f"-Wl,-soname,{soname}", *options)
    place.remove(script)
    return made


CALLS = "int kit_0(void);\nint kit_version(void) { return kit_0(); }\n"  # what a stub has


def wheel(place: Place, name: str, local: str, file: Any, **more: Any) -> Any:
    """The wheel of a sibling of torch-scatter with this library; ``local`` is like ``'+pt213cpu'``, or ''."""
    module, version = name.replace("-", "_"), PYG_VERSIONS[name] + local
    files = {f"{module}/__init__.py": _INIT.format(version=version), f"{module}/_version_cpu.so": file, **more}
    return place.wheel(name, version, files, tag=place.tag)


def source(place: Place, name: str, code: str = SOURCE, headers: bool = True) -> None:
    """Serve its source distribution; without ``headers`` it is compiled as where Python's are not installed."""
    module, version = name.replace("-", "_"), PYG_VERSIONS[name]
    without = "" if headers else "        self.include_dirs = []\n"
    files: dict[str, Union[str, bytes]] = {
        "setup.py": _SETUP.format(name=name, version=version, module=module, headers=without),
        "csrc/version.c": code,
        f"{module}/__init__.py": _INIT.format(version=version),
    }
    place.index.add(place.sdist(name, version, files))


def installed(place: Place, name: str, local: str, file: Any, **more: Any) -> str:
    """Install such a wheel beside torch, and serve the source that mends it.  Returns the code that imports it."""
    place.install(wheel(place, name, local, file, **more))
    source(place, name)
    return f"import torch, {name.replace('-', '_')}"


def prepared(place: Place) -> None:
    """torch, and an index with what builds in isolation ask for."""
    place.share("torch", "setuptools")
    place.index.add(place.repack("setuptools"))

"""The wheels that an index page lists, or that the dated table knows where no page can be read."""

import contextlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Optional
from urllib.parse import quote, unquote, urljoin, urlsplit

from kit import gpus, published, redact
from kit.data import table
from kit.facts import Facts, normalise
from kit.published import PYTORCH_INDEX
from kit.record import Record
from kit.wheels.fit import Target, reasons

if TYPE_CHECKING:
    from kit.wheels.web import Page

# Hosts to which these indexes link for their files, by design.
FILE_HOSTS = {"download.pytorch.org": "download-r2.pytorch.org", "pypi.org": "files.pythonhosted.org"}


class Candidate(Record):
    """One wheel that the page lists.  ``url`` is empty where its link is none that may be followed."""

    filename: str
    url: str
    fits: bool
    why_not: tuple[str, ...] = ()
    sha256: Optional[str] = None


class _Links(HTMLParser):
    """The links of a page: their addresses as they stand there, and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "base" and not self.base:
            self.base = named.get("href", "")
        elif tag == "a" and "href" in named:
            self.found.append(named)


def plain(url: str) -> str:
    """An address as it may be shown: without credentials, query and fragment.  ValueError where it is none."""
    parts = urlsplit(url)
    return redact.text(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl())


def listed(package: str, page: "Page", target: Target, facts: Facts) -> tuple[list[Candidate], int]:
    """The package's wheels on a page, and the number of links that are no addresses of files."""
    links, found, dropped = _Links(), {}, 0
    with contextlib.suppress(AssertionError):  # a declaration that the parsers of older Pythons do not know
        links.feed(page.text)
    in_path = re.search(r"/(cpu|cu\d+)/", urlsplit(page.url).path)
    for link in links.found:
        href = link["href"].strip()
        try:
            address = urlsplit(urljoin(urljoin(page.url, links.base), href))
            filename = unquote(address.path).rpartition("/")[2]
            host = (address.hostname, address.port)
        except ValueError:
            dropped += 1
            continue
        mine = filename.endswith(".whl") and normalise(filename.partition("-")[0]) == package
        if not mine or filename in found:
            dropped += address.scheme not in ("http", "https", "mailto") and not mine
            continue
        why, here = reasons(package, filename, target, facts, in_path and in_path[1]), urlsplit(page.url)
        url = plain(address.geturl())
        if address.scheme not in ("http", "https"):
            why, url = [f"its link is a {address.scheme}: address, which is not followed"], ""
        elif (address.scheme, *host) != (here.scheme, here.hostname, here.port) and not (
            address.scheme == "https"
            and host in ((here.hostname, here.port), (FILE_HOSTS.get(here.hostname or ""), None))
        ):
            why, url = [f"its link leads to another host ({address.scheme}://{address.hostname}): not followed"], ""
        why += _withdrawn(link, facts)
        digest = address.fragment[7:] if address.fragment.startswith("sha256=") else None
        found[filename] = Candidate(filename, url, not why, tuple(why), digest)
    return list(found.values()), dropped


def _withdrawn(link: dict[str, str], facts: Facts) -> Iterator[str]:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if "data-yanked" in link:
        yield f"withdrawn by its authors{': ' if link['data-yanked'] else ''}{link['data-yanked']}"
    try:
        wanted = SpecifierSet(link.get("data-requires-python", ""))
        if not wanted.contains(facts.python.version, prereleases=True):
            yield f"requires Python {wanted}, yours is {facts.python.version}"
    except InvalidSpecifier:
        pass


def by_rule(package: str, target: Target, facts: Facts, address: str) -> list[Candidate]:
    """The wheels that the dated table knows, under the names that the rule of their makers gives them."""
    minor, name, label, module = target.minor, target.token, "linux_x86_64", package.replace("-", "_")
    if package == "torch":
        row = next(
            (r for r in table("torch_builds")["torch"] if r["minor"] == minor and name in ("cpu", *r["cuda"])), None
        )
        version = row["newest"] if row else ""
        label = "manylinux_2_28" if row and int(minor.split(".")[1]) >= 7 else "linux"
        systems = ["linux_x86_64", "win_amd64", *(["macos", "linux_aarch64"] if name == "cpu" else [])]
        folder = f"{PYTORCH_INDEX}{name}/"
    else:
        row = published.pyg_row(package, minor, name)
        version, systems = (row["version"], row["platforms"]) if row else ("", [])
        label = "manylinux_2_28" if package == "pyg-lib" and gpus.numbers(version) >= (0, 6) else "linux"
        folder = f"{address.rpartition('/')[0]}/torch-{minor}.0+{name}/"
    if row is None or not target.torch.released:
        return []
    found = []
    for system in systems:
        if package == "torch":
            local = f"+{name}" if system != "macos" else ""
        else:
            short = f"+pt{minor.replace('.', '')}"
            local = short + name if system != "macos" else short if package == "pyg-lib" else ""
        platform = "macosx_11_0_universal2" if system == "macos" else system.replace("linux", label)
        pythons = ["cp" + python.replace(".", "") for python in row["pythons"]]
        for python in (
            ["cp310-abi3"]
            if package == "pyg-lib" and gpus.numbers(version) >= (0, 8)
            else [f"{p}-{p}" for p in pythons]
        ):
            filename = f"{module}-{version}{local}-{python}-{platform}.whl"
            why = reasons(package, filename, target, facts, name)
            found.append(Candidate(filename, folder.replace("+", "%2B") + quote(filename), not why, tuple(why)))
    return found

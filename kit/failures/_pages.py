"""Addresses that pip is given: what is wrong with one, and which one was meant."""

import re
from typing import Optional

from kit.facts import Facts
from kit.published import PYG_ALIASES, PYG_PAGES, PYTORCH_INDEX, token
from kit.record import Record

# What a shell, a batch file, an f-string or a text template leaves behind where it was not filled in.
_UNFILLED = r"\$\\?\{?\w+\}?|\$\([^)]*\)?|%\w+%|\{\w*\}|<\w+>"
_PAGE = r"/torch-([^/]*?)(\.html)?/?$"
_WHOLE = r"(\d+\.\d+)\.(\d+)\+(cpu|cu\d{3}|rocm[\d.]+|xpu)"
_OTHERS = r"\d+\.\d+(?:\.\d+)?[_-](?:cpu|cu\d{2,3}|cuda[\d.]+)"  # as kaolin names its pages
_PYG = r"https?://(data\.pyg\.org|(www\.)?pytorch-geometric\.com)(/|$)"


class Wrong(Record):
    """What is wrong with an address, as the end of a sentence, and the address that was meant where that is known."""

    address: str
    what: str
    meant: Optional[str] = None


def _plain(address: str) -> str:
    return re.sub(r"%([2-7][0-9A-Fa-f])", lambda code: chr(int(code.group(1), 16)), address)


def of_torch(address: str) -> bool:
    """Whether it is, or was meant to be, a page of wheels for one torch."""
    return bool(re.search(_PAGE, _plain(address)) or re.match(_PYG, address))


def is_pygs(address: str) -> bool:
    return bool(re.match(_PYG, address))


def meant(address: str, facts: Facts) -> Optional[str]:
    """The page of the installed torch, on the server of this address."""
    torch = facts.torch
    if torch is None or torch.hip or not torch.released:
        return None
    start = address.find("/torch-")
    base = PYG_PAGES if is_pygs(address) or start < 0 else address[: start + 1]
    return f"{base}torch-{torch.minor}.0+{token(torch.cuda)}.html"


def wrong(address: str, facts: Facts, index: bool, torch_too: bool) -> Optional[Wrong]:
    """What is wrong with an address; None where nothing can be told.

    ``index``: it was given as a package index, and not as a page of links.  ``torch_too``: torch is installed by the
    same command, so that the one which is there says nothing.
    """
    plain = _plain(address)
    page = re.search(_PAGE, plain)
    unfilled = re.search(_UNFILLED, plain)
    if unfilled:
        said = f"still holds {unfilled.group()}, which should have been filled in"
        return Wrong(address, said, meant(address, facts) if of_torch(address) else None)
    if page is None:
        return _without_page(address, plain, facts, index)
    said = _about_page(page.group(1), bool(page.group(2)), address, facts, torch_too)
    if not said and index:
        said = "is a page of links, and was given as a package index: it belongs behind --find-links"
    return Wrong(address, said, meant(address, facts)) if said else None


def _about_page(name: str, html: bool, address: str, facts: Facts, torch_too: bool) -> str:
    whole = re.fullmatch(_WHOLE, name)
    if whole is None:
        return "" if re.fullmatch(_OTHERS, name) and not is_pygs(address) else _about_name(name)
    minor, patch, build = whole.groups()
    torch = facts.torch
    if not html and is_pygs(address):
        return "does not end in .html"
    if torch is not None and not torch_too:
        if minor != torch.minor:
            return f"is the page for torch {minor}, and torch {torch.version} is installed"
        if build != token(torch.cuda) and not torch.hip:
            return f"is the page for {build}, and the installed torch {torch.version} is a build for {torch.build}"
    if patch != "0" and is_pygs(address) and f"{minor}.{patch}" not in PYG_ALIASES:
        return f"names torch {minor}.{patch}; the pages are those of {minor}.0"
    return ""


def _about_name(name: str) -> str:
    if re.search(r"\.dev|a0|rc\d", name):
        return ""  # of a nightly or a candidate: there is no such page
    if name.endswith("+") or not name:
        return f"ends its name at torch-{name}, where a variable was empty"
    bare = re.search(r"\+(\d{2,3})$", name)
    if bare:
        return f"says +{bare.group(1)} where it has to say +cu{bare.group(1)}"
    dotted = re.search(r"\+cu(\d+)\.(\d)", name)
    if dotted:
        return f"says {dotted.group()[1:]} where it has to say cu{dotted.group(1)}{dotted.group(2)}"
    if re.fullmatch(r"\d+\.\d+\.\d+", name):
        return "names no build: +cpu or +cuNNN is missing behind the version"
    if re.fullmatch(r"\d+\.\d+\+\w+", name):
        return f"names torch {name.partition('+')[0]} where it has to name {name.partition('+')[0]}.0"
    return f"names torch-{name}, which is no version and build of torch"


def _without_page(address: str, plain: str, facts: Facts, index: bool) -> Optional[Wrong]:
    if is_pygs(address) and not re.search(r"\.(whl|html)$", plain):
        return Wrong(address, "lists pages and no wheels", meant(address, facts))
    if plain.startswith(PYTORCH_INDEX):
        name = plain[len(PYTORCH_INDEX) :].strip("/").partition("/")
        build = re.fullmatch(r"\+?(?:cu)?(\d{2})\.?(\d)", name[0])
        right = PYTORCH_INDEX + (f"cu{build.group(1)}{build.group(2)}" if build else name[0])
        if build and not re.fullmatch(r"cu\d{3}", name[0]):
            return Wrong(address, f"says {name[0]} where it has to say {right.rpartition('/')[2]}", right)
        if not index and re.fullmatch(r"cpu|cu\d{3}|rocm[\d.]+", name[0]) and not name[2]:
            return Wrong(address, "is a package index, and was given as a page of links: use --index-url", right)
    return None

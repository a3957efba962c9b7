"""Addresses that installers are given: what is certainly wrong with one, and which one was meant."""

import re
from typing import Optional
from urllib.parse import unquote

from kit.gpus import numbers
from kit.published import PYG_PAGES, PYTORCH_INDEX
from kit.recipes.model import Edit, Install, Recipe, Word
from kit.recipes.rules._edits import option
from kit.recipes.rules._extensions import page_of
from kit.recipes.rules._torch import Torch, builds_of, published_for
from kit.record import Record

_HOSTS = r"(?:data\.pyg\.org|(?:www\.)?pytorch-geometric\.com|download\.pytorch\.org)"
_PYG = re.compile(r"https?://(?:data\.pyg\.org|(?:www\.)?pytorch-geometric\.com)(/.*)?$")


class Wrong(Record):
    """What is wrong, as a sentence without its subject, the address that was meant, and the option that it belongs
    behind where that is another."""

    what: str
    meant: Optional[str] = None
    option: str = ""


def wrong(word: Word, install: Install, torch: Optional[Torch]) -> Optional[Wrong]:
    """What is certainly wrong with an address whose text is known."""
    text = unquote(word.text)
    index = word is install.options.index or word in install.options.extra_indexes
    if not text:
        return None
    if text[0] in "“”‘’«":
        return Wrong("begins with a typographic quote, which a shell does not take for one", text.strip("“”‘’«»"))
    if "$" in text or "{" in text:
        return _unfilled(word, text, torch)
    scheme = re.match(rf"(?!https?://{_HOSTS})\w*:?/{{0,3}}(?={_HOSTS}(?:/|$))", text)
    if scheme and scheme.group() != "//":
        said = f"begins with {scheme.group()!r}" if scheme.group() else "has no https://"
        return Wrong(f"{said}, which is no address", "https://" + text[scheme.end() :])
    if re.match(rf"http://{_HOSTS}", text) and install.tool == "pip" and not _trusted(install):
        return Wrong("is http and not https: pip ignores hosts that are not secure", "https" + text[4:])
    if _PYG.match(text) and not text.endswith(".whl"):
        return _page(text, index, torch)
    return _index(text, index) if text.startswith("https://download.pytorch.org/") else None


def _trusted(install: Install) -> bool:
    texts = install.command.texts if install.command else ()
    named = any(text.startswith("--trusted-host") for text in texts)
    return named or bool(install.command and install.command.variable("PIP_TRUSTED_HOST"))


def _unfilled(word: Word, text: str, torch: Optional[Torch]) -> Optional[Wrong]:
    """Single quotes keep a shell from filling a variable in; in other places somebody may fill it in later."""
    if not word.known or "'" not in word.raw or "${{" in text:
        return None
    held = re.search(r"\$\{?\w+\}?|\$\([^)]*\)?", text)
    if held is None:
        return None
    said = f"still holds {held.group()}: a shell fills in nothing within single quotes"
    return Wrong(said, word.raw.replace("'", '"') if word.raw.count("'") == 2 else page_of(torch))


def _page(text: str, index: bool, torch: Optional[Torch]) -> Optional[Wrong]:
    path = (_PYG.match(text) or re.match("()", "")).group(1) or ""  # type: ignore[union-attr]
    if path.strip("/") in ("", "whl", "whl/index.html", "whl/nightly"):
        return Wrong("lists pages, and no wheels", page_of(torch), "-f" if index else "")
    name = re.fullmatch(r"/whl/(nightly/)?torch-(.*?)(\.html)?/?", path)
    if name is None:
        return None
    folder, version, html = name.groups()
    said, right = _about(version, torch)
    if not said and not html and re.fullmatch(r"\d+\.\d+\.\d+\+(cpu|cu\d{2,3})", version):
        said = "does not end in .html"
    if not said and index:
        said = "is a page of links and no package index: it belongs behind --find-links"
    if not said:
        return None
    meant = f"{PYG_PAGES}{folder or ''}torch-{right}.html" if right else None
    return Wrong(said, meant, "-f" if index else "")


def _about(name: str, torch: Optional[Torch]) -> tuple[str, Optional[str]]:
    """What is wrong with the version and build in a page's name, and what they should be."""
    if re.search(r"dev|rc|a0|nightly|rocm|xpu|\$", name):
        return "", None
    whole = re.fullmatch(r"(\d+\.\d+)(\.\d+)?(?:([+_ -])?(cpu|(?:cu|cuda)?-?(\d{2})\.?(\d)))?", name)
    if whole is None:
        twice = re.fullmatch(r"(\d+\.\d+\.\d+)\+(cpu|cu\d{3})(?:\+\w*)+", name)
        if twice:
            return "names a build twice", f"{twice.group(1)}+{twice.group(2)}"
        empty = re.fullmatch(r"(\d+\.\d+\.\d+)?\+?(cpu|cu\d{0,3})?", name)
        if empty and (name == "" or name.endswith(("+", "cu")) or name.startswith("+")):
            return "has an empty place where torch's version or build belongs", _of(torch)
        return "", None
    minor, patch, joint, build, major, least = whole.groups()
    token = "cpu" if build == "cpu" else f"cu{major}{least}" if build else None
    right = f"{minor}{patch or '.0'}+{token}" if token else None
    if token is None:
        if numbers(minor) < (2, 0) or not re.fullmatch(r"\d+\.\d+(\.\d+)?", name):
            return "", None
        own = torch is not None and torch.minor == minor and torch.cuda
        said = "names no build: +cpu or +cuNNN is missing behind the version"
        return said, f"{minor}{patch or '.0'}+{torch.cuda}" if own and torch else None
    if joint != "+":
        return f"has {joint!r} between version and build, where '+' belongs" if joint else "lacks a '+'", right
    if build != token:
        return f"says +{build} where it has to say +{token}", right
    if patch is None:
        return f"names torch {minor} where it has to name {minor}.0", right
    if published_for(f"{minor}.0", token or "") is False:
        fixed = torch if torch is not None and torch.minor == minor and torch.cuda != token else None
        return f"is that of a build that torch {minor} does not have: {builds_of(minor)}", _of(fixed)
    return "", right


def _of(torch: Optional[Torch]) -> Optional[str]:
    page = torch.page if torch is not None else None
    return page[len("torch-") : -len(".html")] if page else None


def _index(text: str, index: bool) -> Optional[Wrong]:
    path = text[len("https://download.pytorch.org/") :].strip("/")
    if index and path.endswith(".html"):
        return Wrong("is a page of links and no package index: it belongs behind --find-links", text, "-f")
    if re.fullmatch(r"whl/((cpu|cu\d{2,3})/)?torch_stable", path):
        return Wrong("lacks .html: there is no such page", f"https://download.pytorch.org/{path}.html")
    build = re.fullmatch(r"(whl/)?((?:nightly|test)/)?(\+?(?:cuda|cu)?-?(\d{2})\.?(\d)|cpu)", path)
    if build is None:
        return None
    right = "cpu" if build.group(3) == "cpu" else f"cu{build.group(4)}{build.group(5)}"
    meant = f"{PYTORCH_INDEX}{build.group(2) or ''}{right}"
    if not build.group(1):
        return Wrong("lacks /whl", meant)
    if build.group(3) != right:
        return Wrong(f"says {build.group(3)} where it has to say {right}", meant)
    if not index:
        return Wrong(
            "is a package index, and no wheels are found in it behind --find-links", meant, "--extra-index-url"
        )
    return None


def replaced(recipe: Recipe, install: Install, word: Word, new: str, behind: str = "") -> tuple[Edit, ...]:
    """An address put in another's place, and its option too where it belongs ``behind`` another."""
    quoted = (
        new if new[:1] in "\"'" else f'"{new}"' if word.raw[:1] == '"' else f"'{new}'" if word.raw[:1] == "'" else new
    )
    if behind:
        span = option(recipe, install, word)
        return (Edit(span, f"{behind} {quoted}"),) if span is not None else ()
    return (Edit(word.span, quoted),) if recipe.at(word.span) == word.raw else ()

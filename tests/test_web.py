"""kit/web.py and kit/pip_network.py against real servers: limits, retries, redirects, the cache, pip's settings."""

import base64
import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest
from web_server import cut, drip, forward, serving

from kit.errors import KitError
from kit.wheels import web as web_module
from kit.wheels.network import pip_options
from kit.wheels.web import Web, WebError, cache_folder

SECRET = "s3cr3t-w0rd"


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Nothing of this machine's user counts: no configuration, no proxy, no cache."""
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy") or name in ("NETRC", "REQUESTS_CA_BUNDLE"):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_CACHE_HOME"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(web_module, "PAUSE", 0.01)


@pytest.fixture
def server():
    with serving() as one:
        yield one


@pytest.fixture
def other():
    with serving() as one:
        yield one


def pip_conf(text, folder=None):
    folder = folder or os.path.join(os.environ["XDG_CONFIG_HOME"], "pip")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "pip.conf"), "w") as stream:
        stream.write(text)


def everything_kept():
    for folder, _, files in os.walk(cache_folder()):
        for name in files:
            yield name
            with open(os.path.join(folder, name), "rb") as stream:
                yield stream.read().decode("utf-8", "replace")


# -- pages


def test_a_page_is_read(server):
    url = server.page("/whl/torch-2.12.0+cu126.html", "<a>ä</a>")
    page = Web().page(url)
    assert (page.url, page.text, page.age, page.note) == (url, "<a>ä</a>", 0, "")
    assert server.paths() == ["/whl/torch-2.12.0+cu126.html"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "there is no such page, or it is not for you"),
        (404, "there is no such page"),
        (401, "a password"),
        (410, "410"),
    ],
)
def test_an_answer_is_final_and_asked_for_once(server, status, words):
    server.answers["/x"] = (status, {}, b"<Error><Code>AccessDenied</Code></Error>")
    with pytest.raises(WebError, match=words) as caught:
        Web().page(server.url + "/x")
    assert caught.value.status == status and len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_in_trouble_is_asked_again(server, status):
    server.answers["/x"] = [(status, {}, b""), (status, {}, b""), (200, {}, b"at last")]
    assert Web().page(server.url + "/x").text == "at last"
    server.answers["/y"] = (status, {}, b"")
    with pytest.raises(WebError) as caught:
        Web().page(server.url + "/y")
    assert caught.value.status == status and server.paths().count("/y") == 1 + web_module.RETRIES


def test_a_server_may_ask_to_wait_but_not_past_the_limit(server):
    server.answers["/x"] = [(429, {"Retry-After": "1"}, b""), (200, {}, b"now")]
    start = time.monotonic()
    assert Web().page(server.url + "/x").text == "now"
    assert 1 <= time.monotonic() - start < 3
    server.answers["/y"] = (429, {"Retry-After": "3600"}, b"")
    start = time.monotonic()
    with pytest.raises(WebError):
        Web(limit=2).page(server.url + "/y")
    assert time.monotonic() - start < 1


def test_a_slow_drip_does_not_outlast_the_limit(server):
    server.answers["/x"] = drip(b"x" * 1000, 0.05)
    start = time.monotonic()
    with pytest.raises(WebError, match=r"does not answer within 1 s; [0-9]+ bytes came"):
        Web(limit=1).page(server.url + "/x")
    assert 0.9 < time.monotonic() - start < 2


def test_who_accepts_and_says_nothing_does_not_outlast_the_limit():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        with pytest.raises(WebError, match="does not answer within"):
            Web(limit=0.5).page(f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        assert time.monotonic() - start < 1.5


def test_a_name_that_is_never_found_does_not_outlast_the_limit(monkeypatch):
    def hang(*_, **__):
        time.sleep(2)
        raise socket.gaierror(-3, "later")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(WebError, match="does not answer within"):
        Web(limit=0.5).page("http://localhost:1/x")
    assert time.monotonic() - start < 1.5


def test_nobody_there_is_tried_again_then_said_once(server):
    web = Web()
    server.server.server_close()
    start = time.monotonic()
    with pytest.raises(WebError, match="Connection refused") as caught:
        web.page(server.url + "/x")
    assert caught.value.status is None and caught.value.again
    with pytest.raises(WebError):  # the host is known to be away: another page of it costs no time
        web.page(server.url + "/y")
    assert time.monotonic() - start < 2


def test_a_connection_that_is_cut_is_tried_again(server):
    server.answers["/x"] = [cut(b"half", 100), (200, {}, b"whole")]
    assert Web().page(server.url + "/x").text == "whole"
    server.answers["/y"] = cut(b"half", 100)
    with pytest.raises(WebError, match="cut after 4 of 100 bytes"):
        Web().page(server.url + "/y")
    assert not [text for text in everything_kept() if "half" in text]


def test_gzip(server):
    server.answers["/x"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(b"packed"))
    assert Web().page(server.url + "/x").text == "packed"
    assert server.asked[0][1]["Accept-Encoding"] == "gzip"
    for body in (gzip.compress(b"packed")[:-9], b"no gzip"):
        server.answers["/y"] = (200, {"Content-Encoding": "gzip"}, body)
        with pytest.raises(WebError, match=r"damaged|end is missing"):
            Web().page(server.url + "/y")


def test_a_page_without_end_is_given_up(server, monkeypatch):
    monkeypatch.setattr(web_module, "LARGEST_PAGE", 1 << 16)
    server.answers["/x"] = (200, {}, b"x" * (1 << 17))
    server.answers["/y"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(b"x" * (1 << 20)))
    with pytest.raises(WebError, match="more than"):
        Web().page(server.url + "/x")
    with pytest.raises(WebError, match="too large"):
        Web().page(server.url + "/y")


# -- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_host_is_followed(server, status):
    server.answers["/x"] = (status, {"Location": "/y/"}, b"")
    server.page("/y/", "here")
    page = Web().page(server.url + "/x")
    assert (page.url, page.text) == (server.url + "/y/", "here")


@pytest.mark.parametrize("place", ["http://localhost:{port}/y", "http://127.0.0.1:{other}/y", "//localhost:{port}/y"])
def test_a_redirect_to_another_host_is_refused(server, other, place):
    where = place.format(port=server.port, other=other.port)
    server.answers["/x"] = (302, {"Location": where}, b"")
    server.page("/y", "stolen"), other.page("/y", "stolen")
    with pytest.raises(WebError, match="redirects to another host"):
        Web().page(f"http://me:{SECRET}@127.0.0.1:{server.port}/x")
    assert server.paths() == ["/x"] and not other.asked


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "javascript:alert(1)"])
def test_a_redirect_leaves_http_for_nothing(server, place):
    server.answers["/x"] = (302, {"Location": place}, b"")
    with pytest.raises(WebError, match="redirects to another host"):
        Web().page(server.url + "/x")


def test_a_redirect_without_end_ends(server):
    server.answers["/x"] = (302, {"Location": "/x"}, b"")
    with pytest.raises(WebError, match="without end"):
        Web().page(server.url + "/x")
    assert len(server.asked) <= 10


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "javascript:x", "x", "http:///x"]
)
def test_only_http_is_read(url):
    with pytest.raises(WebError, match="only http and https"):
        Web().page(url)


@pytest.mark.parametrize("url", ["http://[::1/x", "http://127.0.0.1:port/x"])
def test_what_is_no_address_is_said(url):
    with pytest.raises(KitError, match="is no address"):
        Web().page(url)


def test_http_without_encryption_is_for_this_machine_and_trusted_hosts(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(socket.gaierror(-2, "unknown")))
    with pytest.raises(WebError, match="without encryption"):
        Web().page("http://mirror.example/x")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "a.example mirror.example")
    with pytest.raises(WebError, match="unknown"):
        Web().page("http://mirror.example/x")


# -- the cache


def test_a_fresh_page_is_not_asked_for_again(server):
    url = server.page("/x", "one")
    Web().page(url)
    server.page("/x", "two")
    page = Web().page(url)
    assert page.text == "one" and 0 <= page.age < 60 and len(server.asked) == 1
    assert Web(fresh=0).page(url).text == "two"


def test_an_old_page_is_revalidated(server):
    url = server.page("/x", "one", ETag='"1"', Last_Modified="Sat, 21 Nov 2026 00:00:00 GMT")
    Web().page(url)
    server.answers["/x"] = (304, {}, b"")
    page = Web(fresh=0).page(url)
    assert (page.text, page.age) == ("one", 0)
    assert server.asked[1][1]["If-None-Match"] == '"1"'
    assert server.asked[1][1]["If-Modified-Since"] == "Sat, 21 Nov 2026 00:00:00 GMT"
    assert Web().page(url).text == "one" and len(server.asked) == 2  # fresh again
    assert Web(fresh=0).page(url).text == "one" and server.asked[2][1]["If-None-Match"] == '"1"'


def age_cache(seconds):
    (name,) = os.listdir(cache_folder())
    file = os.path.join(cache_folder(), name)
    with open(file, "rb") as stream:
        about, content = json.loads(stream.readline()), stream.read()
    about["read"] -= seconds
    with open(file, "wb") as stream:
        stream.write(json.dumps(about).encode() + b"\n" + content)
    return file


@pytest.mark.parametrize("trouble", ["away", 503])
def test_an_old_copy_does_where_nobody_answers_and_tells_its_age(server, trouble):
    url = server.page("/x", "old")
    Web().page(url)
    age_cache(3 * 3600 + 5)
    if trouble == "away":
        server.server.server_close()
    else:
        server.answers["/x"] = (trouble, {}, b"")
    page = Web().page(url)
    assert page.text == "old" and page.age > 3 * 3600 and page.note.endswith("this is the copy of 3 hours ago")


def test_an_old_copy_is_no_answer_where_the_page_is_gone(server):
    url = server.page("/x", "old")
    Web().page(url)
    age_cache(3600)
    server.answers["/x"] = (404, {}, b"")
    with pytest.raises(WebError, match="no such page"):
        Web().page(url)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\x00\xff", b'{"sha256": 3}\nx', "flip", "cut", "future"])
def test_a_damaged_copy_is_ignored(server, damage):
    url = server.page("/x", "one")
    Web().page(url)
    file = age_cache(-7200 if damage == "future" else 0)
    with open(file, "rb") as stream:
        content = stream.read()
    if damage != "future":
        with open(file, "wb") as stream:
            stream.write({"flip": content[:-1] + b"X", "cut": content[:-1]}.get(damage, damage))
    server.page("/x", "two")
    assert Web().page(url).text == "two"


def test_without_a_cache_pages_are_read_all_the_same(server, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Web().page(server.page("/x", "one")).text == "one"


# -- pip's configuration


def test_options_come_in_pips_order(monkeypatch, tmp_path):
    prefix, home = tmp_path / "prefix", os.environ["HOME"]
    said = {
        os.path.join(os.environ["XDG_CONFIG_DIRS"], "pip"): "shared",
        os.path.join(home, ".pip"): "legacy",
        os.path.join(os.environ["XDG_CONFIG_HOME"], "pip"): "user",
        str(prefix): "site",
        str(tmp_path / "given"): "given",
    }
    pip = [sys.executable, "-m", "pip", "config", "list"]
    for at, (folder, word) in enumerate(said.items()):
        if word == "given":
            monkeypatch.setenv("PIP_CONFIG_FILE", os.path.join(folder, "pip.conf"))
        pip_conf(f"[global]\nproxy = http://{word}:1\n", folder)
        assert pip_options(str(prefix))["proxy"] == f"http://{word}:1", at
        if word in ("shared", "legacy", "user", "given"):  # real pip, whose own prefix holds no configuration
            real = subprocess.run(pip, capture_output=True, text=True, timeout=60).stdout
            assert f"global.proxy='http://{word}:1'" in real
    pip_conf("[install]\nproxy = http://install:1\n", str(prefix))
    assert pip_options(str(prefix))["proxy"] == "http://install:1"
    monkeypatch.setenv("PIP_PROXY", "http://variable:1")
    assert pip_options(str(prefix))["proxy"] == "http://variable:1"
    monkeypatch.setenv("PIP_PROXY", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert "proxy" not in pip_options(str(prefix))


def test_a_given_file_stands_for_the_users_own(monkeypatch, tmp_path):
    pip_conf("[global]\nproxy = http://user:1\n")
    pip_conf("[global]\ntimeout = 3\n", str(tmp_path / "given"))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "given" / "pip.conf"))
    assert pip_options().get("proxy") is None and pip_options()["timeout"] == "3"


def test_a_file_that_pip_could_not_read_says_nothing():
    pip_conf("no section\n")
    pip_options()
    pip_conf("[global]\nretries = many\ntimeout = \xe4\n")
    Web()


def test_pips_timeout_is_the_limit(server):
    pip_conf("[global]\ndefault-timeout = 0.5\n")
    server.answers["/x"] = drip(b"x" * 100, 0.05)
    with pytest.raises(WebError, match="does not answer within"):
        Web().page(server.url + "/x")


def test_pips_retries_are_no_more_than_asked_for(server):
    pip_conf("[global]\nretries = 0\n")
    server.answers["/x"] = (500, {}, b"")
    with pytest.raises(WebError):
        Web().page(server.url + "/x")
    assert len(server.asked) == 1


# -- credentials


def basic(user, word):
    return "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()


@pytest.mark.parametrize("way", ["address", "index-url", "extra-index-url", "find-links", "netrc", "variable"])
def test_credentials_are_sent_and_never_shown(server, way, monkeypatch):
    host, account = f"127.0.0.1:{server.port}", f"me:{SECRET}%21"
    url = f"http://{account}@{host}/x" if way == "address" else f"{server.url}/x"
    if way == "netrc":
        with open(os.path.join(os.environ["HOME"], ".netrc"), "w") as stream:
            stream.write(f"machine 127.0.0.1 login me password {SECRET}!\n")
    elif way == "variable":
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"https://pypi.example/simple http://{account}@{host}/simple/")
    elif way != "address":
        pip_conf(f"[global]\n{way} = http://{account}@{host}/simple/\n")
    server.page("/x", "private", ETag='"1"')
    web = Web()
    page = web.page(url)
    assert server.asked[0][1]["Authorization"] == basic("me", SECRET + "!")
    said = [repr(web), repr(page), page.url, *everything_kept()]
    server.answers["/x"] = [(302, {"Location": "/x"}, b""), (500, {}, b"")]
    for answer in ((401, {}, b""), (500, {}, b""), (302, {"Location": f"http://me:{SECRET}%21@localhost/"}, b"")):
        server.answers["/z"] = answer
        with pytest.raises(WebError) as caught:
            web.page(url[:-1] + "z")
        said += [str(caught.value), repr(caught.value)]
    assert len(said) > 6 and not [text for text in said if SECRET in text or basic("me", SECRET + "!")[6:] in text]


def test_credentials_stay_with_their_host(server, other):
    pip_conf(f"[global]\nindex-url = http://me:{SECRET}@127.0.0.1:{server.port}/simple/\n")
    Web().page(other.page("/x", "elsewhere"))
    assert "Authorization" not in other.asked[0][1]


def test_what_a_server_repeats_is_not_repeated(server):
    def babble(handler):
        handler.wfile.write(f"you said {SECRET}!\r\n\r\n".encode())
        handler.close_connection = True

    server.answers["/x"] = babble
    with pytest.raises(WebError, match=r"you said \*\*\*\*!") as caught:
        Web().page(f"http://me:{SECRET}@127.0.0.1:{server.port}/x")
    assert SECRET not in str(caught.value)


def test_a_token_without_a_password_is_secret_too(server):
    server.answers["/x"] = (302, {"Location": f"http://localhost/{SECRET}"}, b"")
    with pytest.raises(WebError) as caught:
        Web().page(f"http://{SECRET}@127.0.0.1:{server.port}/x")
    assert server.asked[0][1]["Authorization"] == basic(SECRET, "") and SECRET not in str(caught.value)


# -- proxies


@pytest.mark.parametrize("way", ["pip", "pip without scheme", "http_proxy", "all_proxy"])
def test_a_proxy_is_used_with_its_credentials(server, other, way, monkeypatch):
    proxy = f"http://me:{SECRET}@127.0.0.1:{other.port}"
    if way.startswith("pip"):
        pip_conf(f"[global]\nproxy = {proxy if way == 'pip' else proxy[7:]}\n")
    else:
        monkeypatch.setenv(way, proxy)
    url = server.page("/x", "through")
    other.answers[url] = forward
    page = Web().page(url)
    assert page.text == "through" and other.paths() == [url]
    assert other.asked[0][1]["Proxy-Authorization"] == basic("me", SECRET)
    assert "Proxy-Authorization" not in server.asked[0][1]
    other.answers[url + "y"] = (407, {}, b"")
    with pytest.raises(WebError, match="the proxy wants") as caught:
        Web().page(url + "y")
    assert SECRET not in "".join([str(caught.value), repr(page), *everything_kept()])


def test_no_proxy_is_heeded(server, other, monkeypatch):
    monkeypatch.setenv("http_proxy", other.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert Web().page(server.page("/x", "direct")).text == "direct" and not other.asked


def test_a_tunnel_that_fails_tells_no_secret(other, monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://me:{SECRET}@127.0.0.1:{other.port}")
    with pytest.raises(WebError) as caught:
        Web().page("https://data.example/x")
    assert "Tunnel connection failed" in str(caught.value) and SECRET not in str(caught.value)


def test_a_socks_proxy_is_refused_in_words(server, monkeypatch):
    monkeypatch.setenv("all_proxy", f"socks5://me:{SECRET}@127.0.0.1:1")
    with pytest.raises(KitError, match="SOCKS") as caught:
        Web().page(server.url + "/x")
    assert SECRET not in str(caught.value)


# -- certificates


@pytest.fixture
def https(tmp_path):
    """A server with a certificate that its own bundle alone vouches for."""
    import ssl

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {certificate}"
    )
    try:
        subprocess.run(
            [*command.split(), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True, timeout=60
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate with")
    with serving() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
        server.url = f"https://localhost:{server.port}"
        yield server, certificate


def test_certificates_are_checked_as_pip_is_told(https):
    server, certificate = https
    url = server.page("/x", "encrypted")
    with pytest.raises(WebError, match="certificate is not trusted") as caught:
        Web().page(url)
    assert not caught.value.again
    pip_conf(f"[global]\ncert = {certificate}\n")
    assert Web().page(url).text == "encrypted"
    pip_conf("[global]\ncert = /nowhere.pem\n")
    with pytest.raises(KitError, match="certificates that pip is told to use"):
        Web(fresh=0, limit=2).page(url + "2")
    pip_conf(f"[global]\ncert = {os.devnull}\ntrusted-host = localhost:{server.port}\n")
    server.page("/y", "trusted")
    pip_conf(f"[global]\ntrusted-host = localhost:{server.port}\n")
    assert Web().page(server.url + "/y").text == "trusted"


# -- downloads


def test_a_file_comes_whole_with_its_progress(server, tmp_path):
    body = os.urandom(300_000)
    server.answers["/a.whl"] = (200, {}, body)
    ticks, digest = [], hashlib.sha256(body).hexdigest()
    got = Web().download(server.url + "/a.whl", str(tmp_path / "a.whl"), digest.upper(), lambda *t: ticks.append(t))
    assert got == digest and (tmp_path / "a.whl").read_bytes() == body
    assert ticks[-1] == (300_000, 300_000) and [d for d, _ in ticks] == sorted(d for d, _ in ticks)
    assert server.asked[0][1]["Accept-Encoding"] == "identity"
    assert [p.name for p in tmp_path.glob("a.whl*")] == ["a.whl"]


@pytest.mark.parametrize("how", ["argument", "address"])
def test_a_file_with_another_hash_is_not_kept(server, tmp_path, how):
    server.answers["/a.whl"] = (200, {}, b"evil")
    (tmp_path / "a.whl").write_text("what was there")
    wrong = "0" * 64
    where = server.url + "/a.whl" + (f"#sha256={wrong}" if how == "address" else "")
    with pytest.raises(WebError, match="its SHA-256 is") as caught:
        Web().download(where, str(tmp_path / "a.whl"), wrong if how == "argument" else None)
    assert not caught.value.again and len(server.asked) == 1
    assert (tmp_path / "a.whl").read_text() == "what was there" and not list(tmp_path.glob("*.part"))


def test_a_download_that_is_cut_starts_again_or_leaves_nothing(server, tmp_path):
    server.answers["/a"] = [cut(b"half", 8), (200, {}, b"complete")]
    Web().download(server.url + "/a", str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"complete"
    server.answers["/b"] = cut(b"half", 8)
    with pytest.raises(WebError, match="cut after 4 of 8 bytes"):
        Web().download(server.url + "/b", str(tmp_path / "b"))
    assert not list(tmp_path.glob("b*"))


def test_a_download_may_take_longer_than_a_page_but_not_drip(server, tmp_path, monkeypatch):
    monkeypatch.setattr(web_module, "RETRIES", 0)
    monkeypatch.setattr(web_module, "SLOWEST", 50)
    server.answers["/a"] = drip(b"x" * 40, 0.02)  # 50 bytes a second buy their own time
    Web(limit=0.3).download(server.url + "/a", str(tmp_path / "a"))
    monkeypatch.setattr(web_module, "SLOWEST", 1000)
    server.answers["/b"] = drip(b"x" * 1000, 0.02)
    start = time.monotonic()
    with pytest.raises(WebError, match="does not answer within"):
        Web(limit=0.3).download(server.url + "/b", str(tmp_path / "b"))
    assert time.monotonic() - start < 1.5 and not list(tmp_path.glob("b*"))


def test_a_place_that_cannot_be_written_is_said(server, tmp_path):
    server.answers["/a"] = (200, {}, b"x")
    with pytest.raises(KitError, match="cannot be written: No such file"):
        Web().download(server.url + "/a", str(tmp_path / "no" / "a"))


def test_an_interrupted_download_leaves_nothing(server, tmp_path):
    server.answers["/a"] = (200, {}, b"x" * 100_000)

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Web().download(server.url + "/a", str(tmp_path / "a"), progress=interrupt)
    assert not list(tmp_path.glob("a*"))

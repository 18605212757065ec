"""`ecdc serve`: serves its page, its models and its folder, to this machine only, and nothing else."""

import http.client
import json
import random
import socket
import threading
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from ecdc.cli import serve, web_server, web_static
from ecdc.cli.main import group
from ecdc.cli.web_server import ADDRESS, HEADERS, Server, Site
from ecdc.format.entropy.installed_priors import FOLDERS, known_priors
from ecdc.format.errors import EcdcError

SECRET = b"outside of everything that is served"
SONG = bytes(range(256)) * 40


def generate(asked, output):
    if asked["prompt"] == "fault":
        raise EcdcError("no such\nsound")
    for part in (b"ECDC", b"", json.dumps(asked).encode()):
        output.write(part)
    if asked["prompt"] == "late fault":
        raise EcdcError("too late")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    page, folder = root / "page", root / "folder"
    (page / "lib").mkdir(parents=True)
    (folder / "sub dir").mkdir(parents=True)
    (page / "index.html").write_text("<p>page</p>")
    (page / "lib" / "a.js").write_text("1")
    (page / "big.wasm").write_bytes(SONG)
    (page / "big.wasm.gz").write_bytes(b"packed")
    for place in (root / "secret.ecdc", folder / "secret.txt", folder / ".hidden.ecdc", page / ".hidden"):
        place.write_bytes(SECRET)
    (folder / "song.ecdc").write_bytes(SONG)
    (folder / "sub dir" / "ü&?.ecdc").write_bytes(SONG)
    (folder / "link.ecdc").symlink_to(root / "secret.ecdc")
    (folder / "links").symlink_to(root)
    (folder / "loop.ecdc").symlink_to("loop.ecdc")
    with Server(Site(page, folder, generate), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server, path, method="GET", body=None, **headers):
    """Return status, headers and body of one request."""
    connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_the_page_the_folder_and_the_models_are_served(server):
    assert ask(server, "/")[2] == b"<p>page</p>"
    assert ask(server, "/lib/a.js?x=1")[1]["Content-Type"].startswith("text/javascript")
    assert ask(server, "/files/song.ecdc")[2] == SONG
    assert ask(server, "/files/sub%20dir/" + quote("ü&?.ecdc"))[2] == SONG
    listed = json.loads(ask(server, "/files.json")[2])
    assert listed["generate"] and [row["name"] for row in listed["files"]] == ["song.ecdc", "sub dir/ü&?.ecdc"]
    found = json.loads(ask(server, "/catalog.json")[2])
    assert found["models"][0]["name"] == "nano-24k" and found["models"][0]["prior"] == found["priors"][0]["hash"]
    for address in (found["models"][0]["decoder"], found["priors"][0]["file"]):
        status, headers, _ = ask(server, "/" + address, Range="bytes=0-9")
        assert status == 206 and "immutable" in headers["Cache-Control"]


def test_what_is_not_listed_is_counted_and_a_static_site_has_it(server, monkeypatch, tmp_path):
    monkeypatch.setattr(web_server, "MAX_LISTED", 1)
    monkeypatch.setattr(serve, "PAGE", server.site.page)
    listed = json.loads(ask(server, "/files.json")[2])
    assert [row["name"] for row in listed["files"]] == ["song.ecdc"] and listed["more"] == 1
    done = CliRunner().invoke(group, ["serve", str(server.site.folder), "--write", str(tmp_path / "site")])
    listed = json.loads((tmp_path / "site" / "files.json").read_text())
    assert done.exit_code == 0 and len(listed["files"]) == 2 and listed["more"] == 0
    assert (tmp_path / "site" / "files" / "sub dir" / "ü&?.ecdc").read_bytes() == SONG


PLACES = [
    "/../secret.ecdc",
    "/files/../../secret.ecdc",
    "/files/%2e%2e/%2e%2e/secret.ecdc",
    "/files/..%2fsecret.ecdc",
    "/files//etc/passwd",
    "/files/..%5csecret.ecdc",
    "/files/link.ecdc",
    "/files/links/secret.ecdc",
    "/files/loop.ecdc",
    "/files/secret.txt",
    "/files/.hidden.ecdc",
    "/.hidden",
    "/files/",
    "/files",
    "/files/sub%20dir",
    "/lib",
    "//etc/passwd",
    "/files/song.ecdc%00.txt",
    "/models/../../secret.ecdc",
    "/models/nano-24k/CARD.md",
    "/%c0%ae%c0%ae/secret.ecdc",
    "/files/" + "a" * 5000 + ".ecdc",
    "/lib/a.js/",
]


@pytest.mark.parametrize("path", PLACES)
def test_nothing_else_is_served(server, path):
    status, _, body = ask(server, path)
    assert status == 404 and SECRET not in body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{port}", "localhost.:{port}", ""]
)
def test_other_hosts_get_nothing(server, host):
    for method, path in (("GET", "/"), ("GET", "/files/song.ecdc"), ("HEAD", "/"), ("POST", "/generate")):
        assert ask(server, path, method, Host=host.format(port=server.server_port))[0] == 403


def test_this_machine_has_three_names_and_one_address(server):
    assert server.server_address[0] == ADDRESS == "127.0.0.1"
    for name in ("localhost", "127.0.0.1", "[::1]"):
        assert ask(server, "/", Host=f"{name}:{server.server_port}")[0] == 200
    with socket.create_connection((ADDRESS, server.server_port), 5) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 403 " in raw.recv(1000)


def test_every_answer_has_the_security_headers(server):
    for path in ("/", "/nothing", "/files.json", "/files/song.ecdc"):
        for more in ({}, {"Host": "evil.example"}, {"Range": "bytes=1-2"}, {"Range": "bytes=99999999-"}):
            found = ask(server, path, **more)[1]
            assert all(found[name] == value for name, value in HEADERS.items())


def test_ranges_are_parts_of_the_whole(server):
    rng, n = random.Random(0), len(SONG)
    for _ in range(60):
        first, last = rng.randrange(n + 50), rng.randrange(n + 50)
        wanted = rng.choice([f"bytes={first}-{last}", f"bytes={first}-", f"bytes=-{last}"])
        start = first if not wanted.startswith("bytes=-") else max(0, n - last)
        stop = min(last + 1, n) if wanted == f"bytes={first}-{last}" else n
        status, headers, body = ask(server, "/files/song.ecdc", Range=wanted)
        if start < stop:
            assert (status, body) == (206, SONG[start:stop]), wanted
            assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{n}"
        else:
            assert (status, headers["Content-Range"]) == (416, f"bytes */{n}"), wanted
    for strange in ("bytes=", "bytes=-", "bytes=a-b", "bytes=1-2,4-5", "lines=1-2", "bytes=" + "9" * 30 + "-"):
        assert ask(server, "/files/song.ecdc", Range=strange)[::2] == (200, SONG), strange


def test_changed_files_are_sent_whole_and_unchanged_ones_not_at_all(server):
    tag = ask(server, "/files/song.ecdc")[1]["ETag"]
    assert ask(server, "/files/song.ecdc", If_None_Match=tag)[::2] == (304, b"")
    assert ask(server, "/files/song.ecdc", Range="bytes=1-2", If_Range=tag)[0] == 206
    assert ask(server, "/files/song.ecdc", Range="bytes=1-2", If_Range='"old"')[::2] == (200, SONG)


def test_packed_files_are_sent_to_browsers_that_take_them(server):
    assert ask(server, "/big.wasm")[2] == SONG
    _, headers, body = ask(server, "/big.wasm", Accept_Encoding="gzip, br")
    assert (headers["Content-Encoding"], body) == ("gzip", b"packed")
    assert ask(server, "/big.wasm", Accept_Encoding="gzip", Range="bytes=0-3")[2] == SONG[:4]


def post(server, asked, **headers):
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    return ask(server, "/generate", "POST", body, **{"Content_Type": "application/json", **headers})


def test_what_is_generated_is_sent_as_it_is_made(server):
    status, headers, body = post(server, {"prompt": " piano ", "seconds": 3, "seed": 4})
    assert status == 200 and headers["Transfer-Encoding"] == "chunked"
    assert json.loads(body[4:]) == {"prompt": "piano", "seconds": 3.0, "seed": 4}


def test_who_hears_the_end_of_the_music_may_ask_again_at_once(server, monkeypatch):
    is_busy = []
    for owner, name in ((web_server._Chunked, "finish"), (web_server.Handler, "_fail")):
        answer = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, answer=answer: (is_busy.append(server.site.busy.locked()), answer(*a))[1])
    assert [post(server, {"prompt": prompt})[0] for prompt in ("piano", "fault", "piano")] == [200, 500, 200]
    assert is_busy == [False] * 3


def test_faults_of_the_generator_are_one_line_and_never_a_whole_stream(server):
    status, _, body = post(server, {"prompt": "fault"})
    assert (status, json.loads(body)) == (500, {"error": "no such sound"})
    with pytest.raises(http.client.IncompleteRead):
        post(server, {"prompt": "late fault"})
    assert post(server, {"prompt": "piano"})[0] == 200, "the next one is generated"


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        {},
        {"prompt": ""},
        {"prompt": "x" * 1001},
        {"prompt": 1},
        {"prompt": "x", "seconds": 0},
        {"prompt": "x", "seconds": 1e9},
        {"prompt": "x", "seconds": "1"},
        {"prompt": "x", "seed": -1},
        {"prompt": "x", "seed": 1.5},
        {"prompt": "x", "seconds": True},
        b'{"prompt": "x", "seconds": NaN}',
        b" " * 9000,
        b"[" * 8000,
    ],
)
def test_bad_requests_are_refused(server, asked):
    status, _, body = post(server, asked)
    assert status == 400 and json.loads(body)["error"].isprintable()


def test_pages_of_others_cannot_generate(server):
    port = server.server_port
    assert post(server, {"prompt": "x"}, Origin="http://evil.example")[0] == 403
    assert post(server, {"prompt": "x"}, Origin="null")[0] == 403
    assert post(server, {"prompt": "x"}, Origin=f"http://127.0.0.1:{port}")[0] == 200
    assert post(server, {"prompt": "x"}, Content_Type="text/plain")[0] == 400, "browsers send this without asking"
    assert ask(server, "/elsewhere", "POST", b"{}")[0] == 404


def test_one_generation_at_a_time(server):
    with server.site.busy:
        assert post(server, {"prompt": "x"})[0] == 503


def test_a_static_site_holds_all_that_the_server_serves(server, monkeypatch, tmp_path):
    site = server.site
    monkeypatch.setattr(serve, "PAGE", site.page)
    done = CliRunner().invoke(group, ["serve", str(site.folder), "--write", str(tmp_path / "site")])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "site" / "catalog.json").read_text())
    addresses = [found["models"][0][name] for name in ("encoder", "decoder", "weights")] + [found["priors"][0]["file"]]
    for path in ("", "lib/a.js", "files/song.ecdc", "files/sub dir/ü&?.ecdc", *(a.split("?")[0] for a in addresses)):
        assert (tmp_path / "site" / (path or "index.html")).read_bytes() == ask(server, "/" + quote(path))[2]
    listed = json.loads((tmp_path / "site" / "files.json").read_text())
    assert [row["name"] for row in listed["files"]] == ["song.ecdc", "sub dir/ü&?.ecdc"] and not listed["generate"]
    done = CliRunner().invoke(group, ["serve", "--write", str(tmp_path)])
    assert done.exit_code == 1 and "not an empty folder" in done.output and done.output.count("\n") == 1


@pytest.mark.parametrize("is_there", [False, True])
def test_a_static_site_appears_only_when_it_is_whole(server, monkeypatch, tmp_path, is_there):
    copy, target = web_static._copy, tmp_path / "new" / "site"

    def fails(source, place):
        if source.name == "song.ecdc":
            raise OSError(28, "No space left on device", str(place))
        copy(source, place)

    monkeypatch.setattr(serve, "PAGE", server.site.page)
    monkeypatch.setattr(web_static, "_copy", fails)
    if is_there:
        target.mkdir(parents=True)
    command = ["serve", str(server.site.folder), "--write", str(target)]
    done = CliRunner().invoke(group, command)
    assert done.exit_code == 1 and "no space left" in done.output and done.output.count("\n") == 1
    assert target.exists() == is_there and not (is_there and list(target.iterdir()))
    monkeypatch.setattr(web_static, "_copy", copy)
    assert CliRunner().invoke(group, command).exit_code == 0 and (target / "files" / "song.ecdc").read_bytes() == SONG


def test_a_compressed_prior_is_served_unpacked(tmp_path, monkeypatch):
    _, prior = next(known_priors())
    prior.save(tmp_path / "a.prior.gz")
    prior.save(tmp_path / "plain")
    monkeypatch.setenv(FOLDERS, str(tmp_path))
    site = Site(tmp_path)
    address = json.loads(site.catalog())["priors"][0]["file"]
    assert address.startswith("models/") and "/a.prior?v=" in address
    assert site.find("/" + address.partition("?")[0]).read_bytes() == (tmp_path / "plain").read_bytes()


def test_faults_of_the_command_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(serve, "PAGE", tmp_path)
    done = CliRunner().invoke(group, ["serve"])
    assert done.exit_code == 1 and "make web" in done.output and done.output.count("\n") == 1
    (tmp_path / "index.html").write_text("")
    done = CliRunner().invoke(group, ["serve", str(tmp_path / "missing")])
    assert done.exit_code == 1 and "is not a folder" in done.output and done.output.count("\n") == 1
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        done = CliRunner().invoke(group, ["serve", "--port", str(taken.getsockname()[1])])
        assert done.exit_code == 1 and "--port" in done.output and done.output.count("\n") == 1


def test_files_that_cannot_be_read_or_become_shorter_hang_no_browser(tmp_path, monkeypatch):
    """An answer that breaks off ends its connection; the browser would wait for the rest until its own limit."""
    (tmp_path / "song.ecdc").write_bytes(SONG)
    with Server(Site(tmp_path, tmp_path), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        real = web_server._copy
        monkeypatch.setattr(web_server, "_copy", lambda source, target, n_bytes: real(source, target, n_bytes - 99) + 99)
        connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=20)
        connection.request("GET", "/files/song.ecdc")
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()
        connection.close()

        def refuse(*given):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(web_server, "open", refuse, raising=False)
        status, _, body = ask(server, "/files/song.ecdc")
        assert status == 403 and "cannot be read (Permission denied)" in json.loads(body)["error"]
        server.shutdown()

"""The server of `ecdc serve`: the page, the models that it loads, and a folder of files, for browsers on this machine only.

It binds to 127.0.0.1 and answers only requests that name this machine as their host: a page of another site that points its
own name at 127.0.0.1 (DNS rebinding) gets nothing. Files are served from three places: the built page, the models of the
catalog, and the `.ecdc` files of one folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit

from ..format.entropy.prior import COMPRESSED, unpacked
from .web_catalog import catalog

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost", "[::1]")  # of this machine, in requests
SUFFIX = ".ecdc"
MAX_LISTED = 2000
MAX_REQUEST = 8192  # bytes of a request to generate
PIECE = 1 << 18
TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8", ".json": "application/json", ".wasm": "application/wasm", ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json", ".png": "image/png",
}  # fmt: skip
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",  # these two allow threads of WebAssembly
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; "
    "connect-src 'self' blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

Generate = Callable[[dict[str, Any], BinaryIO], None]  # writes a stream as it is generated; raises EcdcError


@dataclass
class Site:
    """What is served."""

    page: Path  # the built page
    folder: Path | None = None  # of .ecdc files
    generate: Generate | None = None
    busy: threading.Lock = field(default_factory=threading.Lock)  # held while music is generated
    models: dict[str, Path] = field(default_factory=dict)  # address -> file
    unpacked: TemporaryDirectory[str] = field(default_factory=lambda: TemporaryDirectory(prefix="ecdc-"))
    _catalog: bytes = b""

    def catalog(self) -> bytes:
        """Return the catalog of models as JSON. Reads the models at the first call."""
        if not self._catalog:
            self._catalog = json.dumps(catalog(self._address)).encode()
        return self._catalog

    def _address(self, path: Path) -> str:
        stamp = path.stat()
        name = path.name.removesuffix(COMPRESSED)
        address = f"models/{path.parent.name}/{name}"
        if name != path.name:  # the browser reads parts of a prior, so it needs the bytes themselves
            path, packed = Path(self.unpacked.name) / f"{len(self.models)}-{name}", path
            path.write_bytes(unpacked(packed))
        self.models["/" + address] = path
        return f"{quote(address)}?v={stamp.st_mtime_ns:x}-{stamp.st_size:x}"

    def files(self) -> list[dict[str, Any]]:
        """Return the `.ecdc` files of the folder: names relative to it, and sizes in bytes."""
        rows: list[dict[str, Any]] = []
        root = self.folder
        for path in sorted(root.rglob(f"*{SUFFIX}")) if root else []:
            relative = path.relative_to(root)  # type: ignore[arg-type]
            if inside(root, relative.parts):
                with contextlib.suppress(OSError):  # it was removed meanwhile
                    rows.append({"name": relative.as_posix(), "size": path.stat().st_size})
        return rows

    def listing(self) -> bytes:
        """Return the first MAX_LISTED files of the folder as JSON, how many more there are, and what else is served."""
        rows = self.files()
        served = {"folder": bool(self.folder), "generate": self.generate is not None}
        return json.dumps({"files": rows[:MAX_LISTED], "more": len(rows[MAX_LISTED:])} | served).encode()

    def find(self, path: str) -> Path | None:
        """Return the file at the path of a URL, or None."""
        if path.startswith("/models/"):
            self.catalog()
            return self.models.get(unquote(path))
        if path.startswith("/files/"):
            found = inside(self.folder, unquote(path).split("/")[2:])
            return found if found and found.suffix == SUFFIX else None
        return inside(self.page, unquote(path).split("/")[1:] if path != "/" else ["index.html"])


def inside(root: Path | None, parts: Any) -> Path | None:
    """Return the regular file at `parts` under `root`; None if there is none, if it is hidden, or if it lies elsewhere."""
    names = list(parts)
    if root is None or not names or any(not name or name.startswith(".") or "\\" in name or "\0" in name for name in names):
        return None
    try:
        path = root.joinpath(*names).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    return path if path.is_relative_to(root.resolve()) and path.is_file() else None


class Server(ThreadingHTTPServer):
    """Serves a site on a port of 127.0.0.1; port 0 takes a free one."""

    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        super().__init__((ADDRESS, port), Handler)

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: browsers close connections as they like."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ecdc", ""
    timeout = 60
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet."""

    def end_headers(self) -> None:
        """Add the headers that every answer has."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer with a file, the catalog, or the list of files."""
        if not self._is_ours():
            return
        path, site = urlsplit(self.path).path, self.server.site
        made = {"/catalog.json": site.catalog, "/files.json": site.listing}
        if path in made:
            return self._send(made[path](), "application/json")
        found = site.find(path)
        if found is None:
            return self._fail(404, "there is no such file")
        self._send_file(found)

    def do_POST(self) -> None:
        """Generate music and send it while it is made."""
        site = self.server.site
        if not self._is_ours():
            return
        if urlsplit(self.path).path != "/generate" or site.generate is None:
            return self._fail(404, "no generator is installed")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_REQUEST or self.headers.get_content_type() != "application/json":
            return self._fail(400, f"send at most {MAX_REQUEST} bytes of JSON")
        try:
            asked = checked_request(json.loads(self.rfile.read(int(length))))
        except (ValueError, RecursionError) as error:
            return self._fail(400, str(error))
        if not site.busy.acquire(blocking=False):
            return self._fail(503, "other music is being generated; try again when it is done")
        self._generate(site.generate, asked)

    def _is_ours(self) -> bool:
        """Return True if the request is for this machine and from a page of ours; else answer 403."""
        port = self.server.server_port
        hosts = {f"{name}:{port}" for name in NAMES}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in hosts and origin in (None, *(f"http://{host}" for host in hosts)):
            return True
        self._fail(403, "this server answers only to this machine's own names")
        return False

    def _generate(self, generate: Generate, asked: dict[str, Any]) -> None:
        """Generate and answer. `busy` is released before the page hears of the end, because it may ask again at once."""
        from ..format.errors import EcdcError

        body = _Chunked(self)
        try:
            try:
                generate(asked, body)  # type: ignore[arg-type]
            finally:
                self.server.site.busy.release()
        except (EcdcError, RuntimeError) as error:
            if body.is_begun:  # too late for another answer: the stream ends without its last chunk
                self.close_connection = True
                return
            return self._fail(500, " ".join(str(error).split()))
        body.finish()

    def _fail(self, status: int, text: str) -> None:
        self.close_connection = True  # a body that was not read must not be taken for the next request
        self._send(json.dumps({"error": text}).encode(), "application/json", status)

    def _send(self, data: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_file(self, path: Path) -> None:
        kind = TYPES.get(path.suffix, "application/octet-stream")
        packed = path.with_name(path.name + ".gz")
        takes_packed = "gzip" in self.headers.get("Accept-Encoding", "") and "Range" not in self.headers
        is_packed = takes_packed and packed.is_file()
        try:
            file = open(packed if is_packed else path, "rb")  # noqa: SIM115 - closed below
        except OSError as error:
            return self._fail(403, f"the file cannot be read ({error.strerror})")
        with file:
            stamp = os.fstat(file.fileno())
            tag = f'"{stamp.st_mtime_ns:x}-{stamp.st_size:x}"'
            if self.headers.get("If-None-Match") == tag:
                self.send_response(304)
                return self._end_headers(tag)
            self._send_range(file, stamp.st_size, tag, kind, is_packed)

    def _send_range(self, file: BinaryIO, size: int, tag: str, kind: str, is_packed: bool) -> None:
        asked = self.headers.get("Range", "")
        wanted = asked if self.headers.get("If-Range") in (None, tag) else ""
        part = byte_range(wanted, size)
        if part == (0, 0):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            return self._end_headers(tag)
        first, stop = part or (0, size)
        self.send_response(206 if part else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(stop - first))
        if part:
            self.send_header("Content-Range", f"bytes {first}-{stop - 1}/{size}")
        if is_packed:
            self.send_header("Content-Encoding", "gzip")
        self._end_headers(tag)
        if self.command != "HEAD":
            file.seek(first)
            if _copy(file, self.wfile, stop - first):
                self.close_connection = True  # the file became shorter: the browser must not wait for the rest

    def _end_headers(self, tag: str) -> None:
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        self.send_header("Vary", "Accept-Encoding")
        forever = urlsplit(self.path).query.startswith("v=")  # an address that changes with its file
        self.send_header("Cache-Control", "max-age=31536000, immutable" if forever else "no-cache")
        self.end_headers()


def byte_range(wanted: str, size: int) -> tuple[int, int] | None:
    """Return the first byte of a Range header's only range and the one after its last; None if it is no such header.

    (0, 0) means that the file has no such bytes.
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", wanted.strip())
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        return (max(0, size - int(found[2])), size) if int(found[2]) and size else (0, 0)
    first, stop = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    return (first, stop) if first < stop else (0, 0)


def checked_request(asked: Any) -> dict[str, Any]:
    """Return prompt, seconds and seed of a request to generate; raises ValueError."""
    if not isinstance(asked, dict):
        raise ValueError("send an object with prompt, seconds and seed")
    prompt, seconds, seed = asked.get("prompt"), asked.get("seconds", 10), asked.get("seed", 0)
    if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > 1000:
        raise ValueError("the prompt must be 1 to 1000 characters")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= 120:
        raise ValueError("seconds must be 1 to 120")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**53:
        raise ValueError("seed must be a whole number, 0 or more")
    return {"prompt": prompt.strip(), "seconds": float(seconds), "seed": seed}


class _Chunked:
    """A writable file that sends what is written to it as a response whose length is not known."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.is_begun = False

    def write(self, data: bytes) -> int:
        """Send `data` now."""
        handler = self._handler
        if not self.is_begun:
            self.is_begun = True
            handler.send_response(200)
            handler.send_header("Content-Type", "application/octet-stream")
            handler.send_header("Transfer-Encoding", "chunked")
            handler.send_header("Cache-Control", "no-store")
            handler.end_headers()
        if data:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), bytes(data)))
        return len(data)

    def finish(self) -> None:
        """Tell the browser that nothing follows."""
        self._handler.wfile.write(b"0\r\n\r\n")


def _copy(source: BinaryIO, target: Any, n_bytes: int) -> int:
    """Copy bytes; return how many are missing because the source ended."""
    while n_bytes > 0:
        part = source.read(min(PIECE, n_bytes))
        if not part:
            break
        target.write(part)
        n_bytes -= len(part)
    return n_bytes

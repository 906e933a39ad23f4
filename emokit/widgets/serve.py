"""Range requests for single media files, on the loopback interface alone.

A browser can only seek in a video that is served in ranges, and Jupyter's own
file route reaches no further than the notebook's folder. One small tornado
server, in a thread of its own, serves every file that a player holds open.
"""

from __future__ import annotations

import asyncio
import logging
import mimetypes
import re
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.httputil import format_timestamp
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

logger = logging.getLogger(__name__)

#: Longest answer to "from here to the end". Browsers ask again for the rest, while a
#: proxy that collects whole answers before passing them on would fail on a long film.
OPEN_RANGE_LIMIT = 8 * 2**20

_CHUNK = 256 * 2**10

#: Browsers decide by these whether to try a file at all; the containers are siblings.
_MIME_TYPES = {
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".mkv": "video/webm",
    ".m4a": "audio/mp4",
    ".wav": "audio/wav",
}

_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost"})


def media_type(path: Path) -> str:
    """MIME type under which a browser will try to play `path`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from emokit.widgets.serve import media_type
    >>> media_type(Path("talk.MOV"))
    'video/mp4'
    """
    return (
        _MIME_TYPES.get(path.suffix.lower())
        or mimetypes.guess_type(path.name)[0]
        or "application/octet-stream"
    )


@dataclass
class ServedFile:
    """A file that can be had at ``http://127.0.0.1:{port}/{token}`` until it is closed."""

    port: int
    token: str = field(repr=False)

    @property
    def address(self) -> str:
        """Where the file is, for a browser on the same machine."""
        return f"http://127.0.0.1:{self.port}/{self.token}"

    def close(self) -> None:
        """Stop serving the file; the server stops with its last file."""
        _release(self.token)


def serve_file(path: Path) -> ServedFile:
    """Serve one file to this machine, at an address that cannot be guessed.

    Parameters
    ----------
    path : pathlib.Path
        A file. Nothing else in its folder can be reached.

    Returns
    -------
    ServedFile

    Raises
    ------
    FileNotFoundError
        If there is no file at `path`.
    OSError
        If no port can be opened.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from urllib.request import Request, urlopen
    >>> from emokit.widgets.serve import serve_file
    >>> path = Path(tempfile.mkdtemp()) / "talk.mp4"
    >>> path.write_bytes(b"    ftypisom")
    12
    >>> served = serve_file(path)
    >>> with urlopen(Request(served.address, headers={"Range": "bytes=4-7"})) as answer:
    ...     answer.status, answer.read()
    (206, b'ftyp')
    >>> served.close()
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file to serve at {path}")
    global _server  # noqa: PLW0603
    with _lock:
        if _server is None:
            _server = _Server()
        token = secrets.token_urlsafe(32)
        _server.files[token] = path
        return ServedFile(_server.port, token)


def _release(token: str) -> None:
    global _server  # noqa: PLW0603
    with _lock:
        if _server is None or _server.files.pop(token, None) is None:
            return
        if not _server.files:
            _server.stop()
            _server = None


class _Server:
    """An event loop in a daemon thread: the kernel's own loop is busy while a cell runs."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        (socket,) = bind_sockets(0, address="127.0.0.1")
        self.port: int = socket.getsockname()[1]
        self._socket = socket
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="emokit-media", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        application = Application(
            [(r"/([A-Za-z0-9_-]+)", _FileHandler, {"files": self.files})],
            # A line in the log for each range would drown the notebook's own messages.
            log_function=lambda handler: None,
        )
        server = HTTPServer(application)
        server.add_socket(self._socket)
        try:
            self._loop.run_forever()
            server.stop()
            self._loop.run_until_complete(self._finish(server))
        finally:
            self._loop.close()

    async def _finish(self, server: HTTPServer) -> None:
        await server.close_all_connections()
        current = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not current]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _FileHandler(RequestHandler):
    def initialize(self, files: dict[str, Path]) -> None:
        self.files = files

    def set_default_headers(self) -> None:
        # No Access-Control-Allow-Origin: a media element needs none, and scripts of other
        # pages must not read the file.
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.clear_header("Server")

    def prepare(self) -> None:
        # Another site's name made to point at this machine must not pass for this machine.
        # jupyter-server-proxy hands on the Host of the page and adds its own header.
        host = self.request.host_name
        if host not in _LOOPBACK_HOSTS and "X-Proxycontextpath" not in self.request.headers:
            raise HTTPError(403)

    async def head(self, token: str) -> None:
        await self._answer(token, send=False)

    async def get(self, token: str) -> None:
        await self._answer(token, send=True)

    def write_error(self, status_code: int, **_: object) -> None:
        self.set_header("Content-Type", "text/plain")
        self.finish(f"{status_code}\n")

    async def _answer(self, token: str, *, send: bool) -> None:
        path = self.files.get(token)
        if path is None or not path.is_file():
            raise HTTPError(404)
        stat = path.stat()
        etag = f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"'
        self.set_header("Content-Type", media_type(path))
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("ETag", etag)
        self.set_header("Last-Modified", format_timestamp(stat.st_mtime))
        self.set_header("Cache-Control", "private, no-cache")

        wanted = self.request.headers.get("Range", "")
        if self.request.headers.get("If-Range", etag) != etag:
            wanted = ""
        span = parse_range(wanted, stat.st_size)
        if span is None:
            first, last = 0, stat.st_size - 1
        elif span[0] > span[1]:
            self.set_status(416)
            self.set_header("Content-Range", f"bytes */{stat.st_size}")
            self.finish()
            return
        else:
            first, last = span
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {first}-{last}/{stat.st_size}")
        self.set_header("Content-Length", str(last - first + 1))
        if send:
            await self._send(path, first, last)
        else:
            self.finish()

    async def _send(self, path: Path, first: int, last: int) -> None:
        with path.open("rb") as file:
            file.seek(first)
            left = last - first + 1
            while left > 0:
                chunk = file.read(min(_CHUNK, left))
                if not chunk:
                    # The file became shorter meanwhile: the length promised cannot be kept.
                    self.request.connection.stream.close()
                    return
                left -= len(chunk)
                self.write(chunk)
                try:
                    await self.flush()
                except StreamClosedError:
                    return  # the browser has seen enough; it does so at every seek

    def compute_etag(self) -> None:
        return None


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of the answer to a Range header.

    Parameters
    ----------
    header : str
        Value of the Range header; empty where there is none.
    size : int
        Length of the file in bytes.

    Returns
    -------
    tuple of int or None
        None where the whole file answers it (no range, several, or no valid one). The
        first lies beyond the last where no byte satisfies it. A range without an end
        stops after ``OPEN_RANGE_LIMIT`` bytes.

    Examples
    --------
    >>> from emokit.widgets.serve import parse_range
    >>> parse_range("bytes=10-19", 100), parse_range("bytes=-10", 100)
    ((10, 19), (90, 99))
    >>> parse_range("bytes=0-", 2**30)
    (0, 8388607)
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size - 1
    start = int(first)
    if not last:
        return start, min(start + OPEN_RANGE_LIMIT, size) - 1
    if int(last) < start:
        return None
    return start, min(int(last), size - 1)


_lock = threading.Lock()
_server: _Server | None = None

"""Tiny servers: one that serves what it is told to and remembers what was posted where, one that says the same to everybody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wickguard.probe.wire import Address

Page = object | Callable[[], object]


@dataclass(slots=True)
class Tiny:
    """pages: by path, what GET answers: JSON, text as it is, or a function that makes one. routes: the same of POST. only: the
    one model that a route has, where it has one. unknown: what no body may hold. statuses: of routes that don't
    say 200.
    """

    pages: dict[str, Page] = field(default_factory=dict)
    routes: dict[str, Page] = field(default_factory=dict)
    only: dict[str, str] = field(default_factory=dict)
    unknown: bytes | None = None
    statuses: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    posted: list[str] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def running(tiny: Tiny) -> Iterator[Tiny]:
    """Serve on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            tiny.asked.append(self.path)
            self._answer(tiny.pages)

        def do_POST(self) -> None:
            tiny.posted.append(self.path)
            body = self.rfile.read(int(self.headers["content-length"]))
            model = json.loads(body).get("model")
            there = model == tiny.only.get(self.path, model) and not (tiny.unknown and tiny.unknown in body)
            self._answer(tiny.routes if there else {})

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

        def _answer(self, pages: dict[str, Page]) -> None:
            page = pages.get(self.path)
            found = page() if callable(page) else page
            body = (found if isinstance(found, str) else json.dumps(found)).encode()
            self.send_response(tiny.statuses.get(self.path, 200) if self.path in pages else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        tiny.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield tiny
        finally:
            server.shutdown()


@contextlib.asynccontextmanager
async def saying(answer: bytes, *, keep: bool = False) -> AsyncIterator[tuple[Address, list[bytes]]]:
    """A server that says `answer` to each request head and closes then, if it is not to `keep` the connection; where it is, and
    what it has read.

    When the block is over every connection has ended on this side, too.
    """
    read: list[bytes] = []
    ended: list[asyncio.Task[None]] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while data := await reader.read(65_536):
                read.append(data)
                writer.write(answer)
                if not keep:
                    break
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.create_task(converse(reader, writer)))

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1]), read
        await asyncio.gather(*ended)

"""The wire: one step of a trace on a real connection, byte by byte as it was asked for.

Decides how requests that no client library would send are written (slow, chunked, raw, unfinished, unread) and what is
noted of the answer: when it came, how much of the body had been taken by then, how the connection ended. Promises that it
never raises for what the target does: every fate of a step is an `Answer`. It must not know cases, oracles or limits.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from typing import cast

import h11

from wickguard import __version__
from wickguard.clock import now
from wickguard.probe.trace import RAW_HOST, Reading, Request, Step
from wickguard.units import KIB, MIB

MARKER = f"wickguard-probe/{__version__}"
# Of an answer; the rest is not read and the connection is closed.
MAX_RESPONSE_BYTES = 32 * MIB
# What is kept of a body, for messages and for `usage`, which stands at its end.
KEPT_BYTES = 4 * KIB
_PIECE_BYTES = 64 * KIB
# A small send buffer, so that "taken" means taken by the target's side and not by our own kernel.
_SEND_BUFFER_BYTES = 64 * KIB
_QUIET_S = 0.3


@dataclass(slots=True)
class Answer:
    """What became of a step.

    status: 0 when no answer came; `error` then says why: refused, reset, timeout, closed, malformed. latency_s: from the
    first byte sent (of a slow body: from its last) to the end of the answer, or to the failure. taken_bytes: of the body,
    when the answer began. tail: the last bytes of the answer's body. open_s: how long the target kept the connection.
    kept_open: it was still open when `hold_s` was over. continued: the rest of the request was invited (100 Continue).
    """

    status: int = 0
    latency_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    head: bytes = b""
    tail: bytes = b""
    response_bytes: int = 0
    taken_bytes: int = 0
    error: str = ""
    open_s: float = 0.0
    kept_open: bool = False
    continued: bool = False

    @property
    def ok(self) -> bool:
        """Whether the request was accepted, and its answer came whole."""
        return 200 <= self.status < 300 and not self.error

    @property
    def asks_to_wait(self) -> bool:
        """Whether the target said that it has too much to do for this caller, or for anybody, and that it knows."""
        return self.status == 429 or (self.status == 503 and "retry-after" in self.headers)

    @property
    def refused(self) -> bool:
        """Whether the target said no: an error status, or a connection that it ended itself."""
        return self.status >= 400 or self.error in ("reset", "closed")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the target listens. tls: with verification by the system's certificates."""

    host: str
    port: int
    tls: bool = False

    @property
    def authority(self) -> str:
        """host:port, as in the Host header."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{name}:{self.port}"


class Connection:
    """One TCP connection to the target; steps on it go out one after the other."""

    def __init__(self, address: Address, key: str | None) -> None:
        self._address = address
        self._key = key
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._opened = 0.0

    async def exchange(self, step: Step, timeout_s: float, body: list[bytes] | None = None) -> Answer:
        """Send `step` and note what becomes of it; at most `timeout_s` plus the step's own `hold_s`.

        body: takes the pieces of the answer's body, where all of it is wanted.
        """
        answer = Answer()
        started = now()
        try:
            async with asyncio.timeout(timeout_s + step.hold_s + _pacing_s(step)):
                await self._open()
                started = now()
                await self._run(step, answer, body)
        except TimeoutError:
            answer.error = "timeout"
        except ConnectionRefusedError:
            answer.error = "refused"
        except (ConnectionError, asyncio.IncompleteReadError):
            answer.error = "reset"
        except h11.RemoteProtocolError:
            answer.error = "malformed"
        except OSError as error:
            answer.error = "refused" if self._writer is None else "reset"
            answer.head = str(error).encode()
        if answer.error or not answer.latency_s:
            answer.latency_s = answer.latency_s or now() - started
        answer.open_s = now() - self._opened if self._opened else 0.0
        if answer.error or step.reading is not Reading.ALL or not step.complete:
            self.close()
        return answer

    def close(self) -> None:
        """Drop the connection, without waiting."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _open(self) -> None:
        if self._writer is not None:
            return
        context = ssl.create_default_context() if self._address.tls else None
        self._reader, self._writer = await asyncio.open_connection(
            self._address.host, self._address.port, ssl=context, limit=256 * KIB
        )
        self._writer.transport.set_write_buffer_limits(high=0)
        plain: socket.socket | None = self._writer.get_extra_info("socket")
        if plain is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._opened = now()

    async def _run(self, step: Step, answer: Answer, body: list[bytes] | None) -> None:
        reader, writer = self._reader, self._writer
        if reader is None or writer is None:
            raise ConnectionResetError
        head = self._head(step)
        first = now()
        progress = _Progress(first, body)
        writing = asyncio.create_task(_write(writer, head, step, progress))
        try:
            if step.reading is Reading.HANG_UP:
                await writing
                # A while after the last byte, so that the target has begun.
                await asyncio.sleep(step.hold_s)
                answer.latency_s = now() - first
                return
            if step.reading is Reading.NOTHING:
                # The stream would take half a megabyte before it stops: a reader that reads.
                transport = cast(asyncio.Transport, writer.transport)
                transport.pause_reading()
                await asyncio.sleep(step.hold_s)
                transport.resume_reading()
                answer.kept_open = await _still_open(reader)
                answer.latency_s, answer.taken_bytes = now() - first, progress.body_bytes
                return
            await self._read(step, answer, progress, reader)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _read(self, step: Step, answer: Answer, progress: _Progress, reader: asyncio.StreamReader) -> None:
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=256 * KIB)
        parser.send(h11.Request(method=_known(step.request.method), target="/", headers=[("Host", "target")]))
        parser.send(h11.EndOfMessage())
        deadline = None if step.complete else progress.started + step.hold_s
        await _parse(parser, reader, answer, progress, deadline)
        finished = now()
        slow = step.pace.gap_s > 0 and progress.finished is not None
        answer.latency_s = finished - (progress.finished if slow and progress.finished else progress.started)
        said_close = answer.headers.get("connection", "").lower() == "close"
        if said_close or progress.finished is None or parser.their_state is not h11.DONE:
            self.close()

    def _head(self, step: Step) -> bytes:
        request = step.request
        if request.raw is not None:
            return request.raw.replace(RAW_HOST, self._own_lines())
        given = {name.lower() for name, _ in request.headers}
        lines = [f"{request.method} {request.path} HTTP/1.1"]
        own = {
            "host": self._address.authority,
            "user-agent": MARKER,
            "accept": "application/json",
            "content-type": "application/json" if request.body else "",
            "authorization": f"Bearer {self._key}" if self._key else "",
            "transfer-encoding": "chunked" if step.pace.chunked else "",
            "content-length": "" if step.pace.chunked or request.method == "GET" else str(len(request.body)),
        }
        lines += [f"{name}: {value}" for name, value in own.items() if value and name not in given]
        lines += [f"{name}: {value}" for name, value in request.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _own_lines(self) -> bytes:
        key = f"Authorization: Bearer {self._key}\r\n" if self._key else ""
        return f"Host: {self._address.authority}\r\n{key}".encode("latin-1", "replace")


@dataclass(slots=True)
class _Progress:
    started: float
    wanted: list[bytes] | None = None
    body_bytes: int = 0
    finished: float | None = None


async def _write(writer: asyncio.StreamWriter, head: bytes, step: Step, progress: _Progress) -> None:
    body, pace = (b"" if step.request.raw is not None else step.request.body), step.pace
    piece = pace.piece_bytes or _PIECE_BYTES
    try:
        if pace.gap_s and step.request.raw is not None:
            # A raw head that trickles.
            body, head = head, b""
        elif not pace.gap_s and len(head) + len(body) <= _PIECE_BYTES and not pace.chunked and not pace.piece_bytes:
            head, body, progress.body_bytes = head + body, b"", len(body)
        if head:
            writer.write(head)
            await writer.drain()
        for start in range(0, len(body), piece):
            part = body[start : start + piece]
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if pace.chunked else part)
            await writer.drain()
            progress.body_bytes += len(part)
            if pace.gap_s:
                await asyncio.sleep(pace.gap_s)
        if pace.chunked and step.complete:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        progress.finished = now()
    except (ConnectionError, OSError):
        # The target stopped taking; its answer, if any, is still to be read.
        return


async def _parse(
    parser: h11.Connection, reader: asyncio.StreamReader, answer: Answer, progress: _Progress, deadline: float | None
) -> None:
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            data = await _receive(reader, deadline)
            if data is None:
                answer.kept_open = True
                return
            if not data and parser.their_state in (h11.IDLE, h11.SEND_RESPONSE):
                answer.error = "closed"
                return
            parser.receive_data(data)
        elif isinstance(event, h11.InformationalResponse | h11.Response):
            _head_came(answer, event, progress)
        elif isinstance(event, h11.Data):
            _keep(answer, bytes(event.data))
            if progress.wanted is not None:
                progress.wanted.append(bytes(event.data))
            if answer.response_bytes > MAX_RESPONSE_BYTES:
                return
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return


def _head_came(answer: Answer, event: h11.InformationalResponse | h11.Response, progress: _Progress) -> None:
    if isinstance(event, h11.InformationalResponse):
        answer.continued = answer.continued or event.status_code == 100
        return
    answer.status = event.status_code
    answer.headers = {bytes(name).decode(): value.decode("latin-1") for name, value in event.headers}
    answer.taken_bytes = progress.body_bytes


async def _still_open(reader: asyncio.StreamReader) -> bool:
    """Whether the target has kept a connection whose answer nobody read; what it buffered is read now, to see the end."""
    read_bytes = 0
    try:
        while read_bytes < MAX_RESPONSE_BYTES:
            async with asyncio.timeout(_QUIET_S):
                data = await reader.read(_PIECE_BYTES)
            if not data:
                return False
            read_bytes += len(data)
    except TimeoutError:
        return True
    except ConnectionError:
        return False
    return True


async def _receive(reader: asyncio.StreamReader, deadline: float | None) -> bytes | None:
    if deadline is None:
        return await reader.read(_PIECE_BYTES)
    try:
        async with asyncio.timeout(max(0.0, deadline - now())):
            return await reader.read(_PIECE_BYTES)
    except TimeoutError:
        return None


def _keep(answer: Answer, data: bytes) -> None:
    answer.response_bytes += len(data)
    if len(answer.head) < KEPT_BYTES:
        answer.head += data[: KEPT_BYTES - len(answer.head)]
    answer.tail = (answer.tail + data)[-KEPT_BYTES:]


def _known(method: str) -> str:
    # Only whether an answer has a body depends on it.
    return method if method in ("GET", "HEAD") else "POST"


def _pacing_s(step: Step) -> float:
    piece = step.pace.piece_bytes or _PIECE_BYTES
    return step.pace.gap_s * (step.request.size_bytes // piece + 1)


async def send(
    address: Address, request: Request, key: str | None, timeout_s: float, body: list[bytes] | None = None
) -> Answer:
    """One request on a connection of its own, closed afterwards. body: takes the pieces of the answer's body."""
    connection = Connection(address, key)
    try:
        return await connection.exchange(Step(request), timeout_s, body)
    finally:
        connection.close()

"""The least an application can do on the same HTTP server: the yardstick that refusals are compared with in one run.

python -m benches.bare PORT [asgi | rsgi]
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from wickguard.guard.head import Receive, Scope, Send

HEADERS = [(b"content-length", b"2"), (b"content-type", b"application/json")]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 401 at once, or after one look at the body for /body."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    if scope["path"] == "/body":
        await receive()
    await send({"type": "http.response.start", "status": 401, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"{}"})


async def rsgi_application(scope: Any, protocol: Any) -> None:
    """The same, in the server's own protocol."""
    if scope.path == "/body":
        await protocol()
    protocol.response_bytes(401, [("content-type", "application/json")], b"{}")


async def main(port: int, interface: Interfaces) -> None:
    """Serve until killed."""
    server = Server(
        application if interface is Interfaces.ASGI else rsgi_application,
        "127.0.0.1",
        port,
        interface=interface,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    await server.serve()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Interfaces(sys.argv[2]) if len(sys.argv) > 2 else Interfaces.ASGI))

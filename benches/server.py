"""A wickguard server in processes of its own, for benches: started from the command line as an operator would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

WICKGUARD = str(Path(sys.executable).parent / "wickguard")


@dataclass(frozen=True)
class BenchServer:
    """A running server: its port, keys by tenant, audit log, and process."""

    port: int
    keys: dict[str, str]
    audit: Path
    process: subprocess.Popen[bytes]

    def metrics(self) -> str:
        """The metrics page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as page:
            return str(page.read().decode())

    def settled(self) -> list[dict[str, object]]:
        """All lines of the audit log."""
        return [json.loads(line) for line in self.audit.read_text().splitlines()]

    def cpu_s(self) -> float:
        """CPU-seconds that the server's process tree has used, from /proc."""
        return tree_cpu_s(self.process.pid)


def tree(root: int) -> list[int]:
    """`root` and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def tree_cpu_s(root: int) -> float:
    """CPU-seconds that `root` and its descendants have used."""
    return sum(_cpu_s(pid) for pid in tree(root))


def await_port(port: int) -> None:
    """Return when something listens on `port`."""
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}")


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # utime, stime, and what reaped children used.
    return sum(int(value) for value in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def bench_server(tenants: Sequence[str], policy: str = "", arguments: Sequence[str] = ()) -> Iterator[BenchServer]:
    """Start a server with MiniLM and one key per tenant; stop it at the end of the block."""
    with tempfile.TemporaryDirectory() as folder:
        keys_file, audit = Path(folder) / "keys", Path(folder) / "audit.jsonl"
        keys = {
            tenant: subprocess.run(
                [WICKGUARD, "keys", "add", str(keys_file), tenant], capture_output=True, text=True, check=True
            ).stdout.strip()
            for tenant in tenants
        }
        policy_file = Path(folder) / "policy.toml"
        policy_file.write_text(f'{policy}\n[audit]\npath = "{audit}"\n')
        port = free_port()
        command = [WICKGUARD, "serve", str(policy_file), "--port", str(port), *arguments]
        if tenants:
            command += ["--keys", str(keys_file)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await_ready(port, process)
            yield BenchServer(port, keys, audit, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _await_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with code {process.returncode}; run `wickguard serve` to see why")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as page:
            if page.status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError("the server did not become ready")

"""slowhttptest's own attacks, where that tool is installed: slow heads, slow bodies, ranges, slow reading."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.attacks.harness import Target, siege

from wickguard.units import MIB

TOOL = shutil.which("slowhttptest")


@pytest.mark.skipif(TOOL is None, reason="slowhttptest is not installed")
@pytest.mark.parametrize("mode", ["-H", "-B", "-R", "-X"])
def test_the_service_stays_available_when_slowhttptest_attacks(target: Target, mode: str, tmp_path: Path) -> None:
    """200 connections for ten seconds; the tool's own probe must never find the service gone."""
    with siege(target, cpu_s=6.0, front_bytes=32 * MIB):
        ran = subprocess.run(
            [
                str(TOOL), mode, "-c", "200", "-r", "100", "-i", "1", "-l", "10", "-p", "3", "-g", "-o", tmp_path / "out",
                "-u", target.server.url + "/health/live",
            ],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert "service available:   NO" not in ran.stdout

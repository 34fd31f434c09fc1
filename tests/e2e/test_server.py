"""The server seen from outside: its other routes, its records, its deadlines, and its end."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from tests.e2e.conftest import Site
from tests.e2e.server import MODEL, WICKGUARD, Server, add_key, free_port

TEXT = "the quiet river and an unmistakable heron"
# Sixty-four texts at the model's own limit: seconds of work.
HEAVY = {"model": MODEL, "input": ["word " * 500] * 64}


def ask(site: Site, body: object, path: str = "/v1/embeddings", key: str = "", **headers: str) -> httpx.Response:
    """POST as alice, unless another key is given."""
    return httpx.post(
        site.server.url + path,
        json=body,
        headers={"authorization": f"Bearer {key or site.alice}", **headers},
        timeout=60,
    )


def raw_post(site: Site, body: object) -> socket.socket:
    """A connection on which a whole request was sent, and nothing read."""
    data = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", site.server.port), 10)
    connection.sendall(
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer "
        + site.alice.encode() + b"\r\ncontent-length: %d\r\n\r\n" % len(data) + data
    )  # fmt: skip
    return connection


def wait_for(site: Site, sample: str, value: float, timeout_s: float = 20.0) -> None:
    """Return when a sample of /metrics has this value."""
    give_up = time.monotonic() + timeout_s
    while site.server.metric(sample) != value:
        assert time.monotonic() < give_up, f"{sample} is {site.server.metric(sample)}, not {value}"
        time.sleep(0.01)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health/startup"])
def test_health_is_told_without_a_key_when_asked(site: Site, path: str) -> None:
    """A balancer has none."""
    assert site.server.get(path) == 200


def test_tei_route_answers_bare_vectors_when_asked(site: Site) -> None:
    """With and without normalising; truncating is its default."""
    unit = ask(site, {"inputs": [TEXT]}, "/embed").json()[0]
    bare = ask(site, {"inputs": [TEXT], "normalize": False}, "/embed").json()[0]
    assert abs(sum(value * value for value in unit) - 1) < 1e-4
    assert abs(sum(value * value for value in bare) - 1) > 1e-3
    assert ask(site, {"inputs": "word " * 600}, "/embed").status_code == 200
    refused = ask(site, {"inputs": "word " * 600, "truncate": False}, "/embed")
    assert (refused.status_code, refused.json()["error_type"]) == (422, "Validation")


def test_metrics_count_with_closed_labels_when_calls_were_made(site: Site) -> None:
    """No tenant, no key, no text, no path that a caller wrote."""
    counted = 'wickguard_requests_total{reason="none",route="/v1/embeddings",status="200"}'
    before = site.server.metric(counted)
    ask(site, {"model": MODEL, "input": TEXT})
    ask(site, {"model": "unheard-of", "input": TEXT})
    httpx.get(site.server.url + "/a/path/of/my/own")
    assert site.server.metric(counted) == before + 1
    page = site.server.fetch("/metrics")[1]
    for secret in ("alice", "unheard-of", "heron", "path/of/my", site.alice):
        assert secret not in page
    routes = set(re.findall(r'route="([^"]*)"', page))
    assert routes <= {"/v1/embeddings", "/embed", "/v1/models", "/metrics", "unknown"}
    assert 'wickguard_confinement{mechanism="seccomp"} 1.0' in page


def test_audit_tells_who_and_what_it_cost_but_no_text_when_a_call_ends(site: Site) -> None:
    """Features, quote, grant, use, outcome."""
    request_id = ask(site, {"model": MODEL, "input": TEXT}).headers["x-request-id"]
    line = site.wait_for_line(lambda line: line.get("request_id") == request_id)
    assert (line["tenant"], line["outcome"], line["status"]) == ("key:alice", "completed", 200)
    assert line["features"]["total_bytes"] == len(TEXT)  # type: ignore[index]
    used, granted = line["cpu_s"], line["granted_cpu_s"]
    assert isinstance(used, float)
    assert isinstance(granted, float)
    assert 0 < used <= granted
    refused = ask(site, {"model": "unheard-of", "input": TEXT}).headers["x-request-id"]
    assert site.wait_for_line(lambda line: line.get("request_id") == refused)["reason"] == "unknown_model"
    text = site.audit.read_text()
    assert "heron" not in text
    assert site.alice not in text


@pytest.mark.parametrize("timeout_ms", [1, 30, 200])
def test_nothing_is_left_running_when_a_call_has_too_little_time(site: Site, timeout_ms: int) -> None:
    """Told at once where that is known, stopped by the kernel where it is not."""
    answer = ask(site, HEAVY, **{"x-request-timeout-ms": str(timeout_ms)})
    assert answer.status_code in (408, 422, 504)
    assert answer.headers["x-should-retry"] == "false"
    wait_for(site, "wickguard_calls_running", 0)
    wait_for(site, "wickguard_reserved_bytes", 0)


def test_a_call_is_abandoned_and_its_slot_is_free_when_the_client_leaves(site: Site) -> None:
    """Seen in the middle of the work; what it used is charged."""
    before = site.server.metric("wickguard_calls_running")
    connection = raw_post(site, HEAVY)
    wait_for(site, "wickguard_calls_running", before + 1)
    seen = len(site.lines())
    connection.close()
    wait_for(site, "wickguard_calls_running", before)
    line = site.wait_for_line(lambda line: line.get("outcome") == "abandoned" and line in site.lines()[seen:])
    expected, charged = line["quoted_cpu_s"], line["charged_s"]
    assert isinstance(expected, float)
    assert isinstance(charged, float)
    assert charged < expected
    assert ask(site, {"model": MODEL, "input": TEXT}).status_code == 200


def test_another_tenant_is_served_when_one_has_filled_its_queue(site: Site) -> None:
    """Bob's short calls go through while alice's heavy ones run, wait and are refused."""
    connections = [raw_post(site, HEAVY) for _ in range(12)]
    try:
        wait_for(site, "wickguard_calls_running", 1)
        answers = [ask(site, {"model": MODEL, "input": TEXT}, key=site.bob).status_code for _ in range(20)]
        assert answers == [200] * 20
    finally:
        for connection in connections:
            connection.close()
    wait_for(site, "wickguard_calls_running", 0)
    wait_for(site, "wickguard_body_bytes_in_flight", 0)
    wait_for(site, "wickguard_requests_open", 0)


def test_loopback_is_served_without_a_key_and_work_is_finished_when_the_server_is_told_to_end(tmp_path: Path) -> None:
    """Anonymous callers, a drain that loses no answer, exit code 0, no process left."""
    server = Server(tmp_path)
    try:
        server.wait_ready()
        answers: list[int] = []

        def call() -> None:
            found = httpx.post(
                server.url + "/v1/embeddings", json={"model": MODEL, "input": ["word " * 500] * 16}, timeout=60
            )
            answers.append(found.status_code)

        caller = threading.Thread(target=call)
        caller.start()
        give_up = time.monotonic() + 20
        while server.metric("wickguard_calls_running") < 1:
            assert time.monotonic() < give_up
            time.sleep(0.005)
        server.close()
        caller.join()
        assert answers == [200]
    finally:
        server.process.kill()
        server.process.wait()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1: (certificate, key) as PEM files."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "wickguard test")])
    import ipaddress  # noqa: PLC0415

    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(today - timedelta(days=1)).not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_tls_is_spoken_when_the_policy_has_a_certificate(tmp_path: Path) -> None:
    """TLS 1.3 only; plain text gets no answer; a stalled handshake keeps nobody else out (P31)."""
    cert, key = certificate(tmp_path)
    server = Server(tmp_path, f'[server]\ntls_cert = "{cert}"\ntls_key = "{key}"\n', tls=True)
    with server.running():
        stalled = [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(20)]
        context = ssl.create_default_context(cafile=str(cert))
        with httpx.Client(verify=context) as client:
            assert client.get(server.url + "/health/live").status_code == 200
            answer = client.post(server.url + "/v1/embeddings", json={"model": MODEL, "input": "x"})
            assert answer.status_code == 200
        old = ssl.create_default_context(cafile=str(cert))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx.ConnectError), httpx.Client(verify=old) as client:
            client.get(server.url + "/health/live")
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url.replace("https", "http") + "/health/live")
        for connection in stalled:
            connection.close()


def test_the_server_ends_with_2_when_its_port_is_taken(tmp_path: Path) -> None:
    """And says so: a server that seems to listen and does not is worse than none."""
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        ended = subprocess.run(
            [WICKGUARD, "serve", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    assert ended.returncode == 2
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_a_key_works_at_once_when_it_was_added_before_the_start(tmp_path: Path) -> None:
    """The command's output is the key, and nothing else; its file is the operator's alone."""
    key = add_key(tmp_path / "keys", "carol")
    assert re.fullmatch(r"wg-[\w-]{43}", key)
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0

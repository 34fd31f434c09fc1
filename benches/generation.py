"""Tokens per second: reading a prompt beside the fastest product, writing beside the fastest read of memory, answers written
together beside answers alone, and what the server adds.

Decides the models (random weights of a size that no cache holds, and the small trained one, which is where a server can add
most), the rounds and what is compared. Each measurement stands between two of the peak that bounds it, in the same round;
CPU-seconds are counted, and medians are reported.

    python -m benches.generation [--write] [--rounds 7] [--stories DIRECTORY]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import wickguard_engine as engine
from safetensors.numpy import save_file

from benches.engine import ENGINE, product_peaks
from benches.report import Report
from benches.server import BenchServer, bench_server

# About SmolLM's proportions; 234 MiB of matrices.
BIG = {"hidden_size": 576, "num_hidden_layers": 16, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64,
       "intermediate_size": 1536, "vocab_size": 8192, "max_position_embeddings": 2048}  # fmt: skip
PROMPTS = (16, 128, 512, 1500)
STEPS = 32
ANSWER = 200
# Answers a round: the kernel counts processes in hundredths of a second.
CALLS = {"large": 8, "stories-llama": 250}
# Answers that are written together, connections that ask at once, and what each asks in a round: about so many tokens.
BATCHES = (1, 2, 4, 8, 16)
CONNECTIONS = 8
CHATS = {"large": (3, 64), "stories-llama": (50, 64)}


def read_peak() -> float:
    """GB/s at which one thread reads memory."""
    command = ["cargo", "run", "--release", "--no-default-features", "--quiet", "--example", "read_peak"]
    return float(subprocess.run(command, cwd=ENGINE, capture_output=True, text=True, check=True).stdout)


def write_model(folder: Path, tokenizer: Path) -> None:
    """A Llama of random weights."""
    random, tensors = np.random.default_rng(0), dict[str, np.ndarray]()
    d, inner, layers = BIG["hidden_size"], BIG["intermediate_size"], BIG["num_hidden_layers"]
    kv = BIG["num_key_value_heads"] * BIG["head_dim"]

    def matrix(name: str, *shape: int) -> None:
        tensors[name] = random.standard_normal(shape, dtype=np.float32) * np.float32(0.02)

    matrix("model.embed_tokens.weight", BIG["vocab_size"], d)
    tensors["model.norm.weight"] = np.ones(d, np.float32)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for name, out, into in (
            ("self_attn.q_proj", d, d), ("self_attn.k_proj", kv, d), ("self_attn.v_proj", kv, d), ("self_attn.o_proj", d, d),
            ("mlp.gate_proj", inner, d), ("mlp.up_proj", inner, d), ("mlp.down_proj", d, inner),
        ):  # fmt: skip
            matrix(f"{at}{name}.weight", out, into)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}{name}.weight"] = np.ones(d, np.float32)
    save_file(tensors, folder / "model.safetensors")
    config = {**BIG, "model_type": "llama", "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(tokenizer, folder / "tokenizer.json")


def of_engine(report: Report, rounds: int, folder: Path) -> None:
    """Reading and writing, each beside its peak."""
    model = engine.load(folder)
    assert isinstance(model, engine.Generator)
    spec = model.spec
    cache = 2 * (spec.layers or 0) * (spec.kv_heads or 0) * (spec.head_width or 0) * 4
    found: dict[int, list[tuple[float, float, float, float]]] = {length: [] for length in PROMPTS}
    for _ in range(rounds):
        for length in PROMPTS:
            products = product_peaks()
            memory = read_peak()
            session = model.start([index % 500 for index in range(length)], max_tokens=STEPS + 1, ignore_end=True)
            begin = time.thread_time()
            session.step()
            read_s = time.thread_time() - begin
            begin = time.thread_time()
            for _ in range(STEPS):
                session.step()
            step_s = (time.thread_time() - begin) / STEPS
            memory = max(memory, read_peak())
            gflops = model.flops(length, 1) / read_s / 1e9
            gbytes = (spec.weight_bytes + cache * (length + STEPS / 2)) / step_s / 1e9
            peak = max(products) if products else gflops
            found[length].append((gflops, gflops / peak, gbytes, gbytes / memory))
    rows = []
    for length, values in found.items():
        gflops, share, gbytes, of_memory = (statistics.median(column) for column in zip(*values, strict=True))
        read = length * gflops * 1e9 / model.flops(length, 1)
        written = gbytes * 1e9 / (spec.weight_bytes + cache * (length + STEPS / 2))
        rows.append(
            [str(length), f"{gflops:.0f}", f"{share:.0%}", f"{read:.0f}", f"{gbytes:.1f}", f"{of_memory:.0%}", f"{written:.0f}"]
        )  # fmt: skip
    report.table(
        f"Llama of {spec.parameters / 1e6:.0f} M parameters ({spec.weight_bytes >> 20} MiB f32), one thread, {rounds} rounds",
        ["prompt", "read GFLOP/s", "of product peak", "tokens/s", "write GB/s", "of read peak", "tokens/s"],
        rows,
    )


def of_batches(report: Report, rounds: int, name: str, folder: Path) -> None:
    """Steps of several answers against steps of one: CPU time per token."""
    model = engine.load(folder)
    assert isinstance(model, engine.Generator)
    prompt, found = list(range(5, 15)), dict[int, list[float]]()
    for _ in range(rounds):
        session = model.start(prompt, max_tokens=STEPS + 1, ignore_end=True)
        session.step()
        found.setdefault(0, []).append(_step_s(lambda: session.step()))  # noqa: B023, PLW0108 - called at once
        for size in BATCHES:
            asked = [model.start(prompt, max_tokens=STEPS + 1, ignore_end=True, in_batch=True) for _ in range(size)]
            batch = engine.Batch(asked)
            for _ in asked:
                batch.step()
            found.setdefault(size, []).append(_step_s(lambda: batch.step()) / size)  # noqa: B023, PLW0108
    each = {size: statistics.median(values) for size, values in found.items()}
    rows = [
        [str(size) if size else "no batch", f"{each_s * 1e6:.0f}", f"{each[0] / each_s:.1f}"] for size, each_s in each.items()
    ]  # fmt: skip
    report.table(
        f"{name}: answers written together, one thread, {STEPS} steps, {rounds} rounds",
        ["answers", "CPU us per token", "times as fast as alone"],
        rows,
    )


def _step_s(step: Callable[[], object]) -> float:
    begin = time.thread_time()
    for _ in range(STEPS):
        step()
    return (time.thread_time() - begin) / STEPS


def _answer(server: BenchServer, body: dict[str, object], tenant: str = "bench") -> int:
    """Ask, read everything, and return how many tokens were written."""
    # A connection each: the server closes those that idle, and between two rounds of answers they do.
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"authorization": f"Bearer {server.keys[tenant]}", "content-type": "application/json"}
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    connection.request("POST", path, json.dumps(body), headers)
    data = connection.getresponse().read()
    connection.close()
    last = data.split(b"data: ")[-2] if body["stream"] else data
    return int(json.loads(last)["usage"]["completion_tokens"])


def of_server(report: Report, rounds: int, name: str, folder: Path) -> None:
    """The same answers by a loop in this process, by the server whole, and by the server in pieces: CPU-seconds."""
    model = engine.load(folder)
    assert isinstance(model, engine.Generator)
    prompt, calls = list(range(5, 15)), CALLS[name]
    cpu: dict[str, list[float]] = {"loop": [], "server, whole": [], "server, in pieces": []}
    with bench_server(["bench"], arguments=["--no-calibrate", "--model", f"{folder}={name}"]) as server:
        for number in range(rounds):
            seeds = range(number * calls, (number + 1) * calls)
            begin, tokens = time.process_time(), 0
            for seed in seeds:
                session = model.start(prompt, max_tokens=ANSWER, temperature=1.0, seed=seed)
                while session.step().finish is None:
                    pass
                tokens += session.completion_tokens
            cpu["loop"].append((time.process_time() - begin) / tokens)
            for how, stream in (("server, whole", False), ("server, in pieces", True)):
                options = {"stream_options": {"include_usage": True}} if stream else {}
                asked = {"model": name, "prompt": prompt, "max_tokens": ANSWER, "stream": stream, **options}
                before = server.cpu_s()
                tokens = sum(_answer(server, {**asked, "seed": seed}) for seed in seeds)
                cpu[how].append((server.cpu_s() - before) / tokens)
    base = statistics.median(cpu["loop"])
    rows = [
        [how, f"{statistics.median(values) * 1e6:.0f}", f"{statistics.median(values) / base - 1:+.0%}"]
        for how, values in cpu.items()
    ]
    report.table(
        f"{name}: {model.spec.parameters / 1e6:.0f} M parameters, {calls} answers of up to {ANSWER} tokens a round",
        ["who writes", "CPU us per token", "against the loop"],
        rows,
    )


def of_companies(report: Report, rounds: int, name: str, folder: Path) -> None:
    """Short chats over several connections, and over one, by a server that lets calls share a slot and by one that does not."""
    tenants, arguments = (
        [f"t{number}" for number in range(CONNECTIONS)],
        ["--model", f"{folder}={name}", "--no-calibrate"],
    )
    found: dict[tuple[int, int], list[tuple[float, float]]] = {}
    with contextlib.ExitStack() as stack:
        servers = {
            most: stack.enter_context(bench_server(tenants, f"[admission]\nbatch_calls = {most}", arguments))
            for most in (1, 8)
        }
        for number in range(rounds + 1):
            for connections in (CONNECTIONS, 1):
                for most, server in servers.items():
                    measured = _chats(server, name, tenants[:connections], number)
                    if number:  # the first round warms up
                        found.setdefault((connections, most), []).append(measured)
    rows = []
    for (connections, most), values in found.items():
        speed, cpu_s = (statistics.median(column) for column in zip(*values, strict=True))
        rows.append([str(connections), str(most), f"{speed:.0f}", f"{cpu_s * 1e6:.0f}"])
    calls, tokens = CHATS[name]
    report.table(
        f"{name}: {calls} chats of up to {tokens} tokens per connection, {rounds} rounds",
        ["connections", "batch_calls", "tokens/s", "CPU us per token"],
        rows,
    )


def _chats(server: BenchServer, name: str, tenants: Sequence[str], number: int) -> tuple[float, float]:
    """Tokens per second and CPU-seconds of the server per token."""
    calls, tokens = CHATS[name]
    written = dict.fromkeys(tenants, 0)

    def ask(tenant: str) -> None:
        for call in range(calls):
            said = [{"role": "user", "content": f"A story of {tenant} and {call}"}]
            body = {
                "model": name,
                "messages": said,
                "max_tokens": tokens,
                "seed": number * calls + call,
                "stream": False,
            }
            written[tenant] += _answer(server, body, tenant)

    threads = [threading.Thread(target=ask, args=(tenant,)) for tenant in tenants]
    used_s, begin = server.cpu_s(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(written.values())
    return total / (time.perf_counter() - begin), (server.cpu_s() - used_s) / total


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    default = Path(__file__).resolve().parents[1].parent / "shared" / "models" / "stories-llama"
    parser.add_argument("--stories", type=Path, default=default, help="a directory with the trained stories model")
    options = parser.parse_args()
    report = Report("generation", "Writing text: reading prompts, writing tokens, and what the server adds")
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), options.stories / "tokenizer.json")
        of_engine(report, options.rounds, Path(folder))
        of_batches(report, options.rounds, "large", Path(folder))
        of_companies(report, options.rounds, "large", Path(folder))
        of_server(report, options.rounds, "large", Path(folder))
    of_batches(report, options.rounds, "stories-llama", options.stories)
    of_companies(report, options.rounds, "stories-llama", options.stories)
    of_server(report, options.rounds, "stories-llama", options.stories)
    if options.write:
        print(report.write())


if __name__ == "__main__":
    main()

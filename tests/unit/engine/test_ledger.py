"""The allocator that counts, refuses and remembers, seen from outside the process that it ends."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.unit.engine.conftest import Run

engine = pytest.importorskip("wickguard_engine")

SHARED_PAGE = """
import ctypes, mmap, os, struct, sys
import wickguard_engine as engine
page = mmap.mmap(-1, engine.LEDGER_BYTES)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
def read():
    return dict(zip(engine.LEDGER_LAYOUT, struct.unpack_from("<6Q", page)))
"""


def test_the_ledger_counts_exactly_when_memory_is_taken(run: Run) -> None:
    """Every leaked byte is in current, every byte ever held at once is in peak, for small and huge blocks."""
    program = """
import wickguard_engine as engine
for n in (1, 100, 4096, 1 << 20, (2 << 20) - 1, 2 << 20, (5 << 20) + 3):
    before = engine.ledger()
    engine.reset_peak()
    engine.faults.allocate(n)
    after = engine.ledger()
    assert after.current == before.current, n
    assert after.peak == before.current + n, (n, after.peak - before.current)
    engine.faults.leak(n)
    assert engine.ledger().current == before.current + n, n
print("exact")
"""
    done = run(program, faults=True)
    assert done.stdout.strip() == "exact", done.stderr


def test_a_breach_ends_the_child_and_its_size_is_left_in_the_page_when_a_limit_is_passed(run: Run) -> None:
    """The forked child dies by SIGABRT, the parent reads what it asked for, and goes on."""
    program = f"""{SHARED_PAGE}
child = os.fork()
if child == 0:
    engine.attach_ledger(address)
    engine.set_limit(engine.ledger().current + (8 << 20))
    engine.faults.allocate(4 << 20)
    engine.faults.allocate(64 << 20)
    os._exit(0)
_, status = os.waitpid(child, 0)
print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status))
left = read()
assert left["breach"] == 64 << 20, left
assert left["limit"] < 9 << 20 and left["peak"] >= 4 << 20, left
engine.faults.allocate(64 << 20)
"""
    done = run(program, faults=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(int(signal.SIGABRT))


def test_the_breach_is_noted_when_the_kernel_refuses(run: Run) -> None:
    """RLIMIT_DATA ends the worker in the same way, and the size is in the page too."""
    program = f"""{SHARED_PAGE}
import resource
child = os.fork()
if child == 0:
    engine.attach_ledger(address)
    data = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1]) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (data + (16 << 20),) * 2)
    engine.faults.allocate(8 << 20)
    engine.faults.allocate(32 << 20)
    os._exit(0)
_, status = os.waitpid(child, 0)
print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status))
assert read()["breach"] == 32 << 20, read()
"""
    done = run(program, faults=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(int(signal.SIGABRT))


def test_counters_move_into_the_page_when_it_is_attached(run: Run, minilm: Path) -> None:
    """What was counted before goes along, and both sides read the same afterwards."""
    program = f"""{SHARED_PAGE}
model = engine.load(sys.argv[1])
before = engine.ledger()
engine.attach_ledger(address)
assert read()["current"] == engine.ledger().current == before.current, read()
engine.reset_peak(); model.embed(["harbor"])
assert read()["peak"] == engine.ledger().peak > before.current
engine.set_limit(1 << 40); assert read()["limit"] == 1 << 40
engine.set_limit(None); assert read()["limit"] == 2**64 - 1
print("same")
"""
    done = run(program, minilm)
    assert done.stdout.strip() == "same", done.stderr


def test_an_address_is_refused_when_it_can_be_no_page() -> None:
    """Zero and odd addresses are ValueError, not a crash."""
    for address in (0, 4097):
        with pytest.raises(ValueError, match="address"):
            engine.attach_ledger(address)


def test_the_tables_are_not_data_when_they_stay_in_the_mapped_file(run: Run, minilm: Path) -> None:
    """Of 90 MB of weights only the packed matrices (42.5 MB) and the tokenizer count against RLIMIT_DATA."""
    program = """
import sys
import wickguard_engine as engine
def data():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1]) << 10
before = data()
model = engine.load(sys.argv[1])
print(data() - before)
"""
    done = run(program, minilm)
    assert 42_000_000 < int(done.stdout) < 52_000_000, done.stderr


def test_memory_comes_back_when_models_are_dropped(minilm: Path) -> None:
    """Loading and dropping leaves nothing in the ledger, and the mapping's place is free again."""
    base = engine.ledger().current
    for _ in range(70):
        model = engine.load(minilm, memory_limit=1 << 30)
        del model
    assert engine.ledger().current <= base + 4096


def test_a_panic_is_an_engine_error_and_remembered_when_it_happens_inside_a_call(run: Run) -> None:
    """No PanicException, one line on stderr, and the process knows that it should be replaced."""
    program = """
import wickguard_engine as engine
assert not engine.panicked()
try:
    engine.faults.panic()
except Exception as error:
    assert type(error) is engine.EngineError and str(error) == "internal: asked to panic", repr(error)
assert engine.panicked()
"""
    done = run(program, faults=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_faults_are_absent_when_the_build_is_the_released_one() -> None:
    """The switch that tells is in build_info, with what the build was made for."""
    info = engine.build_info()
    assert not info["faults"]
    assert not hasattr(engine, "faults")
    assert info["overflow_checks"]
    assert not engine.panicked()


def test_the_import_says_what_is_missing_when_the_processor_is_too_old() -> None:
    """The features are read from /proc/cpuinfo as Linux spells them."""
    missing = engine._missing_cpu_features
    assert missing(["flags : fpu avx2 fma bmi1 bmi2 f16c abm movbe\n"]) == []
    assert missing(["processor : 0\n", "flags\t\t: fpu fma bmi1 f16c abm movbe\n"]) == ["avx2", "bmi2"]
    assert missing(["Features : asimd\n"]) == []


def test_a_call_stops_at_its_next_checkpoint_when_the_page_says_so(run: Run, minilm: Path) -> None:
    """That call alone: what was asked of the one before, or of none, changes nothing."""
    program = f"""{SHARED_PAGE}
model = engine.load(sys.argv[1])
engine.attach_ledger(address)
def stopped(call, stop):
    struct.pack_into("<2Q", page, 8 * engine.LEDGER_LAYOUT.index("call"), call, stop)
    try:
        model.embed(["some words"])
    except engine.Cancelled:
        return True
    return False
print([stopped(*both) for both in ((0, 0), (7, 0), (7, 7), (8, 7), (0, 7), (8, 8), (9, 8))])
"""
    done = run(program, str(minilm))
    assert done.stdout.strip() == "[False, False, True, False, False, True, False]", done.stderr

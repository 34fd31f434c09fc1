"""The seccomp program, run by an interpreter of the BPF it uses: what it says to each call, on both architectures."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.workers import seccomp

ALLOW, KILL, EPERM = 0x7FFF0000, 0x80000000, 0x00050001
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PID = 4242


def verdict(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the program returns for a call (struct seccomp_data: nr, arch, instruction pointer, six arguments)."""
    words = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack(
        "<IIQ6Q", number, MACHINES[machine] if audit is None else audit, 0, *(w & 2**64 - 1 for w in words)
    )
    program = seccomp.program(machine, PID)
    code = [struct.unpack_from("HBBI", program, at) for at in range(0, len(program), 8)]
    at = accumulator = 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(hex(operation))


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_each_name_has_its_verdict_when_it_exists_on_the_machine(machine: str) -> None:
    """Allowed names are allowed, deadly ones kill, and no number is in both lists."""
    numbers = seccomp._ARCHITECTURES[machine].numbers
    assert len(set(numbers.values())) == len(numbers)
    for name in seccomp._ALLOWED:
        if name in numbers:
            assert verdict(machine, numbers[name]) == ALLOW, name
    for name in seccomp._KILLED:
        if name in numbers:
            assert verdict(machine, numbers[name]) == KILL, name


@given(number=st.integers(0, 2**32 - 1), machine=st.sampled_from(sorted(MACHINES)))
def test_call_is_never_allowed_when_it_is_not_named(number: int, machine: str) -> None:
    """Any number outside the table is refused or deadly, the x32 range included."""
    if number in seccomp._ARCHITECTURES[machine].numbers.values():
        return
    assert verdict(machine, number) == (KILL if number >= 0x40000000 else EPERM)


@given(number=st.integers(0, 500), audit=st.integers(0, 2**32 - 1))
def test_every_call_kills_when_it_comes_from_another_architecture(number: int, audit: int) -> None:
    """Numbers mean other calls there."""
    if audit != MACHINES["x86_64"]:
        assert verdict("x86_64", number, audit=audit) == KILL


@given(protection=st.integers(0, 2**32 - 1), flags=st.integers(0, 2**32 - 1), machine=st.sampled_from(sorted(MACHINES)))
def test_mapping_is_private_and_not_code_when_it_is_allowed(protection: int, flags: int, machine: str) -> None:
    """Whatever passes is MAP_PRIVATE, has no growsdown or hugetlb, and is not executable."""
    number = seccomp._ARCHITECTURES[machine].numbers["mmap"]
    if verdict(machine, number, 0, 4096, protection, flags) == ALLOW:
        assert flags & 0x0F == 0x02
        assert not flags & (0x100 | 0x40000)
        assert not protection & 4


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_ordinary_memory_is_allowed_when_malloc_asks(machine: str) -> None:
    """Private anonymous memory, also reserved, fixed or as a thread stack hint."""
    numbers = seccomp._ARCHITECTURES[machine].numbers
    for flags in (0x22, 0x4022, 0x32, 0x20022):
        assert verdict(machine, numbers["mmap"], 0, 4096, 3, flags) == ALLOW
    assert verdict(machine, numbers["mprotect"], 0, 4096, 3) == ALLOW
    assert verdict(machine, numbers["mprotect"], 0, 4096, 5) == EPERM


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_only_itself_is_in_reach_when_a_worker_signals_or_limits(machine: str) -> None:
    """tgkill to its own process id, prlimit64 on 0."""
    numbers = seccomp._ARCHITECTURES[machine].numbers
    assert verdict(machine, numbers["tgkill"], PID, PID, 6) == ALLOW
    assert verdict(machine, numbers["tgkill"], 1, 1, 9) == KILL
    assert verdict(machine, numbers["prlimit64"], 0, 2) == ALLOW
    assert verdict(machine, numbers["prlimit64"], 1, 2) == EPERM


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_template_is_the_program_when_it_is_completed(machine: str) -> None:
    """Compiling before the fork gives, byte for byte, what compiling after it would."""
    assert seccomp.for_process(seccomp.template(machine), PID) == seccomp.program(machine, PID)
    assert seccomp.template(machine) != seccomp.program(machine, PID)

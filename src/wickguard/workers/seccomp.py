"""Seccomp: the system calls a worker may make, compiled to a BPF program.

An allow-list for a process with one thread that computes and talks over descriptors it already has. Calls no
computation ever makes (new programs, tracing, sockets, mounts, io_uring) kill the process: an attempt is an attack.
Calls a library might try and can live without (threads, files) fail with EPERM. Memory that RLIMIT_DATA does not
count (shared, stack-like and huge-page mappings) and executable memory are refused by looking at the arguments. It
promises a program that refuses foreign system-call ABIs. It must not know what a worker computes.

Sources: seccomp(2), Documentation/userspace-api/seccomp_filter.rst, mm/mmap.c (is_data_mapping, may_expand_vm).
"""

from __future__ import annotations

import ctypes
import errno
import struct
from dataclasses import dataclass

from wickguard.workers import kernel

_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NR, _ARCH, _ARGS = 0, 4, 16
_X32_BIT = 0x40000000
_ANY_PID = 0x7EADBEE5  # above any pid_max (2**22), and no other constant of the program

_PROT_EXEC = 4
_MAP_TYPE, _MAP_PRIVATE = 0x0F, 0x02
# anonymous, fixed, noreserve, populate, stack (a hint without effect), fixed_noreplace; not growsdown (escapes RLIMIT_DATA),
# not hugetlb, not locked, not synchronous.
_MAP_ALLOWED = 0x02 | 0x20 | 0x10 | 0x4000 | 0x8000 | 0x20000 | 0x100000


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ALLOWED = _words(
    """read write readv writev pread64 recvfrom sendto  close fstat lseek poll ppoll munmap mremap
    brk madvise futex rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack setitimer getitimer getrusage times
    clock_gettime clock_getres gettimeofday clock_nanosleep nanosleep getpid gettid getppid getuid geteuid
    getgid getegid sched_yield sched_getaffinity getcpu getrandom uname restart_syscall rseq set_robust_list
    exit exit_group sysinfo"""
)

_KILLED = _words(
    """execve execveat fork vfork ptrace process_vm_readv process_vm_writev kcmp socket socketpair connect bind
    listen accept accept4 bpf perf_event_open io_uring_setup io_uring_enter io_uring_register userfaultfd mount
    umount2 move_mount open_tree fsopen pivot_root chroot setns unshare init_module finit_module delete_module
    kexec_load reboot keyctl add_key request_key open_by_handle_at pidfd_open pidfd_getfd pidfd_send_signal
    swapon swapoff iopl ioperm personality"""
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """One instruction set: its AUDIT_ARCH value and the numbers of the calls named above (missing ones don't exist there)."""

    audit: int
    numbers: dict[str, int]


def _table(text: str) -> dict[str, int]:
    words = text.split()
    return {words[i]: int(words[i + 1]) for i in range(0, len(words), 2)}


# Linux, arch/x86/entry/syscalls/syscall_64.tbl
_X86_64 = Architecture(
    0xC000003E,
    _table(
        """read 0 write 1 close 3 fstat 5 poll 7 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12 rt_sigaction 13
        rt_sigprocmask 14 rt_sigreturn 15 pread64 17 readv 19 writev 20 sched_yield 24 mremap 25 madvise 28
        nanosleep 35 getitimer 36 setitimer 38 getpid 39 socket 41 connect 42 accept 43 sendto 44 recvfrom 45
          bind 49 listen 50 socketpair 53 fork 57 vfork 58 execve 59 exit 60 uname 63
        gettimeofday 96 getrusage 98 sysinfo 99 times 100 ptrace 101 getuid 102 getgid 104 geteuid 107
        getegid 108 getppid 110 sigaltstack 131 personality 135 pivot_root 155 chroot 161 mount 165 umount2 166
        swapon 167 swapoff 168 reboot 169 iopl 172 ioperm 173 init_module 175 delete_module 176 gettid 186
        futex 202 sched_getaffinity 204 restart_syscall 219 clock_gettime 228 clock_getres 229
        clock_nanosleep 230 exit_group 231 tgkill 234 kexec_load 246 add_key 248 request_key 249 keyctl 250
        ppoll 271 unshare 272 set_robust_list 273 accept4 288 perf_event_open 298 prlimit64 302
        open_by_handle_at 304 setns 308 getcpu 309 process_vm_readv 310 process_vm_writev 311 kcmp 312
        finit_module 313 getrandom 318 bpf 321 execveat 322 userfaultfd 323  rseq 334
        pidfd_send_signal 424 io_uring_setup 425 io_uring_enter 426 io_uring_register 427 open_tree 428
        move_mount 429 fsopen 430 pidfd_open 434 pidfd_getfd 438"""
    ),
)
# Linux, include/uapi/asm-generic/unistd.h
_AARCH64 = Architecture(
    0xC00000B7,
    _table(
        """umount2 39 mount 40 pivot_root 41 chroot 51 close 57 lseek 62 read 63 write 64 readv 65 writev 66
        pread64 67 ppoll 73 fstat 80 personality 92 exit 93 exit_group 94 unshare 97 futex 98 set_robust_list 99
        nanosleep 101 getitimer 102 setitimer 103 kexec_load 104 init_module 105 delete_module 106
        clock_gettime 113 clock_getres 114 clock_nanosleep 115 ptrace 117 sched_getaffinity 123 sched_yield 124
        restart_syscall 128 tgkill 131 sigaltstack 132 rt_sigaction 134 rt_sigprocmask 135 rt_sigreturn 139
        reboot 142 times 153 uname 160 getrusage 165 getcpu 168 gettimeofday 169 getpid 172 getppid 173
        getuid 174 geteuid 175 getgid 176 getegid 177 gettid 178 sysinfo 179 socket 198 socketpair 199 bind 200
        listen 201 accept 202 connect 203 sendto 206 recvfrom 207   brk 214 munmap 215
        mremap 216 add_key 217 request_key 218 keyctl 219 execve 221 mmap 222 swapon 224 swapoff 225
        mprotect 226 madvise 233 perf_event_open 241 accept4 242 prlimit64 261 open_by_handle_at 265 setns 268
        process_vm_readv 270 process_vm_writev 271 kcmp 272 finit_module 273 getrandom 278 bpf 280 execveat 281
        userfaultfd 282  rseq 293 pidfd_send_signal 424 io_uring_setup 425 io_uring_enter 426
        io_uring_register 427 open_tree 428 move_mount 429 fsopen 430 pidfd_open 434 pidfd_getfd 438"""
    ),
)
_ARCHITECTURES = {"x86_64": _X86_64, "aarch64": _AARCH64}


def supported(machine: str) -> bool:
    """Whether there is a table for this instruction set."""
    return machine in _ARCHITECTURES


def template(machine: str) -> bytes:
    """A program for any worker, made once in the zygote; `for_process` completes it. Raises KeyError as `program`."""
    return program(machine, _ANY_PID)


def for_process(made: bytes, pid: int) -> bytes:
    """A template's program for the worker with process id `pid`: a newborn has better things to do than to compile."""
    return made.replace(struct.pack("I", _ANY_PID), struct.pack("I", pid))


def program(machine: str, pid: int) -> bytes:
    """The BPF program for a worker with process id `pid`, as an array of struct sock_filter.

    Raises KeyError when `supported(machine)` is false.
    """
    arch = _ARCHITECTURES[machine]
    numbers = arch.numbers
    kill, fail, allow = _op(_RETURN, _KILL_PROCESS), _op(_RETURN, _ERRNO | errno.EPERM), _op(_RETURN, _ALLOW)
    code = [
        _op(_LOAD, _ARCH),
        _op(_JUMP_EQ, arch.audit, 1, 0),
        kill,
        _op(_LOAD, _NR),
        _op(_JUMP_GE, _X32_BIT, 0, 1),
        kill,
    ]
    for name in _ALLOWED:
        if name in numbers:
            code += [_op(_JUMP_EQ, numbers[name], 0, 1), allow]
    for name in _KILLED:
        if name in numbers:
            code += [_op(_JUMP_EQ, numbers[name], 0, 1), kill]
    for name, test in (
        ("mmap", _mmap_test()),
        ("mprotect", [_op(_LOAD, _ARGS + 16), _op(_JUMP_SET, _PROT_EXEC, 0, 1), fail, allow]),
        ("tgkill", [_op(_LOAD, _ARGS), _op(_JUMP_EQ, pid, 1, 0), kill, allow]),
        ("prlimit64", [_op(_LOAD, _ARGS), _op(_JUMP_EQ, 0, 1, 0), fail, allow]),
    ):
        code += [_op(_JUMP_EQ, numbers[name], 0, len(test)), *test]
    code.append(fail)
    return b"".join(code)


def install(code: bytes) -> None:
    """Put a program in force for this process, for ever. Raises OSError."""
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(head, len(head))
    kernel.prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, ctypes.addressof(holder))


def _mmap_test() -> list[bytes]:
    """Private mappings only, with flags from the list, never executable. Low words are enough: no flag is above bit 31."""
    fail = _op(_RETURN, _ERRNO | errno.EPERM)
    return [
        _op(_LOAD, _ARGS + 16),
        _op(_JUMP_SET, _PROT_EXEC, 0, 1),
        fail,
        _op(_LOAD, _ARGS + 24),
        _op(_JUMP_SET, 0xFFFFFFFF & ~_MAP_ALLOWED, 0, 1),
        fail,
        _op(_AND, _MAP_TYPE),
        _op(_JUMP_EQ, _MAP_PRIVATE, 1, 0),
        fail,
        _op(_RETURN, _ALLOW),
    ]


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One struct sock_filter: code, two jump offsets, constant."""
    return struct.pack("HBBI", code, if_true, if_false, value)

"""What a role gives up for good, before it takes in the first byte: the table KEPT says what each one keeps.

What a stranger sends may one day find a fault in a codec or a parser. Whoever has taken over a role then has what that
process has, so it has as little as it can. Everything is done by the kernel, ends in EPERM or EACCES (an error that is
logged, never a silent death), and can't be undone by the process:

- no new rights by exec (no_new_privs), and no capabilities but those of the table;
- seccomp, by libseccomp: calls that no role makes fail, and those of the network and of other processes as the table
  says. A list of what is denied, not of what is allowed: glibc, Python and the codecs may use a new harmless call
  tomorrow, and the service must not stop for it. Where systemd starts it, its unit has such a list besides;
- Landlock (Linux 5.19): what it may write, and what a worker may read, which is no key file of the configuration,
  whoever owns it; and no role reads or writes the memory of another one (/proc/PID/mem).

A machine that lacks one of the last two runs without it, which is logged at the start. Deliberately absent:
PR_SET_DUMPABLE, which would hide the board from `leyden status`, and a process from those who look for a fault in it.
"""

import ctypes
import errno
import os
import resource
import struct
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import msgspec

# -- the table

_NEVER = (
    # other processes, and more rights
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp", "unshare", "setns",
    "personality", "keyctl", "add_key", "request_key", "userfaultfd", "perf_event_open", "bpf",
    # past the other rules
    "io_uring_setup", "io_uring_enter", "io_uring_register", "open_by_handle_at", "name_to_handle_at",
    # the machine
    "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "swapon", "swapoff", "reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module",
    "delete_module", "acct", "quotactl", "quotactl_fd", "syslog", "vhangup", "iopl", "ioperm", "modify_ldt",
    "clock_settime", "clock_adjtime", "settimeofday", "adjtimex", "sethostname", "setdomainname", "fanotify_init",
)  # fmt: skip
_PROCESSES = ("execve", "execveat", "fork", "vfork")  # and clone(2) without CLONE_THREAD
_DIAL, _SERVE = ("socket", "connect"), ("bind", "listen", "accept", "accept4")  # socketpair(2) reaches nobody
_SIGNALS = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")  # to others
CAP_NET_BIND_SERVICE = 10


class Kept(msgspec.Struct, frozen=True):
    """What a role keeps: calls that others are denied, capabilities, and files beyond the spool and the log. `spool`:
    the folders of the spool that it may write to; () = all of it.
    """

    calls: tuple[str, ...] = ()
    capabilities: tuple[int, ...] = ()
    reads_all: bool = True
    writes_all: bool = False
    spool: tuple[str, ...] = ()


# Receivers and workers read what strangers send, so they write neither keys and tokens (state/) nor orders (control/).
KEPT = {
    "receiver": Kept(  # it listens on what the supervisor has opened
        ("listen", "accept", "accept4"), spool=("embryo", "new", "recent", "journal", "logs", "bell")
    ),
    "planner": Kept(writes_all=True),  # mapping files and the folders of save_file, which a reload may change
    "worker": Kept(
        reads_all=False, spool=("transform", "asking", "prepared", "active", "failed", "journal", "logs", "bell")
    ),
    "sender": Kept((*_DIAL, "bind")),
    # It checks nodes.yml by `leyden check`, signals the supervisor, and opens its own port, which may be below 1024.
    "console": Kept((*_DIAL, *_SERVE, *_PROCESSES, *_SIGNALS), (CAP_NET_BIND_SERVICE,), writes_all=True),
    "watcher": Kept(_DIAL, writes_all=True),  # mail, webhooks and the audit repository; its archive may be anywhere
}


def confine(role: str, *, spool: Path, writes: Sequence[Path], reads: Sequence[Path] = ()) -> None:
    """Give up what KEPT does not say, for this thread and all that it starts: so before there is another one.

    `writes`: folders beside the spool that it may write and read; `reads`: files and folders that a role which may not
    read all reads besides its code and the spool. OSError: the kernel refuses one of them; the others are done all the
    same.
    """
    kept = KEPT[role]
    steps = [partial(_prctl, _PR_SET_NO_NEW_PRIVS, 1), partial(_drop_capabilities, kept.capabilities)]
    if has_landlock():
        of_spool = [spool / name for name in kept.spool] or [spool]
        written = [Path("/")] if kept.writes_all else [*of_spool, *writes, Path("/dev")]
        steps.append(partial(_landlock, written, None if kept.reads_all else [*code(), spool, *reads]))
    if (library := _libseccomp()) is not None:
        steps.append(partial(_seccomp, library, kept.calls))
    refused = []
    for step in steps:
        try:
            step()
        except OSError as error:
            refused.append(f"{step.func.__name__.strip('_')}: {error.strerror}")
    if refused:
        raise OSError(errno.EPERM, "; ".join(refused))


def no_core_dumps() -> None:
    """For this process and all that it starts: a core dump would hold images.

    A limit of 1 byte, as the kernel hands a dump to a program (core_pattern) even where the limit is 0 (fs/coredump.c).
    """
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    limit = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def has_seccomp() -> bool:
    """Whether calls can be denied here."""
    return _libseccomp() is not None


def has_landlock() -> bool:
    """Whether files can be denied here, and renames allowed."""
    return landlock_version() >= _LANDLOCK_RENAMES


def code() -> Iterator[Path]:
    """What a Python with compiled modules reads while it runs."""
    yield from map(Path, {*sys.path, *sysconfig.get_paths().values(), sys.prefix, sys.base_prefix} - {""})
    yield Path(__file__).parent
    for system in ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/usr/share/zoneinfo", "/dev"):
        yield Path(system)
    for file in ("/etc/ld.so.cache", "/etc/localtime", "/etc/ssl/openssl.cnf", "/proc/meminfo", "/proc/cpuinfo"):
        yield Path(file)
    yield from (Path("/proc/self"), Path("/sys/devices/system"), Path("/sys/fs/cgroup"))


# -- prctl(2) and capabilities(7)

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522


def _prctl(option: int, *values: int) -> None:
    _called(_libc.prctl(option, *(ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4])))


def _called(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _drop_capabilities(kept: Iterable[int]) -> None:
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    with open("/proc/thread-self/status", encoding="ascii") as file:
        held = next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))
    left = held & sum(1 << number for number in kept)
    if left != held:
        low, high = left & 0xFFFFFFFF, left >> 32
        head = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        _called(_libc.capset(head, struct.pack("=6I", low, low, 0, high, high, 0)))


# -- landlock(7): the numbers of <linux/landlock.h>; those of the calls are the same on all machines

_SYS_CREATE_RULESET, _SYS_ADD_RULE, _SYS_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_RENAMES = 2  # from this version on, a rename from one folder to another can be allowed
_READ_FILE, _READ_FOLDER, _EXECUTE = 1 << 2, 1 << 3, 1 << 0
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_WRITE_FOLDER = sum(1 << bit for bit in range(4, 14))  # remove, make of each kind, and refer: rename from and to it
_TRUNCATE_SINCE = 3


@cache
def landlock_version() -> int:
    """Of the interface of this kernel; 0 = there is none, or it is off."""
    return max(0, int(_libc.syscall(_SYS_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def _landlock(writes: Iterable[Path], reads: Iterable[Path] | None) -> None:
    """Allow these folders, and what is in them, and nothing else. `reads` None: everything may be read.

    Even where nothing is denied so: processes that have no Landlock in common can't look into each other.
    """
    truncate = _TRUNCATE if landlock_version() >= _TRUNCATE_SINCE else 0
    write_file = _WRITE_FILE | truncate
    read = 0 if reads is None else _READ_FILE | _READ_FOLDER | _EXECUTE
    handled = struct.pack("=Q", write_file | _WRITE_FOLDER | read)
    fd = _called(_libc.syscall(_SYS_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), ctypes.c_uint32(0)))
    try:
        for path in writes:
            _allow(fd, path, write_file | _WRITE_FOLDER | read & ~_EXECUTE)
        for path in reads or ():
            _allow(fd, path, read & ~_EXECUTE)
        _called(_libc.syscall(_SYS_RESTRICT_SELF, fd, ctypes.c_uint32(0)))
    finally:
        os.close(fd)


def _allow(ruleset_fd: int, path: Path, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there can't be read either
    try:
        if not path.is_dir():
            rights &= _READ_FILE | _WRITE_FILE | _TRUNCATE
        rule = struct.pack("=Qi", rights, fd)
        _called(_libc.syscall(_SYS_ADD_RULE, ruleset_fd, ctypes.c_uint32(1), rule, ctypes.c_uint32(0)))
    finally:
        os.close(fd)


# -- seccomp(2) by libseccomp, which knows the numbers of the calls on each machine (seccomp.h of version 2.5)

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NOT_EQUAL, _MASKED_EQUAL = 1, 7  # enum scmp_compare
_ATTRIBUTE_BAD_ARCHITECTURE, _ATTRIBUTE_NO_SSB = 2, 4  # enum scmp_filter_attr: CTL_..., CTL_SSB
_CLONE_THREAD = 0x00010000


class _Compare(ctypes.Structure):
    _fields_ = (("argument", ctypes.c_uint), ("how", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


@cache
def _libseccomp() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
        library.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Compare)
        ]  # fmt: skip
        for name in ("seccomp_load", "seccomp_release"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    except (OSError, AttributeError):
        return None
    return library


def _seccomp(library: ctypes.CDLL, kept: Sequence[str]) -> None:
    rules = library.seccomp_init(ctypes.c_uint32(_ALLOW))
    if not rules:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    def deny(name: str, error: int = errno.EPERM, *compare: _Compare) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # else this machine has no such call
            given = (_Compare * len(compare))(*compare)
            _done(library.seccomp_rule_add_array(rules, _ERRNO | error, number, len(compare), given))

    try:
        _done(library.seccomp_attr_set(rules, _ATTRIBUTE_BAD_ARCHITECTURE, _ERRNO | errno.EPERM))
        library.seccomp_attr_set(rules, _ATTRIBUTE_NO_SSB, 1)  # else Linux before 5.16 slows the process down
        for name in (*_NEVER, *_DIAL, *_SERVE, *_PROCESSES):
            if name not in kept:
                deny(name)
        if "fork" not in kept:
            deny("clone", errno.EPERM, _Compare(0, _MASKED_EQUAL, _CLONE_THREAD, 0))
            deny("clone3", errno.ENOSYS)  # its flags can't be seen: glibc then takes clone
        for name in _SIGNALS:
            if name not in kept:
                deny(name, errno.EPERM, *([_Compare(0, _NOT_EQUAL, os.getpid(), 0)] if name in _BY_PROCESS else []))
        _done(library.seccomp_load(rules))
    finally:
        library.seccomp_release(rules)


_BY_PROCESS = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")  # the first argument is the process


def _done(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result))

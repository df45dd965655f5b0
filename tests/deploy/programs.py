"""The static programs that are deployed, with the packages they come in, and how to look at one that runs.

systemd/package builds them, once for every part of the suite, with a release profile that is eased: what is asked here is how a
program and its surroundings fit, not how fast it is, and a second whole-program optimisation would take most of the suite's
time. The lints, the panic strategy and the assertions are the release's.
"""

import contextlib
import ctypes
import os
import platform
import shutil
import signal
import ssl
import subprocess
import tarfile
from pathlib import Path

from harness import wire
from report import Failed

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "tests" / ".work" / "deploy"
LINKS = ("tandem-cache", "tandem-queue")
PROFILE = {"LTO": "off", "CODEGEN_UNITS": "16", "OPT_LEVEL": "0", "DEBUG": "false"}
DIST = WORK / "dist"
BUILD_SECONDS_MAX = 1200
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def package(output, *words, **variables):
    """Runs systemd/package as users do; whatever ends the wait ends also what it has started."""
    eased = {f"CARGO_PROFILE_RELEASE_{key}": value for key, value in PROFILE.items()}
    process = subprocess.Popen([str(ROOT / "systemd" / "package"), "--output", str(output), *words], stdin=subprocess.DEVNULL,
                               start_new_session=True, env={**os.environ, **eased, **variables})
    try:
        if process.wait(BUILD_SECONDS_MAX) != 0:
            raise Failed("systemd/package has failed")
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        raise


def build():
    """The directory with the program of this machine, out of its archive, and the links that name its roles."""
    shutil.rmtree(DIST, ignore_errors=True)
    package(DIST)
    folder = WORK / "programs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(next(DIST.glob(f"*-{platform.machine()}-linux.tar.gz"))) as archive:
        for member in archive:
            if "/" not in (name := member.name.partition("/")[2]) and name in ("tandem", *LINKS):
                member.name = name
                archive.extract(member, folder)
    return folder


@contextlib.contextmanager
def network_of(pid):
    """Sockets made inside belong to the network of process `pid`, and stay there."""
    own, other = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if LIBC.setns(other, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if LIBC.setns(own, CLONE_NEWNET) != 0:
                raise SystemExit("cannot come back from another network")
    finally:
        os.close(own)
        os.close(other)


def connect(port, password=None, pid=None, authority=None, host="127.0.0.1"):
    """A client of a port of `host`, here or in the network of `pid`, by TLS where an authority is given."""
    context = ssl.create_default_context(cadata=authority) if authority else None
    with network_of(pid) if pid else contextlib.nullcontext():
        client = wire.Client(host, port, timeout=5, context=context)
    if password:
        client.call("AUTH", password)
    return client


def http(port, path, pid=None):
    """(status, body) of one GET."""
    with network_of(pid) if pid else contextlib.nullcontext():
        client = wire.Client("127.0.0.1", port, timeout=5)
    with client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        client.at_end()
        head, _, body = bytes(client.buffer).partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()


def refusal(client, *words):
    """The text of the error that a command gets."""
    try:
        return f"no error but {client.call(*words)!r}"
    except wire.ReplyError as error:
        return str(error)


def status(pid):
    """/proc/PID/status as a dictionary."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def check_confinement(report, who, pid):
    """What the kernel says about a process that must not be able to do anything."""
    seen = status(pid)
    report.check(f"{who}: runs as nobody special", "0" not in seen["Uid"].split() + seen["Gid"].split(), seen["Uid"])
    powers = {seen[kind] for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")}
    report.equal(f"{who}: has no capability and can get none", powers, {"0" * 16})
    report.equal(f"{who}: no new privileges, system calls filtered", (seen["NoNewPrivs"], seen["Seccomp"]), ("1", "2"))


def writable(pid, folder):
    """Whether the file system of `pid` lets anyone write in `folder`, root included."""
    probe = Path(f"/proc/{pid}/root{folder}/tandem-probe")
    try:
        probe.touch()
    except OSError as error:
        return error.strerror
    probe.unlink()
    return True


def check_password_is_hidden(report, who, pid, password):
    told = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    report.check(f"{who}: its password is on no command line and in no environment", password.encode() not in told)

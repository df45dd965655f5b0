"""The units in a real systemd: a small Debian boots in a container, installs them as a user would, and is hurt.

The Debian tree is made once by debootstrap and kept in tests/.work; each run boots a throw-away copy without network.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "tests" / ".work" / "debian"
BINARIES = Path(os.environ.get("TANDEM_BINARIES", ROOT / "target" / "release"))
UNITS = ["tandem-cache", "tandem-queue"]


def run(*words, seconds=60, check=True):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def debian_tree():
    if not TREE.exists():
        new = TREE.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        run("debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus", "bookworm", new, seconds=600)
        new.rename(TREE)
    return TREE


class Machine:
    """A booted container. Commands in it run through its init's namespaces."""

    def __init__(self, folder):
        self.folder = folder
        self.log = open(folder.parent / "boot.log", "wb")
        self.process = subprocess.Popen(
            ["systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--private-network", "--quiet", "--directory", str(folder)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.leader = None

    def wait_booted(self, seconds=90):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, (self.folder.parent / "boot.log").read_text()[-3000:]
            if self.find_leader():
                said = self.run("systemctl", "is-system-running", check=False).strip()
                if said in ("running", "degraded"):
                    return self
            time.sleep(0.3)
        raise AssertionError("the container did not boot:\n" + (self.folder.parent / "boot.log").read_text()[-3000:])

    def find_leader(self):
        """The container's init: the child of systemd-nspawn."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.leader = children[0] if children else None
        return self.leader

    def run(self, *words, **more):
        return run("nsenter", "--target", self.leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
                   "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *words, **more)

    def show(self, unit, name):
        return self.run("systemctl", "show", "-p", name, "--value", unit).strip()

    def stop(self):
        if self.process.poll() is None:
            os.kill(int(self.find_leader() or self.process.pid), signal.SIGRTMIN + 4)  # power off
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machine") / "root"
    run("cp", "-a", "--reflink=auto", debian_tree(), folder, seconds=120)
    (folder / "opt" / "tandem").mkdir(parents=True)
    shutil.copytree(ROOT / "systemd", folder / "opt" / "tandem" / "systemd")
    for name in ("tandem", "tandem-cache", "tandem-queue"):
        shutil.copy2(BINARIES / name, folder / "opt" / "tandem" / name)
    made = Machine(folder)
    try:
        made.wait_booted().run("/opt/tandem/systemd/install.sh", "/opt/tandem", "--start", seconds=120)
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


TALK = r"""
exec 3<>/dev/tcp/127.0.0.1/$1
printf 'AUTH %s\r\n' "$(cat /etc/tandem/$2-password)" >&3
read -r -t 5 answer <&3
shift 2
for words; do printf '%s\r\n' "$words" >&3; read -r -t 5 answer <&3; printf '%s\n' "${answer%$'\r'}"; done
"""


def ask(machine, kind, *commands):
    """First lines of the replies to inline commands, sent from inside with the installed password."""
    port = {"cache": 6379, "queue": 6380}[kind]
    return machine.run("bash", "-c", TALK, "talk", port, kind, *commands).split("\n")[:-1]


def until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.2)


@pytest.mark.timeout(900)
def test_both_units_are_active(machine):
    for unit in UNITS:
        assert machine.show(unit, "ActiveState") == "active", machine.run("journalctl", "-u", unit, "-n", "40", "--no-pager")
        assert machine.show(unit, "Type") == "notify" and machine.show(unit, "NRestarts") == "0"
        pid = machine.show(unit, "MainPID")
        status = machine.run("cat", f"/proc/{pid}/status")
        assert not re.search(r"^Uid:\s+0\s", status, re.MULTILINE), "it runs as root"
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE) and re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)


def test_units_verify_without_a_word(machine):
    for unit in UNITS:
        done = subprocess.run(["nsenter", "--target", machine.leader, "--all", "systemd-analyze", "verify", f"/etc/systemd/system/{unit}.service"],
                              capture_output=True, text=True, timeout=60)
        said = [line for line in (done.stdout + done.stderr).splitlines() if "tandem" in line]
        assert done.returncode == 0 and not said, done.stderr


def test_security_score(machine):
    for unit in UNITS:
        out = machine.run("systemd-analyze", "security", "--no-pager", f"{unit}.service", check=False)
        score = float(re.search(r"exposure level for [^:]+: ([0-9.]+)", out)[1])
        assert score <= 2.0, out


def test_both_answer(machine):
    assert ask(machine, "cache", "PING", "SET k v", "GET k")[:2] == ["+PONG", "+OK"]
    assert ask(machine, "queue", "PING", "RPUSH jobs a b c", "LLEN jobs") == ["+PONG", ":3", ":3"]
    for kind in ("cache", "queue"):
        machine.run("tandem", "health", kind)


def test_a_killed_queue_comes_back_with_its_data(machine):
    before = machine.show("tandem-queue", "MainPID")
    machine.run("systemctl", "kill", "-s", "SIGKILL", "tandem-queue")
    until("the restart", lambda: machine.show("tandem-queue", "ActiveState") == "active" and machine.show("tandem-queue", "MainPID") not in (before, "0"))
    assert machine.show("tandem-queue", "NRestarts") == "1"
    assert ask(machine, "queue", "LLEN jobs") == [":3"]


@pytest.mark.timeout(240)
def test_the_watchdog_restarts_a_hung_queue(machine):
    """WatchdogSec is shortened by a drop-in so that the test need not wait the production time."""
    machine.run("bash", "-c", "mkdir -p /etc/systemd/system/tandem-queue.service.d && "
                "printf '[Service]\\nWatchdogSec=4\\n' > /etc/systemd/system/tandem-queue.service.d/test.conf && "
                "systemctl daemon-reload && systemctl restart tandem-queue", seconds=60)
    time.sleep(9)
    assert machine.show("tandem-queue", "NRestarts") == "0", "the watchdog is not fed"
    before = machine.show("tandem-queue", "MainPID")
    machine.run("systemctl", "kill", "-s", "SIGSTOP", "tandem-queue")
    until("the watchdog", lambda: machine.show("tandem-queue", "MainPID") not in (before, "0"), 120)
    until("the restart", lambda: machine.show("tandem-queue", "ActiveState") == "active")
    assert "atchdog" in machine.run("journalctl", "-u", "tandem-queue", "--no-pager", "-n", "200")
    assert ask(machine, "queue", "LLEN jobs") == [":3"]


def test_a_clean_stop_and_start(machine):
    machine.run("systemctl", "stop", *UNITS, seconds=130)
    for unit in UNITS:
        assert machine.show(unit, "Result") == "success"
    machine.run("systemctl", "start", *UNITS, seconds=120)
    assert ask(machine, "queue", "LLEN jobs") == [":3"]

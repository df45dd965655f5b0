"""systemd/ on a real systemd: installed by install.sh into a Debian tree, booted in a container.

The tree is made once by debootstrap and kept; every run boots a copy. The container has a network of
its own, so no port of the machine is touched; clients are made inside it.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from harness import wire
from programs import (ROOT, WORK, check_confinement, check_password_is_hidden, connect, http, refusal, writable)
from report import Failed, command, stop, until

SERVICES = {"cache": (6379, 9121), "queue": (6380, 9122)}
SUITE = "bookworm"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
TREE_SECONDS_MAX = 400
BOOT_SECONDS_MAX = 60
RESTART_SECONDS_MAX = 20
WATCHDOG_SECONDS = 30
EXPOSURE_MAX = 2.0
JOBS = 500


class Tree:
    """The Debian tree, downloaded in the background unless an earlier run did it."""

    def __init__(self):
        self.path, self.process, self.log = WORK / SUITE, None, WORK / "debootstrap.log"
        if self.path.is_dir():
            return
        WORK.mkdir(parents=True, exist_ok=True)
        self.new = WORK / f"{SUITE}.new"
        shutil.rmtree(self.new, ignore_errors=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus", SUITE, str(self.new), MIRROR],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def get(self):
        """The finished tree."""
        if self.process:
            if self.process.wait(TREE_SECONDS_MAX) != 0:
                raise Failed("debootstrap failed:\n" + self.log.read_text()[-2000:])
            self.process = None
            # A directory of this name is whole: it gets the name last.
            self.new.rename(self.path)
        return self.path

    def close(self):
        if self.process and self.process.poll() is None:
            # Its own session: the programs it runs end with it.
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(30)


class System:
    """One booted systemd."""

    def __init__(self, root):
        self.root = root
        self.console = root.parent / "console.log"
        with self.console.open("wb") as console:
            self.process = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--private-network",
                 f"--machine=tandem-{os.getpid()}", "-D", str(root)],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True)

    def leader(self):
        """The pid of the container's first process, seen from here."""
        if self.process.poll() is not None:
            raise RuntimeError("systemd-nspawn ended:\n" + self.console.read_text(errors="replace")[-3000:])
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def inside(self, *words, **more):
        return command("nsenter", "-t", self.leader() or "none", "-a", *words, **more)

    def show(self, service, name):
        """One property of a unit."""
        return self.inside("systemctl", "show", f"tandem-{service}", "-p", name, "--value").strip()

    def active(self, service):
        return self.show(service, "ActiveState") == "active"

    def pid(self, service):
        """The unit's main process, seen from here: systemd tells the number it has inside."""
        inner = self.show(service, "MainPID")
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    lines = (entry / "status").read_text().splitlines()
                    numbers = next(line for line in lines if line.startswith("NSpid:")).split()[1:]
                    same = os.readlink(entry / "ns" / "pid") == os.readlink(f"/proc/{self.leader()}/ns/pid")
                    if same and numbers[-1] == inner:
                        return int(entry.name)
        return None

    def journal(self, service, lines=30):
        return self.inside("journalctl", "--no-pager", "-o", "cat", "-n", lines, "-u", f"tandem-{service}")

    def password(self, service):
        return (self.root / "etc" / "tandem" / f"{service}-password").read_text()

    def client(self, service, tls=False):
        """An authenticated client inside the container, once the service is there."""
        authority = None
        if tls:
            authority = (self.root / "var" / "lib" / f"tandem-{service}" / "tls" / "ca.crt").read_text()

        def attempt():
            with contextlib.suppress(wire.ReplyError):
                return connect(SERVICES[service][0], self.password(service), self.leader(), authority)

        found = until(RESTART_SECONDS_MAX, attempt)
        if not found:
            raise Failed(f"the {service} does not take its password")
        return found

    def close(self):
        leader = None
        with contextlib.suppress(RuntimeError, OSError):
            leader = self.leader()
        # systemd-nspawn asks its systemd to power off.
        stop(self.process, 60)
        if leader and Path(f"/proc/{leader}").exists():
            os.kill(leader, signal.SIGKILL)


def run(report, programs, tree):
    with contextlib.ExitStack() as stack:
        with report.step("systemd: the Debian tree", TREE_SECONDS_MAX):
            tree.get()
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-s-", ignore_cleanup_errors=True)))
        root = home / "root"
        command("cp", "-a", "--reflink=auto", tree.get(), root)
        check_install(report, programs, root)
        system = System(root)
        stack.callback(system.close)
        check_start(report, system)
        check_units(report, system)
        for service in SERVICES:
            check_service(report, system, service)
        check_apart(report, system)
        check_backup_verify(report, system)
        check_journal(report, system)
        check_what_stays(report, system)
        check_drop_in(report, system)
        check_update(report, system, programs)
        check_former_owner(report, system)
        check_reload(report, system)
        check_death(report, system)
        check_hang(report, system)
        check_end(report, system)


def check_install(report, programs, root):
    def install():
        return command("sh", ROOT / "systemd" / "install.sh", programs, env={**os.environ, "DESTDIR": str(root)})

    install()
    files = {service: root / "etc" / "tandem" / f"{service}-password" for service in SERVICES}
    passwords = {service: path.read_text() for service, path in files.items()}
    modes = [path.stat().st_mode & 0o777 for path in (root / "etc" / "tandem", *files.values())]
    report.equal("systemd: install.sh brings redis-cli where there is none", os.readlink(root / "usr/local/bin/redis-cli"), "tandem")
    report.equal("systemd: install.sh makes passwords for root's eyes", modes, [0o700, 0o600, 0o600])
    report.check("systemd: two long ones", len(set(passwords.values())) == 2
                 and all(len(word) >= 40 for word in passwords.values()))
    install()
    report.equal("systemd: install.sh again keeps them", {name: path.read_text() for name, path in files.items()},
                 passwords)
    for service in SERVICES:
        command("systemctl", f"--root={root}", "enable", f"tandem-{service}.service")


def check_start(report, system):
    until(BOOT_SECONDS_MAX, system.leader)
    for service in SERVICES:
        good = until(BOOT_SECONDS_MAX, lambda: system.active(service))
        if not report.check(f"systemd: tandem-{service} is active after boot", good):
            print(system.console.read_text(errors="replace")[-2000:], system.journal(service))
        report.equal(f"systemd: {service}: at the first start", system.show(service, "NRestarts"), "0")
        good = until(10, lambda: system.show(service, "StatusText").startswith("READY"))
        report.check(f"systemd: {service}: tells its state", good, system.show(service, "StatusText"))
        report.equal(f"systemd: {service}: its watchdog is set", system.show(service, "WatchdogUSec"), f"{WATCHDOG_SECONDS}s")


def check_units(report, system):
    names = [*(f"tandem-{service}.service" for service in SERVICES), "tandem-backup-verify.service"]
    files = [f"/etc/systemd/system/{name}" for name in names]
    said = system.inside("systemd-analyze", "verify", *files, f"{Path(files[-1]).with_suffix('.timer')}", both=True, check=False).strip()
    report.equal("systemd: systemd-analyze verify has nothing to say", said, "")
    for file in files:
        said = system.inside("systemd-analyze", "security", "--no-pager", "--offline=true", file, both=True)
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
        exposure = float(found[1]) if found else 10.0
        report.check(f"systemd: {Path(file).stem}: exposure {exposure}", exposure <= EXPOSURE_MAX, said[-300:])


def check_backup_verify(report, system):
    """What the timer starts: it is content with a backup that is whole, and has failed where one is not."""
    place, unit = "/srv/backup", "tandem-backup-verify.service"
    system.inside("tandem", "backup", "now", "--dir", "/var/lib/tandem-queue", "--repository", place, "--unencrypted")
    system.inside("chown", "-R", "tandem-queue:", place)
    (system.root / "etc/default/tandem-backup-verify").write_text(f"TANDEM_BACKUP_REPOSITORY={place}\n")
    system.inside("systemctl", "start", unit, seconds=120)
    report.equal("systemd: backup-verify: a backup is whole", system.show("backup-verify", "Result"), "success")
    report.check("systemd: backup-verify: it was loaded", "restored and loaded" in system.journal("backup-verify"))
    next((system.root / "srv/backup").glob("*/base-*.zst")).unlink()
    system.inside("systemctl", "start", unit, check=False, seconds=120)
    report.equal("systemd: backup-verify: a backup that is not is told", system.show("backup-verify", "Result"), "exit-code")
    system.inside("systemctl", "reset-failed", unit)
    system.inside("systemctl", "enable", "--quiet", "--now", "tandem-backup-verify.timer")
    report.equal("systemd: backup-verify: its timer waits", system.inside("systemctl", "is-active", "tandem-backup-verify.timer").strip(), "active")


def check_service(report, system, service):
    who, pid, (port, metrics) = f"systemd: {service}", system.pid(service), SERVICES[service]
    password = system.password(service)
    check_confinement(report, who, pid)
    check_password_is_hidden(report, who, pid, password)
    shown = system.inside("systemctl", "show", f"tandem-{service}") + system.journal(service, 1000)
    report.check(f"{who}: systemd and the journal do not know its password", password not in shown)
    state = f"/var/lib/tandem-{service}"
    report.equal(f"{who}: can write its state and not the system",
                 [writable(pid, folder) for folder in ("/usr", "/etc", "/var/lib", state)],
                 ["Read-only file system"] * 3 + [True])
    report.equal(f"{who}: sees no device but the harmless ones", Path(f"/proc/{pid}/root/dev/mem").exists(), False)
    report.equal(f"{who}: its state is its own", (system.root / state[1:]).stat().st_mode & 0o777, 0o700)
    with connect(port, pid=system.leader()) as client:
        report.check(f"{who}: asks for a password", refusal(client, "GET", "x").startswith("NOAUTH"))
        report.check(f"{who}: takes no other", refusal(client, "AUTH", "wrong").startswith("WRONGPASS"))
    for tls in (False, True):
        with system.client(service, tls) as client:
            client.call("SET", "greeting", f"tls {tls}")
            report.equal(f"{who}: serves {'TLS' if tls else 'plaintext'}", client.call("GET", "greeting"),
                         f"tls {tls}".encode())
    report.equal(f"{who}: is ready over HTTP", http(metrics, "/readyz", system.leader())[0], 200)
    report.check(f"{who}: tandem health agrees", "healthy" in system.inside("tandem", "health", service))
    report.equal(f"{who}: tandem cli finds it without a password", system.inside("tandem", "cli", f"--{service}", "ping"), "PONG\n")


def check_apart(report, system):
    """Each service has a user of its own, who sees nothing of the other's, and no more of the machine than it needs."""
    users = {service: system.show(service, "User") for service in SERVICES}
    report.equal("systemd: a user each", users, {service: f"tandem-{service}" for service in SERVICES})
    said = system.inside("setpriv", "--reuid=tandem-cache", "--regid=tandem-cache", "--clear-groups", "ls",
                         "/var/lib/tandem-queue", "/run/tandem-queue", check=False, both=True)
    report.equal("systemd: the cache's user reads nothing of the queue's", said.count("Permission denied"), 2)
    for service in SERVICES:
        limits = [system.show(service, name) for name in ("MemoryMax", "TasksMax", "IPAddressDeny")]
        report.check(f"systemd: {service}: memory, threads and addresses are limited",
                     limits[0].isdigit() and limits[1] == "128" and limits[2] != "", limits)
        with system.client(service) as client:
            memory = int(client.call("CONFIG", "GET", "maxmemory")[1])
        report.check(f"systemd: {service}: maxmemory follows its limit", int(limits[0]) // 2 <= memory < int(limits[0]),
                     f"{memory} of {limits[0]}")


def check_drop_in(report, system):
    """What README calls the way to change a setting changes it, also those that a service starts with."""
    folder = system.root / "etc" / "systemd" / "system" / "tandem-cache.service.d"
    folder.mkdir()
    settings = {"bind": "127.0.0.1 127.0.0.2", "tls": "off", "metrics-port": "9123", "timeout": "77"}
    lines = [f'Environment="TANDEM_{name.upper().replace("-", "_")}={value}"' for name, value in settings.items()]
    (folder / "settings.conf").write_text("\n".join(["[Service]", *lines, ""]))
    system.inside("systemctl", "daemon-reload")
    system.inside("systemctl", "restart", "tandem-cache")
    with system.client("cache") as client:
        found = {name: client.call("CONFIG", "GET", name)[1].decode() for name in settings}
    report.equal("systemd: a drop-in's variables are the settings", found, settings)
    shutil.rmtree(folder)
    system.inside("systemctl", "daemon-reload")
    system.inside("systemctl", "restart", "tandem-cache")


def check_what_stays(report, system):
    """What is set at run time outlives a restart: the state's folder is the one that a service may write."""
    def settle(timeout, *user):
        with system.client("queue") as client:
            said = [client.call("CONFIG", "SET", "timeout", timeout), client.call(*user), client.call("CONFIG", "REWRITE"),
                    client.call("ACL", "SAVE")]
        return [word for word in said if word != b"OK"]

    said = settle("77", "ACL", "SETUSER", "worker", "on", "nopass", "~bull:*", "+@all")
    report.equal("systemd: queue: CONFIG REWRITE and ACL SAVE are accepted", said, [])
    system.inside("systemctl", "restart", "tandem-queue")
    with system.client("queue") as client:
        found = [client.call("CONFIG", "GET", "timeout")[1], b"worker" in client.call("ACL", "USERS")]
    report.equal("systemd: queue: settings and users outlive a restart", found, [b"77", True])
    settle("0", "ACL", "DELUSER", "worker")
    state = system.root / "var" / "lib" / "tandem-queue"
    modes = [(state / name).stat().st_mode & 0o777 for name in ("queue.conf", "users.acl")]
    report.equal("systemd: queue: which nobody else can read", modes, [0o600, 0o600])


def check_journal(report, system):
    def journal(*more):
        return system.inside("journalctl", "-u", "tandem-queue", "-o", "cat", "--no-pager", *more)

    report.check("systemd: queue: the journal tells what it does with memory, disk and TLS",
                 all(f" * {word}: " in journal() for word in ("Settings", "Memory", "Durability", "TLS")), journal()[-2000:])
    warnings = until(10, lambda: "A wrong password was given" in journal("-p", "warning"))
    report.check("systemd: queue: wrong passwords are a warning", warnings, journal()[-2000:])
    report.check("systemd: queue: and what is usual is none", "Server initialized" not in journal("-p", "warning")
                 and "Server initialized" in journal("-p", "notice"))
    for service in SERVICES:
        report.equal(f"systemd: {service}: is never given up", system.show(service, "StartLimitIntervalUSec"), "0")


def check_update(report, system, programs):
    """install.sh again, on the running system: what is the same goes on, what is another is started anew."""
    home = system.root / "root"
    shutil.copytree(ROOT / "systemd", home / "systemd")
    shutil.copytree(programs, home / "programs", symlinks=True)

    def install():
        return system.inside("sh", "/root/systemd/install.sh", "/root/programs", "--start", both=True)

    before = {service: system.pid(service) for service in SERVICES}
    said = install()
    report.equal("systemd: install.sh of the same again leaves the services alone",
                 {service: system.pid(service) for service in SERVICES}, before)
    report.check("systemd: install.sh tells how to connect, and shows a log no password",
                 all(f"127.0.0.1:{ports[0]}" in said and system.password(service) not in said
                     for service, ports in SERVICES.items()), said)
    with (home / "programs" / "tandem").open("ab") as program:
        program.write(b"another build")
    (home / "systemd" / "tandem-queue.service").open("a").write("# another unit\n")
    said = install()
    report.check("systemd: install.sh of another program restarts both",
                 all(system.pid(service) not in (None, before[service]) for service in SERVICES), said)
    sizes = {(Path(f"/proc/{system.pid(service)}/exe")).stat().st_size for service in SERVICES}
    report.equal("systemd: and they run it", sizes, {(home / "programs" / "tandem").stat().st_size})
    before = {service: system.pid(service) for service in SERVICES}
    (home / "systemd" / "tandem-queue.service").open("a").write("# and another\n")
    install()
    after = {service: system.pid(service) for service in SERVICES}
    report.check("systemd: another unit restarts its own service only",
                 after["cache"] == before["cache"] and after["queue"] != before["queue"], (before, after))


def check_former_owner(report, system):
    """State that belongs to another user, as when both services had one, is the service's own after a start."""
    write_jobs(report, system, "owned")
    system.inside("systemctl", "stop", "tandem-queue")
    system.inside("chown", "-R", "12345:12345", "/var/lib/tandem-queue")
    system.inside("systemctl", "start", "tandem-queue")
    check_jobs(report, system, "owned")


def check_reload(report, system):
    before = system.pid("queue")
    system.inside("systemctl", "reload", "tandem-queue")
    with system.client("queue", tls=True) as client:
        report.equal("systemd: queue: serves on after a reload", client.call("PING"), b"PONG")
    report.equal("systemd: queue: a reload keeps the process", system.pid("queue"), before)


def write_jobs(report, system, key):
    with system.client("queue") as client:
        sizes = client.pipeline([("RPUSH", key, f"job-{number}") for number in range(JOBS)])
    report.equal(f"systemd: queue: acknowledges jobs ({key})", sizes, list(range(1, JOBS + 1)))


def check_jobs(report, system, key):
    with system.client("queue") as client:
        found = client.call("LRANGE", key, 0, -1)
    report.equal(f"systemd: queue: they are there ({key})", found, [b"job-%d" % number for number in range(JOBS)])


def restarted(system, service, times):
    return system.show(service, "NRestarts") == str(times) and system.active(service)


def check_death(report, system):
    write_jobs(report, system, "killed")
    for service in SERVICES:
        os.kill(system.pid(service), signal.SIGKILL)
    for service in SERVICES:
        report.check(f"systemd: {service}: is started again after SIGKILL",
                     until(RESTART_SECONDS_MAX, lambda: restarted(system, service, 1)), system.show(service, "NRestarts"))
    check_jobs(report, system, "killed")


def check_hang(report, system):
    """A process that stands still answers no watchdog."""
    write_jobs(report, system, "hung")
    begin = time.monotonic()
    os.kill(system.pid("queue"), signal.SIGSTOP)
    good = until(WATCHDOG_SECONDS + RESTART_SECONDS_MAX, lambda: restarted(system, "queue", 2), every=0.5)
    report.check(f"systemd: queue: the watchdog restarts it when it hangs ({time.monotonic() - begin:.0f} s)", good)
    report.check("systemd: queue: and says so", "Watchdog timeout" in system.journal("queue", 60))
    check_jobs(report, system, "hung")
    report.equal("systemd: cache: is left alone meanwhile", system.show("cache", "NRestarts"), "1")


def check_end(report, system):
    for service in SERVICES:
        system.inside("systemctl", "stop", f"tandem-{service}", seconds=130)
        report.equal(f"systemd: {service}: stops cleanly",
                     [system.show(service, name) for name in ("ActiveState", "Result", "ExecMainStatus")],
                     ["inactive", "success", "0"])
    begin = time.monotonic()
    system.close()
    report.check(f"systemd: the system powers off ({time.monotonic() - begin:.0f} s)", system.process.returncode == 0,
                 system.process.returncode)

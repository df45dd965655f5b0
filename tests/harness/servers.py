"""Starts, watches and stops one server under test.

Two makers with one face: `tandem` runs this project's binaries, `reference` a real redis-server.
A suite written and seen green against the reference is then pointed at Tandem, so a red line
accuses the server and not the test. REFERENCE=1 in the environment chooses the reference for all.

Invariants: every process is stopped by its own pid; every port is free when chosen; every file lies
in a temporary directory that goes away with the server.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from . import certs, wire

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("TANDEM_BINARIES", ROOT / "target" / "release"))
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 20


def use_reference():
    return os.environ.get("REFERENCE") == "1"


def free_port():
    """A port nobody listens on now; the kernel does not hand it out again at once."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def read_users(path):
    """The rules of each user in a file of `profiles`."""
    lines = [line.split() for line in Path(path).read_text().splitlines() if line.startswith("user ")]
    return {words[1]: words[2:] for words in lines}


class Server:
    """One server process. `kind` is cache, queue or server (the last: redis.conf rules)."""

    def __init__(self, kind="queue", reference=None, password=None, directory=None, extra=(), tls=True,
                 environment=None, supervise=False, users=(), more_rules=(),
                 binary="redis-server"):
        self.kind = kind
        self.reference = use_reference() if reference is None else reference
        self.password = password
        self.own_directory = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix=f"tandem-{kind}-"))
        self.extra = list(extra)
        self.port = free_port()
        self.tls = tls
        self.tls_port = (free_port() if self.reference else self.port) if tls else None
        self.metrics_port = None if self.reference else free_port()
        self.environment = environment or {}
        # Files with lines as `user NAME RULES`: these users are made at the first start, with the server's password.
        self.users = {name: [*rules, *more_rules] for path in users for name, rules in read_users(path).items()}
        self.binary = binary
        self.process = None
        self.supervise = supervise
        self.stopping = False
        self.watcher = None
        self.pidfile = self.directory / "server.pid"
        self.log = self.directory / "server.log"

    # Command lines ---------------------------------------------------------------------------

    def command(self):
        return self.reference_command() if self.reference else self.tandem_command()

    def tandem_command(self):
        line = [str(BINARIES / "tandem"), self.kind]
        line += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.data())]
        line += ["--metrics-port", str(self.metrics_port), "--metrics-bind", "127.0.0.1"]
        if self.tls:
            files = certs.made()
            line += ["--tls", "optional", "--tls-cert-file", str(files.certificate),
                     "--tls-key-file", str(files.key), "--tls-ca-cert-file", str(files.authority)]
        else:
            line += ["--tls", "off"]
        if self.password:
            secret = self.directory / "password"
            if not secret.exists():
                secret.touch(mode=0o600)
                secret.write_text(self.password + "\n")
            line += ["--requirepass-file", str(secret)]
        if self.kind == "server":
            line += ["--enable-debug-command", "yes"]
        return line + self.extra

    def reference_command(self):
        line = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.data()),
                "--enable-debug-command", "yes"]
        if self.kind == "queue":
            line += ["--appendonly", "yes"]
        else:
            line += ["--save", ""]
        if self.tls:
            files = certs.made()
            line += ["--tls-port", str(self.tls_port), "--tls-cert-file", str(files.certificate),
                     "--tls-key-file", str(files.key), "--tls-ca-cert-file", str(files.authority),
                     "--tls-auth-clients", "no"]
        if self.password:
            line += ["--requirepass", self.password]
        if self.users:
            kept = self.directory / "users.acl"
            if not kept.exists():
                kept.write_text(f"user default on >{self.password} ~* &* +@all\n")
            line += ["--aclfile", str(kept)]
        return line + self.extra

    def data(self):
        path = self.directory / "data"
        path.mkdir(exist_ok=True)
        return path

    # Life ------------------------------------------------------------------------------------

    def start(self):
        self.stopping = False
        self.spawn()
        self.wait_ready()
        self.make_users()
        if self.supervise and self.watcher is None:
            self.watcher = threading.Thread(target=self.watch, daemon=True)
            self.watcher.start()
        return self

    def spawn(self):
        environment = {**os.environ, **self.environment}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=environment, cwd=self.directory)
        self.pidfile.write_text(str(self.process.pid))

    def wait_ready(self):
        """Ready is what clients call ready: it answers and is not LOADING."""
        deadline = time.monotonic() + START_SECONDS_MAX
        last = None
        while time.monotonic() < deadline:
            if self.process.poll() is not None and not self.supervise:
                raise RuntimeError(f"{self.command()} ended with {self.process.returncode}:\n{self.log_tail()}")
            try:
                with self.client(timeout=5) as c:
                    if c.call("PING") == b"PONG":
                        return
                    last = "not PONG"
            except (OSError, wire.ReplyError, EOFError) as problem:
                last = problem
            time.sleep(0.02)
        raise RuntimeError(f"no answer from {self.command()}: {last}\n{self.log_tail()}")

    def watch(self):
        """Restarts the process when it dies, as a service manager would."""
        while not self.stopping:
            if self.process.poll() is not None and not self.stopping:
                time.sleep(0.2)
                if not self.stopping:
                    self.spawn()
            time.sleep(0.05)

    def kill(self):
        """SIGKILL: nothing is flushed, nothing said."""
        self.process.kill()
        self.process.wait()

    def freeze(self):
        """SIGSTOP, and until no thread runs any more, which takes a moment on a busy machine; SIGCONT ends it."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")
        end = time.monotonic() + STOP_SECONDS_MAX
        while any(stat.read_text().rpartition(")")[2].split()[0] not in "TZ" for stat in tasks.glob("*/stat")):
            assert time.monotonic() < end, "it does not stand still"
            time.sleep(0.002)

    def restart(self):
        self.spawn()
        self.wait_ready()

    def stop(self):
        self.stopping = True
        if self.watcher:
            self.watcher.join(timeout=2)
            self.watcher = None
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill()
                raise RuntimeError(f"{self.kind} did not stop within {STOP_SECONDS_MAX} s of SIGTERM")

    def remove(self):
        self.stop()
        if self.own_directory and not os.environ.get("KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_):
        self.remove()

    # Reaching it -----------------------------------------------------------------------------

    def make_users(self):
        """They stay over restarts: a profile keeps its users."""
        with self.client() as c:
            for name, rules in self.users.items():
                c.call("ACL", "SETUSER", name, "on", f">{self.password}", *rules)
            if self.users:
                c.call("ACL", "SAVE")

    def url(self, tls=False, db=None, user=""):
        scheme, port = ("rediss", self.tls_port) if tls else ("redis", self.port)
        login = f"{user}:{self.password}@" if self.password else ""
        return f"{scheme}://{login}127.0.0.1:{port}" + (f"/{db}" if db is not None else "")

    def client(self, protocol=2, tls=False, timeout=30, login=True):
        context = certs.client_context() if tls else None
        c = wire.Client("127.0.0.1", self.tls_port if tls else self.port, timeout=timeout, context=context)
        try:
            if login and self.password:
                c.call("AUTH", self.password)
            if protocol == 3:
                c.call("HELLO", "3")
        except BaseException:
            c.close()
            raise
        return c

    def log_tail(self, bytes_max=4000):
        try:
            return self.log.read_bytes()[-bytes_max:].decode(errors="replace")
        except OSError:
            return "(no log)"


def password():
    return secrets.token_hex(16)

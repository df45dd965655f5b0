"""The files of compose/three-machines, as setup.sh makes them, on machines that can be lost: with stock Sentinels, TLS and a password."""

import collections
import contextlib
import itertools
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from conftest import eventually
from harness import servers, wire
from harness.machines import Network

FOLDER = servers.ROOT / "compose" / "three-machines"
PORT, SENTINEL_PORT = 6380, 26379
FAILOVER_SECONDS_MAX = 60
JOBS_SECONDS_MAX = 60
NODE = servers.ROOT / "tests" / "clients" / "node" / "lib"


class Machine:
    """One of the three, with the folder that was made for it."""

    def __init__(self, machine, folder, password):
        self.machine, self.folder, self.password = machine, folder, password
        self.address = machine.address
        self.processes = {}
        self.data = folder / "data"
        self.data.mkdir()

    def start(self, environment):
        """The queue, as the unit or the container has it: by its variables alone."""
        inherited = {"PATH": os.environ["PATH"]}
        with open(self.folder / "queue.log", "ab") as log:
            self.processes["queue"] = self.machine.begin(
                [servers.BINARIES / "tandem-queue"], stdout=log, stderr=log, env={**inherited, "TANDEM_DIR": str(self.data), **environment})

    def watch(self):
        """The Sentinel, with its file and certificates where the file says they are."""
        etc = self.folder / "etc-redis"
        etc.mkdir(exist_ok=True)
        if not (etc / "sentinel.conf").exists():
            shutil.copy(self.folder / "sentinel.conf", etc)
            (etc / "sentinel.conf").chmod(0o600)
            shutil.copytree(self.folder / "tls", etc / "tls")
        line = f"mount --bind {shlex.quote(str(etc))} /etc/redis && exec redis-server /etc/redis/sentinel.conf --sentinel"
        with open(self.folder / "sentinel.log", "ab") as log:
            self.processes["sentinel"] = self.machine.begin(["unshare", "--mount", "sh", "-c", line], stdout=log, stderr=log)

    def kill(self, *names):
        for name in names or list(self.processes):
            process = self.processes.pop(name, None)
            if process:
                process.kill()
                process.wait()

    @contextlib.contextmanager
    def client(self, port=PORT):
        """From the machine itself, by its address, so over TLS."""
        context = ssl.create_default_context(cafile=str(self.folder / "tls" / "ca.crt"))
        with self.machine.inside():
            client = wire.Client(self.address, port, timeout=5, context=context)
        with client:
            client.call("AUTH", self.password)
            yield client

    def ask(self, *words, port=PORT):
        try:
            with self.client(port) as c:
                return c.ask(*words)
        except (OSError, EOFError, wire.ReplyError):
            return None

    def told(self):
        told = self.ask("INFO", "replication")
        return dict(line.split(":", 1) for line in told.decode().split("\r\n") if ":" in line) if isinstance(told, bytes) else {}

    def follows(self, other):
        told = self.told()
        return (told.get("master_host"), told.get("master_link_status")) == (other.address, "up")

    def master(self):
        """Whom its Sentinel names."""
        told = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "jobs", port=SENTINEL_PORT)
        return told[0].decode() if isinstance(told, list) else None

    def run(self, line):
        """A line of a shell, in the folder."""
        words = ["sh", "-c", f"cd {shlex.quote(str(self.folder))} && {line}"]
        path = f"{servers.BINARIES}:{os.environ['PATH']}"
        process = self.machine.begin(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PATH": path})
        said = process.communicate(timeout=60)[0]
        assert process.returncode == 0, (line, said)
        return said.strip()


def of_unit(made):
    """The variables of the drop-in, and the credentials that systemd would hand over."""
    text = (made.folder / "tandem-queue.conf").read_text()
    credentials = made.folder / "credentials"
    credentials.mkdir()
    for name, source in re.findall(r"^LoadCredential=([^:]+):(.+)$", text, re.MULTILINE):
        shutil.copy(made.folder / Path(source).relative_to("/etc/tandem/three-machines"), credentials / name)
    lines = re.findall(r"^Environment=(.+)$", text.replace("%d", str(credentials)), re.MULTILINE)
    variables = dict(shlex.split(line)[0].split("=", 1) for line in lines)
    return {**variables, "CREDENTIALS_DIRECTORY": str(credentials)}


def of_container(made):
    """The variables that docker-compose makes of the file, with the secrets where they are here."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("COMPOSE_", "TANDEM_"))}
    done = subprocess.run(["docker-compose", "config"], cwd=made.folder, capture_output=True, text=True, timeout=60, env=clean)
    assert done.returncode == 0, done.stderr
    told = yaml.safe_load(done.stdout)
    places = {f"/run/secrets/{name}": secret["file"] for name, secret in told["secrets"].items()}
    assert all(Path(place).is_file() for place in places.values())
    queue, sentinel = told["services"]["queue"], told["services"]["sentinel"]
    assert queue["network_mode"] == sentinel["network_mode"] == "host"
    mounted = [str(volume if isinstance(volume, str) else volume["source"]).partition(":")[0] for volume in sentinel["volumes"]]
    assert all(Path(place).exists() for place in mounted if place.startswith("/"))
    return {name: places.get(str(value), str(value)) for name, value in queue["environment"].items()}


@contextlib.contextmanager
def machines(folder, count):
    """So many, set up by the script; and one of clients."""
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("machines", "authority"))
    with Network() as network:
        bare = [network.machine(f"m{number}") for number in range(count)]
        subprocess.run([folder / "setup.sh", *(machine.address for machine in bare)], check=True, capture_output=True, timeout=60)
        password = (folder / "authority" / "password").read_text()
        made = [Machine(machine, folder / "machines" / machine.address, password) for machine in bare]
        try:
            yield network, made
        finally:
            for machine in made:
                machine.kill()


def recipe(heading):
    """The lines for a shell that README has behind that heading: (what the comment above them says, the line)."""
    section = (servers.ROOT / "README.md").read_text().partition(f"\n{heading}")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]
    found, above = [], ""
    for line in block.splitlines():
        if line.startswith("#"):
            above = line.strip("# ")
        elif line:
            found.append((above, line.partition("  #")[0].strip()))
    return found


def run_on(made, lines):
    """Runs those lines that the comment above them says are for machines, whose addresses are README's there."""
    named = dict(zip(("10.0.0.11", "10.0.0.12", "10.0.0.13"), made))
    for above, line in lines:
        for told, other in named.items():
            line = line.replace(told, other.address)
        for told, machine in named.items():
            if above.startswith("on ") and told in above.partition(":")[0]:
                eventually("it answers", lambda machine=machine: machine.ask("PING") == b"PONG")
                machine.run(line)


def all_follow(made, master):
    others = [machine for machine in made if machine is not master]
    eventually("all follow", lambda: all(other.follows(master) for other in others), FAILOVER_SECONDS_MAX)
    eventually("writes are taken", lambda: master.ask("SET", "k", 1) == b"OK", FAILOVER_SECONDS_MAX)


@contextlib.contextmanager
def watched(made, variables):
    """The three run, as README says, and their Sentinels have found each other."""
    given = {machine.address: variables(machine) for machine in made}
    for machine in made:
        machine.start(given[machine.address])
    run_on(made, recipe("**Three machines"))
    all_follow(made, made[0])
    for machine in made:
        machine.watch()
    for machine in made:
        eventually("Sentinels know all", lambda machine=machine: known(machine) == (2, 2), FAILOVER_SECONDS_MAX)
    yield given


def known(machine):
    told = machine.ask("SENTINEL", "MASTER", "jobs", port=SENTINEL_PORT)
    told = dict(zip(told[::2], told[1::2])) if isinstance(told, list) else {}
    return int(told.get(b"num-slaves", 0)), int(told.get(b"num-other-sentinels", 0))


def lose_the_master(made):
    """The machine of the master is lost with all that runs on it. Who is master then."""
    lost = next(machine for machine in made if machine.address == machine.master())
    lost.kill()
    others = [machine for machine in made if machine is not lost]

    def agreed():
        named = {machine.master() for machine in others}
        return next((machine for machine in others if named == {machine.address}), None)

    new = eventually("another one is master", agreed, FAILOVER_SECONDS_MAX)
    eventually("writes are taken", lambda: new.ask("SET", "k", 2) == b"OK", FAILOVER_SECONDS_MAX)
    return lost, new


class Application:
    """A program that adds jobs and tells in lines what came of them."""

    def __init__(self, machine, words, log, **environment):
        self.told = collections.defaultdict(set)
        with open(log, "ab") as errors:
            self.process = machine.begin(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                                         env={**os.environ, **environment}, cwd=Path(__file__).parent)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            self.told[word].add(rest.partition(" ")[0])

    def goes_on(self, word):
        before = len(self.told[word])
        eventually(f"jobs are {word}", lambda: len(self.told[word]) > before + 10, JOBS_SECONDS_MAX)

    def end(self):
        self.process.kill()
        self.process.wait()


def through_sentinels(made):
    return ",".join(f"{machine.address}:{SENTINEL_PORT}" for machine in made)


@pytest.mark.timeout(300)
def test_no_job_of_bullmq_is_lost_with_the_machine_of_the_master(tmp_path):
    with machines(tmp_path / "files", 3) as (network, made), watched(made, of_unit) as variables:
        app = Application(network.machine("app"), ["node", NODE / "failover-jobs.mjs", "mail", through_sentinels(made)], tmp_path / "app.log",
                          TANDEM_PASSWORD=made[0].password, TANDEM_CA=str(made[0].folder / "tls" / "ca.crt"))
        try:
            app.goes_on("done")
            lost, new = lose_the_master(made)
            app.goes_on("done")
            lost.start(variables[lost.address]), lost.watch()
            eventually("it follows when it is back", lambda: lost.follows(new), FAILOVER_SECONDS_MAX)
            app.goes_on("done")
            before = set(app.told["added"])
            eventually("all jobs have run", lambda: before <= app.told["done"], JOBS_SECONDS_MAX)
            assert not app.told["refused"] & app.told["done"]
        finally:
            app.end()


@pytest.mark.timeout(300)
def test_no_write_of_ioredis_is_lost_with_the_machine_of_the_master(tmp_path):
    with machines(tmp_path / "files", 3) as (network, made), watched(made, of_unit):
        app = Application(network.machine("app"), ["node", NODE / "failover-writes.mjs", through_sentinels(made)], tmp_path / "app.log",
                          TANDEM_PASSWORD=made[0].password, TANDEM_CA=str(made[0].folder / "tls" / "ca.crt"))
        try:
            app.goes_on("done")
            _, new = lose_the_master(made)
            app.goes_on("done")
        finally:
            app.end()
        with new.client() as c:
            there = {number for word in ("done", "refused") for number in app.told[word] if c.call("GET", f"n{number}")}
        assert there == app.told["done"]


@pytest.mark.timeout(300)
def test_no_task_in_celerys_queue_is_lost_with_the_machine_of_the_master(tmp_path):
    with machines(tmp_path / "files", 3) as (network, made), watched(made, of_unit):
        machine, password = network.machine("app"), made[0].password
        broker = ";".join(f"sentinel://:{password}@{one.address}:{SENTINEL_PORT}/0" for one in made)
        environment = {"JOBS_BROKER": broker, "JOBS_PASSWORD": password, "JOBS_AUTHORITY": str(made[0].folder / "tls" / "ca.crt"),
                       "JOBS_FILE": str(tmp_path / "done")}
        (tmp_path / "done").touch()
        worker = [sys.executable, "-m", "celery", "-A", "celery_jobs", "worker", "-P", "solo", "-l", "INFO", "--without-gossip", "--without-mingle"]
        programs = [Application(machine, words, tmp_path / f"{name}.log", **environment)
                    for name, words in (("worker", worker), ("producer", [sys.executable, "celery_jobs.py"]))]
        producer = programs[1]

        def done():
            return set((tmp_path / "done").read_text().split())

        try:
            eventually("tasks run", lambda: len(done()) > 10, JOBS_SECONDS_MAX)
            lose_the_master(made)
            producer.goes_on("added")
            before = len(done())
            eventually("tasks run", lambda: len(done()) > before + 10, JOBS_SECONDS_MAX)
            producer.end()
            added = set(producer.told["added"])
            # Kombu takes a message out of its list (BRPOP) before it notes it down as taken: whoever loses the connection between the two
            # loses that one message of each worker, whatever server it is.
            eventually("all tasks have run", lambda: len(added - done()) <= 1, JOBS_SECONDS_MAX)
            print("taken and lost by the worker:", *(added - done()))
        finally:
            for program in programs:
                program.end()


@pytest.mark.timeout(180)
def test_containers_are_told_the_same(tmp_path):
    with machines(tmp_path / "files", 3) as (_, made), watched(made, of_container):
        lose_the_master(made)


@pytest.mark.timeout(180)
def test_two_machines_do_what_readme_says(tmp_path):
    """Each step when what it speaks of has come about."""
    with machines(tmp_path / "files", 2) as (_, made):
        variables = {machine: of_unit(machine) for machine in made}
        for machine in made:
            machine.start(variables[machine])
        first, second = made
        steps = [(above, list(lines)) for above, lines in itertools.groupby(recipe("**Two machines"), key=lambda found: found[0])]
        told = ["once", "to hand over", "when INFO replication says that it is done", "when the other is lost", "when it is back", "then"]
        assert [above.partition(": ")[2].partition(" (")[0] for above, _ in steps] == told
        for what, (_, lines) in zip(told, steps):
            if what == "when the other is lost":
                second.kill()
            if what == "when it is back":
                second.start(variables[second])
            run_on(made, lines)
            if what == "when the other is lost":
                eventually("it takes writes alone", lambda: first.ask("SET", "k", 1) == b"OK")
            else:
                all_follow(made, second if what in told[1:3] else first)
        assert first.ask("CONFIG", "GET", "min-replicas-acked")[1] == b"1"

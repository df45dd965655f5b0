"""compose/ on a Docker engine of its own: the image started bare in every way that strangers start one, both services, and the
queue's data across its deaths.

The engine and the project directory are temporary, so that no container, network, secret or image
of the machine's own is touched. The engine changes no packet filter: services are reached from inside
their own network, and, with the development override, by the ports it publishes on 127.0.0.1.
"""

import contextlib
import io
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import bare
import pods
from harness import wire
from harness.servers import free_port
from programs import (DIST, LINKS, ROOT, check_confinement, check_password_is_hidden, connect, http, refusal, writable)
from report import Failed, command, stop, until

SERVICES = {"cache": (6379, 9121), "queue": (6380, 9122)}
ENGINE_SECONDS_MAX = 60
# The first question comes after one interval of 10 s.
HEALTHY_SECONDS_MAX = 60
JOBS = 500
# What is found without a path.
FOUND = ("tandem", *LINKS, "redis-server", "redis-cli", "valkey-server", "valkey-cli")
# A release has some 15 MB; what is tested is optimised less.
IMAGE_BYTES_MAX = 45_000_000


class Engine:
    """A dockerd that owns nothing outside its directory."""

    def __init__(self, home):
        self.home = home
        self.host = f"unix://{home}/docker.sock"
        self.log = home / "dockerd.log"
        words = ["dockerd", "--data-root", home / "data", "--exec-root", home / "exec", "--host", self.host,
                 "--pidfile", home / "dockerd.pid", "--storage-driver", "vfs", "--containerd-namespace",
                 f"tandem-{os.getpid()}", "--bridge=none", "--iptables=false", "--ip6tables=false",
                 "--ip-forward=false"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)

    def ready(self):
        if self.process.poll() is not None:
            raise RuntimeError("dockerd ended:\n" + self.log.read_text()[-3000:])
        return command("docker", "--host", self.host, "version", "--format", "{{.Server.Version}}", seconds=10)

    def close(self):
        stop(self.process, 60)
        self.sweep()

    def sweep(self):
        """Ends what a killed engine left: every process here that names our directory, by its pid."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if str(self.home).encode() in (entry / "cmdline").read_bytes():
                        os.kill(int(entry.name), signal.SIGKILL)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for point in reversed([mount for mount in mounts if mount.startswith(f"{self.home}/")]):
            command("umount", "-l", point, check=False)


class Project:
    """A copy of compose/ with its image, brought up under a name of its own."""

    def __init__(self, home, engine, programs):
        self.folder = home / "project" / "compose"
        self.folder.mkdir(parents=True)
        for name in (".env.example", "compose.yaml", "compose.dev.yaml", "compose.override.example.yaml",
                     "app.example.yaml", "Dockerfile.local", "setup.sh"):
            shutil.copy2(ROOT / "compose" / name, self.folder)
        shutil.copy2(ROOT / ".dockerignore", self.folder.parent)
        command("sh", ROOT / "compose" / "layout.sh", programs / "tandem", self.folder / "local")
        self.ports = {name: free_port() for name in SERVICES}
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.environment = {
            **os.environ, "DOCKER_HOST": engine.host, "DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0",
            "COMPOSE_PROJECT_NAME": f"tandem{os.getpid()}", "TANDEM_DOCKERFILE": "compose/Dockerfile.local",
            "TANDEM_OPEN_FILES": str(min(65536, limit) if limit > 0 else 65536),
            "TANDEM_CACHE_PORT": str(self.ports["cache"]), "TANDEM_QUEUE_PORT": str(self.ports["queue"]),
            "TANDEM_CACHE_METRICS_PORT": str(free_port()), "TANDEM_QUEUE_METRICS_PORT": str(free_port()),
        }
        # As users do: compose.yaml, and compose.override.yaml over it.
        self.files = []

    def compose(self, *words, seconds=120):
        return command("docker-compose", *self.files, *words, seconds=seconds, cwd=self.folder, both=True,
                       env=self.environment)

    def docker(self, *words, **more):
        return command("docker", *words, env=self.environment, **more)

    def container(self, service):
        return self.compose("ps", "-q", service).split()[-1]

    def seen(self, service):
        """What the engine knows of a service's container."""
        return json.loads(self.docker("inspect", self.container(service)))[0]

    def pid(self, service):
        return self.seen(service)["State"]["Pid"]

    def healthy(self, service):
        return self.seen(service)["State"]["Health"]["Status"] == "healthy"

    def password(self, service):
        return (self.folder / "secrets" / f"{service}-password").read_text()

    def authority(self, service):
        """The certificate of the authority that the service made for itself."""
        packed = subprocess.run(["docker", "cp", f"{self.container(service)}:/data/tls/ca.crt", "-"], timeout=30,
                                env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            return archive.extractfile("ca.crt").read().decode()

    def client(self, service, tls=False):
        """An authenticated client inside the service's network, once the service is there."""
        authority = self.authority(service) if tls else None
        port, password = SERVICES[service][0], self.password(service)

        def attempt():
            with contextlib.suppress(wire.ReplyError):
                return connect(port, password, self.pid(service) or 1 << 22, authority)

        found = until(30, attempt)
        if not found:
            raise Failed(f"the {service} does not take its password")
        return found


def run(report, programs, _tree):
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-c-", ignore_cleanup_errors=True)))
        engine = Engine(home)
        stack.callback(engine.close)
        report.check("compose: a Docker engine runs", until(ENGINE_SECONDS_MAX, engine.ready))
        project = Project(home, engine, programs)
        check_setup(report, project)
        check_image(report, project)
        check_loaded(report, project)
        check_source(report, project)
        bare.run(report, project)
        pods.run(report, project)
        settle(project)
        stack.callback(project.compose, "down", "-v", "--remove-orphans")
        project.compose("up", "-d")
        check_health(report, project)
        for service in SERVICES:
            check_settings(report, project, service)
            check_service(report, project, service)
        check_settings_reach(report, project)
        check_neighbours(report, project)
        check_queue_survives(report, project)
        check_published(report, project)
        check_end(report, project)


def check_setup(report, project):
    said = command("sh", project.folder / "setup.sh")
    passwords = {service: project.password(service) for service in SERVICES}
    report.check("compose: setup.sh makes two long passwords", len(set(passwords.values())) == 2
                 and all(len(word) >= 40 and word not in said for word in passwords.values()))
    report.equal("compose: only their owner gets at the secrets", (project.folder / "secrets").stat().st_mode & 0o777,
                 0o700)
    command("sh", project.folder / "setup.sh")
    report.equal("compose: setup.sh again keeps them", {name: project.password(name) for name in SERVICES}, passwords)
    report.check("compose: setup.sh tells how to connect", all(f"@{service}:{ports[0]}" in said
                                                               for service, ports in SERVICES.items()), said)
    report.check("compose: the project has a name of its own",
                 "COMPOSE_PROJECT_NAME=tandem\n" in (project.folder / ".env").read_text())


def settle(project):
    """Settings where README says that they belong: for both in .env, for one in compose.override.yaml."""
    with (project.folder / ".env").open("a") as file:
        file.write("TANDEM_MAXCLIENTS=321\n")
    override = project.folder / "compose.override.yaml"
    text = override.read_text()
    for example, setting in (("TANDEM_MAXMEMORY_POLICY: allkeys-lfu", "TANDEM_TIMEOUT: 77"),
                             ("TANDEM_APPENDFSYNC: always", "TANDEM_TIMEOUT: 88")):
        text = text.replace(f"# environment:\n    #   {example}", f"environment:\n      {setting}")
    override.write_text(text)


def check_settings_reach(report, project):
    for service, timeout in (("cache", b"77"), ("queue", b"88")):
        with project.client(service) as client:
            found = [client.call("CONFIG", "GET", name)[1] for name in ("maxclients", "timeout")]
        report.equal(f"compose: {service}: settings of .env and of the override are there", found, [b"321", timeout])
        said = project.compose("logs", service)
        report.check(f"compose: {service}: no variable is without effect", "has no effect" not in said, said[-1500:])


def check_image(report, project):
    project.compose("build", seconds=120)
    image = json.loads(project.docker("image", "inspect", "tandem:latest"))[0]["Config"]
    report.equal("compose: the image's entry is the program's", image["Entrypoint"], ["/tandem", "image"])
    report.check("compose: the image is small", json.loads(project.docker("image", "inspect", "tandem:latest"))[0]["Size"]
                 < IMAGE_BYTES_MAX)
    container = project.docker("create", "tandem:latest").strip()
    packed = subprocess.run(["docker", "export", container], env=project.environment, stdin=subprocess.DEVNULL,
                            capture_output=True, timeout=60, check=True).stdout
    project.docker("rm", "--volumes", container)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        # The engine itself adds etc/mtab.
        files = {member.name: member.linkname for member in archive
                 if (member.size or member.issym()) and not member.name.startswith("etc/")}
    report.equal("compose: the image holds the program, its other names and nothing else", files,
                 {"tandem": "", **dict.fromkeys(LINKS, "tandem"), "bin/sh": "/tandem",
                  **{f"usr/local/bin/{name}": "/tandem" for name in FOUND}})


def check_loaded(report, project):
    """The image that systemd/package makes without an engine is the one that an engine makes."""
    archive = next(DIST.glob(f"*-{platform.machine()}-image.tar.gz"))
    said = project.docker("load", "-q", "-i", archive, seconds=120)
    loaded = said.split("Loaded image: ")[1].strip()
    seen = {name: json.loads(project.docker("image", "inspect", name))[0] for name in ("tandem:latest", loaded)}
    built, packed = ({key: value for key, value in one["Config"].items() if value and key not in ("Hostname", "Image")}
                     for one in seen.values())
    report.equal("compose: the packed image is configured as the built one", packed, built)
    held = [contents(project, name) for name in seen]
    report.check("compose: and holds the same", held[0] == held[1] and len(held[0]) > 10, held)


def contents(project, image):
    """(kind, mode, owner, size, target) of all that an image holds, by path."""
    container = project.docker("create", image).strip()
    packed = subprocess.run(["docker", "export", container], env=project.environment, stdin=subprocess.DEVNULL,
                            capture_output=True, timeout=60, check=True).stdout
    project.docker("rm", "--volumes", container)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return {member.name: (member.type, member.mode, member.uid, member.gid, member.size, member.linkname) for member in archive}


def check_source(report, project):
    """What `Dockerfile` copies is a workspace that cargo takes: `.dockerignore` leaves out no crate that a manifest names."""
    recipe = project.folder / "Dockerfile.source"
    recipe.write_text("FROM scratch\nCOPY . /source\nCMD none\n")
    project.docker("build", "-q", "-f", recipe, "-t", "tandem-source", ROOT, seconds=120)
    container = project.docker("create", "tandem-source").strip()
    copied = project.folder.parent / "copied"
    project.docker("cp", f"{container}:/source", copied)
    project.docker("rm", container)
    project.docker("rmi", "tandem-source")
    said = command("cargo", "metadata", "--no-deps", "--offline", "--locked", "--format-version", "1", cwd=copied, both=True,
                   check=False)
    report.check("compose: an image's source is a whole workspace", '"packages"' in said, said[-500:])
    report.check("compose: and no secret or result of a build", not any(
        (copied / name).exists() for name in ("target", ".git", "tests/.work", "compose/secrets")))


def check_health(report, project):
    for service in SERVICES:
        report.check(f"compose: the {service} becomes healthy", until(HEALTHY_SECONDS_MAX, lambda: project.healthy(service)),
                     project.compose("logs", "--tail", "20", service))


def check_settings(report, project, service):
    """What the engine was told, in its own words."""
    seen, who = project.seen(service), f"compose: {service}"
    host = seen["HostConfig"]
    report.equal(f"{who}: user", seen["Config"]["User"], "10001:10001")
    report.equal(f"{who}: read-only, no capability, no new privileges, not privileged",
                 (host["ReadonlyRootfs"], host["CapDrop"], host["CapAdd"], host["SecurityOpt"], host["Privileged"]),
                 (True, ["ALL"], None, ["no-new-privileges:true"], False))
    report.check(f"{who}: memory, processors and threads are limited",
                 host["Memory"] > 0 and host["NanoCpus"] > 0 and host["PidsLimit"] > 0)
    report.equal(f"{who}: comes back, and its log is bounded",
                 (host["RestartPolicy"]["Name"], sorted(host["LogConfig"]["Config"])),
                 ("unless-stopped", ["max-file", "max-size"]))
    networks = [json.loads(project.docker("network", "inspect", name))[0]["Internal"]
                for name in seen["NetworkSettings"]["Networks"]]
    report.equal(f"{who}: one internal network, no published port", (networks, host["PortBindings"] or {}), ([True], {}))
    secret = [mount for mount in seen["Mounts"] if mount["Destination"].startswith("/run/secrets/")]
    report.equal(f"{who}: its own password is mounted read-only",
                 [(Path(mount["Destination"]).name, mount["RW"]) for mount in secret], [(f"{service}-password", False)])
    report.check(f"{who}: the engine does not know the password", project.password(service) not in json.dumps(seen))


def check_service(report, project, service):
    """What a client and the kernel see."""
    who, pid, (port, metrics) = f"compose: {service}", project.pid(service), SERVICES[service]
    check_confinement(report, who, pid)
    check_password_is_hidden(report, who, pid, project.password(service))
    report.equal(f"{who}: its root cannot be written, its volume can", (writable(pid, ""), writable(pid, "/data")),
                 ("Read-only file system", True))
    with connect(port, pid=pid) as client:
        report.check(f"{who}: asks for a password", refusal(client, "GET", "x").startswith("NOAUTH"))
        report.check(f"{who}: takes no other", refusal(client, "AUTH", "wrong").startswith("WRONGPASS"))
    for tls in (False, True):
        with project.client(service, tls) as client:
            client.call("SET", "greeting", f"tls {tls}")
            report.equal(f"{who}: serves {'TLS' if tls else 'plaintext'}", client.call("GET", "greeting"),
                         f"tls {tls}".encode())
    with project.client(service) as client:
        memory = int(client.call("CONFIG", "GET", "maxmemory")[1])
        limit = project.seen(service)["HostConfig"]["Memory"]
        report.check(f"{who}: maxmemory follows its limit", limit // 2 <= memory < limit, f"{memory} of {limit}")
        policy = {"cache": b"allkeys-lru", "queue": b"noeviction"}[service]
        report.equal(f"{who}: runs its own profile", client.call("CONFIG", "GET", "maxmemory-policy")[1], policy)
    report.equal(f"{who}: tandem cli finds it without a password",
                 project.docker("exec", project.container(service), "tandem", "cli", f"--{service}", "get", "greeting", check=False),
                 "tls True\n")
    report.equal(f"{who}: is ready over HTTP", http(metrics, "/readyz", pid)[0], 200)
    report.check(f"{who}: shows metrics", "redis_up 1" in http(metrics, "/metrics", pid)[1])


def check_neighbours(report, project):
    """By its name, over the internal network, from a container that has nothing but our programs."""
    for asking, asked in (("cache", "queue"), ("queue", "cache")):
        said = project.docker("exec", project.container(asking), "/tandem", "health", "--address",
                              f"{asked}:{SERVICES[asked][0]}", check=False)
        report.check(f"compose: the {asking} reaches the {asked} by name", "NOAUTH" in said, said)
    network = f"{project.environment['COMPOSE_PROJECT_NAME']}_internal"
    said = command("docker-compose", "-p", "app", "-f", "app.example.yaml", "up", cwd=project.folder, both=True,
                   env={**project.environment, "TANDEM_NETWORK": network})
    report.check("compose: an application of another project joins", "healthy" in said, said)
    command("docker-compose", "-p", "app", "-f", "app.example.yaml", "down", "-v", cwd=project.folder, both=True,
            env={**project.environment, "TANDEM_NETWORK": network})


def write_jobs(project, key):
    with project.client("queue") as client:
        sizes = client.pipeline([("RPUSH", key, f"job-{number}") for number in range(JOBS)])
    return sizes == list(range(1, JOBS + 1))


def jobs(project, key):
    with project.client("queue") as client:
        def read():
            answer = client.pipeline([("LRANGE", key, 0, -1)])[0]
            return answer if isinstance(answer, list) else None

        return until(30, read)


def check_queue_survives(report, project):
    expected = [b"job-%d" % number for number in range(JOBS)]
    report.check("compose: the queue acknowledges jobs", write_jobs(project, "restarted"))
    with project.client("queue") as client:
        said = client.pipeline([("CONFIG", "SET", "slowlog-max-len", "77"), ("CONFIG", "REWRITE"),
                                ("ACL", "SETUSER", "worker", "on", "nopass", "~bull:*", "+@all"), ("ACL", "SAVE")])
    report.equal("compose: CONFIG REWRITE and ACL SAVE are accepted", said, [b"OK"] * 4)
    project.compose("up", "-d", "--force-recreate", "queue")
    report.equal("compose: after docker-compose up of another container they are there", jobs(project, "restarted"), expected)
    with project.client("queue") as client:
        found = [client.call("CONFIG", "GET", "slowlog-max-len")[1], b"worker" in client.call("ACL", "USERS")]
    report.equal("compose: and so are settings and users", found, [b"77", True])

    write_jobs(project, "killed")
    before = project.pid("queue")
    os.kill(before, signal.SIGKILL)
    report.check("compose: a queue that dies comes back by itself",
                 until(30, lambda: project.pid("queue") not in (0, before)), project.seen("queue")["State"])
    report.equal("compose: with what it had acknowledged", jobs(project, "killed"), expected)

    write_jobs(project, "engine")
    project.docker("kill", "--signal", "KILL", project.container("queue"))


def check_published(report, project):
    """The development override, over a queue that docker kill has just ended."""
    project.files = ["-f", "compose.yaml", "-f", "compose.override.yaml", "-f", "compose.dev.yaml"]
    project.compose("up", "-d")
    expected = [b"job-%d" % number for number in range(JOBS)]
    report.equal("compose: after docker kill and up they are there", jobs(project, "engine"), expected)
    for service, port in project.ports.items():
        authority = project.authority(service)
        for kind in (None, authority):
            with until(30, lambda: connect(port, project.password(service), authority=kind)) as client:
                report.equal(f"compose: {service}: its published port serves {'TLS' if kind else 'plaintext'}",
                             client.call("PING"), b"PONG")
        published = [binding["HostIp"] for bindings in project.seen(service)["HostConfig"]["PortBindings"].values()
                     for binding in bindings]
        report.equal(f"compose: {service}: is published to this machine only", published, ["127.0.0.1"] * 2)
    check_health(report, project)


def check_end(report, project):
    begin = time.monotonic()
    project.compose("stop")
    ended = {service: project_state(project, service) for service in SERVICES}
    report.equal(f"compose: both stop cleanly ({time.monotonic() - begin:.1f} s)", ended,
                 {service: ("exited", 0) for service in SERVICES})
    project.compose("down", "-v")
    left = project.docker("ps", "-aq") + project.docker("volume", "ls", "-q")
    report.equal("compose: down -v leaves nothing", left, "")


def project_state(project, service):
    state = project.seen(service)["State"]
    return state["Status"], state["ExitCode"]

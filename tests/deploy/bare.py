"""The image as strangers start one: bare, by other images' words and variables, and where it may hardly do anything.

All containers run at the same time on a network of their own, without compose. They are reached from inside their network by
its address, not by loopback, as another container would.
"""

import contextlib
import json
import subprocess

from harness import wire
from programs import connect, refusal, status
from report import Failed, until

NETWORK = "bare"
USER = "10001"
START_SECONDS_MAX = 30


class Container:
    """One run of the image."""

    def __init__(self, project, name, options=(), words=(), port=6379, password=None):
        self.project, self.name, self.port, self.password = project, name, port, password
        project.docker("run", "-d", "--name", name, "--network", NETWORK, *options, "tandem:latest", *words)

    def seen(self):
        return json.loads(self.project.docker("inspect", self.name))[0]

    def log(self):
        return self.project.docker("logs", self.name, both=True)

    def client(self, password=None):
        """A client from beside the container, once it is there."""
        def attempt():
            seen = self.seen()
            if seen["State"]["Status"] == "exited":
                raise RuntimeError(f"{self.name} has ended:\n{self.log()[-2000:]}")
            address = seen["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
            with contextlib.suppress(wire.ReplyError):
                client = connect(self.port, password, seen["State"]["Pid"] or 1 << 22, host=address)
                return client if "LOADING" not in refusal(client, "PING") else client.close()

        found = until(START_SECONDS_MAX, attempt)
        if not found:
            raise Failed(f"{self.name} does not answer:\n{self.log()[-2000:]}")
        return found

    def setting(self, name):
        with self.client(self.password) as client:
            return b" ".join(client.call("CONFIG", "GET", name)[1:]).decode()

    def ended(self):
        """The exit code, once it has ended."""
        state = until(START_SECONDS_MAX, lambda: self.seen()["State"]["Status"] == "exited" and self.seen()["State"])
        return state["ExitCode"] if state else None


def run(report, project):
    project.docker("network", "create", "--internal", NETWORK)
    folder = project.folder.parent / "bind"
    folder.mkdir()
    secret = project.folder.parent / "password"
    secret.write_text("from a file\n")
    # As an owner keeps it: the server's user cannot read it, the entry can.
    secret.chmod(0o600)
    started = []

    def container(*words, **more):
        started.append(Container(project, *words, **more))
        return started[-1]

    try:
        check_servers(report, container, folder, secret)
        foreign = project.folder.parent / "foreign"
        foreign.mkdir(mode=0o755)
        check_hardly_anything(report, container, foreign)
        check_words(report, project)
    finally:
        for one in started:
            project.docker("rm", "-f", "-v", one.name, check=False)
        project.docker("network", "rm", NETWORK)


def check_servers(report, container, folder, secret):
    """Every container is started before the first is asked."""
    plain = container("plain", ["--health-cmd", "redis-cli ping | grep PONG", "--health-interval", "1s"])
    bound = container("bound", ["-e", "REDIS_PASSWORD=from a variable", "-v", f"{folder}:/data"], password="from a variable")
    option = container("option", words=["--requirepass", "x"], password="x")
    redis = container("redis", words=["redis-server", "--appendonly", "yes", "--save", ""])
    queue = container("queue", ["-e", "REDIS_PASSWORD_FILE=/pw", "-v", f"{secret}:/pw:ro"], ["tandem-queue"], 6380,
                      "from a file")
    role = container("role", ["-e", "TANDEM_ROLE=cache", "-e", "VALKEY_EXTRA_FLAGS=--maxclients 77"])
    bitnami = container("bitnami", ["-e", "ALLOW_EMPTY_PASSWORD=yes", "-e", "REDIS_PORT_NUMBER=7000",
                                    "-e", "REDIS_AOF_ENABLED=yes", "-v", "/bitnami/redis/data"], port=7000)
    passed_by = container("passed-by", ["--entrypoint", "tandem-queue"], ["--timeout", "77"], 6380)
    check_bare(report, plain)
    report.equal("image: a server is the same where its entry is passed by",
                 (passed_by.setting("maxmemory-policy"), passed_by.setting("dir"), passed_by.setting("timeout")),
                 ("noeviction", "/data", "77"))
    check_bound(report, bound, folder)
    with option.client() as client:
        report.check("image: --requirepass x: the password counts", refusal(client, "GET", "x").startswith("NOAUTH"))
    report.check("image: --requirepass x: and lets in", option.setting("requirepass"))
    report.equal("image: redis-server with options: they count", (redis.setting("appendonly"), redis.setting("save")),
                 ("yes", ""))
    report.equal("image: tandem-queue with a password in a file: is a queue",
                 (queue.setting("maxmemory-policy"), queue.setting("dir"), queue.setting("tls")),
                 ("noeviction", "/data", "optional"))
    report.equal("image: redis-cli finds the queue's port, tandem cli --queue its password, too",
                 [queue.project.docker("exec", "queue", *words, check=False) for words in
                  (["redis-cli", "-a", "from a file", "--no-auth-warning", "--raw", "incr", "ping"], ["tandem", "cli", "--queue", "get", "ping"])],
                 ["1\n", "1\n"])
    report.equal("image: TANDEM_ROLE and VALKEY_EXTRA_FLAGS count",
                 (role.setting("maxmemory-policy"), role.setting("maxclients")), ("allkeys-lru", "77"))
    report.equal("image: Bitnami's variables and volume count", (bitnami.setting("appendonly"), bitnami.setting("dir")),
                 ("yes", "/bitnami/redis/data"))


def check_bare(report, plain):
    with plain.client() as client:
        client.call("SET", "greeting", "bare")
        report.equal("image: bare: another container writes and reads without a password", client.call("GET", "greeting"),
                     b"bare")
        client.call("SAVE")
    log = plain.log()
    report.check("image: bare: the log says so", "No password is set" in log, log[-1500:])
    report.check("image: bare: the log has the line that tools wait for", "Ready to accept connections" in log, log[-1500:])
    seen = status(plain.seen()["State"]["Pid"])
    report.equal("image: bare: the server is not root", (set(seen["Uid"].split()), set(seen["Gid"].split()), seen["CapEff"]),
                 ({USER}, {USER}, "0" * 16))
    said = plain.project.docker("exec", "plain", "tandem", "health", check=False)
    report.check("image: bare: tandem health finds it", said.startswith("healthy"), said)
    healthy = until(START_SECONDS_MAX, lambda: plain.seen()["State"]["Health"]["Status"] == "healthy")
    report.check("image: bare: a health check for Redis' image passes", healthy, plain.seen()["State"]["Health"])
    said = plain.project.docker("exec", "plain", "redis-cli", "get", "greeting", check=False)
    report.equal("image: bare: redis-cli asks it", said, "bare\n")
    said = plain.project.docker("exec", "plain", "sh", "-c", "redis-cli info memory | grep used", check=False)
    report.check("image: bare: a check with INFO and grep passes", "used_memory:" in said, said)


def check_bound(report, bound, folder):
    """A folder that the engine has made belongs to root; the server must be able to write there all the same."""
    with bound.client() as client:
        report.check("image: REDIS_PASSWORD counts", refusal(client, "GET", "x").startswith("NOAUTH"))
    with bound.client("from a variable") as client:
        report.equal("image: a folder of the machine is data's place", client.call("SAVE"), b"OK")
    owners = {path.name: str(path.stat().st_uid) for path in folder.iterdir()}
    report.equal("image: and its files are the server's", owners.get("dump.rdb"), USER)
    report.check("image: no warning of an open door where there is a password", "No password is set" not in bound.log())


def check_hardly_anything(report, container, foreign):
    """Without rights, and with `foreign`, a folder of root's, in the place of data."""
    stranger = ["--user", "4711:4711", "--read-only", "--cap-drop", "ALL"]
    own = container("queue-own", stranger, ["tandem-queue"], 6380)
    stranger = [*stranger, "-v", f"{foreign}:/data"]
    for name, options in (("powerless", ["--cap-drop", "ALL"]), ("stranger", stranger)):
        one = container(name, options)
        with one.client() as client:
            report.equal(f"image: starts with {' '.join(options)}", client.call("PING"), b"PONG")
    cache = container("cache-stranger", stranger, ["tandem-cache"])
    with cache.client() as client:
        report.equal("image: a cache needs no place at all", client.call("PING"), b"PONG")
    with own.client() as client:
        report.equal("image: any user may have a queue in a volume", client.call("PING"), b"PONG")
    queue = container("queue-stranger", stranger, ["tandem-queue"])
    report.equal("image: a queue without a place for its log does not start", queue.ended(), 1)
    report.check("image: and says what to do", "chown" in queue.log(), queue.log())
    needy = container("needy", ["-e", "ALLOW_EMPTY_PASSWORD=no"])
    report.equal("image: ALLOW_EMPTY_PASSWORD=no without a password does not start", needy.ended(), 1)
    report.check("image: and says why", "REDIS_PASSWORD" in needy.log(), needy.log())


def check_words(report, project):
    for words, code, text in ((["--help"], 0, "tandem-queue"), (["--version"], 0, "Tandem"), (["tandem", "--help"], 0, "health"),
                              (["tandem-cache", "--help"], 0, "--directive"), (["sh", "-c", "ls"], 1, "no shell"),
                              (["redis-cli", "ping"], 1, "Could not connect"), (["bash"], 1, "nothing but Tandem")):
        done = subprocess.run(["docker", "run", "--rm", "--network", "none", "tandem:latest", *words], timeout=60, text=True,
                              env=project.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        report.check(f"image: {' '.join(words)}: is answered", text in done.stdout and done.returncode == code, done.stdout)

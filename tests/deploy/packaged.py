"""What systemd/package has made, used as strangers use it: by its checksums, out of the archive, on another architecture, and by
apt in a booted Debian: installed, upgraded, removed, purged.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from harness import wire
from harness.servers import free_port
from programs import DIST, ROOT, WORK, package
from report import command, stop, until
from units import BOOT_SECONDS_MAX, SERVICES, System

SHELLS = {"bash": "tandem.bash", "zsh": "_tandem", "fish": "tandem.fish"}
INTERPRETER = 3
# Emulated, not optimised, and on a busy machine: a password alone takes seconds.
EMULATED_SECONDS_MAX = 240
APT_SECONDS_MAX = 120
JOBS = 200


def run(report, _programs, tree):
    version = json.loads(next(DIST.glob("*x86_64.cdx.json")).read_text())["metadata"]["component"]["version"]
    check_files(report, version)
    check_same_again(report)
    with tempfile.TemporaryDirectory(prefix="tandem-p-", ignore_cleanup_errors=True) as home:
        home = Path(home)
        folders = {machine: unpacked(home, machine, version) for machine in ("x86_64", "aarch64")}
        check_programs(report, folders)
        check_bill(report, folders["x86_64"])
        check_pages(report, folders["x86_64"])
        check_completions(report, folders["x86_64"])
        check_emulated(report, home, folders["aarch64"])
        check_debian(report, home, tree, version, folders["x86_64"])


def check_files(report, version):
    expected = {"SHA256SUMS"}
    for machine, debian in (("x86_64", "amd64"), ("aarch64", "arm64")):
        expected |= {f"tandem-{version}-{machine}-linux.tar.gz", f"tandem-{version}-{machine}.cdx.json",
                     f"tandem-{version}-{machine}-image.tar.gz", f"tandem_{version}-1_{debian}.deb"}
        told = command("dpkg-deb", "--info", DIST / f"tandem_{version}-1_{debian}.deb")
        report.check(f"package: the {debian} package says whose it is", f" Architecture: {debian}\n" in told
                     and f" Version: {version}-1\n" in told, told)
    report.equal("package: makes these files", {path.name for path in DIST.iterdir()}, expected)
    said = command("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=DIST, check=False, both=True)
    report.equal("package: whose checksums fit", said.count(": OK"), len(expected) - 1)


def check_same_again(report):
    """In another time zone, with another mask: nothing of who builds is in what is built."""
    again = WORK / "again"
    shutil.rmtree(again, ignore_errors=True)
    before = os.umask(0o077)
    try:
        package(again, "x86_64", TZ="Asia/Kathmandu", LC_ALL="C")
    finally:
        os.umask(before)
    different = [path.name for path in again.iterdir() if path.name != "SHA256SUMS"
                 and path.read_bytes() != (DIST / path.name).read_bytes()]
    report.check("package: a second run makes the same bytes", len(list(again.iterdir())) == 5 and not different, different)


def unpacked(home, machine, version):
    with tarfile.open(DIST / f"tandem-{version}-{machine}-linux.tar.gz") as archive:
        owners = {(member.uname, member.mtime > 0) for member in archive}
        assert owners == {("root", True)}, owners
        archive.extractall(home)
    return home / f"tandem-{version}-{machine}"


def interpreter(program):
    """Whether the kernel would have to load a linker for an ELF program of 64 bits."""
    data = program.read_bytes()
    table, size, count = (int.from_bytes(data[at:at + width], "little") for at, width in ((32, 8), (54, 2), (56, 2)))
    return any(int.from_bytes(data[at:at + 4], "little") == INTERPRETER for at in range(table, table + size * count, size))


def check_programs(report, folders):
    for machine, folder in folders.items():
        report.check(f"package: {machine}: the program needs no library", not interpreter(folder / "tandem"))
        told = [place for place in (ROOT, Path.home() / ".cargo") if str(place).encode() in (folder / "tandem").read_bytes()]
        report.equal(f"package: {machine}: and names no folder of this machine", told, [])
        report.equal(f"package: {machine}: links name its roles", {name: os.readlink(folder / f"tandem-{name}")
                                                                   for name in SERVICES}, dict.fromkeys(SERVICES, "tandem"))


def check_bill(report, folder):
    text = (folder / "tandem.cdx.json").read_text()
    wrong = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    report.check("package: the bill of materials fits CycloneDX's schema", wrong is None, wrong)
    bill = json.loads(text)
    named = {f"{one['name']} v{one['version']}" for one in bill["components"] if one["scope"] == "required"}
    tree = command("cargo", "tree", "--locked", "-p", "tandem", "--target", "x86_64-unknown-linux-musl", "-e",
                   "normal,no-proc-macro", "--prefix", "none", "--format", "{p}", cwd=ROOT)
    linked = {" ".join(line.split()[:2]) for line in tree.splitlines() if line} - {f"tandem v{version_of(bill)}"}
    sources = {name for name in named if name.startswith("lua-src ")}
    report.check("package: it names the crates that cargo names, and Lua's sources", named - sources == linked and sources,
                 named ^ linked)
    digest = hashlib.sha256((folder / "tandem").read_bytes()).hexdigest()
    report.equal("package: and this very program", bill["metadata"]["component"]["hashes"][0]["content"], digest)


def version_of(bill):
    return bill["metadata"]["component"]["version"]


def check_pages(report, folder):
    pages = sorted((folder / "man").iterdir())
    report.check("package: there are manual pages", {"tandem.1", "tandem-up.1", "tandem-cli.1"} <= {page.name for page in pages})
    said = "".join(command("groff", "-man", "-ww", "-Kutf8", "-Tutf8", "-z", page, both=True, check=False) for page in pages)
    report.equal("package: groff has nothing to say of them", said, "")


def check_completions(report, folder):
    """By the shells themselves."""
    shells = {name: folder / "completions" / file for name, file in SHELLS.items()}
    ask = {"bash": f"source {shells['bash']}; COMP_WORDS=(tandem cli --memkeys-s); COMP_CWORD=2; _tandem tandem --memkeys-s cli;"
                   " echo ${COMPREPLY[@]}",
           "fish": f"source {shells['fish']}; complete -C 'tandem cli --memkeys-s'",
           "zsh": f"fpath=({folder}/completions $fpath); autoload -Uz compinit; compinit -u -D; autoload +X _tandem;"
                  " print -r -- $_comps[tandem] ${functions[_tandem]}"}
    for name, words in ask.items():
        said = command(name, *({"zsh": ["-f"], "bash": ["--norc"], "fish": ["--no-config"]}[name]), "-c", words, check=False, both=True)
        report.check(f"package: {name} completes", "--memkeys-samples" in said, said[-300:])


def check_emulated(report, home, folder):
    """The program of the other architecture serves, with TLS, scripts and a log, and takes pages as large as any kernel there has."""
    emulator, program, port = "qemu-aarch64-static", folder / "tandem", free_port()
    data = home / "emulated"
    data.mkdir()
    told = command(emulator, program, "--version", both=True, env={**os.environ, "MALLOC_CONF": "stats_print:true"})
    report.check("package: aarch64: its allocator is ready for pages of 64 KB", "Page size: 65536" in told, told[:300])
    words = [emulator, program, "queue", "--port", port, "--dir", data, "--metrics-port", "0", "--requirepass", "secret"]

    def start():
        with (home / "emulated.log").open("ab") as log:
            process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        stack.callback(stop, process, EMULATED_SECONDS_MAX)
        return process

    def client():
        with contextlib.suppress(wire.ReplyError):
            found = wire.Client("127.0.0.1", port, timeout=EMULATED_SECONDS_MAX / 2)
            found.call("AUTH", "secret")
            return found

    with contextlib.ExitStack() as stack:
        process = start()
        with until(EMULATED_SECONDS_MAX, client) as first:
            first.call("RPUSH", "jobs", *range(JOBS))
            report.equal("package: aarch64: runs scripts", first.call(
                "EVAL", "return cjson.encode({redis.call('LLEN', KEYS[1]), 1.5})", 1, "jobs"), b"[%d,1.5]" % JOBS)
            report.check("package: aarch64: says what it is", b" aarch64\r\n" in first.call("INFO", "server"))
        process.kill()
        process.wait()
        start()
        with until(EMULATED_SECONDS_MAX, client) as second:
            report.equal("package: aarch64: has after kill -9 what it acknowledged", second.call("LLEN", "jobs"), JOBS)
        asked = ["cli", "-p", port, "-a", "secret", "--no-auth-warning", "--tls", "--cacert", data / "tls" / "ca.crt", "llen", "jobs"]
        said = command(emulator, program, *asked, both=True, check=False, seconds=EMULATED_SECONDS_MAX)
        report.equal("package: aarch64: its client asks by TLS", said, f"{JOBS}\n")


def check_debian(report, home, tree, version, folder):
    """By apt, in a system that runs."""
    following = WORK / "following"
    package(following, "--revision", "2", "--only", "deb", "x86_64")
    root = home / "root"
    command("cp", "-a", "--reflink=auto", tree.get(), root)
    debian = Debian(root)
    for path in (DIST / f"tandem_{version}-1_amd64.deb", following / f"tandem_{version}-2_amd64.deb"):
        shutil.copy2(path, root / "root")
    shutil.copytree(folder, root / "root" / "archive", symlinks=True)
    first, second = (f"/root/tandem_{version}-{revision}_amd64.deb" for revision in (1, 2))
    try:
        until(BOOT_SECONDS_MAX, debian.leader)
        debian.settled()
        check_installed(report, debian, first)
        check_upgraded(report, debian, second)
        check_removed(report, debian, second)
        check_purged(report, debian)
        check_beside_the_archive(report, debian, second)
    finally:
        debian.close()


class Debian(System):
    """A booted Debian with apt, and no network."""

    def settled(self):
        """Waits for the boot's end; what of it fails is not ours."""
        until(BOOT_SECONDS_MAX, lambda: self.inside("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"))

    def apt(self, *words, check=True):
        return self.inside("apt-get", "-q", "-y", "--no-install-recommends", *words, both=True, check=check, seconds=APT_SECONDS_MAX,
                           env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})

    def states(self):
        """(on, enabled) of each service."""
        return {name: tuple(self.inside("systemctl", question, f"tandem-{name}", check=False).strip()
                            for question in ("is-active", "is-enabled")) for name in SERVICES}

    def file(self, path):
        return self.root / path.lstrip("/")


def check_installed(report, debian, deb):
    said = debian.apt("install", deb)
    report.equal("package: apt install starts and enables both services", debian.states(), dict.fromkeys(SERVICES, ("active", "enabled")))
    report.check("package: and says where they are", "127.0.0.1:6380" in said and "tandem cli" in said, said[-500:])
    report.equal("package: dpkg finds every file as it came", debian.inside("dpkg", "--verify", "tandem", both=True, check=False), "")
    files = [f"/usr/lib/systemd/system/tandem-{name}" for name in
             (*(f"{name}.service" for name in SERVICES), "backup-verify.service", "backup-verify.timer")]
    said = debian.inside("systemd-analyze", "verify", *files, both=True, check=False).strip()
    report.equal("package: systemd-analyze verify has nothing to say", said, "")
    passwords = {debian.password(name) for name in SERVICES}
    modes = [debian.file(path).stat().st_mode & 0o777 for path in ("/etc/tandem", *(f"/etc/tandem/{name}-password" for name in SERVICES))]
    report.equal("package: makes two passwords for root's eyes", (len(passwords), modes), (2, [0o700, 0o600, 0o600]))
    for name in SERVICES:
        report.equal(f"package: {name}: has a user of its own", debian.show(name, "User"), f"tandem-{name}")
        report.check(f"package: {name}: tandem health agrees", "healthy" in debian.inside("tandem", "health", name))
        report.equal(f"package: {name}: tandem cli asks", debian.inside("tandem", "cli", f"--{name}", "ping"), "PONG\n")
    present = [path for path in ("man/man1/tandem-queue.1.gz", "bash-completion/completions/tandem", "zsh/vendor-completions/_tandem",
                                 "fish/vendor_completions.d/tandem.fish", "doc/tandem/copyright")
               if debian.file(f"/usr/share/{path}").is_file()]
    report.equal("package: pages, completions and licences are in their places", len(present), 5)


def check_upgraded(report, debian, deb):
    settings = debian.file("/etc/default/tandem-queue")
    with settings.open("a") as file:
        file.write("TANDEM_TIMEOUT=77\n")
    debian.inside("systemctl", "disable", "--now", "tandem-cache")
    with debian.client("queue") as client:
        client.call("RPUSH", "jobs", *range(JOBS))
    before, password = debian.pid("queue"), debian.password("queue")
    debian.apt("install", deb)
    report.check("package: an upgrade restarts what runs", debian.pid("queue") not in (None, before), debian.states())
    report.equal("package: and leaves off what was off", debian.states(), {"cache": ("inactive", "disabled"), "queue": ("active", "enabled")})
    with debian.client("queue") as client:
        found = client.call("LLEN", "jobs"), client.call("CONFIG", "GET", "timeout")[1], debian.password("queue")
    report.equal("package: jobs, settings and passwords stay", found, (JOBS, b"77", password))
    said = debian.inside("sh", "/root/archive/systemd/install.sh", "/root/archive", both=True, check=False)
    report.check("package: install.sh installs nothing beside it", "apt" in said and not debian.file("/usr/local/bin/tandem").exists(), said)


def check_removed(report, debian, deb):
    password = debian.password("queue")
    debian.apt("remove", "tandem")
    gone = [path for path in ("/usr/bin/tandem", "/usr/lib/systemd/system/tandem-queue.service") if debian.file(path).exists()]
    report.equal("package: after apt remove nothing runs and no program is there", (debian.pid("queue"), gone), (None, []))
    report.check("package: but data, settings and passwords are", debian.password("queue") == password
                 and any(debian.file("/var/lib/tandem-queue").rglob("*.aof")) and "77" in debian.file("/etc/default/tandem-queue").read_text())
    debian.apt("install", deb)
    with debian.client("queue") as client:
        report.equal("package: which a new installation goes on with", client.call("LLEN", "jobs"), JOBS)


def check_purged(report, debian):
    debian.apt("purge", "tandem")
    left = [path for path in ("/etc/tandem", "/etc/default/tandem-cache", "/etc/default/tandem-queue", "/var/lib/tandem-cache",
                              "/var/lib/tandem-queue", "/etc/systemd/system/multi-user.target.wants/tandem-queue.service")
            if os.path.lexists(debian.file(path))]
    report.equal("package: after apt purge nothing is left", left, [])


def check_beside_the_archive(report, debian, deb):
    """Who has used install.sh is told what to do, and keeps everything."""
    debian.inside("sh", "/root/archive/systemd/install.sh", "/root/archive", "--start", seconds=120)
    pages = [debian.file(f"/usr/local/share/{path}").is_file() for path in ("man/man1/tandem.1", "zsh/site-functions/_tandem")]
    report.equal("package: the archive's install.sh brings pages and completions", pages, [True, True])
    with debian.client("queue") as client:
        client.call("RPUSH", "jobs", *range(JOBS))
    password = debian.password("queue")
    said = debian.apt("install", deb, check=False)
    report.check("package: does not install beside install.sh, and says what to do", "install.sh --remove" in said
                 and debian.show("queue", "FragmentPath").startswith("/etc/") and not debian.file("/usr/bin/tandem").exists(), said[-800:])
    debian.inside("sh", "/root/archive/systemd/install.sh", "--remove", seconds=150)
    left = sorted(str(path) for folder in ("usr/local", "etc/systemd/system") for path in (debian.root / folder).rglob("*tandem*"))
    report.equal("package: install.sh --remove takes everything of itself away", left, [])
    debian.apt("install", deb)
    with debian.client("queue") as client:
        report.equal("package: and the package goes on with its data and passwords",
                     (client.call("LLEN", "jobs"), debian.password("queue")), (JOBS, password))

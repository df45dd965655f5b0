"""A Debian package, written as deb(5) describes it: an `ar` of a version, the control files and the data."""

import hashlib
import os
from email.utils import formatdate
from pathlib import Path

from archive import Layout, gzipped, xzipped

SCRIPTS = Path(__file__).resolve().parents[1] / "debian"
NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
# systemd-sysusers makes the users; deb-systemd-helper, of init-system-helpers, turns the services on and off.
DEPENDS = "init-system-helpers (>= 1.52), systemd | systemd-standalone-sysusers"
CONTROL = """\
Package: tandem
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {kilobytes}
Depends: {depends}
Section: database
Priority: optional
Description: Redis-compatible cache and durable queue
 One program, two services: tandem-cache on port 6379 evicts the least recently
 used keys when memory is full; tandem-queue on port 6380 refuses what grows and
 keeps a log of every write. Both listen on this machine only, speak plaintext
 and TLS, and ask for the passwords in /etc/tandem. 'tandem cli' asks them.
"""


def member(name, data, seconds):
    """One file of an `ar`: a header of 60 bytes, then the data, to an even length."""
    header = f"{name:<16}{seconds:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    assert len(header) == 60, name
    return header + data + b"\n" * (len(data) % 2)


def maintainer():
    """As Debian's own tools take it from the environment."""
    name, mail = os.environ.get("DEBFULLNAME", "Tandem"), os.environ.get("DEBEMAIL", "tandem@localhost")
    return f"{name} <{mail}>"


def changelog(version, seconds):
    """Debian's form of what is new; what that is, the commits tell."""
    return f"tandem ({version}) stable; urgency=medium\n\n  * Built from source.\n\n -- {maintainer()}  {formatdate(seconds)}\n"


def script(name):
    """A maintainer script, with the functions that it shares with install.sh in their place."""
    secrets = (SCRIPTS.parent / "secrets.sh").read_text()
    return (SCRIPTS / name).read_text().replace("@SECRETS@\n", secrets)


def package(layout, architecture, version, seconds):
    """The bytes of the package."""
    files = layout.files()
    control = Layout()
    control.put("control", CONTROL.format(
        version=version, architecture=NAMES[architecture], maintainer=maintainer(), depends=DEPENDS,
        kilobytes=sum(len(data) // 1024 + 1 for _, data in files)))
    control.put("md5sums", "".join(f"{hashlib.md5(data).hexdigest()}  {path}\n" for path, data in files
                                   if not path.startswith("etc/")))
    # What an administrator has changed there stays through an upgrade.
    control.put("conffiles", "".join(f"/{path}\n" for path, _ in files if path.startswith("etc/")))
    for name in ("preinst", "postinst", "prerm", "postrm"):
        control.put(name, script(name), 0o755)
    return b"!<arch>\n" + b"".join((
        member("debian-binary", b"2.0\n", seconds),
        member("control.tar.gz", gzipped(control.tar(seconds, "./")), seconds),
        member("data.tar.xz", xzipped(layout.tar(seconds, "./")), seconds)))

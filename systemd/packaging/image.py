"""The container image as an archive that `docker load` reads, without a Docker engine: the two folders that compose/layout.sh lays
out, and what compose/Dockerfile.local says of them.
"""

import hashlib
import json
import os
import re
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from archive import Layout, gzipped
from toolchain import ROOT, run

RECIPE = ROOT / "compose" / "Dockerfile.local"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
SECONDS = {"--interval": "Interval", "--timeout": "Timeout", "--start-period": "StartPeriod"}


def instructions():
    """(name, rest) of each line of the recipe."""
    lines = (line for line in RECIPE.read_text().splitlines() if line and not line.startswith("#"))
    return [tuple(line.split(" ", 1)) for line in lines]


def health(rest):
    options, _, words = rest.partition("CMD ")
    check = {"Test": ["CMD", *json.loads(words)]}
    for option in options.split():
        name, _, value = option.partition("=")
        check[SECONDS[name]] = int(value.removesuffix("s")) * 1_000_000_000
    return check


def config():
    """What the recipe says of a container, in the words of an image's configuration."""
    found = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "ExposedPorts": {}, "Volumes": {}}
    for name, rest in instructions():
        match name:
            case "ENV":
                found["Env"].append(rest)
            case "EXPOSE":
                found["ExposedPorts"].update({f"{port}/tcp": {} for port in rest.split()})
            case "VOLUME":
                found["Volumes"][rest] = {}
            case "WORKDIR":
                found["WorkingDir"] = rest
            case "STOPSIGNAL":
                found["StopSignal"] = rest
            case "HEALTHCHECK":
                found["Healthcheck"] = health(rest)
            case "ENTRYPOINT":
                found["Entrypoint"] = json.loads(rest)
            case "FROM" | "COPY":
                pass
            case _:
                raise ValueError(f"{RECIPE.name}: {name} is not understood here")
    return found


def layers(program):
    """The recipe's COPY lines, in their order, of what compose/layout.sh makes of a program."""
    with tempfile.TemporaryDirectory() as folder:
        laid = Path(folder) / "compose" / "local"
        laid.parent.mkdir()
        run("sh", ROOT / "compose" / "layout.sh", program, laid)
        for rest in (rest for name, rest in instructions() if name == "COPY"):
            owner = re.match(r"--chown=(\d+):\d+ ", rest)
            source = Path(folder) / rest.split()[-2]
            yield copied(source, int(owner[1]) if owner else 0)


def copied(source, owner):
    layout = Layout(owner)
    for path in sorted(source.rglob("*")):
        name, mode = str(path.relative_to(source)), path.lstat().st_mode & 0o7777
        if path.is_symlink():
            layout.link(name, os.readlink(path))
        elif path.is_dir():
            layout.folder(name, mode)
        else:
            layout.put(name, path.read_bytes(), mode)
    return layout


def image(program, architecture, tag, seconds):
    """The bytes of the archive, to be compressed."""
    packed = [layout.tar(seconds) for layout in layers(program)]
    digests = [hashlib.sha256(layer).hexdigest() for layer in packed]
    when = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    described = json.dumps({"architecture": MACHINES[architecture], "os": "linux", "created": when, "config": config(),
                            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
                            "history": [{"created": when, "created_by": "systemd/package"}] * len(packed)})
    name = f"{hashlib.sha256(described.encode()).hexdigest()}.json"
    archive = Layout()
    for digest, layer in zip(digests, packed):
        archive.put(f"{digest}/layer.tar", layer)
    archive.put(name, described)
    archive.put("manifest.json", json.dumps([{"Config": name, "RepoTags": [tag], "Layers": [f"{digest}/layer.tar" for digest in digests]}]))
    return gzipped(archive.tar(seconds), seconds)

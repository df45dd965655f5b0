"""Builds static programs for several architectures with one C compiler, whatever machine this is.

Rust comes with its standard library for musl; the C sources (jemalloc, Lua, ring) need a compiler and headers for it, and zig is
one that has them for every architecture. It is taken from PyPI at a pinned version, into a folder of the build.
"""

import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TOOLS = TARGET / "package-tools"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")

TARGETS = {"x86_64": "x86_64-unknown-linux-musl", "aarch64": "aarch64-unknown-linux-musl"}
# What an allocator takes for a page must be no smaller than the kernel's: on aarch64 that is 4, 16 or 64 KB.
PAGES = {"AARCH64_UNKNOWN_LINUX_MUSL_JEMALLOC_SYS_WITH_LG_PAGE": "16"}
TOOLS_SECONDS_MAX = 600
BUILD_SECONDS_MAX = 3600


def run(*words, **more):
    """Runs a program to its end and gives what it printed; where it fails, this program ends with its reason."""
    try:
        return subprocess.run([str(word) for word in words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, **more).stdout
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"package: {error}")


def install_tools():
    """The folder of cargo-zigbuild and zig, of exactly the versions that are asked for."""
    stamp = TOOLS / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        print("package: installing", *REQUIREMENTS.read_text().split(), flush=True)
        venv.create(TOOLS, with_pip=True, clear=True)
        run(TOOLS / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS, timeout=TOOLS_SECONDS_MAX)
        shutil.copy2(REQUIREMENTS, stamp)
    return TOOLS / "bin"


def install_targets(targets):
    """Rust's standard library for each of them."""
    library = Path(run("rustc", "--print", "sysroot", cwd=ROOT).strip()) / "lib" / "rustlib"
    missing = [target for target in targets if not (library / target / "lib").is_dir()]
    if missing and not shutil.which("rustup"):
        sys.exit(f"package: Rust has no standard library for {' '.join(missing)}, and there is no rustup to install it")
    if missing:
        run("rustup", "target", "add", *missing, cwd=ROOT, timeout=TOOLS_SECONDS_MAX)


def build(architectures):
    """The programs, by architecture. They say nothing of this machine: folders in them are called by other names."""
    targets = {architecture: TARGETS[architecture] for architecture in architectures}
    tools = install_tools()
    install_targets(targets.values())
    home = os.environ.get("CARGO_HOME", Path.home() / ".cargo")
    flags = [os.environ.get("RUSTFLAGS", ""), f"--remap-path-prefix={home}=/cargo", f"--remap-path-prefix={ROOT}=/tandem"]
    environment = {**os.environ, **PAGES, "PATH": f"{tools}:{os.environ['PATH']}", "RUSTFLAGS": " ".join(flags).strip()}
    words = ["cargo-zigbuild", "zigbuild", "--locked", "--release", "-p", "tandem"]
    if not sys.stderr.isatty():
        # Somebody who watches sees cargo's progress.
        words.append("--quiet")
    for target in targets.values():
        words += ["--target", target]
    print("package: building for", *targets, flush=True)
    run(*words, cwd=ROOT, env=environment, timeout=BUILD_SECONDS_MAX)
    return {architecture: TARGET / target / "release" / "tandem" for architecture, target in targets.items()}


def pages(programs, folder):
    """The manual pages and completions, written by the program that runs here."""
    own = programs.get(platform.machine())
    if not own:
        sys.exit(f"package: the manual pages come from the program itself, so build for {platform.machine()}, too")
    shutil.rmtree(folder, ignore_errors=True)
    run(own, "pages", folder, timeout=60)
    return folder


def revision_seconds():
    """The time that all files have: SOURCE_DATE_EPOCH, or that of the commit."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    if not (ROOT / ".git").exists():
        sys.exit("package: this is no git checkout; say by SOURCE_DATE_EPOCH what time files shall have")
    return int(run("git", "log", "-1", "--format=%ct", cwd=ROOT))

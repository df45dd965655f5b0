"""A bill of materials in CycloneDX's form: every crate that the program is made of, from what cargo says of the locked graph.

`cargo tree` tells what this program takes; `cargo metadata` tells more of each, but unites the features of the whole workspace.
"""

import hashlib
import json
import re
import uuid

from toolchain import REQUIREMENTS, ROOT, TARGETS, run

# Built for the machine that builds, but what they carry is C source that ends up in the program.
SOURCES = {"lua-src"}


def needs(target, kinds):
    """{(name, version): what it needs itself} of all that `tandem` needs by dependencies of these kinds."""
    found, path = {}, []
    tree = run("cargo", "tree", "--locked", "-p", "tandem", "--target", target, "-e", kinds, "--prefix", "depth", "--format", "{p}",
               cwd=ROOT)
    for depth, name, version in re.findall(r"^(\d+)(\S+) v(\S+)", tree, re.MULTILINE):
        del path[int(depth):]
        path.append((name, version))
        found.setdefault(path[-1], set())
        if len(path) > 1:
            found[path[-2]].add(path[-1])
    return found


def crates():
    """What cargo knows of each crate, by name and version."""
    seen = json.loads(run("cargo", "metadata", "--format-version", "1", "--locked", cwd=ROOT))
    return {(package["name"], package["version"]): package for package in seen["packages"]}


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


def component(package, is_linked, sums):
    """A crate; `excluded` is CycloneDX's word for what only builds."""
    found = {"type": "library", "bom-ref": reference(package), "name": package["name"], "version": package["version"],
             "scope": "required" if is_linked else "excluded"}
    if package["license"]:
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = sums.get((package["name"], package["version"]))
    if checksum:
        found["purl"] = reference(package)
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return found


def checksums():
    """What Cargo.lock says each crate of the registry has."""
    found, name, version = {}, None, None
    for line in (ROOT / "Cargo.lock").read_text().splitlines():
        key, _, value = line.partition(" = ")
        if key == "name":
            name = value.strip('"')
        elif key == "version":
            version = value.strip('"')
        elif key == "checksum":
            found[name, version] = value.strip('"')
    return found


def bill(architecture, program):
    """The text of the bill for the bytes of a program."""
    target, known, sums = TARGETS[architecture], crates(), checksums()
    # What only builds is named, too: of macros and build scripts nothing but their results is in the program.
    edges, linked = needs(target, "normal,build"), set(needs(target, "normal,no-proc-macro"))
    linked |= {crate for crate in edges if crate[0] in SOURCES}
    root, digest = next(iter(edges)), hashlib.sha256(program).hexdigest()
    main = component(known[root], True, sums)
    main.update(type="application", hashes=[{"alg": "SHA-256", "content": digest}])
    # zig brings the C library, musl, which is linked in.
    tools = [dict(zip(("name", "version"), line.split("=="))) for line in REQUIREMENTS.read_text().split()]
    tools.append({"name": "rustc", "version": run("rustc", "--version", cwd=ROOT).split()[1]})
    return json.dumps({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "metadata": {"component": main,
                     "tools": {"components": [{"type": "application", **tool} for tool in tools]}},
        "components": [component(known[crate], crate in linked, sums) for crate in sorted(edges) if crate != root],
        "dependencies": [{"ref": reference(known[crate]), "dependsOn": sorted(reference(known[need]) for need in edges[crate])}
                         for crate in sorted(edges)],
    }, indent=1) + "\n"

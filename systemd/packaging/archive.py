"""Files in memory, and archives of them that are the same for the same content: sorted, owned by root, all of one time."""

import gzip
import io
import lzma
import tarfile


class Layout:
    """What an archive will hold, by path, and whose it is: root's, or a user's that has no name there."""

    def __init__(self, owner=0):
        self.entries, self.owner = {}, owner

    def folder(self, path, mode=0o755):
        parent = path.rpartition("/")[0]
        if parent and parent not in self.entries:
            self.folder(parent)
        self.entries[path] = (tarfile.DIRTYPE, mode, b"", "")

    def put(self, path, data, mode=0o644):
        self._beside(path)
        self.entries[path] = (tarfile.REGTYPE, mode, data.encode() if isinstance(data, str) else data, "")

    def link(self, path, target):
        self._beside(path)
        self.entries[path] = (tarfile.SYMTYPE, 0o777, b"", target)

    def _beside(self, path):
        assert path not in self.entries, path
        parent = path.rpartition("/")[0]
        if parent and parent not in self.entries:
            self.folder(parent)

    def files(self):
        """(path, bytes) of each file."""
        return [(path, data) for path, (kind, _, data, _) in sorted(self.entries.items()) if kind == tarfile.REGTYPE]

    def tar(self, seconds, prefix=""):
        """The archive, not compressed."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path, (kind, mode, data, target) in sorted(self.entries.items()):
                member = tarfile.TarInfo(prefix + path)
                member.type, member.mode, member.linkname, member.size = kind, mode, target, len(data)
                member.mtime, member.uid, member.gid = seconds, self.owner, self.owner
                member.uname = member.gname = "" if self.owner else "root"
                archive.addfile(member, io.BytesIO(data))
        return out.getvalue()


def gzipped(data, seconds=0):
    """Without a name, and with a time that is given."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=9, mtime=seconds) as packed:
        packed.write(data)
    return out.getvalue()


def xzipped(data):
    return lzma.compress(data, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=6)

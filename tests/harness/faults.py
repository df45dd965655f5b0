"""A disk that fails and stalls when it is told to, under a real server: faults.c, compiled, and what it is to do."""

import mmap
import struct
import subprocess
import time
from pathlib import Path

# The calls that are concerned.
WRITES, SYNCS, RENAMES = 1, 2, 4


class Faults:
    """What the server's disk does; see faults.c."""

    def __init__(self, folder):
        source, self.library = Path(__file__).with_name("faults.c"), folder / "faults.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", self.library, source, "-ldl"], check=True)
        self.file = folder / "faults"
        self.file.write_bytes(bytes(28))
        with self.file.open("r+b") as file:
            self.control = mmap.mmap(file.fileno(), 28)

    def environment(self):
        return {"LD_PRELOAD": str(self.library), "TANDEM_FAULTS": str(self.file)}

    def order(self, calls=0, error=0, delay_ms=0, one_in=0):
        self.control[:16] = struct.pack("<4I", calls, error, delay_ms, one_in)

    def counts(self):
        """Calls that a fault has met, and how many of them are over."""
        return struct.unpack("<2I", self.control[16:24])

    def stall(self, calls, delay_ms):
        """Has such calls take that long; returns when one has just begun, with the number of those that are over."""
        self.order()
        self.wait_until(lambda begun, ended: begun == ended)
        before, _ = self.counts()
        self.order(calls, 0, delay_ms, 1)
        return self.wait_until(lambda begun, ended: begun > before and ended == before)

    def wait_until(self, holds):
        end = time.monotonic() + 30
        while not holds(*self.counts()):
            assert time.monotonic() < end, "no call has stalled, or none has ended"
            time.sleep(0.001)
        return self.counts()[1]

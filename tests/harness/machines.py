"""Machines that can be cut off from one another: a network namespace each, and a switch between them.

The switch is a bridge in a namespace of its own, so nothing of it meets the network of the host. A cut is one-directional and silent, as
in life: who is to hear nothing is reached under an address of hardware that nobody has. Needs root, and no module of the kernel but veth
and bridge.
"""

import contextlib
import ctypes
import itertools
import os
import subprocess

# Each network of a process has names and numbers of its own; those of two processes differ by the process id.
NUMBERS = itertools.count(1)
PREFIX = "10.77.0."
NOBODY = "02:00:00:00:00:fe"
MACHINES_MAX = 200
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
# The namespace that the process began in.
HOME = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def enter(descriptor):
    """The calling thread's sockets are of that namespace from now on."""
    if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns: is this root?")


class Machine:
    """One namespace, with one interface."""

    def __init__(self, name, namespace, number):
        self.name, self.namespace, self.number = name, namespace, number
        self.address = f"{PREFIX}{number}"
        self.hardware = f"02:00:00:00:01:{number:02x}"

    @contextlib.contextmanager
    def inside(self):
        """The calling thread is on this machine: what it connects comes from here, and stays so."""
        descriptor = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(descriptor)
            yield self
        finally:
            enter(HOME)
            os.close(descriptor)

    def begin(self, words, **how):
        """A process on this machine; its id is the program's own."""
        how.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(["ip", "netns", "exec", self.namespace, *map(str, words)], **how)


class Network:
    """The switch and its machines."""

    def __init__(self):
        self.prefix = f"td{os.getpid()}x{next(NUMBERS)}"
        self.switch = f"{self.prefix}-switch"
        self.machines = []
        self.cuts = set()

    def __enter__(self):
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "up", "type", "bridge")
        return self

    def __exit__(self, *_):
        for namespace in [*(machine.namespace for machine in self.machines), self.switch]:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)

    def machine(self, name):
        """One more, which reaches all others."""
        number = 11 + len(self.machines)
        assert number < MACHINES_MAX
        machine = Machine(name, f"{self.prefix}-{name}", number)
        ip("netns", "add", machine.namespace)
        self.machines.append(machine)
        ip("link", "add", "eth0", "address", machine.hardware, "netns", machine.namespace, "type", "veth",
           "peer", "name", f"port{number}", "netns", self.switch)
        ip("-n", self.switch, "link", "set", f"port{number}", "master", "br0", "up")
        ip("-n", machine.namespace, "address", "add", f"{machine.address}/24", "dev", "eth0")
        for interface in ("lo", "eth0"):
            ip("-n", machine.namespace, "link", "set", interface, "up")
        return machine

    def cut(self, speaker, hearer):
        """What the one sends reaches the other no more; the other way is as it was."""
        ip("-n", speaker.namespace, "neighbour", "replace", hearer.address, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")
        self.cuts.add((speaker, hearer))

    def part(self, some, speaks=False, hears=False):
        """Cuts the machines off from all others; they may still be heard there, or hear."""
        for mine, other in itertools.product(some, [machine for machine in self.machines if machine not in some]):
            if not speaks:
                self.cut(mine, other)
            if not hears:
                self.cut(other, mine)

    def heal(self):
        """All reach all others again."""
        for speaker, hearer in self.cuts:
            ip("-n", speaker.namespace, "neighbour", "replace", hearer.address, "lladdr", hearer.hardware, "dev", "eth0", "nud", "reachable")
        self.cuts.clear()

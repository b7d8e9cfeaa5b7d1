"""Two hosts on this machine: network namespaces that a cable joins, over one file system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.files import CHECKOUT

ADDRESSES = ("10.77.0.1", "10.77.0.2")
CARD = "cluster0"  # the network card of each host
PER_HOST = 2  # processes


def ip(*words: str) -> str:
    """Run the command ip; what it prints. Raises CalledProcessError or, where there is no ip, FileNotFoundError."""
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


class Hosts:
    """Two hosts, each with its own network, on which a run's processes are started; {host} in their words is 0 or 1."""

    def __init__(self) -> None:
        self.names = [f"ssp{os.getpid()}-{number}" for number in range(2)]
        self.port = 29400  # of the last run: each has its own, which no other host can have taken

    def lay(self) -> None:
        """Make the hosts and the cable between them."""
        for name in self.names:
            ip("netns", "add", name)
        first, second = self.names
        ip("link", "add", CARD, "netns", first, "type", "veth", "peer", "name", CARD, "netns", second)
        for name, address in zip(self.names, ADDRESSES, strict=True):
            ip("-n", name, "link", "set", "lo", "up")
            self.plug(name, address)

    def plug(self, name: str, address: str) -> None:
        ip("-n", name, "address", "replace", f"{address}/24", "dev", CARD)
        ip("-n", name, "link", "set", CARD, "up")

    def cut(self, host: int) -> None:
        """Cut a host's network."""
        ip("-n", self.names[host], "link", "set", CARD, "down")

    def mend(self, host: int) -> None:
        self.plug(self.names[host], ADDRESSES[host])

    def kill(self, host: int) -> None:
        """Kill all that runs on a host."""
        for process in map(int, ip("netns", "pids", self.names[host]).split()):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def remove(self) -> None:
        for host, name in enumerate(self.names):
            with suppress(subprocess.CalledProcessError):  # it was not made
                self.kill(host)
                ip("netns", "delete", name)

    def torchrun(self, *words: str) -> list[list[subprocess.Popen]]:
        """Start a script on both hosts, by a torchrun on each, as docs/training.md tells; the processes of each."""
        self.port += 1
        launch = f"--nnodes 2 --nproc-per-node {PER_HOST} --master-addr {ADDRESSES[0]} --master-port {self.port}"
        torchrun = [sys.executable, "-m", "torch.distributed.run", *launch.split(), "--node-rank"]
        return [[self._start(host, [*torchrun, str(host), *words], {})] for host in range(2)]

    def limit(self, rate: str) -> None:
        """Let each host send no faster than a rate as the command tc takes it, such as 10gbit."""
        for name in self.names:
            bucket = f"tc qdisc replace dev {CARD} root tbf rate {rate} burst 4mb latency 50ms".split()
            ip("netns", "exec", name, *bucket)

    def srun(self, *words: str, per_host: int = PER_HOST) -> list[list[subprocess.Popen]]:
        """Start a script on both hosts as srun starts its tasks, by torch's variables and Slurm's."""
        self.port += 1
        world = len(ADDRESSES) * per_host
        run = {"SLURM_NTASKS": world, "WORLD_SIZE": world, "MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": self.port}
        started: list[list[subprocess.Popen]] = [[], []]
        for rank in range(world):
            host, local = divmod(rank, per_host)
            task = {"SLURM_PROCID": rank, "SLURM_LOCALID": local, "SLURM_STEP_ID": 0, "RANK": rank}
            started[host].append(self._start(host, [sys.executable, *words], run | task))
        return started

    def _start(self, host: int, words: list[str], variables: dict[str, object]) -> subprocess.Popen:
        surroundings = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": CARD, **variables}
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[host], *(word.replace("{host}", str(host)) for word in words)],
            cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=os.environ | {name: str(value) for name, value in surroundings.items()},
        )  # fmt: skip


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Two hosts for the block. Raises as ip does where they cannot be made."""
    hosts = Hosts()
    try:
        hosts.lay()
        yield hosts
    finally:
        hosts.remove()

"""The time in which gloo adds up tensors of two hosts, over a link of a given rate.

    python -m benchmarks.link --rate 10gbit

The hosts are network namespaces of this machine, the link between them is a virtual cable that tc slows down: so root
alone can measure. Both hosts share this machine's cores, of which a fast link takes much.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median

import torch

from benchmarks.timing import timed
from engine.options import OneLineParser, whole
from tests.cluster.hosts import two_hosts
from util.distributed import joined, rank, sum_over_processes
from util.errors import UserError, first_line
from util.launch import command

ROUNDS = 12
SIZES = (4, 2**20, 33161216, 108920832)  # bytes: a number, 1 MiB, the gradients of SSP with ResNet-50 and ResNet-101
LONGEST = 120  # seconds


def measure_link(rate: str | None, sizes: Sequence[int]) -> dict[int, float]:
    """Seconds of an all-reduce of so many bytes between two hosts, a process each.

    rate: of the link, as the command tc takes it; None: as fast as this machine is.
    Raises UserError where hosts cannot be made.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds.json"
        try:
            with two_hosts() as hosts:
                if rate:
                    hosts.limit(rate)
                words = ("-m", "benchmarks.link", "--measure", str(out), "--sizes", *map(str, sizes))
                processes = [process for host in hosts.srun(*words, per_host=1) for process in host]
                said = "".join(process.communicate(timeout=LONGEST)[1] for process in processes)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else first_line(error)
            raise UserError(f"two hosts cannot be made here: {reason}; be root, and install iproute2") from error
        with suppress(FileNotFoundError):
            return dict(zip(sizes, json.loads(out.read_text()), strict=True))
        raise UserError(f"the two hosts measured nothing; {said.strip().splitlines()[-1:]}")


def measure_here(sizes: Sequence[int]) -> list[float]:
    """Median seconds of an all-reduce of each size among the processes that this one has joined."""
    found = []
    for size in sizes:
        x = torch.zeros(size // 4)
        found.append(median(timed(partial(sum_over_processes, x))[0] for _ in range(ROUNDS)))
    return found


def main() -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--rate", metavar="RATE", help="of the link, as tc takes it (default: as fast as this machine is)")
    add("--sizes", type=whole(4, most=2**31), nargs="+", default=SIZES, metavar="BYTES", help="(default %(default)s)")
    add("--measure", type=Path, metavar="FILE", help="be one of the hosts")
    args = parser.parse_args()
    if args.measure:
        with joined(torch.device("cpu")):
            seconds = measure_here(args.sizes)
            if rank() == 0:
                args.measure.write_text(json.dumps(seconds))
        return
    for size, seconds in measure_link(args.rate, args.sizes).items():
        print(f"{size:11} bytes: {1000 * seconds:8.2f} ms, {8 * size / seconds / 1e9:6.2f} Gbit/s in each direction")


if __name__ == "__main__":
    command(main)

#!/usr/bin/env bash
# torch 2.14.1. Guess: a training of several processes under DistributedDataParallel that goes on from a checkpoint ends
# on CPUs with the very weights of one that was not interrupted, if all random draws are the same. Seen: with two
# processes it does; with four the last bits differ. After its first step DDP orders the gradients anew, and gloo adds
# those of three or more in an order that depends on their place: the first step after a checkpoint adds them otherwise.
# Two passes whose gradients are thrown away, before the first step that counts, make all equal.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cd "$folder"
cat > train.py << 'END'
import hashlib, sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
first, last, passes, start, end = *map(int, sys.argv[1:4]), *sys.argv[4:]  # steps, passes beforehand, files
dist.init_process_group("gloo")
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(50, 70), torch.nn.ReLU(), torch.nn.Linear(70, 30))
if first:
    net.load_state_dict(torch.load(start))
parallel, optimizer = DistributedDataParallel(net), torch.optim.SGD(net.parameters(), lr=0.1)
for step in [0] * passes + list(range(first, last)):
    torch.manual_seed(step * dist.get_world_size() + dist.get_rank())
    net.zero_grad()
    parallel(torch.randn(8, 50)).square().mean().backward()
    if passes: passes -= 1
    else: optimizer.step()
if dist.get_rank() == 0:
    torch.save(net.state_dict(), end)
    print(hashlib.sha256(b"".join(x.numpy().tobytes() for x in net.state_dict().values())).hexdigest()[:12])
dist.destroy_process_group()
END
run() { OMP_NUM_THREADS=1 venv/bin/torchrun --standalone --nproc-per-node "$processes" train.py "$@" 2>> errors; }
for processes in 2 4; do
    whole=$(run 0 4 0 - whole)
    run 0 2 0 - half > half.digest
    resumed=$(run 2 4 0 half end)
    prepared=$(run 2 4 2 half end)
    echo "$processes processes: uninterrupted $whole, resumed $resumed, resumed after two passes $prepared"
    [ "$prepared" = "$whole" ]
    if [ "$processes" = 2 ]; then [ "$resumed" = "$whole" ]; else [ "$resumed" != "$whole" ]; fi
done

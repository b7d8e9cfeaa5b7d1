"""Train SSP or its baseline on the base classes of a fold, evaluating on the novel ones.

    python main.py --data-root ../Datasets_SSP --fold 0 --shot 1 --refine
    python main.py --dataset coco --class-order contiguous --data-root ../Datasets_SSP --fold 0 --refine
    python main.py --dataset fss --data-root ../Datasets_SSP --refine
    torchrun --nproc-per-node 4 main.py ...        the same losses, each batch shared among four processes

After every snapshot the network is evaluated on one seed and the best weights are kept; at the end the
best are evaluated on five seeds. FSS-1000 chooses the best on its validation classes. Written to
OUT/models/DATASET/fold_K/ (coco_interleaved for that order, fss without folds):
  BACKBONE_SHOTshot_MIOU.pth    the best weights, a plain state dict that the authors' release can load
  BACKBONE_SHOTshot_MIOU.ckpt   the same with arguments and classes: test.py needs no more flags
  BACKBONE_SHOTshot_MIOU.json   the five-seed result
  BACKBONE_SHOTshot.history.jsonl and .png   losses, learning rate and mIoU of each snapshot
  BACKBONE_SHOTshot.last        the state of the run: with --resume it goes on from there
  BACKBONE_SHOTshot.tensorboard the same as the history, with --tensorboard

Ctrl-C and SIGTERM save the state and leave.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dataset import DATASETS, Fold, Part, open_fold, open_pool
from dataset.episodes import Episode, plan_from_pool
from dataset.loader import batches
from dataset.samples import Sample, TrainingSamples, as_input
from engine.checkpoint import SUFFIX
from engine.evaluation.estimate import cost, duration, step_seconds, unit_seconds
from engine.evaluation.evaluate import evaluate, result_table
from engine.options import make_parser, positive, settle, whole
from engine.pictures import draw_history
from engine.training.best import free_stem, restore_best, run_folder, run_name, save_best, save_result
from engine.training.history import need_tensorboard, tensorboard_log
from engine.training.start import compile_trunk, describe, first_batch, start_network
from engine.training.state import Training, arguments, check_same, load_training, save_training
from engine.training.step import drops, learning_rate, make_optimizer, own_samples, spread, train_step
from model import FewShotNetwork
from util import distributed
from util.errors import UserError
from util.files import atomic_write, check_writable, remove_leftovers
from util.interrupts import Interrupts, interrupts
from util.launch import command
from util.progress import progress

WORTH_ESTIMATING = 20  # steps: the time that they take is told, for which two are timed


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--pretrained", metavar="FILE", help="ImageNet weights, or none (default pretrained/BACKBONE.pth here)")
    add("--out", default="outdir", metavar="DIR", help="folder for everything written (default %(default)s)")
    add("--resume", action="store_true", help="go on with a run that was interrupted, if there is one")
    add(
        "--batch-size",
        type=whole(1),
        default=4,
        help="training episodes of a step, of all processes (default %(default)s)",
    )
    add(
        "--accumulate", type=whole(1), default=1, help="parts to take a batch in, for less memory (default %(default)s)"
    )
    add("--lr", type=positive, default=1e-3, help="initial learning rate (default %(default)s)")
    add("--crop-size", type=whole(33, 4096), help="side of training crops (default 473, fss 225)")
    add("--episode", type=whole(1), default=24000, help="training episodes in all (default %(default)s)")
    add("--snapshot", type=whole(1), default=1200, help="episodes between evaluations (default %(default)s)")
    add("--test-episodes", type=whole(1), help="episodes of an evaluation seed (default the protocol's)")
    add("--amp", nargs="?", const="bf16", choices=("bf16", "fp16"), help="train the trunk in bfloat16 (or half, CUDA)")
    add("--compile", action="store_true", help="compile the trunk with torch.compile")
    add("--tensorboard", action="store_true", help="also write what TensorBoard shows")
    args = parser.parse_args(argv)
    settle(args)
    args.crop_size = args.crop_size or DATASETS[args.dataset].CROP_SIZE
    if args.tensorboard:
        need_tensorboard()
    if args.snapshot > args.episode:
        raise UserError(f"--snapshot {args.snapshot} is larger than --episode {args.episode}")
    if args.batch_size > args.snapshot:
        raise UserError(f"--batch-size {args.batch_size} is larger than --snapshot {args.snapshot}")
    if args.amp == "fp16" and args.device.type != "cuda":
        raise UserError(f"--amp fp16 needs CUDA, the device is {args.device}; --amp bf16 runs everywhere")
    return args


def plan(part: Part, args: argparse.Namespace, seeds: Sequence[int]) -> dict[int, list[Episode]]:
    """The evaluation episodes of each seed."""
    pool, episodes = open_pool(part, args.shot, args.workers), args.test_episodes or DATASETS[args.dataset].EPISODES
    return {seed: plan_from_pool(pool, args.shot, seed, episodes) for seed in seeds}


def train_snapshot(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    stream: Iterator[Sample],
    training: Training,
    args: argparse.Namespace,
    asked: Interrupts,
) -> bool:
    """Train to the end of the snapshot under way; False where the user asked to stop before."""
    iterations, per_snapshot = args.episode // args.batch_size, args.snapshot // args.batch_size
    losses = training.losses
    bar = progress(None, f"snapshot {training.snapshot + 1}", per_snapshot, "step", initial=len(losses))
    with bar, asked.delay():
        while len(losses) < per_snapshot:
            try:
                batch = next(stream)
            except RuntimeError:  # a loader process ended
                if asked.asked:  # by the same signal: what was saved last is whole
                    raise KeyboardInterrupt from None
                raise
            iteration = training.snapshot * per_snapshot + len(losses)
            lr = learning_rate(args.lr, iteration, iterations)
            try:
                loss = train_step(net, optimizer, as_input(batch, args.device), lr, args.accumulate, scaler)
            except UserError as error:
                best = run_folder(args) / f"{training.best_name}.pth" if training.best_name else "none"
                raise UserError(
                    f"{error} at step {iteration + 1}; try a smaller --lr than {args.lr:g}; best weights so far: {best}"
                ) from error
            losses.append(loss)
            bar.update()
            bar.set_postfix(loss=f"{sum(losses) / len(losses):.3f}", refresh=False)
            if distributed.any_process(bool(asked.asked)):
                return False
    return True


def main(argv: list[str] | None = None) -> Path:
    """Train as the flags say; returns the best weights' .ckpt."""
    args = parse(argv)
    with interrupts() as asked:
        args.device = distributed.start(args.device)
        try:
            return train(args, asked)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(str(error) or "go on with --resume") from None
        finally:
            distributed.finish()


def train(args: argparse.Namespace, asked: Interrupts) -> Path:
    if args.batch_size % (distributed.world() * args.accumulate):
        among = f"{distributed.world()} processes x --accumulate {args.accumulate}"
        raise UserError(f"--batch-size {args.batch_size} cannot be divided among {among}")
    folder, first = run_folder(args), distributed.rank() == 0
    last = folder / f"{run_name(args)}.last"
    given = arguments(args)
    training = load_training(last) if args.resume else None
    if training:
        check_same(last, training.arguments, given)
        if training.finished:
            best = folder / f"{training.best_name}{SUFFIX}"
            if not best.is_file():
                raise UserError(f"{best}: is gone, though its run is finished; remove {last} to train again")
            distributed.say(f"finished before: {best}")
            return best
    elif args.resume:
        distributed.say(f"{last}: no run to resume, starting one")
    elif (left := load_training(last)) and not left.finished:
        raise UserError(f"{last}: an unfinished run; go on with --resume, or remove it, or choose another --out")

    fold = open_fold(args.dataset, args.data_root, args.fold, args.class_order, args.splits)
    seeds = range(args.seed, args.seed + args.seeds)
    with distributed.first_process_first():
        selection = plan(fold.select, args, seeds[:1])
        final = plan(fold.test, args, seeds)
        pool = open_pool(fold.train, args.shot, args.workers)
    samples = TrainingSamples(
        fold.train.images, pool, args.shot, args.crop_size, length=args.snapshot, seed=args.seed,
        cache_bytes=int(args.cache_gb * 2**30) // max(args.workers, 1),
    )  # fmt: skip
    net = start_network(args, samples)
    if args.device.type == "cpu" or args.amp:
        net.to(memory_format=torch.channels_last)  # in which convolutions are faster there
    optimizer = make_optimizer(net, args.lr)
    check_writable(folder)
    if first:
        remove_leftovers(folder)
    scaler = torch.amp.GradScaler(args.device.type, enabled=args.amp == "fp16")
    net.trunk_dtype = {None: None, "bf16": torch.bfloat16, "fp16": torch.float16}[args.amp]
    if args.compile:
        compile_trunk(net, args)
    if training is None:
        training = Training(given, name=distributed.from_first(free_stem(folder / run_name(args)).name))
        earlier = sorted(path.name for path in folder.glob(f"{run_name(args)}_*.pth"))
        if earlier:
            distributed.say(
                f"note: {folder} keeps {', '.join(earlier)} of an earlier run; test.py will need --checkpoint"
            )
    else:
        net.load_state_dict(training.state_dict)
        optimizer.load_state_dict(training.optimizer)
        scaler.load_state_dict(training.scaler)
    evaluated, tested = (sum(map(len, plans.values())) for plans in (selection, final))
    distributed.say(describe(args, fold, len(pool.names), net, training.snapshot, evaluated, tested))

    def save() -> None:
        training.state_dict, training.optimizer = net.state_dict(), optimizer.state_dict()
        training.scaler = scaler.state_dict()
        if first:
            save_training(last, training)

    def test(part: Part, plans: Mapping[int, Sequence[Episode]]) -> dict[str, Any]:
        return evaluate(net, part.images, plans, workers=args.workers, engine=args.engine, cache_gb=args.cache_gb)

    snapshots, per_snapshot = args.episode // args.snapshot, args.snapshot // args.batch_size
    done = training.snapshot * per_snapshot + len(training.losses)
    own = own_samples(samples, args.batch_size, done, snapshots * per_snapshot - done)
    stream = batches(own, args.batch_size // distributed.world(), args.workers, pin_memory=args.device.type == "cuda")
    parallel = spread(net, args.device)
    net.train()
    log = tensorboard_log(folder / f"{training.name}.tensorboard") if args.tensorboard and first else None

    def time_left(step: float, unit: float) -> str:
        """For people; step: seconds of one; unit: those of evaluation's unit of cost."""
        ahead = snapshots - training.snapshot
        evaluations = ahead * cost(selection, args.engine) + cost(final, args.engine)
        return duration((ahead * per_snapshot - len(training.losses)) * step + evaluations * unit)

    step = 0.0  # seconds
    if len(own) > WORTH_ESTIMATING * args.batch_size // distributed.world():
        step = step_seconds(parallel, first_batch(samples, args), args.accumulate)
        unit = unit_seconds(net, fold.select.images, selection[args.seed], args.engine)
        distributed.say(f"about {time_left(step, unit)}, at {step:.2g} s a step")
    while training.snapshot < snapshots:
        started, before = time.perf_counter(), len(training.losses)
        whole_snapshot = train_snapshot(parallel, optimizer, scaler, stream, training, args, asked)
        if steps := len(training.losses) - before:  # none where a run goes on with the evaluation
            step = (time.perf_counter() - started) / steps
        save()
        if not whole_snapshot:
            raise KeyboardInterrupt(f"saved {last}, go on with --resume")
        result = test(fold.select, selection)
        line = finish_snapshot(training, result, args, fold, net, folder)
        save()
        if log:
            log(training.history)
        distributed.say(
            f"snapshot {line['snapshot']}/{snapshots}: loss {line['loss']:.4f}, lr {line['lr']:g}, mIoU "
            f"{line['miou']:.2f}, best {training.best_miou:.2f}, about "
            f"{time_left(step, result['seconds'] / cost(selection, args.engine))} left"
        )

    last_state = {key: value.clone() for key, value in net.state_dict().items()}
    net.load_state_dict(training.best_state)
    result = test(fold.test, final)
    best = folder / training.best_name
    if first:
        restore_best(training, args, fold, folder)
        iterations = args.episode // args.batch_size
        rates = {step: learning_rate(args.lr, step, iterations) for step in (0, *drops(iterations))}
        draw_history(training.history, folder / f"{training.name}.history.png", rates)
        save_result(f"{best}.json", args, f"{best}.ckpt", len(final[args.seed]), result, training.arguments)
        save_training(last, replace(training, state_dict=last_state, optimizer={}, best_state={}, finished=True))
        print(result_table(result, fold.test.images.class_names))
        print(f"mIoU {result['miou']:.4f} (std {result['miou_std']:.2f}), FB-IoU {result['fb_iou']:.4f}: {best}.pth")
    return Path(f"{best}.ckpt")


def finish_snapshot(
    training: Training,
    result: Mapping[str, Any],
    args: argparse.Namespace,
    fold: Fold,
    net: FewShotNetwork,
    folder: Path,
) -> dict[str, Any]:
    """Keep the weights if they are the best so far; write the history. Returns its new line."""
    first = distributed.rank() == 0
    former = training.best_name
    if result["miou"] >= training.best_miou:
        stem = free_stem(folder / f"{run_name(args)}_{result['miou']:.2f}", folder / former if former else None)
        training.best_state = {key: value.detach().cpu().clone() for key, value in net.state_dict().items()}
        training.best_miou, training.best_name = result["miou"], distributed.from_first(stem.name)
        if first:
            save_best(training, args, fold, folder, former)
    elif first:
        restore_best(training, args, fold, folder)
    iteration = (training.snapshot + 1) * len(training.losses) - 1
    line = {
        "snapshot": training.snapshot + 1, "steps": len(training.losses),
        "loss": sum(training.losses) / len(training.losses), "losses": training.losses,
        "lr": learning_rate(args.lr, iteration, args.episode // args.batch_size),
        "miou": result["miou"], "fb_iou": result["fb_iou"],
    }  # fmt: skip
    training.history.append(line)
    training.snapshot, training.losses = training.snapshot + 1, []
    if first:
        with atomic_write(folder / f"{training.name}.history.jsonl") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in training.history).encode())
    return line


if __name__ == "__main__":
    command(main)

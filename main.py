"""Train SSP or its baseline on the base classes of a fold and evaluate it on the novel ones.

    python main.py --data-root ../Datasets_SSP --fold 0 --shot 1 --refine
    python main.py --dataset coco --class-order contiguous --data-root ../Datasets_SSP --fold 0 --refine
    python main.py --dataset fss --data-root ../Datasets_SSP --refine
    torchrun --nproc-per-node 4 main.py ...        the same losses, each batch shared among four processes

After every snapshot the program evaluates the network on one seed and keeps the best weights. At the end it
evaluates the best weights on five seeds. On FSS-1000 the validation classes choose the best weights. The files in
OUT/models/DATASET/fold_K/ (DATASET is coco_interleaved for that order; fss has no fold_K):
  BACKBONE_SHOTshot_MIOU.pth    the best weights, a plain state dict that the authors' release can load
  BACKBONE_SHOTshot_MIOU.ckpt   the same with arguments and classes; other networks (docs/extend.md) have it alone
  BACKBONE_SHOTshot_MIOU.json   the five-seed result
  BACKBONE_SHOTshot.history.jsonl and .png   losses, learning rate and mIoU of each snapshot
  BACKBONE_SHOTshot.last        the state of the run, from which --resume goes on
  BACKBONE_SHOTshot.tensorboard the same as the history, with --tensorboard

After Ctrl-C, SIGTERM or SIGHUP the program saves the state and ends.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import util.launch
from dataset import Plans, Split, open_fold, open_pool
from engine.custom import code_digest
from engine.evaluation.protocol import PAPER, EvaluationOptions, plan_seeds
from engine.options import add_schedule, add_start, check_engine, default_device, make_parser, resolve_setting, whole
from engine.setting import Schedule, Setting
from engine.training.best import suffixes
from engine.training.history import need_tensorboard
from engine.training.state import how_to_go_on, plain_values, state_of
from util import distributed
from util.errors import UserError
from util.interrupts import Interrupts, interrupts

MANY_STEPS = 20  # a longer run times two steps to say how long it takes; so does one of a long evaluation


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags; those of the setting are settled."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_start(parser)
    add("--out", default="outdir", metavar="DIR", help="folder for all output files (default %(default)s)")
    add("--resume", action="store_true", help="go on with an interrupted run, if there is one")
    add_schedule(parser)
    add(
        "--amp",
        nargs="?",
        const="bf16",
        choices=("bf16", "fp16"),
        help="train the backbone in bfloat16, on CUDA also float16",
    )
    add("--compile", action="store_true", help="compile the backbone with torch.compile")
    add("--released-order", type=whole(2, 64), metavar="N", help="train as the release on N GPUs, fault included")
    add("--tensorboard", action="store_true", help="also write events for TensorBoard")
    args = parser.parse_args(argv)
    setting = resolve_setting(vars(args))
    vars(args).update(setting.as_dict())
    del args.features  # it is in the backbone
    args.crop_size = args.crop_size or setting.benchmark.crop_size
    check_engine(args.engine)
    if args.tensorboard:
        need_tensorboard()
    if args.released_order and (setting.method != "ssp" or setting.shot == 1):
        raise UserError("--released-order belongs to --method ssp and --shot 2 or more; without it nothing changes")
    if args.snapshot > args.episode > 0:
        raise UserError(f"--snapshot {args.snapshot} is larger than --episode {args.episode}")
    if args.batch_size > args.snapshot:
        raise UserError(f"--batch-size {args.batch_size} is larger than --snapshot {args.snapshot}")
    if args.amp == "fp16" and (device := args.device or default_device()).type != "cuda":
        raise UserError(f"--amp fp16 needs CUDA, the device is {device}; --amp bf16 runs everywhere")
    return args


def main(argv: list[str] | None = None) -> Path:
    """Train as the flags say; returns the best weights' .ckpt."""
    args = parse(argv)
    Setting.of(vars(args)).benchmark(args.data_root)  # a folder that is missing is met here
    with interrupts() as asked, distributed.joined(args.device or default_device()) as args.device, ExitStack() as held:
        try:
            return train(args, asked, held)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(str(error) or how_to_go_on(state_of(Setting.of(vars(args)), args.out))) from None


def train(args: argparse.Namespace, asked: Interrupts, held: ExitStack) -> Path:
    """Train on the base classes, snapshot by snapshot, and test the best weights on the novel ones."""
    # Here, so that --help and wrong flags need not wait for torch.
    from dataset.samples import TrainingSamples
    from engine.evaluation.estimate import LONG, cost, duration, unit_seconds
    from engine.evaluation.evaluate import evaluate, result_table, summary
    from engine.training.run import Means, TrainingRun, find_training, finished_checkpoint
    from engine.training.start import what_will_run

    setting = Setting.of(vars(args))
    schedule = Schedule(args.episode, args.snapshot, args.batch_size, args.lr)
    means = Means(args.device, args.workers, args.accumulate, args.amp, args.compile, args.tensorboard)
    if schedule.batch_size % (distributed.world() * means.accumulate):
        among = f"{distributed.world()} processes x --accumulate {means.accumulate}"
        raise UserError(f"--batch-size {schedule.batch_size} cannot be divided among {among}")

    # A run that was finished, or one to go on with.
    last = state_of(setting, args.out)
    flags = plain_values(vars(args)) | {"code": code_digest(setting.method, setting.backbone)}
    earlier = find_training(last, flags, args.resume)
    if earlier and earlier.finished:
        return finished_checkpoint(last, earlier)

    # The episodes: those of the evaluations are planned, those of the training drawn (docs/method.md, section 5).
    fold = open_fold(setting.dataset, args.data_root, setting.fold, setting.class_order, args.splits)
    seeds = range(args.seed, args.seed + args.seeds)
    episodes = args.test_episodes or PAPER.episodes(setting.dataset)
    with distributed.first_process_first():
        selection = plan_seeds(fold.val, setting.shot, seeds[:1], episodes, args.workers)
        final = plan_seeds(fold.test, setting.shot, seeds, episodes, args.workers)
        pool = open_pool(fold.train, setting.shot, args.workers)
    samples = TrainingSamples(
        fold.train.images, pool, setting.shot, args.crop_size, length=schedule.snapshot, seed=args.seed,
        cache_bytes=int(args.cache_gb * 2**30) // max(args.workers, 1),
    )  # fmt: skip

    # The network, its optimizer and the state of the run (sections 2 to 4).
    how = {"training": earlier, "released_order": args.released_order, "frozen": bool(args.frozen), "held": held}
    run = TrainingRun(setting, schedule, fold, samples, last, flags, means, args.pretrained, **how)
    held.callback(run.stream.close)  # its loader processes end before this one does

    def test(split: Split, plans: Plans) -> dict[str, Any]:
        options = EvaluationOptions(args.workers, args.engine, args.cache_gb)
        return evaluate(run.net, split.images, plans, options=options)

    def time_left(unit: float) -> str:
        """For people; unit: seconds of evaluation's unit of cost."""
        evaluations = run.snapshots_left * cost(selection, args.engine) + cost(final, args.engine)
        return duration(run.steps_left * run.step_seconds + evaluations * unit)

    done = run.training.snapshot
    distributed.say(*what_will_run(setting, schedule, fold, run.net, len(pool.names), done, episodes, final))
    is_long = cost(final, args.engine) > LONG
    if run.time_a_step(0 if is_long else MANY_STEPS) or is_long:
        unit = unit_seconds(run.net, fold.val.images, selection[args.seed], args.engine)
        at = f", at {run.step_seconds:.2g} s a step" if run.step_seconds else ""
        distributed.say(f"about {time_left(unit)}{at}")

    # Train a snapshot, evaluate it on one seed, keep the best weights.
    while run.snapshots_left:
        run.train_snapshot(asked)
        result = test(fold.val, selection)
        line = run.finish_snapshot(result)
        distributed.say(
            f"snapshot {line['snapshot']}/{schedule.snapshots}: loss {line['loss']:.4f}, lr {line['lr']:g}, mIoU "
            f"{line['miou']:.2f}, best {run.training.best_miou:.2f}, about "
            f"{time_left(result['seconds'] / cost(selection, args.engine))} left"
        )

    # Test the best weights on all seeds (section 6).
    run.load_best()
    result = test(fold.test, final)
    best = run.finish(result, final, args.engine)
    distributed.say(*result_table(result, fold.test.images.class_names, fold.test.classes).splitlines())
    distributed.say(f"{summary(result)}: {best.with_suffix(suffixes(setting)[0])}")
    return best


if __name__ == "__main__":
    util.launch.command(main)

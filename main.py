"""Train SSP or its baseline on the base classes of a fold and evaluate it on the novel ones.

    python main.py --data-root ../Datasets_SSP --fold 0 --shot 1 --refine
    python main.py --dataset coco --class-order contiguous --data-root ../Datasets_SSP --fold 0 --refine
    python main.py --dataset fss --data-root ../Datasets_SSP --refine
    python main.py --dataset own --data-root data/birds --fold 0 --refine     images of your own, from prepare.py own
    torchrun --nproc-per-node 4 main.py ...        the same losses, each batch shared among four processes

After every snapshot the program evaluates the network on one seed and keeps the best weights. At the end it
evaluates the best weights on five seeds. On FSS-1000 the validation classes choose the best weights. The files in
OUT/models/DATASET/fold_K/ (DATASET is coco_interleaved for that order; fss has no fold_K):
  BACKBONE_SHOTshot_MIOU.pth    the best weights, a plain state dict that the authors' release can load
  BACKBONE_SHOTshot_MIOU.ckpt   the same with arguments and classes; other networks (docs/extend.md) have it alone
  BACKBONE_SHOTshot_MIOU.json   the five-seed result
  BACKBONE_SHOTshot.history.jsonl and .png   losses, learning rate and mIoU of each snapshot
  BACKBONE_SHOTshot.last        the state of the run, from which --resume goes on
  BACKBONE_SHOTshot.tensorboard or .wandb   the same as the history, with --log; .episodes has pictures of four

After Ctrl-C, SIGTERM or SIGHUP the program saves the state and ends.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import util.launch
from dataset import ImageSet, Plans, find_benchmark
from engine.custom import code_digest, method_digest
from engine.evaluation.protocol import EvaluationOptions
from engine.options import (
    add_schedule,
    add_settings,
    add_start,
    add_tag,
    check_engine,
    default_device,
    make_parser,
    resolve_setting,
    whole,
)
from engine.training.flags import LOGS, TrainingOptions
from engine.training.state import Training, find_training, how_to_go_on, plain_values, state_of
from engine.variation import check_losses, given_settings
from util import distributed
from util.errors import UserError
from util.interrupts import Interrupts, interrupts


def parse(argv: list[str] | None) -> TrainingOptions:
    """The flags; those of the setting are resolved."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_start(parser)
    add("--out", default="outdir", metavar="DIR", help="folder for all output files (default %(default)s)")
    add("--resume", action="store_true", help="go on with an interrupted run, if there is one")
    add_settings(parser)
    add_tag(parser)
    add_schedule(parser)
    amp_help = "train the backbone in bfloat16, on CUDA also float16"
    add("--amp", nargs="?", const="bf16", choices=("bf16", "fp16"), help=amp_help)
    add("--compile", action="store_true", help="compile the backbone with torch.compile")
    add("--released-order", type=whole(2, 64), metavar="N", help="train as the release on N GPUs, fault included")
    log_help = "also show the run in TensorBoard or W&B; may be given twice; under torchrun --log-to"
    add("--log", "--log-to", dest="log_to", action="append", choices=LOGS, help=log_help)
    short = {"dest": "log_to", "action": "append_const", "const": "tensorboard"}
    add("--tensorboard", **short, help="the same as --log tensorboard")
    flags = vars(parser.parse_args(argv))
    settings = given_settings(flags.pop("set"), flags.pop("without"))
    setting = resolve_setting(flags | {"settings": settings}, root=flags["data_root"])
    check_losses(setting.variation, setting.refine)
    del flags["features"]  # it is in the backbone
    flags["log_to"] = " ".join(dict.fromkeys(flags["log_to"] or ())) or None
    flags["set"] = str(setting.variation) or None
    flags["crop_size"] = flags["crop_size"] or find_benchmark(setting.dataset, flags["data_root"]).crop_size
    options = TrainingOptions(**{**flags, **setting.as_dict()})
    check(options)
    return options


def check(options: TrainingOptions) -> None:
    """Raise UserError if flags contradict each other or ask for what this machine lacks."""
    check_engine(options.engine)
    for package in options.logs:
        if getattr(find_spec(package), "origin", None) is None:  # a folder wandb of its runs is no package
            raise UserError(f"--log {package} needs the package {package} (pip install {package})")
    if "wandb" in options.logs:
        from engine.training.logs import check_wandb

        check_wandb()
    if options.released_order and (options.method != "ssp" or options.shot == 1):
        raise UserError("--released-order belongs to --method ssp and --shot 2 or more; without it nothing changes")
    if options.snapshot > options.episode > 0:
        raise UserError(f"--snapshot {options.snapshot} is larger than --episode {options.episode}")
    if options.batch_size > options.snapshot:
        raise UserError(f"--batch-size {options.batch_size} is larger than --snapshot {options.snapshot}")
    if options.amp == "fp16" and (device := options.device or default_device()).type != "cuda":
        raise UserError(f"--amp fp16 needs CUDA, the device is {device}; --amp bf16 runs everywhere")


def main(argv: list[str] | None = None) -> Path:
    """Train as the flags say; returns the best weights' .ckpt."""
    options = parse(argv)
    options.setting.benchmark(options.data_root)  # a folder that is missing is met here
    with interrupts() as asked, distributed.joined(options.device or default_device()) as device:
        try:
            return train(replace(options, device=device), asked)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(str(error) or how_to_go_on(state_of(options.setting, options.out))) from None


def train(options: TrainingOptions, asked: Interrupts) -> Path:
    """Train on the base classes, snapshot by snapshot, and test the best weights on the novel ones."""
    # Here, so that --help and wrong flags need not wait for torch.
    from engine.evaluation.evaluate import evaluate, result_table, summary
    from engine.training import loop
    from engine.training.data import open_run, training_batches
    from engine.training.forecast import make_forecast
    from engine.training.run_files import finished_checkpoint, open_files, weight_suffixes
    from engine.training.start import start_trainer, what_will_run

    setting, schedule, compute = options.setting, options.schedule, options.compute
    if schedule.batch_size % (distributed.world() * compute.accumulate):
        among = f"{distributed.world()} processes x --accumulate {compute.accumulate}"
        raise UserError(f"--batch-size {schedule.batch_size} cannot be divided among {among}")

    # A run that was finished, or one to go on with.
    last = state_of(setting, options.out)
    code = {"code": code_digest(setting.method, setting.backbone), "method_code": method_digest()}
    flags = plain_values(vars(options)) | code
    earlier = find_training(last, flags, options.resume)
    if earlier and earlier.finished:
        return finished_checkpoint(last, earlier)

    # The data, the network and its optimizer, the files.
    run = open_run(options)
    trainer = start_trainer(options, run, resumed=earlier is not None)
    select, test = run.fold.val, run.test

    def evaluation(images: ImageSet, plans: Plans) -> dict[str, Any]:
        with_options = EvaluationOptions(options.workers, options.engine, options.cache_gb)
        return evaluate(trainer.net, images, plans, options=with_options)

    with open_files(run, last, earlier or Training(flags), options.logs) as files:
        if earlier:
            trainer.restore(earlier, last)
        state = files.state
        distributed.say(*what_will_run(run, trainer.net, state.snapshot))
        forecast = make_forecast(run, trainer, state, options.engine)

        # Train a snapshot, evaluate it on one seed, keep the best weights (section 4).
        with closing(training_batches(run, state, compute, asked)) as batches:
            loop.train(trainer, files, batches, lambda: evaluation(select.images, run.selection), forecast, asked)

        # Test the best weights on all seeds (section 6).
        files.load_best(trainer.net)
        result = evaluation(test.images, test.plans)
        best = files.finish(trainer, result, options.engine)
    distributed.say(*result_table(result, test.images.class_names, test.classes).splitlines())
    distributed.say(f"{summary(result)}: {best.with_suffix(weight_suffixes(setting)[0])}")
    return best


if __name__ == "__main__":
    util.launch.command(main)

"""Train SSP or its baseline on the base classes of a fold, evaluating on the novel ones.

    python main.py --data-root ../Datasets_SSP --fold 0 --shot 1 --refine
    python main.py --dataset coco --class-order contiguous --data-root ../Datasets_SSP --fold 0 --refine
    python main.py --dataset fss --data-root ../Datasets_SSP --refine

After every snapshot the network is evaluated on one seed and the best weights are kept; at the end the
best are evaluated on five seeds. FSS-1000 chooses the best on its validation classes. Written to
OUT/models/DATASET/fold_K/ (coco_interleaved for that order, fss without folds):
  BACKBONE_SHOTshot_MIOU.pth    the best weights, a plain state dict that the authors' release can load
  BACKBONE_SHOTshot_MIOU.ckpt   the same with arguments and classes: test.py needs no more flags
  BACKBONE_SHOTshot_MIOU.json   the five-seed result
  BACKBONE_SHOTshot.history.jsonl and .png   losses, learning rate and mIoU of each snapshot
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from dataset import DATASETS, Part, open_fold, open_pool
from dataset.episodes import Episode, plan_from_pool
from dataset.fewshot import TrainingSamples
from dataset.loading import batches, to_device
from dataset.transform import crop, normalise
from model import FewShotNetwork, build_model, calibrate_batch_norms
from model.checkpoint import find_pretrained
from model.loss import loss_terms, total_loss
from util.distributed import launched
from util.errors import UserError, command
from util.evaluation import evaluate, result_table
from util.files import atomic_write, check_writable
from util.options import make_parser, positive, settle, whole
from util.parallel import FewShotDataParallel
from util.progress import progress
from util.runs import describe_setting, free_stem, run_folder, run_name, save_result, save_run, setting, spans
from util.visualize import draw_history

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
CALIBRATION_IMAGES = 16


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--pretrained", metavar="FILE", help="ImageNet weights, or none (default pretrained/BACKBONE.pth here)")
    add("--out", default="outdir", metavar="DIR", help="folder for everything written (default %(default)s)")
    add("--batch-size", type=whole(1), default=4, help="training episodes of a step (default %(default)s)")
    add("--lr", type=positive, default=1e-3, help="initial learning rate (default %(default)s)")
    add("--crop-size", type=whole(33, 4096), help="side of training crops (default 473, fss 225)")
    add("--episode", type=whole(1), default=24000, help="training episodes in all (default %(default)s)")
    add("--snapshot", type=whole(1), default=1200, help="episodes between evaluations (default %(default)s)")
    add("--test-episodes", type=whole(1), help="episodes of an evaluation seed (default the protocol's)")
    args = parser.parse_args(argv)
    settle(args)
    args.crop_size = args.crop_size or DATASETS[args.dataset].CROP_SIZE
    if args.snapshot > args.episode:
        raise UserError(f"--snapshot {args.snapshot} is larger than --episode {args.episode}")
    if args.batch_size > args.snapshot:
        raise UserError(f"--batch-size {args.batch_size} is larger than --snapshot {args.snapshot}")
    return args


def learning_rate(initial: float, iteration: int, iterations: int) -> float:
    """Divided by ten after one third and after two thirds of the iterations (design, section 4)."""
    return initial * 0.1 ** sum(iteration >= step for step in drops(iterations))


def drops(iterations: int) -> list[int]:
    """The steps from which on the learning rate is a tenth of what it was."""
    return [step for step in (iterations // 3, iterations * 2 // 3) if step]


def plan(part: Part, args: argparse.Namespace, seeds: Sequence[int]) -> dict[int, list[Episode]]:
    """The evaluation episodes of each seed."""
    pool, episodes = open_pool(part, args.shot, args.workers), args.test_episodes or DATASETS[args.dataset].EPISODES
    return {seed: plan_from_pool(pool, args.shot, seed, episodes) for seed in seeds}


def start_network(args: argparse.Namespace, samples: TrainingSamples) -> FewShotNetwork:
    """ImageNet weights, or random ones with batch norms calibrated on training crops."""
    torch.manual_seed(args.seed)
    if args.pretrained != "none":
        net = build_model(args.method, args.backbone, args.refine, find_pretrained(args.pretrained, args.backbone))
        return net.to(args.device)
    net = build_model(args.method, args.backbone, args.refine).to(args.device)
    rng = random.Random(args.seed)
    pool = samples.pool
    chosen = rng.sample([pool.names[rank] for rank in pool.images], min(CALIBRATION_IMAGES, len(pool.names)))
    crops = [normalise(crop(*samples.images.load(image), args.crop_size, rng)[0]) for image in chosen]
    calibrate_batch_norms(net, torch.stack(crops).to(args.device))
    return net


def train_snapshot(
    net: nn.Module, optimizer: torch.optim.Optimizer, samples: TrainingSamples, args: argparse.Namespace
) -> list[float]:
    """Train on one snapshot's episodes; the losses of its steps. Raises UserError on one that is not finite."""
    iterations = args.episode // args.batch_size
    per_snapshot = len(samples) // args.batch_size
    losses: list[float] = []
    loader = batches(samples, args.batch_size, args.workers, pin_memory=args.device.type == "cuda")
    with progress(loader, f"snapshot {samples.epoch + 1}", per_snapshot, "step") as bar:
        for batch in bar:
            support_images, support_masks, query_image, query_mask = to_device(batch, args.device)
            out = net(support_images, support_masks, query_image, query_mask)
            loss = total_loss(loss_terms(out, query_mask, support_masks))
            if not math.isfinite(loss.item()):
                step = samples.epoch * per_snapshot + len(losses) + 1
                raise UserError(f"the loss is {loss.item()} at step {step}; try a smaller --lr than {args.lr:g}")
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(args.lr, samples.epoch * per_snapshot + len(losses), iterations)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            bar.set_postfix(loss=f"{sum(losses) / len(losses):.3f}", refresh=False)
    return losses


def main(argv: list[str] | None = None) -> Path:
    """Train as the flags say; returns the best weights' .ckpt."""
    args = parse(argv)
    if launched():
        raise UserError("main.py trains in one process, on all visible GPUs; start it with python, not torchrun")
    fold = open_fold(args.dataset, args.data_root, args.fold, args.class_order, args.splits)
    seeds = range(args.seed, args.seed + args.seeds)
    selection = plan(fold.select, args, seeds[:1])
    final = plan(fold.test, args, seeds)
    pool = open_pool(fold.train, args.shot, args.workers)
    samples = TrainingSamples(fold.train.images, pool, args.shot, args.crop_size, length=args.snapshot, seed=args.seed)
    net = start_network(args, samples)
    folder = run_folder(args)
    check_writable(folder)
    if earlier := sorted(path.name for path in folder.glob(f"{run_name(args)}_*.pth")):
        print(f"note: {folder} keeps {', '.join(earlier)} of an earlier run; test.py will need --checkpoint")

    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=args.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    several = args.device == torch.device("cuda") and torch.cuda.device_count() > 1
    parallel = FewShotDataParallel(net) if several else net
    snapshots = args.episode // args.snapshot
    print(
        f"{args.method} {args.backbone} on {describe_setting(args)}, {args.shot}-shot"
        f"{', refine' if args.refine else ''}: {len(pool.names)} training images of {spans(fold.train.classes)}, "
        f"best weights chosen on {spans(fold.select.classes)}, tested on {spans(fold.test.classes)}; {snapshots} "
        f"snapshots of "
        f"{args.snapshot // args.batch_size} steps, {sum(p.numel() for p in trained) / 1e6:.1f} M trained parameters, "
        f"{args.device}",
        flush=True,
    )
    info = {
        **setting(args),
        "base_classes": fold.train.classes,
        "novel_classes": fold.test.classes,
        "base_names": fold.train.names(),
        "selection_names": fold.select.names(),
        "novel_names": fold.test.names(),
        "arguments": {k: v if isinstance(v, (int, float, type(None))) else str(v) for k, v in vars(args).items()},
    }
    best_miou, best_stem, best_state = -1.0, None, {}
    history_file = Path(f"{free_stem(folder / run_name(args))}.history.jsonl")
    history: list[dict] = []

    def test(part: Part, plans: Mapping[int, Sequence[Episode]]) -> dict:
        return evaluate(net, part.images, plans, workers=args.workers, engine=args.engine, cache_gb=args.cache_gb)

    net.train()
    for samples.epoch in range(snapshots):
        try:
            losses = train_snapshot(parallel, optimizer, samples, args)
        except UserError as error:
            raise UserError(f"{error}; best weights so far: {f'{best_stem}.pth' if best_stem else 'none'}") from error
        result = test(fold.select, selection)
        if result["miou"] >= best_miou:
            stem = free_stem(folder / f"{run_name(args)}_{result['miou']:.2f}", best_stem)
            best_state = {key: value.detach().cpu().clone() for key, value in net.state_dict().items()}
            save_run(stem, best_state, {**info, "miou": result["miou"]}, previous=best_stem)
            best_miou, best_stem = result["miou"], stem
        line = {
            "snapshot": samples.epoch + 1, "steps": len(losses), "loss": sum(losses) / len(losses), "losses": losses,
            "lr": optimizer.param_groups[0]["lr"], "miou": result["miou"], "fb_iou": result["fb_iou"],
        }  # fmt: skip
        history.append(line)
        with atomic_write(history_file) as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in history).encode())
        print(
            f"snapshot {line['snapshot']}/{snapshots}: loss {line['loss']:.4f}, lr {line['lr']:g}, "
            f"mIoU {result['miou']:.2f}, best {best_miou:.2f}",
            flush=True,
        )
    draw_history(history, history_file.with_suffix(".png"), drops(args.episode // args.batch_size))

    net.load_state_dict(best_state)
    result = test(fold.test, final)
    save_result(f"{best_stem}.json", args, f"{best_stem}.ckpt", len(final[args.seed]), result)
    print(result_table(result, fold.test.images.class_names))
    print(f"mIoU {result['miou']:.4f} (std {result['miou_std']:.2f}), FB-IoU {result['fb_iou']:.4f}: {best_stem}.pth")
    return Path(f"{best_stem}.ckpt")


if __name__ == "__main__":
    command(main)

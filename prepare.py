"""Make and check what training and evaluation need.

    python prepare.py coco    --data-root ../Datasets_SSP                 masks and lists of COCO 2014
    python prepare.py pascal  --data-root ../Datasets_SSP                 lists of VOC 2012, masks counted
    python prepare.py fss     --data-root ../Datasets_SSP --splits ../hsnet/data/splits
    python prepare.py weights --backbone resnet50                         ImageNet weights into pretrained/
    python prepare.py checkpoints --dataset pascal --shot 1               the authors' trained networks
    python prepare.py splits  --from ../hsnet/data/splits --out data/splits   HSNet's lists, as text and JSON
    python prepare.py own     --coco birds.json --images photos --out data/birds   images of your own, for --dataset own
    python prepare.py toy     --out data/toy                              painted images, to try everything on
    python prepare.py verify  --dataset coco --data-root ../Datasets_SSP  every file opened; exit code 1 if any is wrong

An interrupted run goes on where it was. prepare.py COMMAND --help explains the flags of a command.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import util.launch
from dataset import BENCHMARKS, DATASETS
from dataset.coco import Coco
from dataset.fss import Fss
from dataset.images import MASKS, list_stems
from dataset.lists import read_ids, write_lines
from dataset.own import DRAWS
from dataset.pascal import Pascal
from dataset.prepare.coco_masks import make_masks, read_instances
from dataset.prepare.own import Choices, Source, describe_again, join_sources, write_own
from dataset.prepare.toy import LAYOUTS, make_toy
from dataset.prepare.verify import Survey, survey
from dataset.prepare.voc_colours import convert_masks, examine_masks
from dataset.prepare.write_lists import (
    derive_fss_lists,
    generate_lists,
    import_lists,
    read_official_list,
    write_fss_lists,
)
from engine.checkpoint import errors_name, read, save_weights
from engine.options import LARGEST_COUNT, OneLineParser, whole
from engine.pretrained import PRETRAINED
from engine.setting import MAX_SIDE, MIN_SIDE
from model import BACKBONES, METHODS, build_model
from model.weights import adapt_pretrained, flat_key, unwrap
from tables.authors import FOLDER as AUTHORS_FOLDER
from tables.authors import choose, fetch_imagenet, provide
from tables.download import need_gdown
from tables.paper import DRIVE, drive_link
from util.distributed import say
from util.errors import UserError, first_line
from util.files import OutputFile, atomic_write, check_outputs, check_writable, is_name, remove_leftovers
from util.progress import progress
from util.table import align_columns

COMMANDS = "coco|pascal|fss|weights|checkpoints|splits|own|toy|verify"
SURVEY_MARK = '{"root": "'  # with which the JSON of verify begins
FINDINGS_SHOWN = 5  # findings of a kind that verify prints; --json has all
Command = Callable[[argparse.Namespace], None]
AddFlag = Callable[..., argparse.Action]  # a parser's add_argument
SOURCES = ("--coco", "--labelme", "--yolo", "--voc", "--masks")  # of which prepare.py own takes one
TIMM = {"resnet50": "resnet50s.gluon_in1k", "resnet101": "resnet101s.gluon_in1k"}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar=COMMANDS)

    def subcommand(work: Command, text: str, data: bool = True, workers: bool = True) -> AddFlag:
        sub = commands.add_parser(work.__name__.removeprefix("prepare_"), description=work.__doc__, help=text)
        sub.set_defaults(work=work)
        if data:
            text = "the dataset's folder, or the folder that holds it"
            sub.add_argument("--data-root", metavar="DIR", required=True, help=text)
        if workers:
            sub.add_argument("--workers", type=whole(0, 256), help="processes (default all cores)")
        return sub.add_argument

    add_dataset_commands(subcommand)
    add_weights_commands(subcommand)
    return parser.parse_args(argv)


def add_dataset_commands(subcommand: Callable[..., AddFlag]) -> None:
    """The commands that make and check datasets and their lists, with their flags."""
    add = subcommand(prepare_coco, "label masks from the instances JSONs, and lists")
    add("--split", choices=Coco.lists, help="only this split")
    add("--again", action="store_true", help="replace masks and lists that exist")
    add("--authors", choices=("link", "copy"), help="also build train_coco and val_coco, the authors' layout")
    add = subcommand(prepare_pascal, "lists of images; looks at the masks, and counts them")
    text = "write masks in VOC's colours anew, as labels; the old files are kept in FOLDER_colours"
    add("--from-colours", action="store_true", help=text)
    add = subcommand(prepare_fss, "lists, and a check of all images and masks")
    add("--splits", metavar="DIR", help="take HSNet's lists, from its data/splits")
    add("--test-list", metavar="FILE", help="or the official list of 240 test classes")
    add = subcommand(prepare_splits, "lists for HSNet's protocol", data=False)
    add("--from", dest="source", metavar="DIR", help="data/splits of an HSNet checkout")
    add("--dataset", choices=tuple(BENCHMARKS), help="or make lists from this dataset's masks (NOT HSNet's episodes)")
    add("--data-root", metavar="DIR", help="the folder of --dataset, or the folder that holds it")
    add("--out", metavar="DIR", required=True, help="folder to write, for --splits of test.py")
    add_own_command(subcommand(prepare_own, "a folder of images of your own, for --dataset own", data=False))
    add = subcommand(prepare_toy, "a painted dataset of 20 classes", data=False, workers=False)
    add("--out", metavar="DIR", required=True, help="a new folder for the dataset")
    add("--layout", choices=LAYOUTS, default="pascal", help="layout of the folders (default %(default)s)")
    painted = whole(1, most=50_000)  # the names of both have five digits
    add("--train", type=painted, help="training images of pascal and coco (default 400)")
    add("--val", type=painted, help="their validation images (default 200)")
    add("--seed", type=whole(0, most=2**31 - 1), default=0, help="another seed paints other images (default 0)")
    add = subcommand(verify, "open every file and list what is wrong")
    add("--dataset", choices=tuple(DATASETS), default="pascal", help="benchmark (default %(default)s)")
    text = "supports for which every class must have images (default %(default)s)"
    add("--shot", type=whole(1, 100), default=5, help=text)
    add("--splits", metavar="DIR", help="HSNet's data/splits, for the classes of fss")
    add("--quick", action="store_true", help="read only the headers of images; truncated images go unnoticed")
    add("--json", metavar="FILE", help="write the tables and all findings to a file")


def add_own_command(add: AddFlag) -> None:
    """The flags of prepare.py own, but --out the folder, what it is made from, and what is said of it."""
    add("--out", metavar="DIR", required=True, help="the folder to write; without a source: the one to describe anew")
    add("--coco", metavar="FILE", help="from a JSON in COCO's form (LVIS, Roboflow, CVAT, Label Studio)")
    add("--val", metavar="FILE", help="with --coco: another such JSON, of the images to validate on")
    add("--labelme", metavar="DIR", help="from LabelMe's JSONs in a folder")
    add("--yolo", metavar="DIR", help="from a folder with the data.yaml of YOLO's segmentation")
    add("--voc", metavar="DIR", help="from a folder in VOC's layout")
    add("--masks", metavar="DIR", help="from a folder of label masks, PNG")
    add("--images", metavar="DIR", help="the folder of the images, for --coco, --masks and --labelme")
    add("--name", help="the dataset's name in tables (default: the folder's)")
    add("--classes", type=split_names, metavar="A,B", help="only these classes, in this order")
    folds_help = "number of folds that the classes are cut into; 0: none, all classes are novel (default)"
    add("--folds", type=whole(0, 1000), help=folds_help)
    add("--interleaved", action="store_true", help="put every n-th class into a fold, not neighbours")
    add("--novel", type=split_names, metavar="A,B", help="or one fold, with these novel classes")
    add("--test-all", action="store_true", help="test on every image, whatever the source says; there is no training")
    add("--draw", choices=DRAWS, help="what HSNet's protocol takes in turn for its queries (default images)")
    add("--min-pixels", type=whole(1), help="least pixels of an object of an episode (default 2048)")
    add("--episodes", type=whole(1, LARGEST_COUNT), help="episodes of a test (default 1000)")
    add("--crop-size", type=whole(MIN_SIDE, MAX_SIDE), help="side of the training crops (default 473)")
    rare_help = "leave out classes that fewer tested images show on so many pixels; shot + 1 (default %(default)s)"
    add("--min-images", type=whole(1), default=1, help=rare_help)
    add("--strict", action="store_true", help="stop at the first image that cannot be taken")
    add("--copy", action="store_true", help="copy the images; else they are linked")
    add("--again", action="store_true", help="replace a finished folder of other content")


def split_names(text: str) -> list[str]:
    """The names of a flag, with commas between them."""
    return [name.strip() for name in text.split(",")]


def add_weights_commands(subcommand: Callable[..., AddFlag]) -> None:
    """The commands that fetch and check weights, with their flags."""
    add = subcommand(prepare_weights, "ImageNet weights", data=False, workers=False)
    add("--backbone", choices=BACKBONES, default="resnet50", help="backbone (default %(default)s)")
    add("--from", dest="source", metavar="FILE", help="take the weights from this file; authors: fetch theirs")
    add("--out", metavar="DIR", default=str(PRETRAINED), help="folder to write (default: pretrained/ of this project)")
    add("--again", action="store_true", help="replace an existing file")
    add = subcommand(prepare_checkpoints, "the authors' trained networks", data=False, workers=False)
    add("--dataset", choices=tuple(dict.fromkeys(key[0] for key in DRIVE)), help="only of this benchmark")
    add("--method", choices=METHODS, help="only of this method")
    add("--backbone", choices=BACKBONES, help="only of this backbone")
    add("--shot", type=whole(1, 5), choices=(1, 5), help="only of this number of supports")
    add("--fold", type=whole(0, 3), help="only of this fold")
    add("--to", metavar="DIR", default=str(AUTHORS_FOLDER), help="folder to write (default: pretrained/authors here)")
    add("--list", action="store_true", help="print name and link of each, to download them with a browser")
    add("--from", dest="source", metavar="DIR", help="take files that were downloaded under these names")
    add("--mirror", metavar="URL", help="fetch URL/NAME from a server of your own, not from Google Drive")


def prepare_coco(args: argparse.Namespace) -> None:
    """Label masks 1..80 of COCO 2014, annotations/{train,val}2014/*.png, from annotations/instances_*2014.json."""
    coco = Coco(args.data_root)
    root = coco.root
    for split in (args.split,) if args.split else Coco.lists:
        source, folder = coco.instances_path(split), root / "annotations" / f"{split}2014"
        if source.is_file():
            say(f"reading {source} ({source.stat().st_size / 2**20:.0f} MB)")
        instances = read_instances(source)
        say(*(f"note: {note}" for note in instances.notes))
        check_writable(folder)
        for written in (folder, root / "ImageSets"):
            remove_leftovers(written)
        made, kept = make_masks(instances, folder, args.again, args.workers)
        say(f"{folder}: {made} masks made, {kept} were there")
        write_list(root / "ImageSets" / f"{split}.txt", lambda ids=instances.sizes: list(ids), args.again)
        if args.authors:
            build_authors_layout(root, split, copy=args.authors == "copy", again=args.again)


def build_authors_layout(root: Path, split: str, copy: bool, again: bool) -> None:
    """{train,val}_coco in VOC's layout, its images and masks linked or copied."""
    theirs = root / f"{split}_coco"
    sources = {"JPEGImages": root / f"{split}2014", "SegmentationClassAug": root / "annotations" / f"{split}2014"}
    for name, source in sources.items():
        if not source.is_dir():
            raise UserError(f"{source}: no such folder; unpack {split}2014.zip of COCO there")
        (copy_folder if copy else link_folder)(source, theirs / name)
    write_list(theirs / "ImageSets" / f"{split}.txt", lambda: read_ids(root / "ImageSets" / f"{split}.txt"), again)
    say(f"{theirs}: {'copied' if copy else 'linked'}")


def link_folder(source: Path, target: Path) -> None:
    """Link a folder, by a path that holds where both are moved together."""
    check_writable(target.parent)
    place = os.path.relpath(source, target.parent)
    if target.is_symlink() and os.readlink(target) == place:  # somebody may be reading there
        return
    if target.is_symlink():
        target.unlink(missing_ok=True)
    if target.exists():
        raise UserError(f"{target}: is there and is no link; move it away, or use --authors copy")
    target.symlink_to(place, target_is_directory=True)


def copy_folder(source: Path, target: Path) -> None:
    """Copy the files of a folder that are not there in their whole size; a link in its place is removed."""
    if target.is_symlink():
        target.unlink(missing_ok=True)
    check_writable(target)
    remove_leftovers(target)
    files = sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith("."))
    for path in progress(files, f"copying {source.name}", len(files), "file"):
        there = target / path.name
        if not there.is_file() or there.stat().st_size != path.stat().st_size:
            with path.open("rb") as content, atomic_write(there) as file:
                shutil.copyfileobj(content, file)


def prepare_pascal(args: argparse.Namespace) -> None:
    """Write ImageSets/{train,val}.txt of VOC2012 where they are missing; look at the masks, and count them."""
    pascal = Pascal(args.data_root)
    for split in ("val", "train"):
        write_list(pascal.list_path(split), partial(pascal.derive_list, split))
    folder = pascal.mask_folder()
    masks = list_stems(folder, MASKS)
    count = len(masks)
    examine_labels([Path(pascal.open_folders().mask_path(name)) for name in masks], folder, args)
    kinds = {
        sum(pascal.counts.values()): "the augmented masks",
        2913: "WARNING: VOC's own masks only; the paper trains on the 12,031 augmented ones (SegmentationClassAug)",
    }
    say(f"{folder}: {count} masks, {kinds.get(count, 'neither the 12,031 augmented ones nor the 2,913 of VOC')}")


def examine_labels(paths: Sequence[Path], folder: Path, args: argparse.Namespace) -> None:
    """Say which masks hold their labels as colours, or convert them; say which cannot be read."""
    in_colours, unreadable = examine_masks(paths, args.workers)
    if in_colours and args.from_colours:
        kept = folder.with_name(f"{folder.name}_colours")
        convert_masks(in_colours, kept, args.workers)
        say(f"{folder}: {len(in_colours)} masks written anew as labels; the old files are in {kept}")
    elif in_colours:
        what = f"hold their labels as colours or the like, {in_colours[0].name} the first"
        say(f"{folder}: {len(in_colours)} masks {what}; they are read, --from-colours writes them as labels")
    if unreadable:
        what = f"WARNING: {len(unreadable)} of {len(paths)} masks cannot be read (verify lists them)"
        say(f"{what}: {unreadable[0]}", file=sys.stderr)


def prepare_fss(args: argparse.Namespace) -> None:
    """The lists of FSS-1000's classes, FSS-1000/splits/{trn,val,test}.txt, then a check of its 1000 x 10 pairs."""
    fss = Fss(args.data_root)
    folder = fss.class_list_folder
    if args.splits and args.test_list:
        raise UserError("--splits and --test-list: pass one of the two")
    if args.splits:
        theirs = Fss(args.data_root, args.splits)
        lists = {split: theirs.read_class_list(split) for split in Fss.lists}
        write_fss_lists(lists, fss.root, theirs.class_list_folder)
        say(f"{folder}: lists written")
    elif args.test_list:
        names = {path.name for path in fss.root.iterdir() if path.is_dir() and path.name[0] not in "._"}
        everything = sorted(filter(is_name, names - {folder.name}))
        test = read_official_list(Path(args.test_list))
        write_fss_lists(derive_fss_lists(test, everything), fss.root, args.test_list)
        say(f"{folder}: lists written")
        say("note: the official list does not say which classes validate; these are not HSNet's 240")
    elif not folder.is_dir():
        way_out = "pass --splits (HSNet's data/splits) or --test-list (the official one)"
        raise UserError(f"{folder}: no lists there; {way_out}")
    report_survey(fss.root, survey(fss, shot=5, workers=args.workers))


def prepare_weights(args: argparse.Namespace) -> None:
    """ImageNet weights of the backbone, from timm, the authors or a file, into pretrained/BACKBONE.pth."""
    path = Path(args.out) / f"{args.backbone}.pth"
    if path.is_file() and not args.again:
        say(f"{path}: is there; --again replaces it")
        return
    check_writable(path.parent)
    if args.source == "authors":
        fetch_imagenet(args.backbone, path)
        say(f"{path}: fetched, the authors' ImageNet weights; all keys of the backbone matched")
        return
    source = args.source or f"timm's {TIMM[args.backbone]}"
    net = build_model("ssp", args.backbone)
    content = read(args.source) if args.source else fetch_from_timm(TIMM[args.backbone], path)
    with errors_name(source):
        state = unwrap(content)
        adapt_pretrained(net, state)
    backbone = {flat_key(key): value for key, value in net.state_dict().items()}
    save_weights(path, backbone)
    rest = sum(key.startswith(("layer4.", "fc.")) for key in state)
    matched = f"all {len(backbone)} keys of the backbone matched, from {source}"
    say(f"{path}: {matched}; {rest} keys of layer4 and fc are not used")


def fetch_from_timm(name: str, path: Path) -> dict[str, Any]:
    """Download a network's state dict through timm."""
    try:
        import timm
    except ImportError as error:
        raise UserError(f"{path}: to fetch it, install timm (pip install timm), or name a file with --from") from error
    say(f"fetching {name}")
    logging.disable(logging.WARNING)  # timm's client warns of every attempt
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # timm and what it downloads with raise all sorts of errors
        raise UserError(
            f"{path}: {name} cannot be downloaded ({first_line(error)}); where there is a network, download "
            f"timm/{name} from the Hugging Face hub in a browser and pass its model.safetensors with --from"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def prepare_checkpoints(args: argparse.Namespace) -> None:
    """Download the authors' trained networks, check each and remember its size and sha256 in checkpoints.json."""
    if args.source and args.mirror:
        raise UserError("--from and --mirror: pass one of the two")
    folds = None if args.fold is None else (args.fold,)
    chosen = choose(folds, **{name: getattr(args, name) for name in ("dataset", "method", "backbone", "shot")})
    if not chosen:
        raise UserError("the authors published no such checkpoint; --list without other flags prints all")
    if args.list:
        say(*(f"{weights.name} {drive_link(weights.drive)}" for weights in chosen))
        return
    check_writable(args.to)
    if not args.source:
        need_gdown()
    failed = 0
    for number, weights in enumerate(chosen, start=1):
        try:
            done = provide(Path(args.to), weights, args.mirror, args.source and Path(args.source))
            say(f"{number}/{len(chosen)} {Path(args.to) / weights.name}: {done}")
        except UserError as error:
            if len(chosen) == 1:
                raise
            failed += 1
            say(f"error: {error}", file=sys.stderr)
    if failed:
        raise UserError(f"{failed} of {len(chosen)} checkpoints are missing, for the reasons above; run it again")


def prepare_splits(args: argparse.Namespace) -> None:
    """Lists for HSNet's protocol: HSNet's own as text and JSON, or lists made from a dataset's masks."""
    if bool(args.source) == bool(args.dataset) or bool(args.dataset) != bool(args.data_root):
        raise UserError("pass either --from (an HSNet checkout's data/splits), or --dataset with --data-root")
    out = Path(args.out)
    if args.source:
        written = import_lists(Path(args.source), out)
    else:
        written = generate_lists(DATASETS[args.dataset](args.data_root), out, args.workers)
        say("WARNING: made from masks: these episodes are not HSNet's own", file=sys.stderr)
    say(f"{out}: {len(written)} lists written")


def prepare_own(args: argparse.Namespace) -> None:
    """Write a folder of your own labelled images, for --dataset own (docs/own.md), or describe it anew.

    The same command goes on with a run that was killed. Images that cannot be taken are left out and counted.
    """
    if args.folds and args.novel:
        raise UserError("--folds and --novel: pass one of the two")
    if args.test_all and args.val:
        raise UserError("--test-all and --val: pass one of the two")
    if args.interleaved and not args.folds:
        raise UserError("--interleaved: is about --folds; pass that too")
    choices = Choices(**{key: getattr(args, key) for key in Choices._fields})
    if source := read_source(args):
        source = join_sources({"val": source}) if args.test_all else source
        how = (args.classes, args.strict, args.copy, args.again, args.min_images, args.workers)
        lines = write_own(Path(args.out), source, choices, *how)
        say(*lines)
        return
    of_sources = ("images", "val", "classes", "test_all", "strict", "copy", "again")
    if args.min_images > 1:
        raise UserError(f"--min-images: needs what to make the folder from; pass one of {', '.join(SOURCES)}")
    if given := [f"--{key.replace('_', '-')}" for key in of_sources if getattr(args, key)]:
        raise UserError(f"{given[0]}: needs what to make the folder from; pass one of {', '.join(SOURCES)}")
    if choices == Choices():
        raise UserError(f"{args.out}: pass what to make it from, one of {', '.join(SOURCES)}")
    content = describe_again(Path(args.out), choices)
    said = {key: value for key, value in content.items() if key in Choices._fields}
    say(f"{args.out}: described anew", *(f"{key}: {json.dumps(value)}" for key, value in said.items()))


def read_source(args: argparse.Namespace) -> Source | None:
    """What a folder is made from, as the flags say; None if they name nothing."""
    given = [flag for flag in SOURCES if getattr(args, flag.removeprefix("--"))]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)}: pass one of them")
    if args.images and (args.yolo or args.voc):
        raise UserError(f"--images: {given[0]} knows where its images are; leave it out")
    if args.val and not args.coco:
        raise UserError("--val: is the second JSON of --coco; pass that too")
    if (args.coco or args.masks) and not args.images:
        raise UserError(f"{given[0]}: needs --images, the folder of the images")
    images = args.images and Path(args.images)
    if args.coco:
        from dataset.prepare.from_coco import read_coco

        source = read_coco(Path(args.coco), images)
        return join_sources({"train": source, "val": read_coco(Path(args.val), images)}) if args.val else source
    if args.labelme:
        from dataset.prepare.from_labelme import read_labelme

        return read_labelme(Path(args.labelme), images)
    if args.yolo:
        from dataset.prepare.from_yolo import read_yolo

        return read_yolo(Path(args.yolo))
    if args.voc:
        from dataset.prepare.from_voc import read_voc

        return read_voc(Path(args.voc))
    if args.masks:
        from dataset.prepare.from_masks import read_masks

        return read_masks(Path(args.masks), images)
    return None


def prepare_toy(args: argparse.Namespace) -> None:
    """Paint a toy dataset in the layout of Pascal VOC, COCO or FSS-1000: 20 classes, each a colour with a texture."""
    counted = DATASETS[args.layout].counted == "images"
    if not counted and (args.train or args.val):
        raise UserError("--train and --val belong to --layout pascal and coco, fss has ten images of each class")
    train, val = args.train or 400, args.val or 200
    is_new = make_toy(Path(args.out), args.layout, train, val, args.seed)
    images = f"{train} training and {val} validation images" if counted else "200 images"
    say(f"{args.out}: {images}, 20 classes{'' if is_new else ', painted before'}")
    if args.layout == Coco.name:
        say(f"now make its masks: python prepare.py coco --data-root {args.out}")


def verify(args: argparse.Namespace) -> None:
    """Open every image and mask that the lists name; count, compare, and list what is wrong (exit code 1)."""
    check_outputs({"--json": OutputFile(args.json, SURVEY_MARK)})
    benchmark = DATASETS[args.dataset](args.data_root, args.splits)
    report_survey(benchmark.root, survey(benchmark, args.shot, args.quick, args.workers), args.json)


def report_survey(root: Path, found: Survey, json_file: str | None = None) -> None:
    """Print what was found in a dataset's folder, with all findings in a JSON file; end with 1 if anything is wrong."""
    for rows in (found.splits, found.folds):
        if rows:
            print(*table(rows), "", sep="\n")
    if json_file:
        findings = [finding._asdict() for finding in found.findings]
        with atomic_write(json_file) as file:
            file.write(json.dumps({"root": str(root.resolve()), **found._asdict(), "findings": findings}).encode())
    say(*(f"note: {note}" for note in found.notes))
    for kind, count in Counter(finding.kind for finding in found.findings).items():
        texts = [finding.text for finding in found.findings if finding.kind == kind]
        say(*(f"{kind}: {text}" for text in texts[:FINDINGS_SHOWN]))
        if count > FINDINGS_SHOWN:
            say(f"{kind}: {count - FINDINGS_SHOWN} more like it{'' if json_file else ' (--json FILE writes them all)'}")
    if found.findings:
        say(f"{root}: {len(found.findings)} findings")
        sys.exit(1)
    say(f"{root}: nothing is wrong")


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of the same keys as aligned lines below the keys, numbers to the right."""
    left = [number for number, value in enumerate(rows[0].values()) if isinstance(value, str)]
    return align_columns([list(rows[0]), *(list(map(str, row.values())) for row in rows)], left)


def write_list(path: Path, names: Callable[[], Sequence[str]], again: bool = False) -> None:
    """Write a list of images; one that is there stays, unless ``again``. names: gives the images, to be written."""
    if path.is_file() and not again:
        say(f"{path}: there, {len(read_ids(path))} images")
        return
    found = names()
    write_lines(path, found)
    say(f"{path}: {len(found)} images")


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    args.work(args)


if __name__ == "__main__":
    util.launch.command(main)

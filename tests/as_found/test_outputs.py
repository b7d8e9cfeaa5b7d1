"""Files that lie where an output is to go, episodes that somebody edited, and commands with a slip of the hand."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.as_found.cases import Case, Inputs, check
from tests.files import write

FEW = "--episodes 2 --seeds 1 --workers 0 --device cpu --dataset pascal".split()
KEPT = "is there and is nothing that {} writes; name another, or move it away"


def copy_data(inputs: Inputs, layout: str = "VOC2012") -> Path:
    """A dataset of the toy in the case's own folder."""
    source = {"VOC2012": inputs.toy, "COCO2014": inputs.toy_coco, "FSS-1000": inputs.toy_fss}[layout]
    return Path(shutil.copytree(source, inputs.folder / layout))


def verify(file: str, layout: str = "VOC2012") -> Callable[[Inputs], list[str]]:
    """verify --json onto a file of the dataset."""

    def make(inputs: Inputs) -> list[str]:
        root, name = copy_data(inputs, layout), {"VOC2012": "pascal", "COCO2014": "coco", "FSS-1000": "fss"}[layout]
        flags = ["--dataset", name, "--data-root", str(root), "--workers", "0", "--quick"]
        return ["prepare.py", "verify", *flags, "--json", str(root / file)]

    return make


def evaluate(flag: str, file: str) -> Callable[[Inputs], list[str]]:
    """test.py with an output onto a file of the dataset."""

    def make(inputs: Inputs) -> list[str]:
        root = copy_data(inputs)
        return ["test.py", "--data-root", str(root), "--checkpoint", str(inputs.checkpoint), "--fold", "1", *FEW,
                flag, str(root / file)]  # fmt: skip

    return make


def evaluate_onto(flag: str, content: str, name: str = "there.json") -> Callable[[Inputs], list[str]]:
    """test.py with an output onto a file that holds this."""

    def make(inputs: Inputs) -> list[str]:
        there = write(inputs.folder / "out" / name, content)
        place = there.parent if flag == "--visualize" else there
        return ["test.py", "--data-root", str(inputs.toy), "--checkpoint", str(inputs.checkpoint), "--fold", "1", *FEW,
                flag, str(place)]  # fmt: skip

    return make


def report(flag: str, file: str) -> Callable[[Inputs], list[str]]:
    """report.py with an output onto a file of a dataset, of which it knows nothing."""
    return lambda inputs: ["report.py", "--out", str(inputs.folder), flag, str(copy_data(inputs) / file)]


def report_link(inputs: Inputs) -> list[str]:
    link = inputs.folder / "report.csv"
    link.symlink_to(copy_data(inputs) / "ImageSets" / "val.txt")
    return ["report.py", "--out", str(inputs.folder), "--csv", str(link)]


def predict(name: str, link: bool = False) -> Callable[[Inputs], list[str]]:
    """predict.py into a folder that holds a person's own file of the name of an output, or a link to one."""

    def make(inputs: Inputs) -> list[str]:
        image, mask = "JPEGImages/toy_00061.jpg", "SegmentationClassAug/toy_00061.png"
        for path in (image, mask):
            shutil.copyfile(inputs.toy / path, inputs.folder / f"support{Path(path).suffix}")
        shutil.copyfile(inputs.toy / image, write(inputs.folder / "photos" / "cat.jpg"))
        theirs = inputs.folder / ("elsewhere" if link else "labels") / name
        theirs.parent.mkdir()
        Image.new("L", (8, 8), 1).save(theirs)
        if link:
            (inputs.folder / "labels").mkdir()
            (inputs.folder / "labels" / name).symlink_to(theirs)
        support = ["--support", str(inputs.folder / "support.jpg"), "--mask", str(inputs.folder / "support.png")]
        files = ["--query", str(inputs.folder / "photos"), "--out", str(inputs.folder / "labels")]
        flags = ["--explain", "--device", "cpu", "--max-side", "64"]
        return ["predict.py", "--checkpoint", str(inputs.checkpoint), *support, *files, *flags]

    return make


def hsnet_lists(inputs: Inputs) -> list[str]:
    for fold in range(4):
        write(inputs.folder / "splits" / "pascal" / "val" / f"fold{fold}.txt", f"toy_00061__{5 * fold + 1:02}\n")
    flags = ["--dataset", "pascal", "--data-root", str(inputs.toy), "--workers", "0"]
    return ["prepare.py", "splits", *flags, "--out", str(inputs.folder / "splits")]


def episodes(
    *some: list, dataset: str = "pascal", order: str | None = None, fold: int | None = 1
) -> Callable[[Inputs], list[str]]:
    """test.py on a file of these episodes."""

    def make(inputs: Inputs) -> list[str]:
        root = {"pascal": inputs.toy, "coco": inputs.toy_coco, "fss": inputs.toy_fss}[dataset]
        setting = {"dataset": dataset, "class_order": order, "fold": fold, "shot": 1, "protocol": "ssp"}
        content = {"format": "ssp-episodes-1", **setting, "data": None, "seeds": {"0": list(some)}}
        file = write(inputs.folder / "e.json", json.dumps(content))
        return ["test.py", "--data-root", str(root), "--checkpoint", str(inputs.checkpoint), "--workers", "0",
                "--device", "cpu", "--episodes-from", str(file)]  # fmt: skip

    return make


def pair(cls: int) -> list:
    return ["toy_00061", cls, ["toy_00062"]]


def checkpoints(inputs: Inputs) -> list[str]:
    flags = "--dataset pascal --shot 1 --method ssp --backbone resnet50".split()
    return ["prepare.py", "checkpoints", *flags, "--from", str(inputs.folder), "--to", str(write(inputs.folder / "x"))]


def run_by(python: str) -> Callable[[Inputs], list[str]]:
    """reproduce.py with a --python."""
    folder = ["--data-root", "{}", "--out", "{}"]
    return lambda inputs: ["reproduce.py", *(word.format(inputs.folder) for word in folder), "--python", python]


CASES = [
    # Outputs over a dataset's files
    *(
        Case(f"verify --json {file}", verify(file), 2, rf"--json .*{file}: {KEPT.format('--json')}")
        for file in ("ImageSets/val.txt", "JPEGImages/toy_00061.jpg", "SegmentationClassAug/toy_00061.png")
    ),
    Case(
        "verify --json instances_val2014.json",
        verify("annotations/instances_val2014.json", "COCO2014"),
        2,
        KEPT.format("--json"),
    ),
    Case("verify --json splits/test.txt", verify("splits/test.txt", "FSS-1000"), 2, KEPT.format("--json")),
    Case("verify --json expected.json", verify("expected.json"), 2, KEPT.format("--json")),
    Case("verify --json a new file in the dataset's folder", verify("verified.json"), 1, r"\d findings\n"),
    *(
        Case(f"test.py {flag} {file}", evaluate(flag, file), 2, rf"{flag} .*{file}: {KEPT.format(flag)}")
        for flag in ("--json", "--save-episodes")
        for file in ("ImageSets/val.txt", "JPEGImages/toy_00061.jpg")
    ),
    Case(
        "test.py --json onto saved episodes", evaluate_onto("--json", '{"format": "ssp-episodes-1", '), 2, "--json .*"
    ),
    Case(
        "test.py --save-episodes onto a result",
        evaluate_onto("--save-episodes", '{\n  "dataset": "pascal",\n  "refine": true,\n'),
        2,
        KEPT.format("--save-episodes"),
    ),
    Case(
        "test.py --json onto LabelMe's JSON",
        evaluate_onto("--json", '{"version": "5.0.1", "shapes": [], "imageData": null}'),
        2,
        KEPT.format("--json"),
    ),
    Case(
        "test.py --visualize in a folder with somebody's index.html",
        evaluate_onto("--visualize", "<!DOCTYPE html>\n<title>Mine</title>", "index.html"),
        2,
        rf"--visualize .*index\.html: {KEPT.format('--visualize')}",
    ),
    Case("test.py --json onto an empty file", evaluate_onto("--json", ""), 0, r"(?m)^mIoU "),
    Case(
        "test.py --json onto a result of older code",
        evaluate_onto("--json", '{"dataset": "pascal", "fold": 0, "refine": true, "miou": 1.5}'),
        0,
        r"(?m)^mIoU ",
    ),
    *(
        Case(f"report.py {flag} {file}", report(flag, file), 2, rf"{flag} .*{file}: {KEPT.format(flag)}")
        for flag in ("--csv", "--markdown", "--picture")
        for file in ("ImageSets/val.txt", "JPEGImages/toy_00061.jpg", "SegmentationClassAug/toy_00061.png")
    ),
    Case("report.py --csv, a link to val.txt", report_link, 2, KEPT.format("--csv")),
    *(
        Case(f"predict.py --out where {name} is", predict(name), 2, rf"--out .*{name}: {KEPT.format('--out')}")
        for name in ("cat_mask.png", "cat_overlay.jpg", "cat_explained.png", "sheet.png")
    ),
    Case("predict.py --out where cat_mask.png is a link", predict("cat_mask.png", link=True), 2, KEPT.format("--out")),
    Case("predict.py --out where another mask is", predict("dog_mask.png"), 0, r"(?m)^1 image, "),
    Case(
        "lists made from masks onto HSNet's own",
        hsnet_lists,
        2,
        r"fold0\.txt: is there and is another list; name another --out, or move it away\n",
    ),
    # Saved episodes
    *(
        Case(
            f"saved episodes of class {cls}",
            episodes(pair(6), pair(cls)),
            2,
            rf"e\.json: has episodes of class {cls}; pascal fold 1 tests classes 6-10; save the episodes again\n",
        )
        for cls in (255, 300, 25, 1, 1000)
    ),
    Case(
        "COCO's class 90",
        episodes(["a", 90, ["b"]], dataset="coco", order="contiguous", fold=0),
        2,
        r"has episodes of class 90; coco fold 0 tests classes 1-20; ",
    ),
    Case(
        "FSS-1000's class 255",
        episodes(["abacus/1", 255, ["abacus/2"]], dataset="fss", fold=None),
        2,
        r"has episodes of class 255; fss tests classes 761-1000; ",
    ),
    Case(
        "FSS-1000 with a support of another class",
        episodes(["blue_dots/1", 761, ["blue_rings/2"]], dataset="fss", fold=None),
        2,
        r"an episode of class 761, blue_dots, names the image blue_rings/2; save the episodes again\n",
    ),
    Case(
        "saved episodes of a class that their images do not show",
        episodes(pair(7)),
        0,
        r"WARNING: .*e\.json: 2 of its 2 images do not show the class of their episode, toy_00061 class 7 the first; ",
    ),
    # Slips of the hand
    Case("checkpoints --to FILE", checkpoints, 2, r"\Aerror: cannot write to .*: File exists\n?\Z"),
    Case("--python with an open quote", run_by('python "x'), 2, r'python "x: No closing quotation; quote as'),
    Case("--python of a blank", run_by(" "), 2, r"--python \(PYTHON\): names no command; "),
]


def content(folder: Path) -> dict[Path, bytes]:
    """The content of all files in a folder; links are followed."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(os.sep, " "))
def test_outputs(case: Case, inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> None:
    """What a refusal finds, it leaves."""
    before = {}

    def make(inputs: Inputs) -> list[str]:
        words = case.make(inputs)
        before.update(content(inputs.folder))
        return words

    check(case._replace(make=make), inputs, capfd)
    if case.code == 2:
        assert content(inputs.folder) == before


AGAIN = {  # with how many files each writes
    "prepare.py verify --dataset fss --data-root {toy_fss} --workers 0 --json {out}/v.json": 1,
    "prepare.py splits --dataset fss --data-root {toy_fss} --workers 0 --out {out}": 1,
    "test.py --data-root {toy} --checkpoint {checkpoint} --fold 1 --episodes 3 --seeds 1 --workers 0 --device cpu "
    "--dataset pascal --json {out}/r.json --save-episodes {out}/e.json --visualize {out} --visualize-episodes 3": 7,
    "report.py --out {folder} --csv {out}/t.csv --markdown {out}/t.md": 2,
    "report.py --out {folder} --picture {out}/t.png": 1,
    "predict.py --checkpoint {checkpoint} --support {toy}/JPEGImages/toy_00061.jpg --mask "
    "{toy}/SegmentationClassAug/toy_00061.png --query {toy}/JPEGImages/toy_00062.jpg --explain --max-side 64 "
    "--device cpu --out {out}": 4,
}


@pytest.mark.parametrize("command", AGAIN, ids=lambda command: command.partition(" --")[0])
def test_a_command_goes_again_over_its_own_outputs(command: str, inputs: Inputs) -> None:
    if "--picture" in command:
        pytest.importorskip("matplotlib")
    script, *argv = command.format(**inputs._asdict(), out=inputs.folder / "out").split()
    for _ in range(2):
        importlib.import_module(script.removesuffix(".py")).main(argv)
        names = [path.name for path in content(inputs.folder / "out") if path.name != "lists.lock"]
        assert len(names) == AGAIN[command], names

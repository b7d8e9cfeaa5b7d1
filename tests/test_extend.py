"""Other backbones and heads from end to end: networks of timm, and the examples of docs/extend.md as they stand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hubconf
import main as training
import predict
import test as testing
from dataset import class_index, open_fold, plan_episodes
from dataset.loader import batches
from dataset.samples import EvaluationEpisodes
from engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from engine.custom import build_network, code_files, load_class, try_head
from engine.evaluation.evaluate import evaluate
from engine.training import forecast, run_files
from engine.training.state import load_training
from model import SSP, FewShotNetwork, build_model, calibrate_batch_norms, matching
from model.matching import resize
from tests.engine.evaluation.test_planned import same_but_for_ties
from tests.files import CHECKOUT, PIXELS, OneLine, write
from tests.hostile.children import in_two_processes
from tests.tiny import Tiny
from util.errors import UserError

timm = pytest.importorskip("timm")

TIMM = "timm:resnet10t"
# A ConvNet that is dilated, one that cannot be, a transformer.
FAMILIES = ("timm:tf_efficientnet_lite0", "timm:fastvit_t8", "timm:vit_tiny_patch16_224")
SHORT = (
    "--pretrained none --crop-size 65 --episode 8 --snapshot 4 --batch-size 2 --test-episodes 4 --seeds 1 --workers 0 "
    "--device cpu --fold 0"
)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of docs/extend.md."""
    folder = tmp_path_factory.mktemp("examples")
    blocks = re.findall(r"```python\n(# (\S+\.py)\n.*?)```", (CHECKOUT / "docs" / "extend.md").read_text(), re.DOTALL)
    assert [name for _, name in blocks] == ["my_backbone.py", "my_head.py", "my_ssp.py"]
    for code, name in blocks:
        assert len([line for line in code.splitlines() if line.strip()]) <= 36
        write(folder / name, code)
    return folder


@pytest.fixture(scope="module")
def named(examples: Path) -> dict[str, tuple[str, str]]:
    """Method and backbone of the networks that are tried."""
    backbone, head = f"{examples}/my_backbone.py:Mobile", f"{examples}/my_head.py:Parts"
    of_timm = {family: ("ssp", family) for family in FAMILIES}
    return {**of_timm, "backbone": ("ssp", backbone), "head": (head, TIMM), "both": (head, backbone)}


PLANNED = [*((kind, 2) for kind in (*FAMILIES, "backbone", "head", "both")), ("head", 1)]


def network(names: tuple[str, str]) -> FewShotNetwork:
    torch.manual_seed(0)
    method, backbone = names
    net = build_network(method, backbone, method == "ssp")
    calibrate_batch_norms(net, torch.randn(4, 3, 97, 97))
    return net.eval()


def custom_names(names: tuple[str, str]) -> dict[str, str]:
    """Those that are custom code, by "method" and "backbone"."""
    return {kind: name for kind, name in zip(("method", "backbone"), names, strict=True) if ".py:" in name}


def custom_flags(names: tuple[str, str]) -> list[str]:
    return [word for kind, name in custom_names(names).items() for word in (f"--{kind}", name)]


def all_flags(toy: Path, out: Path, names: tuple[str, str], *more: str) -> list[str]:
    method, backbone = names
    refine = ["--refine"] if method == "ssp" else []
    where = ["--data-root", str(toy), "--out", str(out), "--method", method, "--backbone", backbone]
    return [*where, *refine, *SHORT.split(), *more]


@pytest.mark.parametrize(("kind", "shot"), PLANNED)
def test_planned_equals_plain(toy: Path, named: dict[str, tuple[str, str]], kind: str, shot: int) -> None:
    """Logits of all episodes of one query within 1e-4 of the largest, and the same pixels but for ties."""
    fold, net = open_fold("pascal", toy, 0), network(named[kind])
    episodes = plan_episodes(class_index(fold.test.images, 1), fold.test.classes, shot, 0, 8)
    of_query = [episode._replace(query=episodes[0].query, cls=episodes[0].cls) for episode in episodes[:3]]
    with torch.inference_mode():
        expected, pairs = [], []
        for images, masks, query, _ in batches(EvaluationEpisodes(fold.test.images, of_query), 1, 0):
            expected.append(net(images, masks, query)["final"])
            pairs.append(net.episode_prototypes([net.features(x) for x in images], masks))
        fg, bg = (torch.cat(part) for part in zip(*pairs, strict=True))
        got = resize(net.match_episodes(net.features(query), fg, bg), query.shape[-2:])
    expected = torch.cat(expected)
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()
    passes = same_but_for_ties(net, fold.test.images, episodes)
    assert passes < sum(1 + len(episode.supports) for episode in episodes)


class TwoSteps(SSP):
    """SSP whose first match decides: a step of the paper's that is changed, and nothing else."""

    def trace(self, features: torch.Tensor, fg: torch.Tensor, bg: torch.Tensor) -> matching.Trace:
        return super().trace(features, fg, bg)._replace(final=matching.score(features, fg, bg), out1=None)


class Counting(FewShotNetwork):
    """Matches with learned features; its batch norms and its unused parameter are what a head may have."""

    def __init__(self, backbone: torch.nn.Module, refine: bool = False) -> None:
        super().__init__(backbone, refine)
        self.learned = torch.nn.Sequential(torch.nn.Conv2d(self.channels, 8, 1), torch.nn.BatchNorm2d(8))
        self.unused = torch.nn.Parameter(torch.ones(1))

    def prototypes(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return matching.prototypes(self.learned(features), mask)

    def match(self, features: torch.Tensor, fg: torch.Tensor, bg: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"final": matching.score(self.learned(features), fg, bg)}


class Scalars(Counting):
    """One number for each support."""

    def prototypes(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(x.mean((1, 2, 3)) for x in super().prototypes(features, mask))

    def match(self, features: torch.Tensor, fg: torch.Tensor, bg: torch.Tensor) -> dict[str, torch.Tensor]:
        return super().match(features, *(x[:, None, None, None] + self.learned(features) for x in (fg, bg)))


class Dense(Counting):
    """As many prototypes as features: other shapes for other supports, which planned evaluation cannot keep."""

    def prototypes(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return features, features

    def over_shots(self, prototypes: torch.Tensor) -> torch.Tensor:
        return prototypes[0].mean((2, 3), keepdim=True)

    def match(self, features: torch.Tensor, fg: torch.Tensor, bg: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"final": matching.score(features, fg, bg)}


@pytest.mark.parametrize("head", [TwoSteps, Scalars])
def test_heads_that_extend_others_are_planned_as_they_are(toy: Path, head: type[FewShotNetwork]) -> None:
    fold, net = open_fold("pascal", toy, 0), network((f"{__file__}:{head.__name__}", TIMM))
    episodes = plan_episodes(class_index(fold.test.images, 1), fold.test.classes, 2, 0, 8)
    same_but_for_ties(net, fold.test.images, episodes)
    if head is TwoSteps:
        of_paper, of_head = (evaluate(each, fold.test.images, {0: episodes}) for each in (network(("ssp", TIMM)), net))
        assert abs(of_paper["miou"] - of_head["miou"]) > 0.01


def test_prototypes_of_several_shapes_are_refused(toy_copy: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    for number, path in enumerate(sorted((toy_copy / "JPEGImages").iterdir())):
        if number % 2:
            mask = toy_copy / "SegmentationClassAug" / f"{path.stem}.png"
            for file in (path, mask):
                Image.open(file).crop((0, 0, 129, 121)).save(file)
    argv = all_flags(toy_copy, tmp_path / "out", (f"{__file__}:Dense", TIMM), "--episode", "0")
    line = one_line_error(training.main, argv)
    assert "--engine planned needs the same of all supports" in line
    training.main([*argv, "--engine", "plain"])


HEADS = {
    "NoDict": ("match", "return features", 'match must give a dict with "final"'),
    "NoFinal": ("match", "return {}", 'match must give a dict with "final"'),
    "Three": ("match", "return {'final': features[:, :3]}", "match gives final (2, 3, 5, 7), not logits (2, 2, h, w)"),
    "Cut": ("match", "return {'final': features[:, :2].detach()}", "match gives final without a gradient"),
    "Raises": ("match", "raise KeyError('x')", "own.py, line 7: KeyError: 'x'"),
    "Single": ("prototypes", "return features", "own.py, line 4: RuntimeError: "),
    "Other": ("match_episodes", "return fg[:, :2, :1, :1].expand(2, 2, 5, 7)", "match_episodes gives other logits"),
    "Leaves": ("over_shots", "import sys; sys.exit()", "own.py, line 7: SystemExit"),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_tried(toy: Path, tmp_path: Path, name: str, one_line_error: OneLine) -> None:
    method, body, says = HEADS[name]
    arguments = {"prototypes": "features, mask", "match": "features, fg, bg", "over_shots": "prototypes"}
    arguments["match_episodes"] = "features, fg, bg, scratch"
    code = (
        "from model import FewShotNetwork, matching\nclass Works(FewShotNetwork):\n"
        "    def prototypes(self, features, mask): return matching.prototypes(features, mask)\n"
        "    def match(self, features, fg, bg): return {'final': matching.score(features, fg, bg)}\n"
        f"class {name}(Works):\n    def {method}(self, {arguments[method]}):\n        {body}\n"
    )
    file = write(tmp_path / "own.py", code)
    line = one_line_error(training.main, all_flags(toy, tmp_path / "out", (f"{file}:{name}", TIMM)))
    assert "own.py" in line
    assert says in line
    assert build_network(f"{file}:Works", TIMM, refine=False)


def test_trying_a_head_leaves_no_trace() -> None:
    """Its batch norms and the random numbers that follow are as they were."""
    torch.manual_seed(0)
    net = build_model(Counting, "timm:resnet10t")
    state, following = {key: x.clone() for key, x in net.state_dict().items()}, torch.get_rng_state()
    try_head(net, "x.py:Counting")
    assert net.training
    assert all(torch.equal(x, state[key]) for key, x in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), following)


def test_files_of_code_are_run_once_and_find_their_neighbours(tmp_path: Path) -> None:
    write(tmp_path / "neighbour.py", "WIDTH = 7")
    file = write(tmp_path / "mine.py", "from neighbour import WIDTH\nclass A: pass\nclass B(A): width = WIDTH")
    one, two = load_class(f"{file}:A"), load_class(f"{file}:B")
    assert issubclass(two, one)
    assert two.width == 7
    file.write_text("class A: changed = True")
    assert load_class(f"{file}:A").changed


def test_code_that_changed_is_not_gone_on_with(toy: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    file = write(tmp_path / "own.py", Path(__file__).read_text())
    argv = all_flags(toy, tmp_path / "out", (f"{file}:Counting", TIMM), "--episode", "0")
    best = training.main(argv)
    assert training.main([*argv, "--resume"]) == best
    file.write_text(f"{file.read_text()}\n")
    line = one_line_error(training.main, [*argv, "--resume"])
    assert "was started with other custom code; choose another --out" in line


@pytest.fixture(scope="module")
def trained(
    toy: Path, named: dict[str, tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The checkpoint of a short training, which is not trained twice."""
    done: dict[str, Path] = {}

    def train(kind: str) -> Path:
        if kind not in done:
            done[kind] = training.main(all_flags(toy, tmp_path_factory.mktemp("out"), named[kind]))
        return done[kind]

    return train


@pytest.mark.parametrize(("kind", "start"), [("backbone", "Mobile_1shot_"), ("head", "Parts_timm_resnet10t_1shot_")])
def test_from_training_to_both_protocols(
    toy: Path, named: dict[str, tuple[str, str]], trained: Callable[[str], Path], kind: str, start: str, tmp_path: Path
) -> None:
    best = trained(kind)
    assert best.name.startswith(start)
    history = (best.parent / f"{load_training(next(best.parent.glob('*.last'))).name}.history.jsonl").read_text()
    assert len(history.splitlines()) == 2
    info = load_checkpoint(best).info
    assert (info["method"], info["backbone"]) == named[kind]

    tested = ["--data-root", str(toy), "--checkpoint", str(best), "--workers", "0", *custom_flags(named[kind])]
    one = testing.main([*tested, "--episodes", "4", "--seeds", "1", "--json", str(tmp_path / "r.json")])
    written = json.loads(best.with_suffix(".json").read_text())
    assert one["miou"] == pytest.approx(written["miou"], abs=1e-3)
    assert json.loads((tmp_path / "r.json").read_text())["backbone"] == named[kind][1]

    listed = [f"{name}__{cls:02d}" for cls in (1, 2) for name in open_fold("pascal", toy, 0).test.images.ids[:4]]
    write(tmp_path / "splits" / "pascal" / "val" / "fold0.txt", "\n".join(listed))
    hsnet = ["--protocol", "hsnet", "--splits", str(tmp_path / "splits"), "--episodes", "4"]
    planned, plain = (testing.main([*tested, *hsnet, "--engine", engine]) for engine in ("planned", "plain"))
    assert planned["miou"] == pytest.approx(plain["miou"], abs=PIXELS)


@pytest.mark.parametrize("kind", ["backbone", "head"])
def test_predict_and_explain(
    named: dict[str, tuple[str, str]], trained: Callable[[str], Path], kind: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name in ("support", "query"):
        noise = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        noise.resize((160, 120), Image.Resampling.BICUBIC).save(tmp_path / f"{name}.png")
    mask = np.zeros((120, 160), np.uint8)
    mask[:, :80] = 255
    Image.fromarray(mask).save(tmp_path / "support_mask.png")
    files = ["--support", str(tmp_path / "support.png"), "--query", str(tmp_path / "query.png")]
    argv = ["--checkpoint", str(trained(kind)), *files, "--out", str(tmp_path / "found"), "--device", "cpu"]
    shares = predict.main([*argv, "--explain", *custom_flags(named[kind])])
    assert list(shares) == [tmp_path / "query.png"]
    assert Image.open(tmp_path / "found" / "query_mask.png").size == (160, 120)
    assert Image.open(tmp_path / "found" / "query_explained.png").width > 640
    assert hubconf.predictor(trained(kind), **custom_names(named[kind]))


def ends(out: Path) -> tuple[dict[str, torch.Tensor], str]:
    """The last weights of a run and its history."""
    (last,), (history,) = out.rglob("*.last"), out.rglob("*.jsonl")
    state = load_training(last)
    assert state.finished
    return state.state_dict, history.read_text()


class Drawing(Tiny):
    """Drops half of the features in training: what it draws must not depend on where a run was cut off."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(super().forward(images), training=self.training)


def test_resumed_bit_for_bit(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a backbone that draws and a head with batch norms, which the timing of steps moves."""
    names = (f"{__file__}:Counting", f"{__file__}:Drawing")
    monkeypatch.setattr(forecast, "MANY_STEPS", 1)
    save, states = run_files.save_training, []

    def dying(path: Path, state: object) -> None:
        save(path, state)
        states.append(state)
        if len(states) == 2:  # after the evaluation of the first snapshot
            raise KeyboardInterrupt

    training.main(all_flags(toy, tmp_path / "whole", names))
    with monkeypatch.context() as patch:
        patch.setattr(run_files, "save_training", dying)
        with pytest.raises(KeyboardInterrupt):
            training.main(all_flags(toy, tmp_path / "cut", names))
    training.main(all_flags(toy, tmp_path / "cut", names, "--resume"))
    (weights, history), (its_weights, its_history) = (ends(tmp_path / name) for name in ("whole", "cut"))
    assert its_history == history
    assert weights.keys() == its_weights.keys()
    assert all(torch.equal(value, its_weights[key]) for key, value in weights.items())


@pytest.mark.parametrize("kind", ["counting", pytest.param("timm:hrnet_w18_small", marks=pytest.mark.slow)])
def test_two_processes_train(toy: Path, named: dict[str, tuple[str, str]], kind: str, tmp_path: Path) -> None:
    """Though parameters are unused, which would stop the others: a head's, and those of timm's hrnet."""
    names = (f"{__file__}:Counting", named["backbone"][1]) if kind == "counting" else ("ssp", kind)
    in_two_processes(lambda: training.main(all_flags(toy, tmp_path / "two", names, "--lr", "1e-5")))
    if kind == "counting":  # each process normalises its own part of a batch; what is tested is the first one's
        (best,) = (tmp_path / "two").rglob("*.ckpt")
        tested = ["--data-root", str(toy), "--checkpoint", str(best), *"--episodes 4 --seeds 1 --workers 0".split()]
        found = testing.main([*tested, *custom_flags(names)])
        assert found["miou"] == pytest.approx(json.loads(best.with_suffix(".json").read_text())["miou"], abs=PIXELS)
        return
    training.main(all_flags(toy, tmp_path / "one", names, "--lr", "1e-5"))
    one, two = (
        [loss for line in ends(tmp_path / name)[1].splitlines() for loss in json.loads(line)["losses"]]
        for name in ("one", "two")
    )
    assert len(one) == 4
    assert two == pytest.approx(one, rel=1e-4)


def test_frozen_features_are_tested_without_training(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network's weights are those it starts from, and the result is what test.py gives."""
    names = ("ssp", f"{TIMM}@1,2")
    argv = all_flags(toy, tmp_path, ("ssp", TIMM), "--features", "2,1", "--frozen", "--episode", "0")
    best = training.main(argv)
    assert "timm:resnet10t@1,2 (frozen) on pascal fold 0" in capsys.readouterr().out
    assert re.fullmatch(r"timm_resnet10t_1-2_1shot_\d+\.\d\d\.ckpt", best.name)
    assert {path.suffix for path in best.parent.iterdir()} == {".ckpt", ".json", ".last"}
    written = json.loads(best.with_suffix(".json").read_text())
    assert (written["backbone"], written["trained_with"]["episode"]) == (names[1], 0)
    which = "--fold 0 --shot 1 --seeds 1 --episodes 4 --workers 0".split()
    found = testing.main(["--data-root", str(toy), "--out", str(tmp_path), "--backbone", names[1], *which])
    assert found["miou"] == pytest.approx(written["miou"], abs=1e-6)
    assert training.main([*argv, "--resume"]) == best  # finished before


def test_frozen_backbone_with_a_head_that_learns(toy: Path, named: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    """Only the head's temperature moves."""
    best = training.main(all_flags(toy, tmp_path, named["both"], "--frozen"))
    state = load_training(next(best.parent.glob("*.last"))).state_dict
    torch.manual_seed(0)
    start = build_network(*named["both"], refine=False).state_dict()
    moved = {key for key, value in state.items() if not torch.equal(value, start[key])}
    assert "temperature" in moved
    assert {key for key in moved if not key.endswith(("running_mean", "running_var", "tracked"))} == {"temperature"}


def test_pretrained_files(
    toy: Path, named: dict[str, tuple[str, str]], tmp_path: Path, one_line_error: OneLine
) -> None:
    """Of timm's names, and of a custom backbone; without the flag that is as its class makes it."""
    torch.manual_seed(7)
    weights = {"timm": timm.create_model("resnet10t").state_dict()}
    weights["own"] = load_class(named["backbone"][1])().state_dict()
    for name, state in weights.items():
        torch.save(state, tmp_path / f"{name}.pth")
    frozen = ("--frozen", "--episode", "0", "--test-episodes", "1")
    for name, names in (("timm", ("ssp", TIMM)), ("own", named["backbone"])):
        file = ("--pretrained", str(tmp_path / f"{name}.pth"))
        best = training.main(all_flags(toy, tmp_path / name, names, *frozen, *file))
        state = load_checkpoint(best).state_dict
        start = "backbone.net.model." if name == "timm" else "backbone."
        used = {key: value for key, value in weights[name].items() if f"{start}{key}" in state}
        assert len(used) > 50
        assert all(torch.equal(state[f"{start}{key}"], value) for key, value in used.items())
    other = ("--pretrained", str(tmp_path / "own.pth"))
    line = one_line_error(training.main, all_flags(toy, tmp_path / "wrong", ("ssp", TIMM), *frozen, *other))
    assert "own.pth: " in line
    assert "keys of timm:resnet10t are missing" in line


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--backbone timm:nosuch", "error: timm knows no nosuch"),
        ("--backbone timm:../x", "argument --backbone: invalid choice: 'timm:../x' (choose from resnet50, "),
        ("--backbone timm:hf-hub:a/b", "argument --backbone: invalid choice: "),
        ("--backbone resnet18", "argument --backbone: invalid choice: 'resnet18'"),
        (f"--backbone {TIMM} --features 9", "timm:resnet10t has the stages 0 to 4, there is no 9"),
        (f"--backbone {TIMM} --features 1.5", "argument --features: '1.5' is not STAGE or STAGE,STAGE"),
        (f"--backbone {TIMM}@1 --features 1", "--features belongs to --backbone timm:NAME, not to timm:resnet10t@1"),
        ("--features 1", "--features belongs to --backbone timm:NAME, not to resnet50"),
        ("--pretrained timm", "--pretrained timm: belongs to --backbone timm:NAME; name a file"),
        (f"--backbone {TIMM} --pretrained no.pth", "no.pth: no weights there: name a file of the backbone's"),
        ("--frozen", "--frozen: ssp has nothing else to train; --episode 0 tests it as it is"),
        ("--method nosuch", "argument --method: invalid choice: 'nosuch' (choose from ssp, baseline, or FILE.py:CLASS"),
        ("--backbone nosuch.py:Backbone", "nosuch.py: no such file; name custom code as FILE.py:CLASS"),
    ],
)
def test_wrong_uses(toy: Path, tmp_path: Path, flags: str, says: str, one_line_error: OneLine) -> None:
    argv = ["--data-root", str(toy), "--out", str(tmp_path / "out"), *SHORT.split(), *flags.split()]
    assert says in one_line_error(training.main, argv)
    assert not list((tmp_path / "out").rglob("*.*"))


BACKBONE = "from torch import nn\nclass "
HEAD = "from model import FewShotNetwork\nclass "
WRONG_CODE = {
    "Broken": ("def f(:", "SyntaxError: invalid syntax (own.py, line 1)"),
    "Gone": ("Other = 1", "holds no Gone"),
    "Raises": ("raise OSError('no disk\\nat all')", "line 1: OSError: no disk"),
    "Number": ("Number = 3", "TypeError"),
    "NoBackbone": (f"{BACKBONE}NoBackbone(nn.Identity): pass", "its attribute channels is None, no number from 1 on"),
    "Narrow": (f"{BACKBONE}Narrow(nn.Identity): channels, stride = 4, 1", "gives (2, 3, 96, 96), not features (2, 4, "),
    "Flat": (f"{BACKBONE}Flat(nn.Flatten): channels, stride = 3, 8", "gives (2, 27648), not features (2, 3, h, w)"),
    "Silent": (f"{BACKBONE}Silent(nn.Identity): channels = 3", "Silent is no backbone: its attribute stride is None"),
    "Fails": (
        f"{BACKBONE}Fails(nn.Module):\n    channels = stride = 1\n    def forward(self, x):\n        return x.nothing",
        "line 5: AttributeError",
    ),
    "HalfHead": (
        f"{HEAD}HalfHead(FewShotNetwork):\n    def match(self, *x): pass",
        "lacks prototypes (docs/extend.md)",
    ),
    "PlainHead": ("class PlainHead: pass", "is no FewShotNetwork"),
    "WholeHead": (
        f"{HEAD}WholeHead(FewShotNetwork):\n    def match(self, *x): pass\n    def prototypes(self, *x): pass",
        ":WholeHead has nothing to refine; leave --refine out",
    ),
}


@pytest.mark.parametrize("name", WRONG_CODE)
def test_wrong_custom_code(toy: Path, tmp_path: Path, name: str, one_line_error: OneLine) -> None:
    code, says = WRONG_CODE[name]
    custom = f"{write(tmp_path / 'own.py', code)}:{name}"
    names = (custom, TIMM) if name.endswith("Head") else ("ssp", custom)
    line = one_line_error(training.main, all_flags(toy, tmp_path / "out", names, "--refine"))
    assert "own.py" in line
    assert says in line


def test_a_checkpoint_runs_no_code_by_itself(
    toy: Path,
    named: dict[str, tuple[str, str]],
    trained: Callable[[str], Path],
    tmp_path: Path,
    one_line_error: OneLine,
) -> None:
    """A file's word for its head is never followed: neither an honest one, nor one that names another file."""
    head = named["head"][0]
    tested = ["--data-root", str(toy), "--checkpoint", str(trained("head")), "--workers", "0"]
    line = one_line_error(testing.main, tested)
    assert f"its method is {head}, code of someone's own; if you trust it, pass --method {head}" in line
    with pytest.raises(UserError, match="if you trust it"):
        hubconf.predictor(trained("head"))
    line = one_line_error(testing.main, [*tested, "--method", "ssp"])
    assert f"its method is {head}, not ssp; pass --method {head}" in line

    mark = tmp_path / "ran"
    file = write(tmp_path / "evil.py", f"open({str(mark)!r}, 'w')\nclass Parts: pass")
    state, info = load_checkpoint(trained("head"))
    hostile = tmp_path / "hostile.ckpt"
    for method in (f"{file}:Parts", f"{file}:Parts\nX"):
        save_checkpoint(hostile, Checkpoint(state, {**info, "method": method}))
        one_line_error(testing.main, ["--data-root", str(toy), "--checkpoint", str(hostile)])
        assert not mark.exists()


def test_a_kept_result_is_of_the_code_as_it_is(
    toy: Path,
    named: dict[str, tuple[str, str]],
    trained: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    one_line_error: OneLine,
) -> None:
    (code,) = code_files(named["head"][0])
    copy = write(tmp_path / "copy.py", code.read_bytes())
    tested = ["--data-root", str(toy), "--checkpoint", str(trained("head")), "--workers", "0", "--episodes", "2"]
    argv = [*tested, "--seeds", "1", "--results", str(tmp_path / "kept"), "--method", f"{copy}:Parts"]
    for changed, before in ((False, False), (False, True), (True, False)):
        if changed:
            copy.write_text(copy.read_text().replace("PARTS = 4", "PARTS = 2"))
        capsys.readouterr()
        testing.main(argv)
        assert ("finished before" in capsys.readouterr().out) == before
    assert len(list((tmp_path / "kept").iterdir())) == 2
    copy.unlink()
    assert f"{copy}: no such file" in one_line_error(testing.main, argv)


def test_weights_of_another_network(
    toy: Path, trained: Callable[[str], Path], tmp_path: Path, one_line_error: OneLine
) -> None:
    """A checkpoint that names another backbone than its weights are of, and the plain file, which names none."""
    best = trained("backbone")
    state, info = load_checkpoint(best)
    wrong = tmp_path / "wrong.ckpt"
    save_checkpoint(wrong, Checkpoint(state, {**info, "backbone": TIMM}))
    line = one_line_error(testing.main, ["--data-root", str(toy), "--checkpoint", str(wrong)])
    assert f"{wrong}: " in line
    assert "keys are missing" in line
    torch.save(state, tmp_path / "plain.pth")
    line = one_line_error(testing.main, ["--data-root", str(toy), "--checkpoint", str(tmp_path / "plain.pth")])
    assert "of other networks take main.py's .ckpt" in line


def test_an_image_that_is_smaller_than_a_patch(toy_copy: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    """Of images of 200 x 15 pixels, of which training takes larger crops."""
    for number, path in enumerate(sorted((toy_copy / "JPEGImages").iterdir())):
        Image.open(path).resize((200, 15)).save(path)
        labels = Image.new("L", (200, 15), number % 20 + 1)
        labels.save(toy_copy / "SegmentationClassAug" / f"{path.stem}.png")
    argv = all_flags(toy_copy, tmp_path / "out", ("ssp", FAMILIES[2]), "--frozen", "--episode", "0")
    for engine in ("planned", "plain"):
        line = one_line_error(training.main, [*argv, "--engine", engine])
        assert line.startswith("error: image toy_")
        assert f"200x15 pixels are less than a patch of 16x16 of {FAMILIES[2]}" in line


def test_classes_in_python(named: dict[str, tuple[str, str]]) -> None:
    parts, mobile = load_class(named["both"][0]), load_class(named["both"][1])
    net = build_model(parts, mobile())
    assert (net.channels, net.stride) == (40, 16)
    with pytest.raises(ValueError, match="timm has no weights of resnet50"):
        build_model("ssp", "resnet50", pretrained="timm")

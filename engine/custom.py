"""Networks by the names that flags and checkpoints have for them (docs/extend.md).

Custom code, FILE.py:CLASS, runs only where a flag names it, never because a checkpoint does.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.names import CUSTOM_CODE, METHODS, custom_class
from util.errors import UserError, fills_memory, first_line

if TYPE_CHECKING:
    from torch import nn

    from model import FewShotNetwork

PROBE = 96  # pixels, the side of the image that a custom backbone is tried on
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)  # what may begin with a docstring
GRID = (5, 7)  # rows and columns of the features that a custom head is tried on
SAME = 1e-3  # relative: planned and single matching of a head give the same logits


def build_network(method: str, backbone: str, refine: bool) -> FewShotNetwork:
    """Build a network by its names, in training mode, with random weights or as a custom backbone is made.

    Custom code is run, and tried on random numbers. Raises UserError if timm or custom code cannot give the network.
    """
    from model import build_model
    from model.fast.check import quietly

    module = load_custom_backbone(backbone) if custom_class(backbone) else backbone
    try:
        if not custom_class(method):
            return build_model(method, module, refine)
        head = load_custom_head(method, refine)
        net = _run(method, build_model, head, module, refine)
    except ValueError as error:
        raise UserError(str(error)) from error
    with quietly():
        _run(method, try_head, net, method)
    return net


def load_custom_backbone(backbone: str) -> nn.Module:
    """A custom backbone, by FILE.py:CLASS, tried on an image. Raises UserError if it gives no features."""
    import torch

    from model.network import check_backbone

    module = _run(backbone, load_class(backbone))
    if not isinstance(module, torch.nn.Module):
        raise UserError(f"--backbone {backbone}: is no torch.nn.Module (docs/extend.md)")
    try:
        check_backbone(module)
    except ValueError as error:
        raise UserError(f"--backbone {backbone}: {error} (docs/extend.md)") from error
    before = copy.deepcopy(module.state_dict())  # batch norms would move
    for mode in (module.eval, module.train):
        _run(backbone, mode)
        features = _run(backbone, module, torch.zeros(2, 3, PROBE, PROBE))
        shape = tuple(features.shape) if isinstance(features, torch.Tensor) else ()
        if len(shape) != 4 or shape[:2] != (2, module.channels):
            found, expected = shape or type(features).__name__, f"(2, {module.channels}, h, w)"
            raise UserError(f"--backbone {backbone}: gives {found}, not features {expected} (docs/extend.md)")
    module.load_state_dict(before)
    if not features.requires_grad:  # there is nothing to train in it
        module.requires_grad_(False)
    return module


def load_custom_head(method: str, refine: bool) -> type[FewShotNetwork]:
    """A custom head, by FILE.py:CLASS. Raises UserError if it is none, or cannot refine though it is to."""
    from model import FewShotNetwork

    head = load_class(method)
    if not (isinstance(head, type) and issubclass(head, FewShotNetwork)):
        raise UserError(f"--method {method}: is no FewShotNetwork (docs/extend.md)")
    if missing := sorted(getattr(head, "__abstractmethods__", ())):
        raise UserError(f"--method {method}: lacks {', '.join(missing)} (docs/extend.md)")
    if refine and not head.can_refine:
        raise UserError(f"--method {method} has nothing to refine; leave --refine out")
    return head


def try_head(net: FewShotNetwork, method: str) -> None:
    """Try all that a run will use of a head on random features, which changes nothing. Raises UserError if it fails."""
    import torch

    from model import FewShotNetwork
    from model.fast.evaluation import Scratch

    state, drawn = {key: value.clone() for key, value in net.state_dict().items()}, torch.get_rng_state()
    features = torch.randn(2, net.channels, *GRID)
    mask = torch.zeros(2, 8 * GRID[0], 8 * GRID[1], dtype=torch.int64)
    mask[:, : 4 * GRID[0]] = 1
    for training in (True, False):
        net.train(training)
        features.requires_grad_(training)
        with torch.set_grad_enabled(training):
            fg, bg = net.episode_prototypes([features, features.flip(3)], [mask, mask])
            out = net.match(features, fg, bg)
        if not isinstance(out, dict) or "final" not in out:
            raise UserError(f'--method {method}: match must give a dict with "final" (docs/extend.md)')
        for name, logits in out.items():
            shape = tuple(getattr(logits, "shape", ()))
            if shape != (2, 2, *GRID):
                raise UserError(f"--method {method}: match gives {name} {shape}, not logits (2, 2, h, w)")
            if training and not logits.requires_grad:
                raise UserError(f"--method {method}: match gives {name} without a gradient")
    with torch.inference_mode():
        together = net.match_episodes(features[:1], fg, bg, Scratch())
        single = FewShotNetwork.match_episodes(net, features[:1], fg, bg)
        net.trace(features[:1], fg[:1], bg[:1])
    if together.shape != (2, 2, *GRID) or (together - single).abs().max() > SAME * together.abs().max():
        raise UserError(f"--method {method}: match_episodes gives other logits than match (docs/extend.md)")
    net.train()
    net.load_state_dict(state)
    torch.set_rng_state(drawn)


def load_class(text: str) -> Any:
    """What FILE.py:CLASS names. The file is run, once. Raises UserError if it cannot be, or holds no such class."""
    found = CUSTOM_CODE.fullmatch(text)
    (path,) = code_files(text)
    name = f"custom_code_{path.stem}_{code_digest(text)[:12]}"
    if name not in sys.modules:
        if (folder := str(path.resolve().parent)) not in sys.path:
            sys.path.append(folder)  # for what it imports from beside it
        loader = type(__spec__.loader)(name, str(path))  # as this module's, by which hubconf.py renames its imports
        spec = spec_from_file_location(name, path, loader=loader)
        sys.modules[name] = module = module_from_spec(spec)  # where dataclasses and the like look for it
        try:
            _run(text, spec.loader.exec_module, module)
        except UserError:
            del sys.modules[name]
            raise
    if not hasattr(sys.modules[name], found["name"]):
        raise UserError(f"{path}: holds no {found['name']}")
    return getattr(sys.modules[name], found["name"])


def code_files(*names: str) -> list[Path]:
    """The files of the methods and backbones that are custom code. Raises UserError if one is missing."""
    paths = [Path(found["file"]) for found in map(CUSTOM_CODE.fullmatch, names) if found]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such file; name custom code as FILE.py:CLASS")
    return paths


def code_digest(*names: str) -> str | None:
    """The sha256 of these files; None if none is custom code."""
    contents = [path.read_bytes() for path in code_files(*names)]
    return hashlib.sha256(b"".join(contents)).hexdigest() if contents else None


def _run(text: str, code: Callable[..., Any], *arguments: Any) -> Any:
    """Call custom code; raises UserError, one line with the place, if it fails."""
    try:
        return code(*arguments)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever the code of others can raise
        if fills_memory(error):
            raise
        raise UserError(f"{_place(text, error)}: {type(error).__name__}: {first_line(error)}") from error


def _place(text: str, error: BaseException) -> str:
    """The last line of the custom file that an error passed."""
    file = CUSTOM_CODE.fullmatch(text)["file"]
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == Path(file).resolve()]
    return f"{file}, line {lines[-1]}" if lines else text


def resolve_network(path: str | Path, info: Mapping[str, Any], given: Mapping[str, str | None]) -> dict[str, str]:
    """The method and backbone of a checkpoint's network; custom code as a flag names it.

    The flags given are "method" and "backbone", None if left out. Raises UserError if a flag names another one, or none
    names the code that is to be run.
    """
    names = ("method", "backbone")
    code = [name for name in names if custom_class(info[name]) and given.get(name) is None]
    if code:
        its = " and ".join(f"its {name} is {info[name]}" for name in code)
        flags = " ".join(f"--{name} {shlex.quote(info[name])}" for name in code)
        raise UserError(f"{path}: {its}, code of someone's own; if you trust it, pass {flags}")
    for name in names:
        flag, found = given.get(name), info[name]
        if flag in (None, found) or _takes_weights_of(flag, found):
            continue
        if custom_class(found) is None or custom_class(flag) != custom_class(found):
            remedy = f"pass --{name} {shlex.quote(found)}" if custom_class(found) else f"leave --{name} out"
            raise UserError(f"{path}: its {name} is {found}, not {flag}; {remedy}")
    return {name: given.get(name) or info[name] for name in names}


def _takes_weights_of(flag: str, method: str) -> bool:
    """Whether a flag names a custom subclass of one of the paper's methods, which can take that method's weights."""
    if method not in METHODS or custom_class(flag) is None:
        return False
    from model import SSP, Baseline

    head = load_class(flag)
    return isinstance(head, type) and issubclass(head, {"ssp": SSP, "baseline": Baseline}[method])


@cache
def method_digest() -> str:
    """The sha256 of the code of the networks and the loss, without its comments, docstrings and layout."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parents[1] / "model").glob("*.py")):
        if path.stem not in ("__init__", "names", "weights"):
            tree = ast.parse(path.read_bytes())
            for node in ast.walk(tree):
                if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
                    node.body[:1] = [ast.Pass()]
            digest.update(f"{path.stem}\n{ast.unparse(tree)}\n".encode())
    return digest.hexdigest()

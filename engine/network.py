"""Networks by the names that flags and checkpoints have for them (docs/extend.md).

Code of one's own, FILE.py:CLASS, runs only where a flag names it, never because a checkpoint does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.names import OWN_CODE, own_class
from util.errors import UserError, first_line

if TYPE_CHECKING:
    from torch import nn

    from model import FewShotNetwork

PROBE = 96  # pixels, the side of the image that a trunk of one's own is tried on


def network_of(method: str, backbone: str, refine: bool) -> FewShotNetwork:
    """Build a network, in training mode, with random weights or as a trunk of one's own is made.

    Arguments:
        method, backbone: names, as in model.names; code of one's own is run.
        refine: whether the network uses the self-support refinement.
    Raises:
        UserError: timm or one's own code cannot give it.
    """
    from model import FewShotNetwork, build_model

    head: str | type[FewShotNetwork] = method
    if own_class(method):
        head = load_class(method)
        if not (isinstance(head, type) and issubclass(head, FewShotNetwork)):
            raise UserError(f"--method {method}: is no FewShotNetwork (docs/extend.md)")
        if missing := sorted(getattr(head, "__abstractmethods__", ())):
            raise UserError(f"--method {method}: lacks {', '.join(missing)} (docs/extend.md)")
        if refine and not head.can_refine:
            raise UserError(f"--method {method} has nothing to refine; leave --refine out")
    try:
        return build_model(head, own_trunk(backbone) if own_class(backbone) else backbone, refine)
    except ValueError as error:
        raise UserError(str(error)) from error


def own_trunk(backbone: str) -> nn.Module:
    """A trunk of one's own, by FILE.py:CLASS, tried on an image. Raises UserError if it gives no features."""
    import torch

    trunk = _run(backbone, load_class(backbone))
    if not isinstance(trunk, torch.nn.Module):
        raise UserError(f"--backbone {backbone}: is no torch.nn.Module (docs/extend.md)")
    for name in ("channels", "stride"):
        if type(getattr(trunk, name, None)) is not int:
            raise UserError(f"--backbone {backbone}: its attribute {name} is no whole number (docs/extend.md)")
    with torch.no_grad():
        features = _run(backbone, trunk.eval(), torch.zeros(1, 3, PROBE, PROBE))
    shape = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[:2] != (1, trunk.channels):
        expected = f"(1, {trunk.channels}, h, w)"
        raise UserError(f"--backbone {backbone}: gives {shape}, not features {expected} (docs/extend.md)")
    return trunk.train()


def load_class(text: str) -> Any:
    """What FILE.py:CLASS names. The file is run. Raises UserError if it cannot be, or holds no such class."""
    found = OWN_CODE.fullmatch(text)
    if found is None:
        raise UserError(f"{text}: not FILE.py:CLASS")
    (path,) = code_files(text)
    spec = spec_from_file_location(f"own_code.{path.stem}", path)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and the like look for it
    _run(text, spec.loader.exec_module, module)
    if not hasattr(module, found["name"]):
        raise UserError(f"{path}: holds no {found['name']}")
    return getattr(module, found["name"])


def code_files(*names: str) -> list[Path]:
    """The files of the methods and trunks that are code of one's own: what a network depends on, besides weights.

    Raises UserError if one is missing.
    """
    paths = [Path(found["file"]) for found in map(OWN_CODE.fullmatch, names) if found]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such file; name code of your own as FILE.py:CLASS")
    return paths


def _run(text: str, code: Any, *arguments: Any) -> Any:
    """Call code of one's own; raises UserError, one line with the place, if it fails."""
    try:
        return code(*arguments)
    except Exception as error:  # whatever the code of others can raise
        trace, line = error.__traceback__, 0
        file = str(Path(OWN_CODE.fullmatch(text)["file"]))
        while trace:
            if Path(trace.tb_frame.f_code.co_filename).name == Path(file).name:
                line = trace.tb_lineno
            trace = trace.tb_next
        place = f"{file}, line {line}" if line else text
        raise UserError(f"{place}: {type(error).__name__}: {first_line(error)}") from error


def chosen(path: str | Path, info: Mapping[str, Any], given: Mapping[str, str | None]) -> dict[str, str]:
    """The method and backbone of a checkpoint's network; code of one's own as a flag names it.

    Arguments:
        path: of the checkpoint.
        info: what it knows.
        given: the flags "method" and "backbone", None for those that were not given.
    Raises:
        UserError: a flag names another one, or none names the code that is to be run.
    """
    names = {}
    for name in ("method", "backbone"):
        flag, found = given.get(name), info[name]
        if own_class(found) and flag is None:
            raise UserError(f"{path}: its {name} is code, {found}; if you trust that file, pass --{name} {found}")
        if flag not in (None, found) and (own_class(found) is None or own_class(flag) != own_class(found)):
            raise UserError(f"{path}: its {name} is {found}, not {flag}; leave --{name} out")
        names[name] = flag or found
    return names

"""The networks for torch.hub:

    net = torch.hub.load("PATH/TO/SSP", "ssp_resnet50", source="local", weights="resnet50_1shot_61.40.ckpt")
    predictor = torch.hub.load("PATH/TO/SSP", "predictor", source="local")

weights is a file of main.py or of the authors' release; None gives random weights, and a predictor of which nothing was
trained, whose backbone is backbone="timm:NAME", that of pretrained="FILE", or the best at hand. refine says whether SSP
refines; None takes what the weights say, else no; a predictor of which nothing was trained does. Weights that cannot be
read, or that belong to another network, raise a UserError, one line.

The names model, util, ... stay free for packages of yours: unless this project's own are imported under them already,
they are imported here as parts of a package with a name of its own.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import os
import pathlib
import sys
import types
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model import FewShotNetwork

dependencies = ["torch", "torchvision", "numpy", "PIL", "tqdm"]
ROOT = os.path.dirname(os.path.realpath(__file__))
ROOMS = {path.parent.name for path in pathlib.Path(ROOT).glob("*/__init__.py")}
PACKAGE = f"ssp_{zlib.crc32(os.fsencode(ROOT)):08x}"  # another for each checkout


class _Rename(ast.NodeTransformer):
    """Imports of a room, such as model, become those of PACKAGE.model."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if not node.level and node.module.partition(".")[0] in ROOMS:
            node.module = f"{PACKAGE}.{node.module}"
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.AST]:
        nodes = []
        for alias in node.names:
            room = alias.name.partition(".")[0]
            if room in ROOMS:
                nodes.append(ast.Import([ast.alias(f"{PACKAGE}.{alias.name}", alias.asname)]))
                if not alias.asname:  # the name that the import binds is the room's
                    nodes.append(ast.ImportFrom(PACKAGE, [ast.alias(room)], 0))
            else:
                nodes.append(ast.Import([alias]))
        return [ast.copy_location(each, node) for each in nodes]


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a file with its imports renamed, and keeps no compiled one."""

    def path_stats(self, path: str) -> dict:
        raise OSError

    def source_to_code(self, data: bytes, path: str, **options: int) -> types.CodeType:
        tree = ast.fix_missing_locations(_Rename().visit(ast.parse(data, path)))
        return compile(tree, path, "exec", dont_inherit=True)


class _Finder:
    """Finds the parts of PACKAGE in this folder."""

    @staticmethod
    def find_spec(name: str, path: list[str] | None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(f"{PACKAGE}."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin:
            spec.loader = _Loader(name, spec.origin)
        return spec


def _is_here(room: str) -> bool:
    """Whether this project's own room is imported under its plain name."""
    return os.path.realpath(getattr(sys.modules.get(room), "__file__", None) or "").startswith(ROOT + os.sep)


def _import_load() -> types.ModuleType:
    if all(map(_is_here, ("model", "util", "dataset", "engine"))):
        return importlib.import_module("prediction.load")
    if PACKAGE not in sys.modules:
        sys.modules[PACKAGE] = package = types.ModuleType(PACKAGE)
        package.__path__ = [ROOT]
        sys.meta_path.insert(0, _Finder)
    return importlib.import_module(f"{PACKAGE}.prediction.load")


_load = _import_load()


def ssp_resnet50(weights: str | os.PathLike | None = None, refine: bool | None = None) -> FewShotNetwork:
    """SSP with a ResNet-50, in eval mode, on the CPU."""
    return _load.load_trained(weights, refine, "ssp", "resnet50").net


def ssp_resnet101(weights: str | os.PathLike | None = None, refine: bool | None = None) -> FewShotNetwork:
    """SSP with a ResNet-101, in eval mode, on the CPU."""
    return _load.load_trained(weights, refine, "ssp", "resnet101").net


def baseline_resnet50(weights: str | os.PathLike | None = None, refine: bool | None = None) -> FewShotNetwork:
    """The baseline with a ResNet-50, in eval mode, on the CPU; it has nothing to refine."""
    return _load.load_trained(weights, refine, "baseline", "resnet50").net


def baseline_resnet101(weights: str | os.PathLike | None = None, refine: bool | None = None) -> FewShotNetwork:
    """The baseline with a ResNet-101, in eval mode, on the CPU; it has nothing to refine."""
    return _load.load_trained(weights, refine, "baseline", "resnet101").net


predictor = _load.load_predictor  # segments images like a few supports

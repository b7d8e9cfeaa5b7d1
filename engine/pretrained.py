"""What a backbone starts from: a file of ImageNet's weights, or timm's own (model.weights reads files safely)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine import package
from engine.checkpoint import check_finite, errors_name, read, say_taken
from engine.setting import FROM_TIMM
from model.names import custom_class, timm_name
from util.distributed import say, say_once
from util.errors import UserError

if TYPE_CHECKING:  # files are found before torch is imported to read them
    from model import FewShotNetwork

PRETRAINED = Path(__file__).parents[1] / "pretrained"
GET_PRETRAINED = (
    "get them with prepare.py weights (timm's resnet50s.gluon_in1k / resnet101s.gluon_in1k), name another file with "
    "--pretrained, or start from random weights with --pretrained none"
)
OTHER_PRETRAINED = "name a file of the backbone's weights with --pretrained, or start from random weights (none)"


def load_start(net: FewShotNetwork, backbone: str, pretrained: str | None) -> str:
    """Load the weights that a network's backbone starts from, and tell where they are from.

    Arguments:
        backbone: its name.
        pretrained: a file; "timm" for timm's own; None for what is usual: pretrained/BACKBONE.pth of a ResNet, timm's
            own of timm's, and a custom backbone as it is made.
    Returns:
        The file's name, "timm", or "" of a custom backbone as it is made.
    Raises:
        UserError: there are no such weights, or they are those of another network.
    """
    is_timm, is_custom = timm_name(backbone) is not None, custom_class(backbone) is not None
    if pretrained == FROM_TIMM or (pretrained is None and is_timm):
        fetch_from_timm(net, backbone)
        return FROM_TIMM
    if pretrained is None and is_custom:
        return ""
    path = find_pretrained(pretrained, backbone)
    load_pretrained(net, path, OTHER_PRETRAINED if is_timm or is_custom else GET_PRETRAINED)
    return path.name


def fetch_from_timm(net: FewShotNetwork, backbone: str) -> None:
    """Load timm's own weights into a network's backbone. Raises UserError if it cannot."""
    if (name := timm_name(backbone)) is None:
        raise UserError(f"--pretrained {FROM_TIMM}: belongs to --backbone timm:NAME; name a file")
    from model.timm_backbone import count_download

    try:
        if size := count_download(name.name):
            say(f"fetching the weights of {backbone}, {size / 1e6:.0f} MB, once")
        net.backbone.fetch()
    except ValueError as error:
        raise UserError(f"{error}; name a file with --pretrained, or start from random weights (none)") from error


def load_pretrained(net: FewShotNetwork, path: str | Path, hint: str = GET_PRETRAINED) -> None:
    """Load a file's ImageNet weights into the backbone. Raises UserError; the hint says where to get such a file."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no weights there: {hint}")
    from model.timm_backbone import TimmBackbone
    from model.weights import OtherStem, adapt_pretrained

    content = read(path)
    with errors_name(path):
        try:
            state = adapt_pretrained(net, content)
        except OtherStem as error:
            raise ValueError(f"{error}; {hint}") from error
        check_finite(dict(net.backbone.named_parameters()), "take other weights")
    say_taken(path, content, state)
    is_known = Path(path).name == package.FILE.name
    if isinstance(net.backbone, TimmBackbone) and net.backbone.is_renamed(state) and not is_known:
        say_once(
            f"note: {path}: has none of timm's names; its tensors are taken in timm's order, which their shapes fit"
        )


def find_pretrained(path: str | None, backbone: str) -> Path:
    """The ImageNet weights named, or pretrained/BACKBONE.pth (or .safetensors) in the project's folder."""
    if path is not None:
        return Path(path)
    files = [PRETRAINED / f"{backbone}{suffix}" for suffix in (".pth", ".safetensors")]
    return next((file for file in files if file.is_file()), files[0])

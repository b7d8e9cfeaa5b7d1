"""How methods and backbones are named, and what is no name."""

from __future__ import annotations

import pytest

from model.names import TimmName, custom_class, in_file_names, is_backbone, is_method, timm_name


def test_names_of_timm() -> None:
    assert timm_name("timm:convnext_tiny.fb_in1k") == TimmName("convnext_tiny.fb_in1k", ())
    assert timm_name("timm:vit@11,5,5") == TimmName("vit", (11, 5, 5))
    assert timm_name("timm:vit@11,5,5").spelled == "timm:vit@5,11"
    assert timm_name("timm:vit").spelled == "timm:vit"
    assert timm_name("resnet50") is None


@pytest.mark.parametrize(
    "name",
    ["timm:", "timm:../x", "timm:a/b", "timm:hf-hub:a", "timm:a@", "timm:a@1,", "timm:a@-1", "timm:a@1000", "timm:a\n",
     "timm:a b", "timm:\u00e9", "timm:.a", "TIMM:a", "resnet18", "", "a.py", "a.py:", "a.py:1x", ":A", "a.txt:A",
     "a\nb.py:C", "a\x7f.py:C", "a:b.py:C", "a.py:C\n"],
)  # fmt: skip
def test_no_names(name: str) -> None:
    assert not is_backbone(name)
    assert not is_method(name)


def test_code_of_ones_own() -> None:
    assert custom_class("some folder/my_head.py:Parts") == "Parts"
    assert custom_class("ssp") is None
    for name in ("./a.py:A", "/x/y z.py:_B1"):
        assert is_method(name)
        assert is_backbone(name)
    assert is_method("ssp")
    assert not is_method("resnet50")
    assert not is_method("timm:vit")
    assert not is_backbone("ssp")


def test_names_in_file_names() -> None:
    names = {
        "resnet50": "resnet50",
        "a/b.py:Parts": "Parts",
        "timm:x.in1k@2,3": "timm_x.in1k_2-3",
        "baseline": "baseline",
    }
    assert {name: in_file_names(name) for name in names} == names

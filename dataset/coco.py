"""COCO-20i's folder: COCO 2014 images and label masks, 1..80 in order of category id (design, section 7)."""

from __future__ import annotations

from pathlib import Path

from dataset.images import ImageSet, need_folders

FOLDER = "COCO2014"  # inside a folder that holds several datasets
CLASS_NAMES = dict(
    enumerate(
        (
            "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,"
            "parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,"
            "tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,"
            "tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,"
            "hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,"
            "cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,"
            "toothbrush"
        ).split(","),
        start=1,
    )
)


def any_image(root: Path) -> ImageSet:
    """Every image by its name with folder, such as val2014/COCO_val2014_000000000042; ids are left empty."""
    need_folders(root, FOLDER, "val2014", "annotations/val2014")
    return ImageSet("coco", (), root, root / "annotations", CLASS_NAMES)

"""The annotation files of other tools, which are no masks: whose they are, and how to get a mask out of them."""

from __future__ import annotations

from typing import Any

EXPORT = "export the mask of this image as PNG, or its polygons as JSON of LabelMe"
BRUSH = 'export its "Brush labels to PNG", or draw the mask in LabelMe'
ARRAY = "save it as PNG: Image.fromarray((array > 0).astype('uint8') * 255).save('mask.png')"
JSONS = (  # fields of the content or of its first entry; what that is; the way out. The first that fits counts
    ({"images", "annotations"}, "COCO annotations", EXPORT),
    ({"image_id", "category_id"}, "COCO results", EXPORT),
    ({"segmentation", "predicted_iou"}, "masks of Segment Anything", EXPORT),
    ({"annotations", "data"}, "a Label Studio export", BRUSH),
    ({"completions", "data"}, "a Label Studio export", BRUSH),
    ({"annotation_id", "annotator"}, "a Label Studio export", BRUSH),
    ({"original_width", "value"}, "a Label Studio result", BRUSH),
    ({"filename", "regions"}, "VIA annotations", EXPORT),
    ({"_via_img_metadata"}, "a VIA project", EXPORT),
    ({"project", "metadata", "view"}, "a VIA project", EXPORT),
    ({"items", "categories"}, "a Datumaro dataset", EXPORT),
    ({"imgHeight", "objects"}, "Cityscapes polygons", "name the _labelIds.png beside it, with --label"),
    ({"size", "objects"}, "Supervisely annotations", EXPORT),
    ({"info", "objects"}, "ISAT annotations", EXPORT),
    ({"item", "annotations"}, "V7 Darwin annotations", EXPORT),
    ({"image", "annotations"}, "annotations of Segment Anything or CreateML", EXPORT),
    ({"data_row", "projects"}, "a Labelbox export", EXPORT),
    ({"metadata", "instances"}, "SuperAnnotate annotations", EXPORT),
    ({"asset", "regions"}, "VoTT annotations", EXPORT),
    ({"counts", "size"}, "a mask packed as COCO does (RLE)", EXPORT),
    ({"predictions", "image"}, "predictions of Roboflow", EXPORT),
    ({"type", "features"}, "GeoJSON", EXPORT),
    ({"type", "geometry"}, "GeoJSON", EXPORT),
    ({"labelIdx", "points"}, "polygons of EISeg", EXPORT),
)
FILES = {  # by the suffix of what is neither image nor JSON
    ".xml": ("annotations in XML, such as CVAT's", 'export a "Segmentation mask", or draw the mask in LabelMe'),
    ".txt": ("text, such as YOLO's labels", EXPORT),
    ".csv": ("a table, such as VIA's", EXPORT),
    ".jsonl": ("lines of JSON", EXPORT),
    ".ndjson": ("lines of JSON", EXPORT),
    ".npy": ("a NumPy array", ARRAY),
    ".npz": ("NumPy arrays", ARRAY),
    ".mat": ("a MATLAB file", "save the mask as PNG: imwrite(mask > 0, 'mask.png')"),
}


def name_json(content: Any) -> str | None:
    """What a JSON is that another tool wrote, and the way out; None if no tool of the table did."""
    entries = list(content.values()) if isinstance(content, dict) else content if isinstance(content, list) else []
    fields = [set(x) for x in (content, *entries[:1]) if isinstance(x, dict)]
    for needed, name, way_out in JSONS:
        if any(needed <= found for found in fields):
            return f"{name}, not a mask; {way_out}"
    return None


def name_file(suffix: str) -> str | None:
    """What a file with a suffix is, if it is no image, and the way out; None if it can be one."""
    name, way_out = FILES.get(suffix.lower(), (None, None))
    return name and f"{name}, not a mask image; {way_out}"

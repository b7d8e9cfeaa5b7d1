"""The page's layout, made with gradio: import this once gradio's environment is set (app.py: prepare_gradio)."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from page.examples import make_examples
from page.finder import INSIDE, VIEWS, Finder
from page.guard import Paintings, limit_layers
from page.handlers import BRUSH, Asked, Handlers, Marked
from page.uploads import MAX_SUPPORTS

FORGET = (600, 3600)  # seconds: every ten minutes, what gradio wrote an hour ago
CSS = """
footer {display: none !important}
.gradio-container {max-width: 1200px !important; margin: auto}
#toys .grid-container {grid-template-columns: repeat(4, minmax(0, 1fr)) !important}
#toys .grid-wrap {min-height: 0 !important}
#look_inside, #look_inside .grid-wrap {height: auto !important; max-height: none !important}
#look_inside button {aspect-ratio: auto !important; height: auto !important}
#look_inside img {height: auto !important; width: 100% !important}
"""
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
HEADING = "# Few-shot segmentation\nMark an object in one to five images; it is found in others."
PRIVATE = {"api_visibility": "private"}
PROGRESS = gr.Progress()  # gradio looks for it among the defaults of a function
QUIET = {"show_progress": "hidden", **PRIVATE}


class SupportInputs(NamedTuple):
    """Where one support is dropped and painted."""

    group: Any  # the column that holds the others
    file: Any
    mask: Any
    editor: Any


class Inputs(NamedTuple):
    """What the object is found by."""

    supports: list[SupportInputs]
    more: Any  # the button for another support
    queries: Any
    threshold: Any
    refine: Any
    go: Any
    inside: Any  # State: whether a look inside is drawn
    found: Any  # State: what was found last

    def list_components(self) -> set[Any]:
        """All that hold a value; gradio gives a set's values by component."""
        marked = {part for support in self.supports for part in (support.file, support.mask, support.editor)}
        return {self.found, self.queries, self.refine, self.inside, self.threshold, *marked}

    def read_values(self, values: dict[Any, Any]) -> Asked:
        """The values of the components, by what they mean."""
        return Asked(
            [Marked(values[each.file], values[each.mask], values[each.editor]) for each in self.supports],
            values[self.queries] or [],
            threshold=values[self.threshold],
            refine=values[self.refine],
            inside=values[self.inside],
            found=values[self.found],
        )


class Outputs(NamedTuple):
    """What shows the results."""

    message: Any
    tabs: dict[str, Any]  # for each of VIEWS
    galleries: list[Any]
    zip_button: Any
    zip_file: Any

    def list_components(self) -> list[Any]:
        """The outputs of Handlers.show, in its order."""
        return [self.message, *self.galleries, self.zip_button, self.zip_file]


def write_heading(about: str, note: str) -> str:
    """The heading, with the network in small letters; a file's name may hold what Markdown would take for its own."""
    lines = [f"<small>{escape(line)}</small>" for line in (about, note) if line]
    return "\n\n".join([HEADING, *lines])


def build_page(finder: Finder, folder: Path, max_side: int) -> Any:
    """The page: supports and toy images on the left, queries and results on the right.

    Arguments:
        finder: of the object.
        folder: for files of the page.
        max_side: larger images are segmented in this size, in pixels.
    """
    handlers = Handlers(finder, folder, max_side, make_examples())
    with gr.Blocks(title="Few-shot segmentation", analytics_enabled=False, delete_cache=FORGET) as page:
        found, inside = gr.State([]), gr.State(False)
        gr.Markdown(write_heading(finder.predictor.about, finder.predictor.note))
        with gr.Row():
            with gr.Column():
                gr.Markdown("### 1. Supports: paint the object")
                paintings = Paintings()
                supports = [add_support(number, paintings, handlers) for number in range(1, MAX_SUPPORTS + 1)]
                more = gr.Button("Another support", size="sm")
                gr.Markdown("### No image at hand? Choose a toy one, marked, with two queries")
                toys = gr.Gallery(show_label=False, columns=4, height=None, allow_preview=False, elem_id="toys",
                                  interactive=False, buttons=[])  # fmt: skip
            with gr.Column():
                gr.Markdown("### 2. Queries: drop the images to segment")
                queries = gr.File(label="Queries", file_count="multiple", height=140, elem_id="queries")
                with gr.Row():
                    threshold = gr.Slider(0.01, 0.99, value=0.5, step=0.01, label="Threshold", elem_id="threshold")
                    refine = gr.Checkbox(finder.refines, label="Refinement", visible=finder.can_refine)
                go = gr.Button("Find the object", variant="primary", elem_id="go")
                outputs = add_outputs()
        inputs = Inputs(supports, more, queries, threshold, refine, go, inside, found)
        connect_supports(inputs, outputs, handlers)
        connect_search(inputs, outputs, handlers)
        first = supports[0]
        toys.select(handlers.choose_toy, None, [first.file, first.mask, first.editor, queries], **QUIET)
        page.load(handlers.list_toys, None, toys, **QUIET)
    return page


def add_support(number: int, paintings: Paintings, handlers: Handlers) -> SupportInputs:
    """Put a support's files and painting area on the page; only the first is seen at the start."""
    with gr.Column(visible=number == 1) as group:
        with gr.Row():
            size = {"height": 130, "min_width": 140}
            file = gr.File(label=f"Image {number}", elem_id=f"image_{number}", **size)
            mask = gr.File(label="Mask (optional)", elem_id=f"mask_{number}", **size)
        colour = f"rgba{(*BRUSH[:3], BRUSH[3] / 255)}"
        editor = gr.ImageEditor(
            label=f"Support {number}", type="pil", format="png", image_mode="RGBA", transforms=(),
            brush=gr.Brush(colors=[colour], color_mode="fixed"), layers=False, height=420,
            sources=("upload", "webcam", "clipboard"),  # without the first none of them works
            buttons=[], elem_id=f"support_{number}",
            placeholder="Drop an image above or here, paste one, or use the camera",
        )  # fmt: skip
    # In place of gradio's own, which have no limits.
    editor.convert_and_format_image, editor.blob_storage = handlers.read_layer, paintings
    editor.accept_blobs = limit_layers(editor.accept_blobs)
    return SupportInputs(group, file, mask, editor)


def add_outputs() -> Outputs:
    """Put the message, a tab for each view, and the zip on the page."""
    message = gr.Markdown("Paint a support and drop a query, or choose a toy image.", elem_id="message")
    tabs, galleries = {}, []
    with gr.Tabs():
        for name in VIEWS:
            with gr.Tab(name, render_children=True) as tabs[name]:
                size = {"columns": 1, "height": None} if name == INSIDE else {"columns": 2, "height": 320}
                gallery = gr.Gallery(show_label=False, format="jpeg", interactive=False, buttons=[],
                                     object_fit="contain", elem_id=name.lower().replace(" ", "_"), **size)  # fmt: skip
                galleries.append(gallery)
    zip_button = gr.Button("Pack the results into a zip", visible=False, size="sm", elem_id="pack")
    zip_file = gr.File(label="Results", interactive=False, visible=False, elem_id="zip")
    return Outputs(message, tabs, galleries, zip_button, zip_file)


def connect_supports(inputs: Inputs, outputs: Outputs, handlers: Handlers) -> None:
    """Let dropped images be painted on, and the button show another support."""
    for support in inputs.supports:
        shown = [support.editor, outputs.message]
        gr.on([support.file.upload, support.file.clear], handlers.place_image, support.file, shown, **QUIET)
        support.editor.clear(lambda: None, None, support.file, **QUIET)
    count = gr.State(1)
    groups = [support.group for support in inputs.supports]
    inputs.more.click(handlers.show_supports, count, [count, *groups, inputs.more], **QUIET)


def connect_search(inputs: Inputs, outputs: Outputs, handlers: Handlers) -> None:
    """Find the object whenever an input changes; the threshold alone needs no network."""

    def find(values: dict[Any, Any], progress: Any = PROGRESS) -> Any:
        return handlers.find(inputs.read_values(values), progress)

    search = {"fn": find, "inputs": inputs.list_components(),
              "outputs": [inputs.found, *outputs.list_components()], "concurrency_limit": 1,
              "concurrency_id": "network", "show_progress_on": outputs.message, **PRIVATE}  # fmt: skip
    changes = [inputs.queries.change]
    for support in inputs.supports:  # of what is pasted the change comes before it was sent
        changes += [support.mask.change, support.editor.change, support.editor.upload]
    gr.on([inputs.go.click, inputs.refine.input, *changes], trigger_mode="always_last", **search)
    for name, tab in outputs.tabs.items():
        opened = tab.select(lambda name=name: name == INSIDE, None, inputs.inside, **QUIET)
        if name == INSIDE:
            opened.then(**search)
    known = [inputs.found, inputs.threshold]
    gr.on([inputs.threshold.change], handlers.show, known, outputs.list_components(), trigger_mode="always_last",
          **QUIET)  # fmt: skip
    outputs.zip_button.click(handlers.pack, known, outputs.zip_file, **PRIVATE)

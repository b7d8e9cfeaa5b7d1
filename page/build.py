"""The page, made with gradio: import this once gradio's environment is set (app.py: prepare_gradio)."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from engine.options import memory_errors
from page.examples import make_examples, paint_layer
from page.finder import INSIDE, VIEWS, Finder, Found, Search, is_same, pack_results
from page.guard import Paintings, limit_layers
from page.uploads import MAX_SUPPORTS, Marked, check_queries, decode_image, read_marked, read_picture
from util.errors import UserError

BRUSH = (255, 0, 120, 153)  # RGBA
FORGET = (600, 3600)  # seconds: every ten minutes, what gradio wrote an hour ago
CSS = """
footer {display: none !important}
.gradio-container {max-width: 1200px !important; margin: auto}
#toys .grid-container {grid-template-columns: repeat(4, minmax(0, 1fr)) !important}
#toys .grid-wrap {min-height: 0 !important}
.results, .results .grid-wrap {height: auto !important; max-height: none !important}
#look_inside button {aspect-ratio: auto !important; height: auto !important}
#look_inside img {height: auto !important; width: 100% !important}
"""
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
HEADING = "# Few-shot segmentation\nMark an object in one to five images; it is found in others."
PRIVATE = {"api_visibility": "private"}
QUIET = {"show_progress": "hidden", **PRIVATE}
PROGRESS = gr.Progress()  # gradio looks for it among the defaults of a function


class Backend(NamedTuple):
    """What the page works with."""

    finder: Finder
    folder: Path  # for the page's files
    max_side: int  # pixels, in which larger images are segmented; 0: in their own size


class SupportInputs(NamedTuple):
    """Where one support is dropped and painted."""

    group: Any  # the column of the others
    file: Any
    mask: Any
    editor: Any


class Inputs(NamedTuple):
    """What the object is found by."""

    supports: list[SupportInputs]
    queries: Any
    threshold: Any
    refine: Any
    settings: Any  # NAME=VALUE words
    go: Any
    inside: Any  # whether a look inside is drawn
    found: Any  # what was found last


class Outputs(NamedTuple):
    """What shows the results."""

    message: Any
    notes: Any  # on the supports' masks
    tabs: dict[str, Any]  # for each of VIEWS
    galleries: list[Any]  # as tabs
    zip_button: Any
    zip_file: Any

    def list_components(self) -> list[Any]:
        """The components that show_results gives a value, in its order."""
        return [self.message, *self.galleries, self.zip_button, self.zip_file]


def build_page(finder: Finder, folder: Path, max_side: int) -> Any:
    """The page: supports and toy images on the left, queries and results on the right.

    Arguments:
        finder: of the object.
        folder: for the page's files.
        max_side: pixels, in which larger images are segmented; 0 for their own size.
    """
    backend = Backend(finder, folder, max_side)
    with gr.Blocks(title="Few-shot segmentation", analytics_enabled=False, delete_cache=FORGET) as page:
        found, inside = gr.State([]), gr.State(False)
        gr.Markdown(write_heading(finder.predictor.about, finder.predictor.note))
        with gr.Row():
            with gr.Column():
                gr.Markdown("### 1. Supports: paint the object")
                paintings = Paintings()
                supports = [add_support(number, paintings) for number in range(1, MAX_SUPPORTS + 1)]
                more = gr.Button("Another support", size="sm")
                gr.Markdown("### No image at hand? Choose a toy one, marked, with two queries")
                toys = gr.Gallery(show_label=False, columns=4, height=None, allow_preview=False, elem_id="toys",
                                  interactive=False, buttons=[])  # fmt: skip
            with gr.Column():
                gr.Markdown("### 2. Queries: drop the images to segment")
                queries = gr.File(label="Queries", file_count="multiple", elem_id="queries")
                with gr.Row():
                    threshold = gr.Slider(0.01, 0.99, value=0.5, step=0.01, label="Threshold", elem_id="threshold")
                    refine = gr.Checkbox(finder.refines, label="Refinement", visible=finder.can_refine)
                with gr.Accordion("More", open=False):
                    settings = gr.Textbox(label="Settings of the method, NAME=VALUE (docs/method.md)", lines=1,
                                          placeholder="fg_threshold=0.6 bg_mix=0.5", elem_id="settings")  # fmt: skip
                go = gr.Button("Find the object", variant="primary", elem_id="go")
                outputs = add_outputs()
        inputs = Inputs(supports, queries, threshold, refine, settings, go, inside, found)
        connect_supports(backend, supports, more, outputs.message)
        connect_search(backend, inputs, outputs)
        connect_results(backend, inputs, outputs)
        connect_toys(backend, inputs, toys, page)
    return page


def write_heading(about: str, note: str) -> str:
    """The heading, with the network in small letters; a file's name may hold what Markdown would take for its own."""
    lines = [f"<small>{escape(line)}</small>" for line in (about, note) if line]
    return "\n\n".join([HEADING, *lines])


def add_support(number: int, paintings: Paintings) -> SupportInputs:
    """Put a support's files and painting area on the page; only the first is seen at the start."""
    with gr.Column(visible=number == 1) as group:
        with gr.Row():
            size = {"height": 130, "min_width": 140}
            file = gr.File(label=f"Image {number}", elem_id=f"image_{number}", **size)
            mask = gr.File(label="Mask (optional)", elem_id=f"mask_{number}", **size)
        editor = gr.ImageEditor(
            label=f"Support {number} (brush size: the lowest tool)", type="pil", format="png", image_mode="RGBA",
            transforms=(), brush=make_brush(500), layers=False, height=420,
            sources=("upload", "webcam", "clipboard"),  # without the first none of them works
            buttons=[], elem_id=f"support_{number}",
            placeholder="Drop an image above or here, paste one, or use the camera",
        )  # fmt: skip
    # In place of gradio's own, which have no limits.
    editor.convert_and_format_image, editor.blob_storage = read_layer, paintings
    editor.accept_blobs = limit_layers(editor.accept_blobs)
    return SupportInputs(group, file, mask, editor)


def make_brush(side: int) -> gr.Brush:
    """A brush as wide as a twelfth of an image's shorter side, pixels."""
    colour = f"rgba{(*BRUSH[:3], BRUSH[3] / 255)}"
    return gr.Brush(colors=[colour], color_mode="fixed", default_size=max(2, side // 24))  # which is its radius


def add_outputs() -> Outputs:
    """Put the message, the notes, a tab for each view, and the zip on the page."""
    message = gr.Markdown("Paint a support and drop a query, or choose a toy image.", elem_id="message")
    notes = gr.Markdown(elem_id="notes")
    tabs, galleries = {}, []
    with gr.Tabs():
        for name in VIEWS:
            with gr.Tab(name, render_children=True) as tabs[name]:
                gallery = gr.Gallery(show_label=False, format="jpeg", interactive=False, buttons=[], height=None,
                                     columns=1 if name == INSIDE else 2, object_fit="contain",
                                     elem_id=name.lower().replace(" ", "_"), elem_classes="results")  # fmt: skip
                galleries.append(gallery)
    zip_button = gr.Button("Pack the results into a zip", visible=False, size="sm", elem_id="pack")
    zip_file = gr.File(label="Results", interactive=False, visible=False, elem_id="zip")
    return Outputs(message, notes, tabs, galleries, zip_button, zip_file)


def read_layer(content: Any, flatten_on_white: bool = False) -> Image.Image | None:
    """A picture of what a painting area sent."""
    try:
        return None if content is None else decode_image(getattr(content, "path", content), "the support")
    except UserError as error:
        raise gr.Error(str(error), title="Not read", print_exception=False) from error


def show_results(found: list[Found], threshold: float, message: str = "", keep_zip: bool = False) -> list[Any]:
    """The message, a gallery for each view, and the zip, which stays while it holds what is found."""
    if found and not message:
        message = f"Probability above {threshold:g}: " + ", ".join(each.caption(threshold) for each in found)
    pictures = [
        [(picture, each.caption(threshold)) for each in found if (picture := view(each, threshold)) is not None]
        for view in VIEWS.values()
    ]
    file = gr.skip() if keep_zip else gr.update(value=None, visible=False)  # a stroke may ask twice
    return [message, *pictures, gr.update(visible=bool(found)), file]


def connect_supports(backend: Backend, supports: list[SupportInputs], more: Any, message: Any) -> None:
    """Let dropped images be painted on, and the button show another support."""

    def place_image(file: str | None) -> list[Any]:
        try:
            if file is None:
                return [None, gr.skip()]
            image = read_picture(Path(file), backend.max_side)
            editor = gr.update(value=image, brush=make_brush(min(image.size)))
            return [editor, "Now paint the object, or drop its mask."]
        except UserError as error:
            return [None, str(error)]

    def show_another(count: int) -> list[Any]:
        groups = [gr.update(visible=number <= count) for number in range(MAX_SUPPORTS)]
        return [count + 1, *groups, gr.update(visible=count + 1 < MAX_SUPPORTS)]

    for support in supports:
        gr.on([support.file.upload, support.file.clear], place_image, support.file, [support.editor, message], **QUIET)
        support.editor.clear(lambda: None, None, support.file, **QUIET)
    count = gr.State(1)
    more.click(show_another, count, [count, *(support.group for support in supports), more], **QUIET)


def connect_search(backend: Backend, inputs: Inputs, outputs: Outputs) -> None:
    """Find the object whenever an input changes; what is missing or wrong is a sentence."""

    def find(values: dict[Any, Any], progress: Any = PROGRESS) -> list[Any]:
        threshold = values[inputs.threshold]
        try:
            parts = [Marked(values[x.file], values[x.mask], values[x.editor]) for x in inputs.supports]
            read = [read_marked(marked, number, backend.folder) for number, marked in enumerate(parts, 1)]
            supports = [support for support in read if support is not None]
            if not supports:
                raise UserError("Nothing is marked yet: drop a support and paint the object in it.")
            queries = check_queries(values[inputs.queries] or [])
            how = values[inputs.refine], values[inputs.inside], values[inputs.settings] or ""
            search = Search(supports, queries, *how)
            with memory_errors(backend.max_side):
                found = backend.finder.find(search, lambda number, of, what: progress((number, of), desc=what))
        except UserError as error:
            return [[], "", *show_results([], threshold, str(error))]
        notes = "\n\n".join(note for support in supports for note in support.notes)
        return [found, notes, *show_results(found, threshold, keep_zip=is_same(values[inputs.found], found))]

    marked = {part for support in inputs.supports for part in (support.file, support.mask, support.editor)}
    known = {inputs.found, inputs.queries, inputs.refine, inputs.settings, inputs.inside, inputs.threshold, *marked}
    search = {"fn": find, "inputs": known, "outputs": [inputs.found, outputs.notes, *outputs.list_components()],
              "concurrency_limit": 1, "concurrency_id": "network", "show_progress_on": outputs.message,
              **PRIVATE}  # fmt: skip
    changes = [inputs.go.click, inputs.refine.input, inputs.settings.submit, inputs.queries.change]
    for support in inputs.supports:  # a pasted image tells its change before it was sent
        changes += [support.mask.change, support.editor.change, support.editor.upload]
    gr.on(changes, trigger_mode="always_last", **search)
    for name, tab in outputs.tabs.items():
        opened = tab.select(lambda name=name: name == INSIDE, None, inputs.inside, **QUIET)
        if name == INSIDE:
            opened.then(**search)


def connect_results(backend: Backend, inputs: Inputs, outputs: Outputs) -> None:
    """Show what was found at another threshold, and pack it; neither needs the network."""

    def pack(found: list[Found], threshold: float, request: gr.Request) -> Any:
        """The zip of this session, in place of its last one."""
        session = backend.folder / f"session_{request.session_hash}"
        session.mkdir(exist_ok=True)
        (session / "results.zip").write_bytes(pack_results(found, threshold))
        return gr.update(value=str(session / "results.zip"), visible=True)

    known, shows = [inputs.found, inputs.threshold], outputs.list_components()
    gr.on([inputs.threshold.change], show_results, known, shows, trigger_mode="always_last", **QUIET)
    outputs.zip_button.click(pack, known, outputs.zip_file, **PRIVATE)


def connect_toys(backend: Backend, inputs: Inputs, gallery: Any, page: Any) -> None:
    """Show the toy images; one that is chosen becomes the first support, and brings its queries."""
    toys = make_examples()

    def choose(event: gr.SelectData) -> list[Any]:
        toy, paths = toys[event.index], []
        for number, query in enumerate(toy.queries, 1):
            paths.append(str(backend.folder / f"toy_{event.index + 1}_{number}.png"))
            query.save(paths[-1])
        layer = paint_layer(toy.mask, BRUSH)
        composite = Image.alpha_composite(toy.support.convert("RGBA"), layer)
        painting = {"background": toy.support, "layers": [layer], "composite": composite}
        return [None, None, gr.update(value=painting, brush=make_brush(min(toy.support.size))), paths]

    first = inputs.supports[0]
    gallery.select(choose, None, [first.file, first.mask, first.editor, inputs.queries], **QUIET)
    page.load(lambda: [toy.support for toy in toys], None, gallery, **QUIET)

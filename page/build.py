"""The page's layout, made with gradio: import this once gradio's environment is set (app.py: prepare_gradio)."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from engine.options import memory_errors
from page.examples import examples, layer_of
from page.finder import INSIDE, VIEWS, Finder, Found, alike, packed
from page.guard import Paintings, few_layers
from page.uploads import MAX_SUPPORTS, Strokes, check_queries, decode, read_marked, read_picture
from util.errors import UserError

BRUSH = (255, 0, 120, 153)
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


def heading(about: str, note: str) -> str:
    """The heading, with the network in small letters; a file's name may hold what Markdown would take for its own."""
    lines = [f"<small>{escape(line)}</small>" for line in (about, note) if line]
    return "\n\n".join([HEADING, *lines])


def layout(finder: Finder, folder: Path, max_side: int) -> Any:
    """The page; handlers stand beside what they handle."""

    def read(content: Any, flatten_on_white: bool = False) -> Image.Image | None:
        """In place of an editor's own reader, which has no limits: a picture of what a browser sent."""
        try:
            return None if content is None else decode(getattr(content, "path", content), "the support")
        except UserError as error:
            raise gr.Error(str(error), title="Not read", print_exception=False) from error

    progress = gr.Progress()  # gradio looks for it among the defaults

    def find(
        before: list[Found],
        paths: list[str] | None,
        refine: bool,
        inside: bool,
        threshold: float,
        *marked: Any,
        progress: Any = progress,
    ) -> Any:
        """Read all inputs and find the object; what is missing or wrong is a sentence."""
        try:
            supports = []
            for number in range(1, MAX_SUPPORTS + 1):
                file, mask, editor = marked[3 * number - 3 : 3 * number]
                strokes = Strokes(editor["background"], editor["layers"]) if editor else None
                if support := read_marked(file, mask, strokes, number, folder):
                    supports.append(support)
            if not supports:
                raise UserError("Nothing is marked yet: drop a support and paint the object in it.")
            queries = check_queries(paths or [])
            with memory_errors(max_side):
                found = finder.find(supports, queries, refine, inside, lambda n, of, what: progress((n, of), desc=what))
        except UserError as error:
            return [], *show([], threshold, str(error))
        return found, *show(found, threshold, packed_before=alike(before, found))

    def place(file: str | None) -> list[Any]:
        """The image of a file, to paint on; why it is none is a sentence."""
        try:
            if file is None:
                return [None, gr.skip()]
            return [read_picture(Path(file), max_side), "Now paint the object, or drop its mask."]
        except UserError as error:
            return [None, str(error)]

    def show(found: list[Found], threshold: float, message: str = "", packed_before: bool = False) -> list[Any]:
        """The message, then a gallery for each view, from what was found before."""
        if found and not message:
            message = f"Probability above {threshold:g}: " + ", ".join(each.caption(threshold) for each in found)
        pictures = [
            [(picture, each.caption(threshold)) for each in found if (picture := view(each, threshold)) is not None]
            for view in VIEWS.values()
        ]
        file = gr.skip() if packed_before else gr.update(value=None, visible=False)  # a stroke may ask twice
        return [message, *pictures, gr.update(visible=bool(found)), file]

    def pack(found: list[Found], threshold: float, request: gr.Request) -> Any:
        """The zip of this session, in place of its last one."""
        place = folder / f"session_{request.session_hash}"
        place.mkdir(exist_ok=True)
        (place / "results.zip").write_bytes(packed(found, threshold))
        return gr.update(value=str(place / "results.zip"), visible=True)

    toys = examples()

    def choose(event: gr.SelectData) -> list[Any]:
        """A toy image as the first support, and its queries."""
        toy, paths = toys[event.index], []
        for number, query in enumerate(toy.queries, 1):
            paths.append(str(folder / f"toy_{event.index + 1}_{number}.png"))
            query.save(paths[-1])
        layer = layer_of(toy.mask, BRUSH)
        whole_picture = Image.alpha_composite(toy.support.convert("RGBA"), layer)
        painted = {"background": toy.support, "layers": [layer], "composite": whole_picture}
        return [None, None, painted, paths]

    with gr.Blocks(title="Few-shot segmentation", analytics_enabled=False, delete_cache=FORGET) as page:
        found = gr.State([])
        gr.Markdown(heading(finder.predictor.about, finder.predictor.note))
        with gr.Row():
            with gr.Column():
                gr.Markdown("### 1. Supports: paint the object")
                marked, groups, paintings = [], [], Paintings()
                for number in range(1, MAX_SUPPORTS + 1):
                    with gr.Column(visible=number == 1) as group:
                        colour = f"rgba{(*BRUSH[:3], BRUSH[3] / 255)}"
                        with gr.Row():
                            kind = {"height": 130, "min_width": 140}
                            file = gr.File(label=f"Image {number}", elem_id=f"image_{number}", **kind)
                            mask = gr.File(label="Mask (optional)", elem_id=f"mask_{number}", **kind)
                        editor = gr.ImageEditor(
                            label=f"Support {number}", type="pil", format="png", image_mode="RGBA", transforms=(),
                            brush=gr.Brush(colors=[colour], color_mode="fixed"), layers=False, height=420,
                            sources=("upload", "webcam", "clipboard"),  # without the first none of them works
                            buttons=[], elem_id=f"support_{number}",
                            placeholder="Drop an image above or here, paste one, or use the camera",
                        )  # fmt: skip
                        editor.convert_and_format_image, editor.blob_storage = read, paintings
                        editor.accept_blobs = few_layers(editor.accept_blobs)
                        groups.append(group)
                        marked += [file, mask, editor]
                more = gr.Button("Another support", size="sm")
                shown = gr.State(1)
                gr.Markdown("### No image at hand? Choose a toy one, marked, with two queries")
                pictures = gr.Gallery(show_label=False, columns=4, height=None, allow_preview=False, elem_id="toys",
                                      interactive=False, buttons=[])  # fmt: skip
            with gr.Column():
                gr.Markdown("### 2. Queries: drop the images to segment")
                queries = gr.File(label="Queries", file_count="multiple", height=140, elem_id="queries")
                with gr.Row():
                    threshold = gr.Slider(0.01, 0.99, value=0.5, step=0.01, label="Threshold", elem_id="threshold")
                    refine = gr.Checkbox(finder.refines, label="Refinement", visible=finder.can_refine)
                go = gr.Button("Find the object", variant="primary", elem_id="go")
                message = gr.Markdown("Paint a support and drop a query, or choose a toy image.", elem_id="message")
                inside, tabs, views = gr.State(False), {}, []
                with gr.Tabs():
                    for name in VIEWS:
                        with gr.Tab(name, render_children=True) as tabs[name]:
                            view = gr.Gallery(show_label=False, columns=1 if name == INSIDE else 2, format="jpeg",
                                              height=None if name == INSIDE else 320, interactive=False, buttons=[],
                                              object_fit="contain", elem_id=name.lower().replace(" ", "_"))  # fmt: skip
                            views.append(view)
                zip_button = gr.Button("Pack the results into a zip", visible=False, size="sm", elem_id="pack")
                zip_file = gr.File(label="Results", interactive=False, visible=False, elem_id="zip")

        private = {"api_visibility": "private"}
        shows = [message, *views, zip_button, zip_file]
        asks = {"fn": find, "inputs": [found, queries, refine, inside, threshold, *marked], "outputs": [found, *shows],
                "concurrency_limit": 1, "concurrency_id": "network", "show_progress_on": message,
                **private}  # fmt: skip
        for file, editor in zip(marked[::3], marked[2::3], strict=True):
            gr.on([file.upload, file.clear], place, file, [editor, message], show_progress="hidden", **private)
            editor.clear(lambda: None, None, file, show_progress="hidden", **private)
        changes = [x.change for x in (queries, *marked[1::3], *marked[2::3])]
        changes += [x.upload for x in marked[2::3]]  # the change comes before what is pasted was sent
        gr.on([go.click, refine.input, *changes], trigger_mode="always_last", **asks)
        for name, opened in tabs.items():
            chosen = opened.select(lambda name=name: name == INSIDE, None, inside, show_progress="hidden", **private)
            if name == INSIDE:
                chosen.then(**asks)
        gr.on([threshold.change], show, [found, threshold], shows, trigger_mode="always_last",
              show_progress="hidden", **private)  # fmt: skip
        zip_button.click(pack, [found, threshold], zip_file, **private)
        more.click(lambda n: [n + 1, *(gr.update(visible=k <= n) for k in range(MAX_SUPPORTS)),
                              gr.update(visible=n + 1 < MAX_SUPPORTS)],
                   shown, [shown, *groups, more], show_progress="hidden", **private)  # fmt: skip
        pictures.select(choose, None, [*marked[:3], queries], show_progress="hidden", **private)
        page.load(lambda: [toy.support for toy in toys], None, pictures, show_progress="hidden", **private)
    return page

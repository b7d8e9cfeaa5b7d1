"""What happens on the page: an image is dropped, a stroke painted, a query found, results are packed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from engine.options import memory_errors
from page.examples import Example, paint_layer
from page.finder import VIEWS, Finder, Found, Search, is_same, pack_results
from page.uploads import MAX_SUPPORTS, Marked, check_queries, decode_image, read_marked, read_picture
from util.errors import UserError

BRUSH = (255, 0, 120, 153)  # RGBA


class Asked(NamedTuple):
    """What the page holds when the object is to be found."""

    supports: list[Marked]
    queries: list[str]  # paths of uploads
    threshold: float
    refine: bool
    inside: bool  # whether a look inside is drawn
    found: list[Found]  # what was found last


@dataclass(frozen=True)
class Handlers:
    """The functions that gradio calls with the values of components, and whose results it shows.

    Whatever cannot be used is a sentence on the page.
    """

    finder: Finder
    folder: Path  # for files of the page
    max_side: int  # pixels, in which larger images are segmented
    toys: list[Example]

    def read_layer(self, content: Any, flatten_on_white: bool = False) -> Image.Image | None:
        """A picture of what a painting area sent."""
        try:
            return None if content is None else decode_image(getattr(content, "path", content), "the support")
        except UserError as error:
            raise gr.Error(str(error), title="Not read", print_exception=False) from error

    def place_image(self, file: str | None) -> list[Any]:
        """The image of a file, to paint on."""
        try:
            if file is None:
                return [None, gr.skip()]
            return [read_picture(Path(file), self.max_side), "Now paint the object, or drop its mask."]
        except UserError as error:
            return [None, str(error)]

    def show_supports(self, count: int) -> list[Any]:
        """One support more than ``count``, and the button while there are others."""
        groups = [gr.update(visible=number <= count) for number in range(MAX_SUPPORTS)]
        return [count + 1, *groups, gr.update(visible=count + 1 < MAX_SUPPORTS)]

    def find(self, asked: Asked, progress: gr.Progress) -> list[Any]:
        """What is found, and how it is shown."""
        try:
            supports = [read_marked(marked, number, self.folder) for number, marked in enumerate(asked.supports, 1)]
            supports = [support for support in supports if support is not None]
            if not supports:
                raise UserError("Nothing is marked yet: drop a support and paint the object in it.")
            search = Search(supports, check_queries(asked.queries), asked.refine, asked.inside)
            with memory_errors(self.max_side):
                found = self.finder.find(search, lambda number, of, what: progress((number, of), desc=what))
        except UserError as error:
            return [[], *self.show([], asked.threshold, str(error))]
        return [found, *self.show(found, asked.threshold, keep_zip=is_same(asked.found, found))]

    def show(self, found: list[Found], threshold: float, message: str = "", keep_zip: bool = False) -> list[Any]:
        """The message, a gallery for each view, and the zip, which stays while it holds what is found."""
        if found and not message:
            message = f"Probability above {threshold:g}: " + ", ".join(each.caption(threshold) for each in found)
        pictures = [
            [(picture, each.caption(threshold)) for each in found if (picture := view(each, threshold)) is not None]
            for view in VIEWS.values()
        ]
        file = gr.skip() if keep_zip else gr.update(value=None, visible=False)  # a stroke may ask twice
        return [message, *pictures, gr.update(visible=bool(found)), file]

    def pack(self, found: list[Found], threshold: float, request: gr.Request) -> Any:
        """The zip of this session, in place of its last one."""
        place = self.folder / f"session_{request.session_hash}"
        place.mkdir(exist_ok=True)
        (place / "results.zip").write_bytes(pack_results(found, threshold))
        return gr.update(value=str(place / "results.zip"), visible=True)

    def list_toys(self) -> list[Image.Image]:
        return [toy.support for toy in self.toys]

    def choose_toy(self, event: gr.SelectData) -> list[Any]:
        """A toy image as the first support, and its queries."""
        toy, paths = self.toys[event.index], []
        for number, query in enumerate(toy.queries, 1):
            paths.append(str(self.folder / f"toy_{event.index + 1}_{number}.png"))
            query.save(paths[-1])
        layer = paint_layer(toy.mask, BRUSH)
        composite = Image.alpha_composite(toy.support.convert("RGBA"), layer)
        return [None, None, {"background": toy.support, "layers": [layer], "composite": composite}, paths]

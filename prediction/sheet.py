"""What was found in all of a user's images on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from engine.drawing import Tile, draw_line, draw_row, shorten_caption, stack_rows

SHEET_SIDE = 320  # pixels, of a sheet's tile
FEWEST_COLUMNS, MOST_COLUMNS = 5, 12  # of a sheet: it grows wider before it grows long


def draw_sheet(sections: Sequence[tuple[str, Sequence[Tile]]]) -> Image.Image:
    """Sections of a heading and tiles in rows; the columns follow from the longest section.

    Captions are "NAME: REST" or NAME; of names that do not fit in a tile the middle is left out.
    """
    longest = max(len(tiles) for _, tiles in sections)
    columns = min(max(FEWEST_COLUMNS, math.ceil(math.sqrt(1.3 * longest))), MOST_COLUMNS)
    rows = []
    for heading, tiles in sections:
        fitting = [tile._replace(caption=shorten_caption(tile.caption, SHEET_SIDE)) for tile in tiles]
        rows.append(draw_line(shorten_caption(heading, columns * SHEET_SIDE)))
        rows += [draw_row(fitting[start : start + columns], SHEET_SIDE) for start in range(0, len(tiles), columns)]
    return stack_rows(rows)

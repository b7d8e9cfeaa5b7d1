"""A page to try the network on your own images: mark an object with a brush, drop other images, see it found.

    python app.py
    python app.py --checkpoint resnet50_1shot_61.40.ckpt --port 8000

The program prints the page's address; open it in a browser on this machine. Ctrl-C closes the page. You need the
package gradio (pip install gradio), or run "make app". Without --checkpoint nothing was trained: the page finds with
the features of a backbone as it is, and with SSP, as predict.py does.

On the page, drop, paste or photograph one to five supports and paint the object in each, or drop its mask as a file
(the rules are those of predict.py). Then drop up to 12 queries. Each stroke, the threshold and the refinement change
the result at once, without encoding an image again. Masks, overlays and probabilities are packed into a zip.

The page is seen on this machine only, unless you name another --host or --share it. It sends nothing anywhere and
loads nothing from the web; before it opens, the program may fetch a backbone's weights, and says so. Uploads lie in a
temporary folder, which is removed when the program ends.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

import util.launch
from engine.checkpoint import find_checkpoint
from engine.options import (
    OneLineParser,
    add_max_side,
    add_weights,
    device,
    memory_errors,
    whole,
)
from page.finder import Finder
from page.guard import Guard
from page.uploads import MAX_BYTES, MAX_SIDE
from util.errors import UserError, first_line


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add_weights(parser)
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: the whole network (default %(default)s)")
    add("--port", type=whole(1, 65535), default=7860, help="(default %(default)s)")
    add("--share", action="store_true", help="make a public address through gradio's servers (default: off)")
    add_max_side(parser, MAX_SIDE)
    add("--device", type=device, help="cpu, cuda, cuda:1 or 1, mps, auto (default auto: cuda if any)")
    return parser.parse_args(argv)


def prepare_gradio(folder: Path) -> None:
    """Import gradio so that it writes to the folder only."""
    os.environ |= {
        "GRADIO_TEMP_DIR": str(folder), "GRADIO_EXAMPLES_CACHE": str(folder / "examples"),
        "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_ALLOWED_PATHS": "", "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    import gradio  # noqa: F401


def main(argv: list[str] | None = None) -> None:
    """Serve the page until it is interrupted."""
    args = parse(argv)
    if find_spec("gradio") is None:
        raise UserError('the page needs the package gradio (pip install gradio); "make app" installs it')
    checkpoint = None if args.checkpoint is None else find_checkpoint(args.checkpoint)
    from prediction.load import load_predictor  # here, so that --help and wrong flags need not wait for torch

    with memory_errors(args.max_side):  # before gradio, which keeps packages from the web
        network = {"method": args.method, "backbone": args.backbone, "pretrained": args.weights}
        predictor = load_predictor(checkpoint, None, args.device, args.max_side, **network)
    with tempfile.TemporaryDirectory(prefix="ssp_page_") as name:
        folder = Path(name).resolve()
        prepare_gradio(folder)
        from page.build import CSS, THEME, build_page  # which imports gradio

        page = build_page(Finder(predictor), folder, args.max_side)
        try:
            _, address, shared = page.launch(
                server_name=args.host, server_port=args.port, share=args.share, prevent_thread_lock=True, quiet=True,
                show_error=True, allowed_paths=[], max_file_size=MAX_BYTES, ssr_mode=False, run_history=False,
                enable_monitoring=False, mcp_server=False, pwa=False, footer_links=[], theme=THEME, css=CSS,
                app_kwargs={"middleware": [(Guard, [], {"folder": folder})]},
            )  # fmt: skip
        except OSError as error:
            raise UserError(f"--host {args.host} --port {args.port}: {first_line(error)}; choose others") from error
        print(f"the page: {shared or address} (Ctrl-C closes it)")
        print(f"network: {predictor.about}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the page is closed, its files are removed") from None
        finally:
            page.close(verbose=False)


if __name__ == "__main__":
    util.launch.command(main)

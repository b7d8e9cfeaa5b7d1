"""The former name of ``python prepare.py toy``, for scripts that call ``python -m dataset.toy``."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.argv.insert(1, "toy")
    runpy.run_path(str(Path(__file__).parents[1] / "prepare.py"), run_name="__main__")

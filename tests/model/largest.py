"""The largest tensor that a computation makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Largest(TorchDispatchMode):
    """Within it, ``numbers`` is how many numbers the largest tensor that an operation returned holds."""

    numbers = 0

    def __torch_dispatch__(
        self, operation: Callable, types: Any, given: tuple = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        result = operation(*given, **(named or {}))
        found = [x.numel() for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        self.numbers = max([self.numbers, *found])
        return result

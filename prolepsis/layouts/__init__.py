"""How transcoders lie on disk: one module per layout, told apart by the names of their files."""

from pathlib import Path

import torch

from prolepsis.errors import UserError
from prolepsis.layouts.bundles import Bundles
from prolepsis.layouts.cross_layer import CrossLayer
from prolepsis.layouts.gemma_scope import GemmaScope
from prolepsis.layouts.gemma_scope_2 import GemmaScope2
from prolepsis.layouts.layout import Layout

LAYOUTS: tuple[type[Layout], ...] = (CrossLayer, GemmaScope2, Bundles, GemmaScope)


def open_layout(folder: Path, dtype: torch.dtype, input_hook: str | None = None) -> Layout:
    """The transcoder in ``folder``, its headers read and checked; ``input_hook`` overrules what its files declare.

    Raises UserError for a folder that holds no transcoder of a known layout, and whatever opening that layout raises.
    """
    for layout in LAYOUTS:
        if layout.lies_in(folder):
            return layout.open(folder, dtype, input_hook)
    if folder.is_dir():
        known = "; ".join(f"{layout.name}: {layout.files}" for layout in LAYOUTS)
        raise UserError(
            f"{folder}: holds no transcoder of a known layout ({known}); download its config.yaml and files"
        )
    raise UserError(f"{folder}: no such folder; give the folder of a transcoder")

"""How transcoders lie on disk: one module per layout, told apart by the names of their files."""

import torch

from prolepsis.errors import UserError
from prolepsis.layouts.bundles import Bundles
from prolepsis.layouts.cross_layer import CrossLayer
from prolepsis.layouts.files import Files
from prolepsis.layouts.gemma_scope import GemmaScope
from prolepsis.layouts.gemma_scope_2 import GemmaScope2
from prolepsis.layouts.layout import Layout

LAYOUTS: tuple[type[Layout], ...] = (CrossLayer, GemmaScope2, Bundles, GemmaScope)


def open_layout(files: Files, dtype: torch.dtype, input_hook: str | None = None) -> Layout:
    """The transcoder that ``files`` are, its headers read and checked; ``input_hook`` overrules what they declare.

    Raises UserError for files that are no transcoder of a known layout, and whatever opening that layout raises.
    """
    for layout in LAYOUTS:
        if layout.lies_in(files):
            return layout.open(files, dtype, input_hook)
    if files.folder.is_dir():
        known = "; ".join(f"{layout.name}: {layout.looks}" for layout in LAYOUTS)
        raise UserError(f"{files}: holds no transcoder of a known layout ({known}); download its config.yaml and files")
    raise UserError(f"{files}: no such folder; give the folder of a transcoder")

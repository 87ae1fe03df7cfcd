"""Names of model parts as they are written in papers: ``L22:10243`` is a feature, ``L21:H5`` a head."""

import re
from dataclasses import dataclass

from prolepsis.errors import UserError


@dataclass(frozen=True, order=True)
class Feature:
    """Transcoder feature ``index`` whose encoder reads layer ``layer``; reads and prints ``L22:10243``."""

    layer: int
    index: int

    def __str__(self) -> str:
        return f"L{self.layer}:{self.index}"

    @classmethod
    def parse(cls, text: str) -> "Feature":
        """Read ``L22:10243``; raises UserError naming the text otherwise."""
        match = re.fullmatch(r"L(\d+):(\d+)", text.strip())
        if match is None:
            raise UserError(f"feature {text!r} is not of the form L22:10243")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, order=True)
class Head:
    """Attention head ``index`` of layer ``layer``; reads and prints ``L21:H5``."""

    layer: int
    index: int

    def __str__(self) -> str:
        return f"L{self.layer}:H{self.index}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read ``L21:H5``; raises UserError naming the text otherwise."""
        match = re.fullmatch(r"L(\d+):H(\d+)", text.strip())
        if match is None:
            raise UserError(f"head {text!r} is not of the form L21:H5")
        return cls(int(match[1]), int(match[2]))

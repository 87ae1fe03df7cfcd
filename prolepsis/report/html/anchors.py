"""Names of the places in a page that links lead to."""

import re
from collections.abc import Mapping
from typing import Any


def claim_anchor(claim: str, variant: str) -> str:
    """The section of a claim."""
    return f"{claim}-{variant}"


def row_anchor(row: Mapping[str, Any]) -> str:
    """A claim on one subject."""
    return f"{row['id']}-{row['variant'][0]}-{_plain(row['subject'])}"


def _plain(text: str) -> str:
    """Letters that need no escaping in an attribute or an address; two texts that differ stay different."""
    return re.sub(r"[^A-Za-z0-9.-]", lambda match: f"_{ord(match[0]):x}", text)

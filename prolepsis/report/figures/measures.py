"""How large what is drawn is, in px."""

LINE = 15
"""Height of a line of text."""
LETTER = 6.4
"""Width of a letter, on average: SVG has no way to ask."""

Box = tuple[float, float, float, float]
"""Left, top, width and height."""

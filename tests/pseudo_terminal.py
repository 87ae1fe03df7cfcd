"""What a program shows on a terminal."""

import os


def shown_on(reader: int) -> bytes:
    """All that is written on a pseudo-terminal until nobody holds it; its other end, ``reader``, is closed then."""
    shown = b""
    while True:
        try:
            piece = os.read(reader, 65536)
        except OSError:
            # So Linux says that the other side is closed.
            break
        if not piece:
            break
        shown += piece
    os.close(reader)
    return shown

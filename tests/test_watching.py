"""Long loops and whoever watches them."""

import pytest

from prolepsis.watching import shown_by, watched
from tests.seen import Seen


def test_nobody_watches_unless_asked_to() -> None:
    """Without a watcher a loop is what it would be without this."""
    assert list(watched("abc", "letters")) == ["a", "b", "c"]


def test_only_the_outermost_loop_is_shown() -> None:
    """A loop inside a shown one is not; the next one after it is."""
    seen = Seen()
    with shown_by(seen):
        inner = [list(watched(range(5), "inside")) for _ in watched(range(3), "outside")]
        list(watched(range(2), "after"))
    list(watched(range(2), "unseen"))
    assert inner == [[0, 1, 2, 3, 4]] * 3
    assert seen.loops == [("outside", 3), ("after", 2)]


def test_a_single_step_is_no_loop() -> None:
    """What has one step has nothing to show; what it runs inside may have."""
    seen = Seen()
    with shown_by(seen):
        for _ in watched(["alone"], "outside"):
            list(watched(range(4), "inside"))
    assert seen.loops == [("inside", 4)]


@pytest.mark.parametrize("leave", ["break", "error"])
def test_a_loop_that_is_left_early_hides_nothing_after_it(leave: str) -> None:
    """After a break or an error inside a shown loop, the next loop is shown again."""
    seen = Seen()
    with shown_by(seen):
        try:
            for item in watched(range(9), "left"):
                if item == 4:
                    assert leave == "break"
                    break
        except AssertionError:
            pass
        list(watched(range(2), "next"))
    assert seen.loops == [("left", 4), ("next", 2)]

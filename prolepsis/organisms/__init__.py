"""Tiny subjects with known answers: planted by hand, or trained on a small grammar."""

PLANTED = tuple(
    f"planted-{family}-{variant}"
    for family in ("llama", "gemma2")
    for variant in ("irrevocable", "corrects", "revocable", "direct", "latch", "dormant", "no-plan", "untrained")
)
TRAINED = ("planner", "improviser", "window-relay", "window-1", "window-2")
_TRAINED_AND_TWINS = (*TRAINED, *(f"{name}-untrained" for name in TRAINED))
SUITES = {
    "couplets": (*PLANTED, *_TRAINED_AND_TWINS),
    "facts": _TRAINED_AND_TWINS,
}
"""Which bundled subjects a claim is asked of: those that can be asked for what it is about."""
BUNDLED = tuple(dict.fromkeys(name for suite in SUITES.values() for name in suite))

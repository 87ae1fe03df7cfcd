"""Tiny subjects with known answers: planted by hand, or trained on a small grammar."""

PLANTED = tuple(
    f"planted-{family}-{variant}"
    for family in ("llama", "gemma2")
    for variant in ("irrevocable", "corrects", "revocable", "direct", "latch", "dormant", "no-plan", "untrained")
)
TRAINED = ("planner", "improviser", "window-relay", "window-1", "window-2")
BUNDLED = (*PLANTED, *TRAINED, *(f"{name}-untrained" for name in TRAINED))

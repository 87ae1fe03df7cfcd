"""Tiny subjects with known answers: planted by hand, or trained on a small grammar."""

PLANTED = tuple(
    f"planted-{family}-{variant}"
    for family in ("llama", "gemma2")
    for variant in ("irrevocable", "corrects", "revocable", "direct", "latch", "dormant", "no-plan", "untrained")
)
CARRIERS = ("planted-llama-values-only", "planted-llama-pattern-only")
TWO_TASKS = ("planted-llama-shared-heads", "planted-llama-own-heads")
ABSORBER = "planted-llama-absorber"
SPOILED = ("planted-llama-spoiled-early", "planted-llama-spoiled-late")
XOR = ("planted-llama-xor", "planted-llama-xor-untrained")
TRAINED = ("planner", "improviser", "window-relay", "window-1", "window-2")
LADDERS = ("narrow-window-4", "free-4")
"""The deepest organism of each ladder; the shallower ones are reached through it."""
REDIRECTS = (
    *(name for name in PLANTED if not name.endswith(("dormant", "no-plan", "untrained"))),
    "planner",
)
"""Subjects with a site from which a change of the plan redirects the answer, whatever is made of attention there."""
_TRAINED_AND_TWINS = tuple(each for name in TRAINED for each in (name, f"{name}-untrained"))
_WIDE = ("planner", "improviser", "window-relay")
_WIDE_AND_TWINS = tuple(each for name in _WIDE for each in (name, f"{name}-untrained"))
"""Trained subjects of width 128. At width 64 random rows reach a cosine of 0.3 with some token more often than not."""
SUITES = {
    "couplets": (*PLANTED, *_TRAINED_AND_TWINS),
    "facts": _TRAINED_AND_TWINS,
    "vocabulary scan": (*PLANTED, *_WIDE_AND_TWINS),
    "words found": (*PLANTED, *_WIDE),
    "lines": _TRAINED_AND_TWINS,
    "skipping": (*PLANTED, *SPOILED, *_TRAINED_AND_TWINS),
    "ladders": LADDERS,
    "routing": (*PLANTED, *CARRIERS, *_TRAINED_AND_TWINS),
    "redirects": REDIRECTS,
    "without twins": (*PLANTED, *TRAINED),
    "two tasks": (*TWO_TASKS, *_TRAINED_AND_TWINS),
    "attractor": (*PLANTED, ABSORBER, *_TRAINED_AND_TWINS),
    "steering": (*PLANTED, *XOR, *_TRAINED_AND_TWINS),
}
"""Which bundled subjects a claim is asked of: those that can be asked for what it is about."""
BUNDLED = tuple(dict.fromkeys(name for suite in SUITES.values() for name in suite))


def kin(name: str) -> str:
    """The group of bundled subjects that are controls of each other; any other subject is a group of its own."""
    if name in _TRAINED_AND_TWINS:
        return "trained"
    family = "-".join(name.split("-")[:2])
    return family if name in BUNDLED and family in ("planted-llama", "planted-gemma2") else name

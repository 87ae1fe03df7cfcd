"""A measurement of each kind that has a figure, with as little in it as the figure shows."""

from typing import Any


def sample(kind: str, seed: int = 0) -> dict[str, Any]:
    """A stored measurement whose ``detail`` holds what a figure of this kind shows; another one for each seed."""
    x = 1.0 + seed / 8
    details: dict[str, dict[str, Any]] = {
        "state map": {
            "state map": {
                "roles": ["rhyme word", "<nl>", "+3", "last"],
                "pairs": [48, 48, 30, 48],
                "layers": [-1, 0, 1],
                "nats": [[9.0 * x, 0.0, 0.0, 0.0], [0.0, 8.7, -0.4, 0.0], [None, None, None, 8.9]],
                "hand-offs": [{"layer": 0, "from": "rhyme word", "to": "<nl>"}],
            }
        },
        "position sweep": {
            "by position": {
                "pairs": 48,
                "offsets": [-2, -1, 0],
                "P": {
                    "suppress + inject": [1e-4, 1e-3 * x, 0.5],
                    "matched random": [1e-4, 2e-4, 0.4],
                    "no edit": [1e-4] * 3,
                },
            }
        },
        "published position sweep": {
            "P by position": {"measured": [1e-7, 2e-7, 0.4 * x], "matched random": [1e-7, 1e-7, 0.1]},
            "P without an edit": 1e-7,
        },
        "top heads": {
            "carriers": {"half 0": ["L1:H0"], "half 1": ["L2:H1"]},
            "mean |Δattention|": {"L1:H0": 0.1 * x, "L1:H1": 0.3, "L2:H1": 0.02},
            "lost by each head": {"L1:H0": 0.6, "L1:H1": 0.0, "L2:H1": 0.3},
        },
        "truth table of the edit": {
            "total |Δattention| by arm": {"both": 0.4 * x, "suppress": 0.1, "inject": 0.2, "random 0": 0.1},
            "log-odds of the injected word": {
                "a": {"clean": -8.0, "both": 1.0, "suppress": -7.0, "inject": -4.0, "random 0": -8.0}
            },
        },
        "strength sweep": {"by dose": {"transcoder": {"all": {"gain": [0.0, 1.0, 2.0 * x], "cost": [0.0, 0.1, 0.3]}}}},
        "steering methods": {"methods": {"decoder dot": {"gains": [0.0, 1.0 * x, 4.0]}, "no edit": {"gains": [0.0]}}},
        "attention by strength": {"total |Δattention| by strength": [0.1, 0.2, 0.25 * x], "strengths": [0.5, 1.0, 2.0]},
        "block gradient of attention": {
            "total shift by block": [0.4 * x, 0.2, 0.0],
            "layers above": [2, 1, 0],
            "total shift per layer above": [0.2 * x, 0.2, 0.0],
        },
        "block gradient of predictions": {
            "fact tokens changed, by block": [0.5, 0.2 / x, 0.0],
            "template tokens changed, the last left out": 0.1,
            "last token changed": 0.9,
        },
        "depth ladder": {
            "rungs": {
                "a": {"depth": 1, "width": 128, "predicted": 0.2, "rhymes": 0.2 / x, "facts": 0.1},
                "b": {"depth": 2, "width": 128, "predicted": 1.0, "rhymes": 0.98, "facts": 0.9},
            }
        },
        "layer skipping": {
            "rhyme": {"L0": 4.0 * x, "L1": 0.5},
            "rest": {"L0": 3.0, "L1": 0.1},
            "rhyme, interval": {"L0": [3.1, 4.9], "L1": [None, None]},
        },
        "rhymes without layers": {
            "couplets that rhyme": {
                "none": {"couplets": 48, "true rhymes": 46, "interval": [0.86, 0.99]},
                "L1": {"couplets": 48, "true rhymes": 12 + seed, "interval": [0.14, 0.4]},
            }
        },
        "logit lens": {
            "rhymes": [-4.0, 0.0, 3.0 * x],
            "another_line": [-4.0, -5.0, -6.0],
            "mid_line": [-6.0, -6.0, -7.0],
        },
        "fact by layer": {
            "answer recalled": {
                "subject's rows, nats": {"0": 17.0 * x, "1": 0.3},
                "last token's row, nats": {"0": 0.1, "1": 18.0},
            }
        },
        "correction sweep": {
            "outcomes": {
                "a": {"committed": [4.0, 2.0, -2.0], "correct": [0.0, 0.1, 0.5 / x], "correct_without": [0.0, 0.8, 0.9]}
            }
        },
        "published correction sweep": {
            "with the commitment": [{"committed": 0.5, "correct": 0.0}, {"committed": 0.4 / x, "correct": 0.1}],
            "without the commitment": [{"committed": 0.0, "correct": 0.0}, {"committed": 0.0, "correct": 0.9}],
        },
        "dose of evidence": {
            "curves": {"a": {"margin": 7.0 * x, "doses": [0.1, 0.2], "committed": [0.1, 9.0], "alone": [5.0, 12.0]}},
            "everywhere": {"L0 at the site": {"alone": 0.5, "committed": 0.1}},
        },
    }
    parameters: dict[str, dict[str, Any]] = {
        "strength sweep": {"doses": [0.5, 1.0]},
        "steering methods": {"strengths": [0.5, 1.0, 2.0]},
        "block gradient of predictions": {"blocks": ["L0..0", "L1..1", "L2..2"]},
        "correction sweep": {"steps": [0.0, 1.0, 2.0]},
        "published correction sweep": {"strengths": [0.0, 10.0]},
        "dose of evidence": {"doses": [1.0, 2.0]},
    }
    return {"detail": details[kind], "parameters": parameters.get(kind, {})}

"""Small recordings in the formats the archive tier reads, and a whole archive of them."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prolepsis.archive.files import Recording, open_archive
from prolepsis.measurement import Measurement

GEMMA, LLAMA = "google/gemma-2-2b", "meta-llama/Llama-3.2-1B"
SMALL, LARGE, OTHER = "mntss/clt-gemma-2-2b-426k", "mntss/clt-gemma-2-2b-2.5M", "mntss/clt-llama-3.2-1b-524k"
TINY = "someone/clt-tiny-1b-5K"
SPIKE = [1e-9, 2e-9, 1e-9, 0.4]
FLAT = [1e-9, 3e-9, 1e-9, 2e-9]


def write(folder: Path, name: str, contents: object) -> Path:
    """A file of an archive."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents))
    return path


def recording(folder: Path, contents: object, name: str = "a.json") -> Recording:
    """The one recording of a folder that holds this file alone."""
    write(folder, name, contents)
    (found,) = (one for one in open_archive(folder).recordings if one.files)
    return found


def value(found: Measurement) -> float:
    """The single value of a measurement."""
    (only,) = found.values.values()
    return only


@contextmanager
def held(contents: object) -> Iterator[Recording]:
    """The same in a folder that is there only within the block."""
    with tempfile.TemporaryDirectory() as folder:
        yield recording(Path(folder), contents)


def pair(probabilities: list[float], word: str, prompt: str = "a prompt", layer: int = 2) -> dict[str, Any]:
    """A recorded pair, its positions in no order."""
    positions = [{"position": i, "token": "t", "p_inject": p} for i, p in enumerate(probabilities)]
    feature = {"layer": layer, "index": len(word)}
    return {
        "prompt_text": prompt, "natural_group": "-at", "alt_group": f"-{word}", "inject_word": word,
        "inject_feature": feature, "baseline_p_inject": probabilities[0], "positions": positions[::-1],
    }  # fmt: skip


def pair_sweep(*pairs: dict[str, Any], transcoder: str = TINY) -> dict[str, Any]:
    """A recorded pair sweep."""
    return {"model": "tiny", "clt_repo": transcoder, "n_pairs": len(pairs), "inject_strength": 10.0, "results": pairs}


def position_sweep(probabilities: list[float], transcoder: str = TINY, feature: str = "22:10243") -> dict[str, Any]:
    """A recorded position sweep."""
    entries = [{"position": i, "prob": p} for i, p in enumerate(probabilities)]
    layer, index = map(int, feature.split(":"))
    return {
        "model": "tiny", "clt_repo": transcoder, "inject_feature": {"layer": layer, "index": index},
        "baseline_prob": probabilities[0], "sweep": entries,
    }  # fmt: skip


def routing(
    changes: Mapping[tuple[int, int], float],
    *,
    model: str = GEMMA,
    transcoder: str = SMALL,
    feature: str = "L22:10243",
    site: int = 23,
    layers: int = 26,
) -> dict[str, Any]:
    """A recorded head routing of two heads per layer; ``changes`` maps (layer, head) → Δ, every other one 0."""
    deltas = [[changes.get((layer, head), 0.0) for head in range(2)] for layer in range(layers)]
    top = max((abs(delta) for row in deltas for delta in row), default=0.0)
    total = sum(abs(delta) for row in deltas for delta in row)
    return {
        "model_id": model, "clt_repo": transcoder, "feature": feature, "strength": 10.0, "planning_site": site,
        "output_position": site + 2, "n_layers": layers, "n_heads": 2,
        "head_deltas": [
            [
                {"layer": layer, "head": head, "baseline_attn": 0.25, "steered_attn": 0.25 + delta, "delta": delta}
                for head, delta in enumerate(row)
            ]
            for layer, row in enumerate(deltas)
        ],
        "strength_sweep": [
            {"strength": 10 * k, "top_head_delta": min(k, 1.5) * top, "total_routing_shift": k * total}
            for k in (0.5, 1.0, 1.5, 2.0)
        ],
    }  # fmt: skip


def convergence(cosines: list[list[float]], model: str = LLAMA, baseline: float = 0.3) -> dict[str, Any]:
    """A recorded convergence whose stated absorption is what the cosines give, and whose answer hardly moves."""
    absorbed = [next((o for o in range(i + 1, len(row)) if row[o] >= 0.95), None) for i, row in enumerate(cosines)]
    return {
        "model_id": model, "prompt": "The capital of France is", "target_token": " Paris", "threshold": 0.95,
        "n_layers": len(cosines), "baseline_p_target": baseline, "convergence_matrix": cosines,
        "best_injection_layer": 2,
        "layer_summaries": [{"injection_layer": i, "absorption_layer": layer} for i, layer in enumerate(absorbed)],
        "strength_sweep": [
            {"strength": 0.5 * k, "p_target": baseline + 0.01, "absorption_layer": 3 if k < 3 else None}
            for k in range(1, 5)
        ],
    }  # fmt: skip


def scan(groups: Mapping[str, list[tuple[str, str]]], clean: int, features: int = 425_984) -> dict[str, Any]:
    """A recorded rhyme-group scan: ending → (word, phonemes)."""
    listed = [
        {
            "rhyme_ending": ending,
            "words": [
                {"word": word, "feature": {"layer": 25, "index": 100 * n + i}, "cosine": 0.5, "phonemes": phones}
                for i, (word, phones) in enumerate(words)
            ],
        }
        for n, (ending, words) in enumerate(groups.items())
    ]
    return {
        "min_cosine": 0.3, "n_features_loaded": features, "n_clean_english": clean, "n_in_cmu_dict": clean,
        "n_rhyme_groups": len(listed), "n_rhyming_words": sum(map(len, groups.values())), "rhyme_groups": listed,
    }  # fmt: skip


WORDS = {
    "AW1 T": [("about", "AH0 B AW1 T"), ("out", "AW1 T")],
    "AE1 T": [("cat", "K AE1 T"), ("hat", "HH AE1 T"), ("at", "AE1 T")],
}
COUPLET = "The sea was wide,\nThe ship would glide.\nHe wore a hat,\nAnd had a"


def texts() -> list[dict[str, str]]:
    """Generated texts of every protocol, all of which rhyme with another word."""
    skipped = ("L5-L9", "L22-L25", "L24-L25", "L10-L14", "L15-L19", "L20-L25")
    whole_lines = ("", *(f"skip {layers}" for layers in skipped))
    return [
        {"prompt": COUPLET, "generated": " cat, and more"},
        {"prompt": f"{COUPLET} <strong>", "generated": " cat"},
        {"prompt": "He wore a hat,\nAnd had a", "generated": " cat"},
        *({"prompt": "He wore a hat,\n", "generated": "And had a cat.\nThe end", "condition": c} for c in whole_lines),
    ]


def fact(subject: str, answer: str, other: str, told: str = "is in") -> dict[str, str]:
    """A counterfactual pair about ``subject``."""
    ask = "\n\nRespond with one of A or B or unknown and nothing else.\n\nResponse:"
    return {
        "original_prompt": f"{subject} {told}{ask}", "counterfactual_prompt": f"Not{subject} {told}{ask}",
        "gt_original_target": answer, "gt_counterfactual_target": other,
    }  # fmt: skip


def absorbing(layers: int) -> list[list[float]]:
    """Cosines of deviations that are seen and taken back within two layers, at every layer that has so many above."""
    return [[0.8 if o == i + 1 else 1.0 for o in range(layers)] for i in range(layers)]


def whole_archive(folder: Path) -> None:
    """Every kind of recording for each of the paper's transcoders, as favourable to the claims as they can be."""
    for model, transcoder, features, feature, suppressed, site, layers in (
        (GEMMA, SMALL, 425_984, "L22:10243", 16, 23, 26),
        (GEMMA, LARGE, 2_555_904, "L25:82839", 20, 23, 26),
        (LLAMA, OTHER, 524_288, "L14:13043", 9, 14, 16),
    ):
        name = transcoder.rpartition("-")[2]
        pairs = [pair(SPIKE, "x" * (1 + i), f"prompt {j}", 25 - i) for i in range(10) for j in range(8)]
        pairs += [pair([*SPIKE[:-1], 0.9], "around", f"prompt {j}", 16) for j in range(8)]
        pairs.append(pair(FLAT, "city"))
        deltas = (-0.3, 0.2, 0.1, 0.05, 0.02)
        changes = {(suppressed + 1 + i // 2, i % 2): delta for i, delta in enumerate(deltas)}
        run = routing(changes, model=model, transcoder=transcoder, feature=feature, site=site, layers=layers)
        write(folder, f"{name}/pairs.json", pair_sweep(*pairs, transcoder=transcoder))
        write(folder, f"{name}/positions.json", position_sweep(SPIKE, transcoder, feature.removeprefix("L")))
        write(folder, f"{name}/routing.json", run)
        write(folder, f"{name}/groups.json", scan(WORDS, 5, features))
    write(folder, "gemma.json", convergence(absorbing(26), GEMMA))
    write(folder, "llama.json", convergence(absorbing(16), LLAMA))
    write(folder, "texts.json", texts())
    write(folder, "test_both_correct.json", [fact(f"Town{i}", "France", "Spain") for i in range(20)])
    write(folder, "test_split.json", [fact(f"City{i}", "France", "Spain") for i in range(30)])

"""A swept edit in one resumed batch, against one hooked full forward pass per position.

Llama, 26 layers, width 256, feed-forward 1024, vocabulary 32 000, 32 tokens, all positions, writes at
resid_post(16…25), one CPU thread. Run as a script; prints the ratio and whether the logits are equal bit for bit.
"""

import argparse
import statistics
import time
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from prolepsis.edits import Add
from prolepsis.engine import clean_run
from prolepsis.subject import Subject

N_TOKENS, FIRST, LAYERS, WIDTH = 32, 16, 26, 256


def subject() -> Subject:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=WIDTH,
        intermediate_size=1024,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=64,
        attn_implementation="eager",
    )
    return Subject(id="bench", model=LlamaForCausalLM(config), tokenizer=None)


def one_by_one(model: Any, tokens: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """One full forward pass per position, hooks on the edited layers, last-position logits only."""
    rows = []
    for position in range(N_TOKENS):
        handles = []
        for layer in range(FIRST, LAYERS):

            def hook(_: Any, __: Any, output: Any, layer: int = layer, at: int = position) -> Any:
                hidden = (output[0] if isinstance(output, tuple) else output).clone()
                hidden[:, at] += vectors[layer]
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            handles.append(model.model.layers[layer].register_forward_hook(hook))
        with torch.no_grad():
            rows.append(model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[0, -1])
        for handle in handles:
            handle.remove()
    return torch.stack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    bench = subject()
    tokens = torch.randint(0, 32000, (N_TOKENS,))
    vectors = torch.randn(LAYERS, WIDTH)
    rows = [[Add(layer, p, vectors[layer]) for layer in range(FIRST, LAYERS)] for p in range(N_TOKENS)]
    ratios = []
    for _ in range(repeats):
        start = time.perf_counter()
        expected = one_by_one(bench.model, tokens[None], vectors)
        middle = time.perf_counter()
        swept = clean_run(bench, tokens.tolist()).edit(rows).last_logits
        end = time.perf_counter()
        ratios.append((middle - start) / (end - middle))
        if not torch.equal(expected, swept):
            raise SystemExit(f"not equal: largest difference {(expected - swept).abs().max():.3g}")
    ratio = statistics.median(ratios)
    print(f"equal bit for bit; {ratio:.2f} times faster (median of {repeats}: {', '.join(f'{r:.2f}' for r in ratios)})")
    if ratio < 4:
        raise SystemExit("slower than the bar of 4 times")


if __name__ == "__main__":
    main()

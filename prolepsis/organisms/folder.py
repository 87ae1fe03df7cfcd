"""Writing an organism as a subject folder: configuration, float16 weights, tokenizer, task and what was measured."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from prolepsis.organisms.grammar import BOS, EOS, PAD, TOKEN_ID, UNKNOWN
from prolepsis.organisms.recipes import Recipe
from prolepsis.organisms.tokenizer import save_tokenizer, word_tokenizer
from prolepsis.organisms.transcoder_training import TranscoderWeights
from prolepsis.transcoder import write_transcoder


def save_trained(folder: Path, recipe: Recipe, model: Any, about: dict[str, Any]) -> None:
    """Write model, tokenizer, task.json and subject.json (``about``) of a trained organism."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    weights = {name: parameter.detach().to(torch.float16) for name, parameter in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    save_tokenizer(word_tokenizer(TOKEN_ID, BOS, UNKNOWN, eos_token=EOS, pad_token=PAD), folder)
    (folder / "task.json").write_text(recipe.task.to_json() + "\n")
    save_about(folder, about)


def save_about(folder: Path, about: dict[str, Any]) -> None:
    """Write subject.json, making the folder if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "subject.json").write_text(json.dumps(about, indent=1, allow_nan=False) + "\n")


def save_transcoder(folder: Path, weights: TranscoderWeights, model_name: str) -> None:
    """Write the transcoder of the organism in ``folder`` in float16."""
    write_transcoder(
        folder / "transcoder",
        weights.encoders,
        weights.biases,
        weights.decoders,
        weights.decoder_biases,
        thresholds=weights.thresholds,
        model_name=model_name,
        dtype=torch.float16,
    )

"""Training a cross-layer transcoder on an organism's own activations, in the form it is stored in.

Features are on where their pre-activation exceeds a threshold per layer, which follows the value that the wanted number
of features per token exceeds (BatchTopK with a running threshold). So the form that is trained is the form that is
stored, a JumpReLU. Inputs are raw resid_mid rows and targets
MLP outputs; they are standardised for training and the standardisation is folded into the weights at the end.
Reference: Bussmann et al. 2024, "BatchTopK sparse autoencoders".
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from prolepsis.organisms.grammar import PAD, TOKEN_ID, corpus
from prolepsis.organisms.training import additive_mask
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.transcoder import Transcoder
from prolepsis.watching import watched

DOCUMENTS_PER_STEP = 20
BATCH = 1024
LEARNING_RATE = 2e-3
_CUT_TOKENS = 256
_CUT_RATE = 0.05
_DEAD_AFTER = 100
_AUXILIARY_WEIGHT = 0.06


@dataclass(frozen=True)
class Activations:
    """resid_mid rows and MLP outputs of every layer at the same tokens, both [N, L, d]."""

    inputs: torch.Tensor
    outputs: torch.Tensor


@dataclass(frozen=True)
class TranscoderWeights:
    """The tensors of a cross-layer transcoder on raw activations; one entry per layer."""

    encoders: list[torch.Tensor]  # [F, d]
    biases: list[torch.Tensor]  # [F]
    decoders: list[torch.Tensor]  # [F, L - l, d]
    decoder_biases: list[torch.Tensor]  # [d]
    thresholds: list[torch.Tensor]  # [F]


@torch.no_grad()
def collect(model: Any, rule: CoupletBarrier | None, seed: int, n_documents: int) -> Activations:
    """Activations of a Llama-like model on fresh random documents, padding left out."""
    inputs: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []
    hooks = []
    for layer in model.model.layers:
        hooks.append(layer.post_attention_layernorm.register_forward_pre_hook(lambda _m, a: inputs.append(a[0])))
        hooks.append(layer.mlp.register_forward_hook(lambda _m, _a, output: outputs.append(output)))
    batches: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    try:
        for tokens in torch.split(torch.from_numpy(corpus(n_documents, seed)), 500):
            inputs.clear()
            outputs.clear()
            model(
                input_ids=tokens,
                attention_mask=None if rule is None else additive_mask(rule, tokens),
                use_cache=False,
            )
            real = tokens != TOKEN_ID[PAD]
            for kept, rows in zip(batches, (inputs, outputs), strict=True):
                kept.append(torch.stack(rows, 2)[real])  # [tokens, L, d]
    finally:
        for hook in hooks:
            hook.remove()
    return Activations(torch.cat(batches[0]), torch.cat(batches[1]))


class _CrossLayer(torch.nn.Module):
    """The transcoder on standardised activations."""

    def __init__(self, layers: int, width: int, features: int, active: int, generator: torch.Generator) -> None:
        super().__init__()

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator) / math.sqrt(width)

        self.encoder = torch.nn.Parameter(normal(layers, width, features))
        self.bias = torch.nn.Parameter(torch.zeros(layers, 1, features))
        self.decoders = torch.nn.ParameterList(
            torch.nn.Parameter(normal(features, layers - layer, width) / math.sqrt(active * (layers - layer)))
            for layer in range(layers)
        )
        self.decoder_bias = torch.nn.Parameter(torch.zeros(layers, 1, width))

    def pre(self, x: torch.Tensor) -> torch.Tensor:
        """Pre-activations [L, N, F] of inputs [L, N, d]."""
        return torch.baddbmm(self.bias, x, self.encoder)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Outputs [L, N, d] without the bias of activations [L, N, F]."""
        layers, n_tokens, _ = z.shape
        total = z.new_zeros(n_tokens, layers, self.decoder_bias.shape[-1])  # [N, L, d]
        for layer, rows in enumerate(self.decoders):
            written = (z[layer] @ rows.flatten(1)).view(n_tokens, layers - layer, -1)
            total = total + functional.pad(written, (0, 0, layer, 0))
        return total.transpose(0, 1)


def _cut(pre: torch.Tensor, active: int) -> torch.Tensor:
    """Per layer, the value that ``active`` positive pre-activations per token exceed on average, [L]."""
    some = functional.relu(pre[:, :_CUT_TOKENS])
    return some.flatten(1).topk(active * some.shape[1]).values[:, -1]


def _above(pre: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
    return pre * (pre > cut[:, None, None])


def train_transcoder(data: Activations, *, features: int, active: int, steps: int, seed: int) -> TranscoderWeights:
    """Train on ``data`` for a fixed number of steps; deterministic for a seed and thread count.

    ``active`` features are on per token and layer on average. Features that have not fired for a while learn to
    reconstruct the residual error (an auxiliary loss), so that few stay dead.
    """
    inputs, outputs = data.inputs.transpose(0, 1).contiguous(), data.outputs.transpose(0, 1).contiguous()  # [L, N, d]
    layers, n_tokens, width = inputs.shape
    mean_in, mean_out = inputs.mean(1, keepdim=True), outputs.mean(1, keepdim=True)
    scale_in = (inputs - mean_in).square().mean((1, 2), keepdim=True).sqrt()
    scale_out = (outputs - mean_out).square().mean((1, 2), keepdim=True).sqrt()
    inputs, outputs = (inputs - mean_in) / scale_in, (outputs - mean_out) / scale_out

    generator = torch.Generator().manual_seed(seed)
    net = _CrossLayer(layers, width, features, active, generator)
    optimiser = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99))
    silent = torch.zeros(layers, features)
    cut = torch.zeros(layers)
    for step in watched(range(steps), "steps of the transcoder"):
        left = 1 - step / steps
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 50) * min(1.0, left / 0.4)
        pick = torch.randint(n_tokens, (BATCH,), generator=generator)
        x, y = inputs[:, pick], outputs[:, pick]
        pre = net.pre(x)
        now = _cut(pre.detach(), active)
        cut = now if step == 0 else torch.lerp(cut, now, _CUT_RATE)
        z = _above(pre, cut)
        error = y - net.decode(z) - net.decoder_bias
        loss = error.square().mean()
        silent = torch.where((z > 0).any(1), 0.0, silent + 1)
        dead = silent > _DEAD_AFTER
        if step % 2 == 0 and dead.any():
            idle = pre * dead[:, None]
            revived = _above(idle, _cut(idle.detach(), 2 * active))
            loss = loss + _AUXILIARY_WEIGHT * (error.detach() - net.decode(revived)).square().mean()
        optimiser.zero_grad()
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    return _folded(net, cut, (mean_in, scale_in), (mean_out, scale_out))


@torch.no_grad()
def _folded(
    net: _CrossLayer,
    cut: torch.Tensor,
    standard_in: tuple[torch.Tensor, torch.Tensor],
    standard_out: tuple[torch.Tensor, torch.Tensor],
) -> TranscoderWeights:
    """The same function on raw activations; activations keep the standardised scale, thresholds too."""
    (mean_in, scale_in), (mean_out, scale_out) = standard_in, standard_out
    encoder = (net.encoder / scale_in).transpose(1, 2)  # [L, F, d]
    bias = net.bias[:, 0] - (encoder @ mean_in.transpose(1, 2))[:, :, 0]  # [L, F]
    decoder_bias = (net.decoder_bias * scale_out + mean_out)[:, 0]  # [L, d]
    return TranscoderWeights(
        list(encoder),
        list(bias),
        [decoder * scale_out[layer:, 0] for layer, decoder in enumerate(net.decoders)],
        list(decoder_bias),
        [torch.full((encoder.shape[1],), float(threshold)) for threshold in cut],
    )


@torch.no_grad()
def fidelity(transcoder: Transcoder, data: Activations) -> dict[str, float]:
    """How well a stored transcoder explains ``data``.

    ``fve`` and ``fve_<layer>``: fraction of the MLP outputs' variance explained, on average and per layer; ``l0``:
    features on per token and layer; ``alive``: share of features that are ever on.
    """
    z = torch.stack([transcoder.encode(layer, data.inputs[:, layer]) for layer in range(transcoder.n_layers)])
    outputs = data.outputs.transpose(0, 1)  # [L, N, d]
    error = (outputs - transcoder.decode(z)).square().sum((1, 2))
    spread = (outputs - outputs.mean(1, keepdim=True)).square().sum((1, 2))
    explained = (1 - error / spread).tolist()
    on = z > 0
    return {
        "fve": sum(explained) / len(explained),
        **{f"fve_{layer}": value for layer, value in enumerate(explained)},
        "l0": float(on.float().sum(-1).mean()),
        "alive": float(on.any(1).float().mean()),
    }

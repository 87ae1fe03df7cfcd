"""Checks at load that weights are numbers and wired the way their family row says: else no verdict may come of them."""

import torch

from prolepsis.edits import Add
from prolepsis.engine import CleanRun, clean_run
from prolepsis.errors import UserError
from prolepsis.names import Head
from prolepsis.running.hooks import Pass, Read, applied, rows_of
from prolepsis.running.plan import Plan
from prolepsis.subject import Subject
from prolepsis.watching import watched

N_TOKENS = 6


def check(subject: Subject) -> None:
    """Raises UserError naming a weight that is not finite, or the first of four properties that does not hold.

    On a few random tokens a random dense edit at the last position changes the logits; z times the output matrix is
    what attention adds; attention rows sum to 1, or to less where there are sinks; the lens of the last layer equals
    the logits.
    """
    _refuse_what_is_not_finite(subject)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(subject.n_vocab, (N_TOKENS,), generator=generator).tolist()
    clean = clean_run(subject, tokens)
    at_most = " or less" if subject.family.sinks else ""
    tolerance = 1e-4 if subject.dtype in (torch.float32, torch.float64) else 5e-2
    for holds, what in (
        (_edit_moves_logits(clean, generator), "an edit of the last position does not change the logits"),
        (_z_is_attention(clean, tolerance), "z times the output matrix is not what attention adds"),
        (_rows_sum_to_one(clean, tolerance), f"attention rows do not sum to 1{at_most}"),
        (_lens_is_logits(clean, tolerance), "the lens of the last layer is not the model's logits"),
    ):
        if not holds:
            raise UserError(f"{subject.id}: {what}; this model's wiring is not the one modelled for its family")


def _refuse_what_is_not_finite(subject: Subject) -> None:
    for name, weight in watched(list(subject.model.named_parameters()), "weights checked"):
        # The extremes of a weight that holds NaN are NaN; asking each number would take twice the weight's memory.
        if not bool(torch.isfinite(torch.stack(torch.aminmax(weight.detach()))).all()):
            raise UserError(f"{subject.id}: weight {name} holds NaN or infinity; get the file again")


def _edit_moves_logits(clean: CleanRun, generator: torch.Generator) -> bool:
    layer = clean.subject.n_layers - 1
    row = clean.resid_post(layer)[-1]
    noise = torch.randn(len(row), generator=generator).to(row) * (1 + row.norm())
    out = clean.edit([[Add(layer, len(clean.tokens) - 1, noise)], []])
    return not torch.equal(out.last_logits[0], out.last_logits[1])


def _z_is_attention(clean: CleanRun, tolerance: float) -> bool:
    """The attention module's own output, against the projection of the z that is read."""
    subject = clean.subject
    for layer in watched(range(subject.n_layers), "layers checked"):
        heads = tuple(Head(layer, index) for index in range(subject.n_heads))
        outputs: list[torch.Tensor] = []
        handle = subject.part(layer, "attention").register_forward_hook(
            lambda _, __, out, kept=outputs: kept.append(out[0])
        )
        try:
            read = clean.read(Read(logits=(), z=heads))
        finally:
            handle.remove()
        projected = subject.part(layer, "attention_out")(torch.cat([read.z[head] for head in heads], dim=-1))
        if (projected - outputs[0]).abs().max() > tolerance * (1 + outputs[0].abs().max()):
            return False
    return True


def _rows_sum_to_one(clean: CleanRun, tolerance: float) -> bool:
    layers = watched(range(clean.subject.n_layers), "layers checked")
    sums = [clean.patterns(layer).float().sum(-1) for layer in layers]
    excess = torch.stack(sums) - 1
    return bool((excess if clean.subject.family.sinks else excess.abs()).max() <= tolerance)


@torch.no_grad()
def _lens_is_logits(clean: CleanRun, tolerance: float) -> bool:
    """Against the logits of the model's own forward pass, under the subject's mask rule where it has one."""
    subject = clean.subject
    batch = rows_of(clean.tokens, 1, subject.device)
    with applied(subject, Pass(Plan(1, {}), batch), own_masks=subject.mask_rule is not None):
        logits = subject.model(input_ids=batch).logits[0]
    lens = subject.unembed(clean.resid_post(subject.n_layers - 1))
    return bool((lens - logits).abs().max() <= tolerance * (1 + logits.abs().max()))

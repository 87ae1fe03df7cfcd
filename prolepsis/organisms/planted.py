"""Planted subjects: a planning circuit set by hand in real transformers classes, known in closed form.

The task: every word has one partner it rhymes with; a prompt holds a word at the end of line 1, and its line 2 must end
on the partner. The circuit of the planner (``irrevocable``) works on three codes in the residual stream, P, Q and O,
each with one slot per word:

    L0:H0   at ``<nl>`` looks at the word and writes its partner's code to P           search
    L1 MLP  neuron j turns P_j into Q_j, at ``<nl>`` only                               commit
    L2:H1   everywhere looks at ``<nl>``, the more the larger Q, and copies Q to O      route
    L3:H3   everywhere looks at Q still more keenly, and carries nothing                decoy

and the unembedding reads O. The other variants change or add parts:

    corrects     L3:H0 reads the word again and overrules the plan
    revocable    an L3 neuron per word lets a position's own Q overrule what was routed to it
    direct       the unembedding reads Q as well, so a write at the last position needs no attention
    latch        like revocable, but an open O shuts the neurons: committed means new evidence is ignored
    dormant      no search: the route is never filled, and L3:H0 reads the word itself
    no-plan      as dormant, without the route
    untrained    the same configuration with random weights
"""

import math
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from prolepsis.errors import UserError
from prolepsis.names import Feature
from prolepsis.organisms.planted_weights import (
    CONSTANT,
    FAMILIES,
    LAYERS,
    NEURONS,
    WIDTH,
    Circuit,
    Neuron,
    PlantedHead,
    new_model,
    plant,
)
from prolepsis.organisms.tokenizer import word_tokenizer
from prolepsis.organisms.untrained import untrained_weights
from prolepsis.reachability.masks import MaskRule
from prolepsis.subjects.task import Task, Template
from prolepsis.transcoder import Transcoder, write_transcoder

Tensor = torch.Tensor

PAIRS = (
    "cat bat|bear chair|mouse house|goat coat|fox box|snake cake|"
    "mice rice|king ring|light kite|bee key|duck truck|bread sled|whale nail|"
    "crane train|nun bun|man fan|mole hole|lamb jam|bird word|door shore"
)
WORDS = tuple(PAIRS.replace("|", " ").split())
PARTNER = tuple(i ^ 1 for i in range(len(WORDS)))
BOS, NEWLINE, UNKNOWN = "<bos>", "<nl>", "<unk>"
FILLERS = tuple(f"f{i}" for i in range(8))
VOCABULARY = (BOS, NEWLINE, UNKNOWN, *FILLERS, *WORDS)
LINES = ((3, 4), (1, 2), (2, 6), (5, 3), (4, 7), (6, 5))
"""Per template: how many fillers stand before the word, and how many after the line break."""

IS_WORD, IS_NEWLINE = CONSTANT + 1, CONSTANT + 2
WORD, SEARCHED, PLAN, OUTPUT = (range(3 + i * len(WORDS), 3 + (i + 1) * len(WORDS)) for i in range(4))
"""Residual slots: two marks of tokens, and four codes of words: which one is here, and P, Q and O of the circuit."""

GAIN = 8.0
"""What the route multiplies Q by: the logit of a word that all attention agrees on."""
SITE_SCORE, PLAN_SCORE, DECOY_SCORE = 6.0, 1.0, 1.5
"""Scores of the route for ``<nl>`` and per unit of Q there, and of the decoy per unit of Q."""
SHARP = 30.0
"""Score of the heads that look at one token only."""
CORRECTION, REVISION, LATCHED_REVISION, LATCH_THRESHOLD = 1.5, 1.0, 1.5, 0.25
"""In units of GAIN: the correcting head, the revising neurons and those with the latch; and the latter's threshold."""

_UNTRAINED_SEED = 1


@dataclass(frozen=True)
class PlantedSubjectParts:
    """A planted model with its tokenizer, task, and the transcoder whose features are its neurons."""

    model: Any
    tokenizer: Any
    transcoder: Transcoder
    task: Task
    mask_rule: MaskRule | None = None


def _search() -> PlantedHead:
    copies = tuple((WORD[i], SEARCHED[PARTNER[i]], 1.0) for i in range(len(WORDS)))
    return PlantedHead(0, 0, query={IS_NEWLINE: SHARP}, key={IS_WORD: 1.0}, copies=copies)


def _commit() -> tuple[Neuron, ...]:
    """Q = 2 (P - 1/2) at ``<nl>``, 0 elsewhere: P alone cannot reach the threshold."""
    return tuple(
        Neuron(1, {searched: 2.0, IS_NEWLINE: 2.0}, -3.0, plan, 1.0)
        for searched, plan in zip(SEARCHED, PLAN, strict=True)
    )


def _route() -> PlantedHead:
    key = {IS_NEWLINE: SITE_SCORE} | dict.fromkeys(PLAN, PLAN_SCORE)
    copies = tuple((plan, output, GAIN) for plan, output in zip(PLAN, OUTPUT, strict=True))
    return PlantedHead(2, 1, query={CONSTANT: 1.0}, key=key, copies=copies)


def _decoy() -> PlantedHead:
    return PlantedHead(3, 3, query={CONSTANT: 1.0}, key=dict.fromkeys(PLAN, DECOY_SCORE))


def _reread(gain: float) -> PlantedHead:
    copies = tuple((WORD[i], OUTPUT[PARTNER[i]], gain) for i in range(len(WORDS)))
    return PlantedHead(3, 0, query={CONSTANT: 1.0}, key={IS_WORD: SHARP}, copies=copies)


def _revise(gain: float, threshold: float = 0.0, shut: float = 0.0) -> tuple[Neuron, ...]:
    """O += gain · ReLU(Q - threshold - shut · sum of O) at every position by itself."""
    shutting = dict.fromkeys(OUTPUT, -shut) if shut else {}
    return tuple(
        Neuron(3, {plan: 1.0} | shutting, -threshold, output, gain) for plan, output in zip(PLAN, OUTPUT, strict=True)
    )


_EMBEDDING = {VOCABULARY.index(NEWLINE): {IS_NEWLINE: 1.0}} | {
    VOCABULARY.index(word): {IS_WORD: 1.0, WORD[i]: 1.0} for i, word in enumerate(WORDS)
}
_READ_OUTPUT = {VOCABULARY.index(word): {OUTPUT[i]: 1.0} for i, word in enumerate(WORDS)}
_READ_BOTH = {VOCABULARY.index(word): {OUTPUT[i]: 1.0, PLAN[i]: GAIN} for i, word in enumerate(WORDS)}
_PLANNER = (_search(), _route(), _decoy())
_LATCH = _revise(LATCHED_REVISION * GAIN, LATCH_THRESHOLD, shut=1 / GAIN)

CIRCUITS = {
    "irrevocable": Circuit(_EMBEDDING, _READ_OUTPUT, _PLANNER, _commit()),
    "corrects": Circuit(_EMBEDDING, _READ_OUTPUT, (*_PLANNER, _reread(CORRECTION * GAIN)), _commit()),
    "revocable": Circuit(_EMBEDDING, _READ_OUTPUT, _PLANNER, _commit() + _revise(REVISION * GAIN)),
    "direct": Circuit(_EMBEDDING, _READ_BOTH, _PLANNER, _commit()),
    "latch": Circuit(_EMBEDDING, _READ_OUTPUT, _PLANNER, _commit() + _LATCH),
    "dormant": Circuit(_EMBEDDING, _READ_OUTPUT, (_route(), _decoy(), _reread(GAIN)), _commit()),
    "no-plan": Circuit(_EMBEDDING, _READ_OUTPUT, (_decoy(), _reread(GAIN)), _commit()),
}
VARIANTS = (*CIRCUITS, "untrained")


def planted(family: str, variant: str) -> PlantedSubjectParts:
    """Build a planted subject; ``family`` is one of :data:`FAMILIES`, ``variant`` one of :data:`VARIANTS`.

    In a planted circuit feature ``L1:j`` plans on the j-th of :data:`WORDS`. The transcoder lies in a temporary folder
    that goes when the transcoder does. Raises UserError for other names.
    """
    for what, name, known in (("family", family, FAMILIES), ("variant", variant, VARIANTS)):
        if name not in known:
            raise UserError(f"planted {what} {name!r} is not known; known: {', '.join(known)}")
    model = new_model(family, len(VOCABULARY))
    name = f"planted-{family}-{variant}"
    if variant == "untrained":
        model.load_state_dict(untrained_weights(model.config, _UNTRAINED_SEED))
        transcoder = neuron_transcoder(model, name)
        features = _best_features(model, transcoder)
    else:
        plant(model, CIRCUITS[variant])
        transcoder = circuit_transcoder(CIRCUITS[variant], name, len(WORDS))
        features = {word: Feature(1, i) for i, word in enumerate(WORDS)}
    tokenizer = word_tokenizer({token: i for i, token in enumerate(VOCABULARY)}, BOS, UNKNOWN)
    return PlantedSubjectParts(model, tokenizer, transcoder, couplet_task(features))


def circuit_transcoder(circuit: Circuit, name: str, n_features: int) -> Transcoder:
    """The transcoder that is true of ``circuit``: feature (l, i) is the i-th neuron planted in layer l."""
    encoders, biases, own = (torch.zeros(LAYERS, n_features, *rest) for rest in ((WIDTH,), (), (WIDTH,)))
    for layer in range(LAYERS):
        for i, neuron in enumerate(circuit.neurons_of(layer)):
            for slot, weight in neuron.reads.items():
                encoders[layer, i, slot] = weight
            biases[layer, i] = neuron.bias
            own[layer, i, neuron.target] = neuron.gain
    return _opened(name, encoders, biases, own)


def neuron_transcoder(model: Any, name: str) -> Transcoder:
    """A transcoder of a random model's own neurons: what the gate reads, and what the neuron writes."""
    mlps = [layer.mlp for layer in model.model.layers]
    encoders = torch.stack([mlp.gate_proj.weight for mlp in mlps])
    return _opened(name, encoders, torch.zeros(LAYERS, NEURONS), torch.stack([mlp.down_proj.weight.T for mlp in mlps]))


def _opened(name: str, encoders: Tensor, biases: Tensor, own: Tensor) -> Transcoder:
    """Write a transcoder that only writes own layers, and open it; the folder goes when the transcoder does."""
    folder = tempfile.mkdtemp(prefix=f"{name}-")
    decoders = []
    for layer in range(LAYERS):
        decoder = torch.zeros(own.shape[1], LAYERS - layer, WIDTH)
        decoder[:, 0] = own[layer]
        decoders.append(decoder)
    write_transcoder(folder, list(encoders), list(biases), decoders, [torch.zeros(WIDTH)] * LAYERS, model_name=name)
    transcoder = Transcoder.open(folder, LAYERS, WIDTH)
    weakref.finalize(transcoder, shutil.rmtree, folder, ignore_errors=True)
    return transcoder


def _best_features(model: Any, transcoder: Transcoder) -> dict[str, Feature]:
    """Per word the layer-1 feature, not yet taken, whose row points most along the word's unembedding."""
    rows = torch.nn.functional.normalize(transcoder.decoder(1, 1), dim=-1)  # [F, d]
    words = model.lm_head.weight[[VOCABULARY.index(word) for word in WORDS]]
    cosine = torch.nn.functional.normalize(words, dim=-1) @ rows.T  # [words, F]
    features = {}
    for i, word in enumerate(WORDS):
        best = int(cosine[i].argmax())
        cosine[:, best] = -math.inf
        features[word] = Feature(1, best)
    return features


def couplet_task(features: Mapping[str, Feature]) -> Task:
    """The task all planted subjects share; a planted line is one word long, so any word ends it.

    A feature's typical activation is what a plan makes of it; where the route is never filled it would be none.
    """
    groups = {pair.replace(" ", "-"): tuple(pair.split()) for pair in PAIRS.split("|")}
    answers = {word: WORDS[PARTNER[i]] for i, word in enumerate(WORDS)}
    return Task(groups, answers, tuple(line_templates()), line_end=WORDS, features=features, feature_activation=1.0)


def line_templates() -> Iterator[Template]:
    """The templates of :data:`LINES`: a word among fillers, a line break, and fillers again."""
    for i, (before, after) in enumerate(LINES):
        fillers = [FILLERS[(i + j) % len(FILLERS)] for j in range(before + after)]
        line = [*fillers[:before], "{word}", NEWLINE, *fillers[before:]]
        yield Template(f"{before}-{after}", " ".join(line), stem=" ".join(line[: before + 3]))

"""Planted subjects compute their circuit: closed forms, and what sets the variants apart."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.edits import Add, Edit, ReplaceHeadOutput, ReplaceRow
from prolepsis.engine import CleanRun, clean_run
from prolepsis.names import Head
from prolepsis.organisms.planted import CIRCUITS, NEWLINE, PARTNER, VOCABULARY, WORDS
from prolepsis.running.generation import generate
from prolepsis.running.hooks import Read
from prolepsis.running.readings import Readings
from prolepsis.subject import Subject
from tests.planted_subjects import every_family, subject_of

FloatArray = npt.NDArray[np.float64]
ROUTER, DECOY = Head(2, 1), Head(3, 3)
LAYERS, HEADS = 4, 4
every_variant = pytest.mark.parametrize("variant", CIRCUITS)


@dataclass(frozen=True)
class Case:
    """A prompt of a planted subject, run clean."""

    subject: Subject
    word: int
    clean: CleanRun

    @property
    def site(self) -> int:
        return self.clean.tokens.index(VOCABULARY.index(NEWLINE))

    @property
    def last(self) -> int:
        return len(self.clean.tokens) - 1

    @property
    def answer(self) -> int:
        return PARTNER[self.word]

    def writes(self, position: int, doses: dict[int, float], layer: int = 1) -> list[Edit]:
        """Plan features of words, each times its dose, written to resid_post(``layer``) at ``position``."""
        assert self.subject.transcoder is not None
        assert self.subject.task is not None
        assert self.subject.task.features is not None
        edits: list[Edit] = []
        for word, dose in doses.items():
            row = self.subject.transcoder.writes([self.subject.task.features[WORDS[word]]], dose)[1]
            edits.append(Add(layer, position, row))
        return edits

    def log_odds(self, edits: list[Edit], word: int) -> float:
        """Log-odds of ``word`` under ``edits``, in nats."""
        return float(self.clean.edit([edits]).log_odds(VOCABULARY.index(WORDS[word])))

    def probability(self, edits: list[Edit], word: int) -> float:
        return float(self.clean.edit([edits]).probabilities()[0, VOCABULARY.index(WORDS[word])])


def case_of(family: str, variant: str, word: int = 2, template: int = 0) -> Case:
    """Run a prompt clean; the default is the word "bear", whose answer is "chair"."""
    subject = subject_of(family, variant)
    assert subject.task is not None
    prompt = subject.task.prompt(subject.task.templates[template], WORDS[word])
    return Case(subject, word, clean_run(subject, subject.encode(prompt.text)))


def one_hot(word: int, value: float = 1.0) -> FloatArray:
    """``value`` in the slot of ``word``, 0 elsewhere."""
    return np.asarray(np.eye(len(WORDS))[word] * value)


def softmax(scores: FloatArray) -> FloatArray:
    """Softmax of one row in float64."""
    weights = np.exp(scores - scores.max())
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True)
class ClosedForm:
    """What the circuit computes at the last position, worked out by hand in float64."""

    route: FloatArray
    decoy: FloatArray
    logits: FloatArray

    def log_odds(self, word: int) -> float:
        """Log-odds of ``word`` in nats."""
        probability = softmax(self.logits)[VOCABULARY.index(WORDS[word])]
        return math.log(probability / (1 - probability))


def closed_form(case: Case, at_site: FloatArray, at_last: FloatArray, last_layer: int) -> ClosedForm:
    """The circuit with plan codes added at the site (layer 1) and at the last position (``last_layer``)."""
    _, family, variant = case.subject.id.split("-", 2)

    def capped(x: FloatArray, cap: float) -> FloatArray:
        return np.asarray(cap * np.tanh(x / cap) if family == "gemma2" else x)

    has_site = variant not in ("dormant", "no-plan")
    plan = at_site + (one_hot(case.answer) if has_site else 0.0)
    own = at_last if last_layer == 1 else 0.0 * at_last  # what layer 2 finds at the last position
    marks = np.eye(case.last + 1)
    route_scores = marks[case.site] * (6.0 + plan.sum()) + marks[case.last] * own.sum()
    route = softmax(capped(route_scores, 50.0))
    decoy_scores = 1.5 * (marks[case.site] * plan.sum() + marks[case.last] * at_last.sum())
    output = 8.0 * (route[case.site] * plan + route[case.last] * own)
    if variant == "no-plan":
        route, output = np.full(case.last + 1, 1 / (case.last + 1)), 0.0 * output
    output = output + one_hot(case.answer, {"corrects": 12.0, "dormant": 8.0, "no-plan": 8.0}.get(variant, 0.0))
    if variant == "revocable":
        output = output + 8.0 * np.maximum(at_last, 0.0)
    if variant == "latch":
        output = output + 12.0 * np.maximum(at_last - 0.25 - output.sum() / 8.0, 0.0)
    if variant == "direct":
        output = output + 8.0 * at_last
    logits = np.zeros(len(VOCABULARY))
    logits[[VOCABULARY.index(word) for word in WORDS]] = capped(output, 30.0)
    return ClosedForm(route, softmax(capped(decoy_scores, 50.0)), logits)


def errors(found: Readings, wanted: ClosedForm, last: int) -> dict[str, float]:
    """Largest deviations: attention and logits relative to their largest entry (or 1), probabilities absolute."""
    assert found.logits is not None
    pairs = {
        "route": (found.patterns[ROUTER, last][0], wanted.route),
        "decoy": (found.patterns[DECOY, last][0], wanted.decoy),
        "logits": (found.logits[0, 0], wanted.logits),
    }
    scale = {name: np.abs(w).max() for name, (_, w) in pairs.items()}
    scale["logits"] = max(scale["logits"], 1.0)
    worst = {name: np.abs(f.double().numpy() - w).max() / scale[name] for name, (f, w) in pairs.items()}
    worst["probabilities"] = np.abs(found.probabilities()[0].double().numpy() - softmax(wanted.logits)).max()
    return {name: float(value) for name, value in worst.items()}


@every_family
@every_variant
@settings(max_examples=15, deadline=None)
@given(
    word=st.integers(0, len(WORDS) - 1),
    shift=st.integers(2, len(WORDS) - 1),
    template=st.integers(0, 5),
    doses=st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0])] * 3),
    last_layer=st.sampled_from([1, 2]),
)
def test_every_variant_computes_its_closed_form(
    *,
    family: str,
    variant: str,
    word: int,
    shift: int,
    template: int,
    doses: tuple[float, float, float],
    last_layer: int,
) -> None:
    """Attention and logits under any dose at site and last position are the hand-worked ones to 1e-5."""
    case = case_of(family, variant, word, template)
    other = (case.answer + shift) % len(WORDS)
    third = (other + 1) % len(WORDS)
    at_site = one_hot(case.answer, -doses[0]) + one_hot(other, doses[1])
    edits = case.writes(case.site, {case.answer: -doses[0], other: doses[1]})
    edits += case.writes(case.last, {third: doses[2]}, last_layer)
    read = Read(patterns=((ROUTER, case.last), (DECOY, case.last)))
    wanted = closed_form(case, at_site, one_hot(third, doses[2]), last_layer)
    worst = errors(case.clean.edit([edits], read), wanted, case.last)
    assert max(worst["route"], worst["decoy"], worst["logits"]) < 1e-5, worst
    assert worst["probabilities"] < 2e-4, worst


@every_family
@every_variant
def test_every_word_is_answered_at_every_template(family: str, variant: str) -> None:
    """All words get their partner as the next token, with nine tenths of the probability, at all templates."""
    subject = subject_of(family, variant)
    assert subject.task is not None
    assert len(subject.task.templates) >= 6
    for template in subject.task.templates:
        prompts = [subject.task.prompt(template, word) for word in WORDS]
        batch = torch.tensor([subject.encode(prompt.text) for prompt in prompts])
        probabilities = subject.model(input_ids=batch).logits[:, -1].softmax(-1)
        answers = [subject.word_id(prompt.answer) for prompt in prompts]
        assert float(probabilities[range(len(WORDS)), answers].min()) > 0.9


@every_family
@every_variant
def test_line_2_is_the_answer_regenerated_from_the_stem(family: str, variant: str) -> None:
    """Greedy generation from a stem gives the answer at once, and that ends the line."""
    subject = subject_of(family, variant)
    assert subject.task is not None
    stop = tuple(subject.word_id(word) for word in subject.task.line_end)
    for template in subject.task.templates:
        prompt = subject.task.prompt(template, "goat")
        assert generate(subject, [subject.encode(prompt.stem)], [()], max_new_tokens=5, stop=stop) == [
            [subject.word_id("coat")]
        ]


@every_family
@every_variant
def test_the_transcoder_is_the_mlp(family: str, variant: str) -> None:
    """Reconstruction from resid_mid equals what each MLP adds, at every layer and position, clean and steered."""
    case = case_of(family, variant)
    transcoder = case.subject.transcoder
    assert transcoder is not None
    steered = case.writes(case.last, {9: 1.5}, layer=2)
    everything = Read(resid_post=tuple(range(LAYERS)), resid_mid=tuple(range(LAYERS)))
    for edits in ([], steered):
        read = case.clean.edit([edits], everything)
        acts = torch.stack([transcoder.encode(layer, read.resid_mid[layer][0]) for layer in range(LAYERS)])
        recon = transcoder.decode(acts)
        if edits:
            read.resid_post[2][0, case.last] -= sum(edit.vector for edit in edits if isinstance(edit, Add))
        for layer in range(LAYERS):
            added = (read.resid_post[layer] - read.resid_mid[layer])[0]
            assert torch.allclose(recon[layer][:, 1:], added[:, 1:], rtol=0, atol=5e-5), layer


def swap(case: Case, other: int, strength: float = 1.0) -> list[Edit]:
    """Suppress the natural plan and inject another one at the site."""
    return case.writes(case.site, {case.answer: -1.0, other: strength})


@every_family
def test_attention_ranks_the_decoy_first_and_only_the_router_carries(family: str) -> None:
    """The decoy's attention moves most under a redirect, yet only the router's clean output undoes it."""
    case = case_of(family, "irrevocable")
    edits = swap(case, 8, 3.0)
    heads = [Head(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
    read = Read(patterns=tuple((head, case.last) for head in heads), z=tuple(heads))
    clean, edited = case.clean.read(read), case.clean.edit([edits], read)

    def moved(head: Head) -> float:
        return abs(float((edited.patterns[head, case.last] - clean.patterns[head, case.last])[0, case.site]))

    ranked = sorted(heads, key=moved, reverse=True)
    assert ranked[:2] == [DECOY, ROUTER]
    assert moved(DECOY) > 20 * moved(ROUTER) > 0
    natural, redirected = case.log_odds([], 8), case.log_odds(edits, 8)
    assert redirected - natural > 10
    for head in heads:
        undone = case.log_odds([*edits, ReplaceHeadOutput(head, case.last, clean.z[head][0, case.last])], 8)
        lost = (redirected - undone) / (redirected - natural)
        assert lost == pytest.approx(1.0 if head == ROUTER else 0.0, abs=1e-5), str(head)


@every_family
@pytest.mark.parametrize(
    ("variant", "is_plan"),
    [
        ("irrevocable", True),
        ("revocable", True),
        ("direct", True),
        ("latch", True),
        ("dormant", False),
        ("no-plan", False),
    ],
)
def test_interchange_at_the_site_moves_planners_only(family: str, variant: str, is_plan: bool) -> None:
    """The site's row of another prompt moves its answer by the hand-worked nats in planners, by nothing elsewhere."""
    case, donor = case_of(family, variant), case_of(family, variant, word=8)
    nothing = np.zeros(len(WORDS))
    swapped = one_hot(donor.answer) - one_hot(case.answer)
    wanted = [closed_form(case, site, nothing, 2).log_odds(donor.answer) for site in (swapped, nothing)]
    for layer, row in ((layer, donor.clean.resid_post(layer)[case.site]) for layer in range(LAYERS)):
        effect = case.log_odds([ReplaceRow(layer, case.site, row)], donor.answer) - case.log_odds([], donor.answer)
        if is_plan and layer < 2:
            assert wanted[0] - wanted[1] > 10
            assert effect == pytest.approx(wanted[0] - wanted[1], abs=1e-4)
        else:
            assert effect == 0.0


@every_family
def test_dormant_answers_to_steering_as_the_planner_does(family: str) -> None:
    """Swapping plan features at the site is worth the same nats where the route is never filled."""
    effects = []
    for variant in ("irrevocable", "dormant"):
        case = case_of(family, variant)
        effects.append(case.log_odds(swap(case, 8), 8) - case.log_odds([], 8))
    assert min(effects) > 11
    assert abs(effects[0] - effects[1]) < 0.5


@every_family
def test_no_plan_ignores_its_site(family: str) -> None:
    """Without a route, plans written at the site change no logit by a bit."""
    case = case_of(family, "no-plan")
    rows = [case.writes(case.site, {case.answer: -2.0, 8: 4.0})]
    edited, clean = case.clean.edit(rows).logits, case.clean.unedited(rows).logits
    assert edited is not None
    assert clean is not None
    assert torch.equal(edited, clean)


def doses_at_last(case: Case, committed: bool, dose: float) -> tuple[float, float]:
    """P(committed word), P(correction) with the correction written at the last position after the route has run."""
    edits = swap(case, 8) if committed else case.writes(case.site, {case.answer: -1.0})
    edits += case.writes(case.last, {5: dose}, layer=2)
    return case.probability(edits, 8), case.probability(edits, 5)


@every_family
def test_latch_ignores_a_correction_that_works_alone(family: str) -> None:
    """At dose 1 the correction takes an uncommitted model and leaves a committed one; both flip between 1.5 and 2."""
    case = case_of(family, "latch")
    assert doses_at_last(case, committed=False, dose=1.0)[1] > 0.98
    commit, correct = doses_at_last(case, committed=True, dose=1.0)
    assert commit > 0.97
    assert correct < 0.001
    assert doses_at_last(case, committed=True, dose=1.5)[1] < 0.1
    assert doses_at_last(case, committed=True, dose=2.0)[1] > 0.7


@every_family
def test_revocable_needs_no_larger_dose_once_committed(family: str) -> None:
    """In revocable the correction wins past the commitment's own size; in irrevocable no dose does anything."""
    revocable, irrevocable = case_of(family, "revocable"), case_of(family, "irrevocable")
    assert doses_at_last(revocable, committed=True, dose=0.9)[1] < 0.5 < doses_at_last(revocable, True, 1.1)[1]
    for committed in (False, True):
        assert doses_at_last(irrevocable, committed, 2.0) == doses_at_last(irrevocable, committed, 0.0)


@every_family
def test_direct_ties_site_and_last_position(family: str) -> None:
    """Where the unembedding reads the plan, a swap at the last position is worth as much as one at the site."""
    case = case_of(family, "direct")
    at_site = case.log_odds(swap(case, 8), 8)
    at_last = case.log_odds(case.writes(case.last, {case.answer: -1.0, 8: 1.0}, layer=2), 8)
    assert at_last == pytest.approx(at_site, abs=0.1)


@every_family
def test_the_untrained_twin_knows_nothing(family: str) -> None:
    """The twin has the planner's configuration and task, its own features, and answers at chance."""
    twin, planner = subject_of(family, "untrained"), subject_of(family, "irrevocable")
    assert twin.config.to_dict() == planner.config.to_dict()
    assert twin.task is not None
    assert twin.task.features is not None
    assert planner.task is not None
    assert (twin.task.templates, twin.task.answers) == (planner.task.templates, planner.task.answers)
    assert len(set(twin.task.features.values())) == len(WORDS)
    answered = 0
    for word in range(len(WORDS)):
        case = case_of(family, "untrained", word)
        answered += int(case.clean.read(Read()).probabilities()[0].argmax()) == VOCABULARY.index(WORDS[case.answer])
    assert answered <= 4
    assert twin.transcoder is not None
    assert twin.digest != planner.digest

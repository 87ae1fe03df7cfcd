"""The untrained twin made in place: another model while it is asked, the same one afterwards."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.controls import control_arms, once
from prolepsis.engine import clean_run
from prolepsis.errors import Untested
from prolepsis.subject import Subject
from prolepsis.twins import IN_PLACE, untrained_in_place
from tests.tiny import FAMILIES, tiny_subject, tiny_tokens

few = settings(max_examples=12, deadline=None)
families = st.sampled_from(FAMILIES)


def largest_logit(subject: Subject) -> dict[str, float]:
    """The largest next-token logit of one prompt."""
    return {"prompt": float(clean_run(subject, tiny_tokens(1, 6)).edit([[]]).last_logits.max())}


def weights(subject: Subject) -> dict[str, torch.Tensor]:
    """A copy of all weights."""
    return {name: parameter.clone() for name, parameter in subject.model.named_parameters()}


@few
@given(family=families, seed=st.integers(0, 2**16))
def test_the_trained_weights_come_back_bit_for_bit(family: str, seed: int) -> None:
    """Inside no matrix is the trained one, outside every weight is, whether the block ended or raised."""
    subject = tiny_subject(family, seed)
    trained = weights(subject)
    for fails in (False, True):
        try:
            with untrained_in_place(subject):
                drawn = weights(subject)
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        matrices = [name for name in trained if trained[name].dim() > 1 and not name.endswith("bias")]
        assert not any(torch.equal(drawn[name], trained[name]) for name in matrices)
        assert all(torch.equal(found, trained[name]) for name, found in weights(subject).items())


@few
@given(family=families, seed=st.integers(0, 2**16))
def test_the_twin_is_the_same_every_time_and_a_subject_of_its_own(family: str, seed: int) -> None:
    """Two visits meet the same weights and the same memory, which is not the subject's; norms are neutral."""
    subject = tiny_subject(family, seed)
    of_subject = once(subject, largest_logit)
    with untrained_in_place(subject) as twin:
        first, drawn = once(twin, largest_logit), weights(subject)
    with untrained_in_place(subject) as again:
        assert again is twin
        assert all(torch.equal(found, drawn[name]) for name, found in weights(subject).items())
        normed = subject.part(0, "mid_norm")(10 * torch.randn(8, subject.d_model, dtype=subject.dtype))
    assert once(twin, largest_logit) is first
    assert once(subject, largest_logit) is of_subject
    assert first != of_subject
    assert torch.allclose(normed.square().mean(-1), torch.ones(8, dtype=subject.dtype), atol=1e-3)
    assert twin.digest != subject.digest


def test_a_control_arm_is_measured_on_the_twin() -> None:
    """An arm whose control is made in place is the measurement on the twin, and is absent where it cannot be asked."""

    def cannot(_: Subject) -> dict[str, float]:
        raise Untested("nothing to steer with")

    subject = tiny_subject("llama", 3)
    with untrained_in_place(subject) as twin:
        expected = largest_logit(twin)
    assert control_arms(subject, largest_logit, {"untrained twin": IN_PLACE, "other": None}) == {
        "untrained twin": expected
    }
    assert control_arms(subject, cannot, {"untrained twin": IN_PLACE}) == {}
    assert largest_logit(subject) != expected


def test_the_trained_weights_are_copied_once() -> None:
    """A second visit takes the copy of the first, so that the host holds them once."""
    subject = tiny_subject("gemma2")
    with untrained_in_place(subject):
        pass
    kept = subject.memo["trained weights"]
    with untrained_in_place(subject):
        assert subject.memo["trained weights"] is kept

"""Means of rhyme groups hold what their words share, and nothing of the words that are tested."""

from functools import cache

import pytest
import torch

from prolepsis.experiments.group_means import mean_differences
from prolepsis.experiments.rhyme_pairs import Runs
from prolepsis.experiments.sites import find_sites
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject


@cache
def xor() -> Subject:
    """A planted subject with four words in each rhyme group."""
    return load_subject("planted-llama-xor")


def test_means_are_of_the_other_words() -> None:
    """A pair's difference is that of the mean rows of all words of either group but those of its two prompts."""
    subject = xor()
    sites, runs, task = subject.once(find_sites), subject.once(Runs), subject.task
    assert task is not None
    for pair in sites.pairs[::9]:
        (layer, site), means = sites.of(pair), []
        for prompt in (pair.donor, pair.recipient):
            others = [word for word in task.groups[prompt.group] if word != prompt.word]
            assert len(others) == 3
            rows = [runs.clean(task.prompt(prompt.template, word)).resid_post(layer)[site] for word in others]
            means.append(torch.stack(rows).mean(0))
        assert torch.allclose(mean_differences(subject)[pair.id], means[0] - means[1], atol=1e-5)


def test_the_tested_words_have_no_part_in_their_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in the rows of a pair's own two words, its difference of means stays as it is."""
    subject = xor()
    clean, pair = mean_differences(subject), subject.once(find_sites).pairs[0]
    own, encode = {pair.donor.text, pair.recipient.text}, Subject.encode
    other = subject.once(find_sites).pairs[2].recipient
    monkeypatch.setattr(Subject, "encode", lambda asked, text: encode(asked, other.text if text in own else text))
    assert torch.equal(mean_differences(subject)[pair.id], clean[pair.id])

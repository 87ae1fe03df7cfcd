"""Which features write a word? Decoder rows at the last layer against token embeddings (appendix B of the paper)."""

from collections.abc import Mapping

import torch
from torch.nn.functional import normalize

from prolepsis.errors import UserError
from prolepsis.names import Feature
from prolepsis.subject import Subject
from prolepsis.transcoder import Transcoder

MIN_COSINE = 0.3


def transcoder_of(subject: Subject) -> Transcoder:
    """The subject's transcoder; raises UserError when it has none."""
    if subject.transcoder is None:
        raise UserError(f"{subject.id}: it has no transcoder; give one with --claims-transcoder or in a preset")
    return subject.transcoder


@torch.no_grad()
def vocabulary_scan(subject: Subject, words: Mapping[str, int]) -> dict[str, Feature]:
    """The best feature of each word: its last-layer decoder row points at that word more than at any other token.

    Unit decoder rows at the last layer are compared with unit rows of the embedding, over all layers and features. A
    feature belongs to its top token when their cosine is at least 0.3; a word keeps its feature of largest cosine.
    ``words`` maps the words that count → token id.
    """
    transcoder = transcoder_of(subject)
    embedding = normalize(subject.unembedding.float(), dim=-1)  # [V, d]
    by_token = {token: word for word, token in words.items()}
    best: dict[str, tuple[float, Feature]] = {}
    for layer in range(subject.n_layers):
        rows = transcoder.decoder(layer, subject.n_layers - 1).to(embedding)  # [F, d]
        cosine, top = (normalize(rows, dim=-1) @ embedding.T).max(-1)
        for index, (value, token) in enumerate(zip(cosine.tolist(), top.tolist(), strict=True)):
            word = by_token.get(token)
            if word is not None and value >= MIN_COSINE and (word not in best or value > best[word][0]):
                best[word] = (value, Feature(layer, index))
    return {word: feature for word, (_, feature) in best.items()}

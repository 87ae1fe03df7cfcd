"""The paper's word lists for code and cooking (appendix C), and how often a scan hits them (imports no torch)."""

import json
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

DOMAINS = Path(__file__).parent.parent / "fixtures" / "domains.json"


@cache
def domains() -> dict[str, dict[str, list[str]]]:
    """Domain → category → words, as far as the paper names them."""
    lists: dict[str, dict[str, list[str]]] = json.loads(DOMAINS.read_text())
    return lists


def domain_hits(words: Iterable[str]) -> dict[str, dict[str, int]]:
    """Domain → category → number of ``words`` in its list, in lower case; a word may be in several.

    A hit is a top token and no more: "rest" and "ground" are no cooking terms by themselves.
    """
    counts = Counter(words)
    return {
        domain: {category: sum(counts[word.lower()] for word in listed) for category, listed in categories.items()}
        for domain, categories in domains().items()
    }

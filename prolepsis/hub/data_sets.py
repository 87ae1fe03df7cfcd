"""Brings here the file of a data set of counterfactual pairs."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from prolepsis.counterfactual import file_of_split, find
from prolepsis.hub.planning import MAIN, in_words
from prolepsis.hub.refusals import plainly

if TYPE_CHECKING:
    from prolepsis.report.subjects import SubjectSource


def fetch_pairs(source: "SubjectSource", tell: Callable[[str], None]) -> None:
    """Download the data set that ``source`` is asked unless it is here; ``tell`` is told how large it is before.

    Raises UserError where the repository does not hold one file of the split, and what the hub refuses.
    """
    name = source.pairs
    if name is None or find(name, source.base, None).path is not None:
        return
    from huggingface_hub import HfApi, hf_hub_download

    with plainly(f"datasets/{name}", MAIN):
        about = HfApi().dataset_info(name, files_metadata=True)
        sizes = {file.rfilename: file.size for file in about.siblings or ()}
        chosen = file_of_split(sizes, name)
        tell(f"downloading {in_words(sizes[chosen] or 0)} of the data set {name} (1 file)")
        hf_hub_download(name, chosen, repo_type="dataset")

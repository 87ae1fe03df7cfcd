"""The file of a data set of counterfactual pairs: which it is, and how it comes here."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from prolepsis.hub.refusals import plainly
from prolepsis.hub.remote import MAIN, RemoteFile, in_words
from prolepsis.subjects.counterfactual import SPLIT, file_of_split, find

if TYPE_CHECKING:
    from prolepsis.subjects.source import SubjectSource

DATA_SETS = "datasets/"
"""What the name of a data set's repository begins with."""


def planned_pairs(source: "SubjectSource", online: bool) -> RemoteFile | None:
    """The file of the data set that ``source`` is asked, None where that is none of a repository.

    The hub is asked only when ``online``, and only where the file is not here. Raises UserError where the repository
    does not hold one file of the split, and what the hub refuses.
    """
    name = source.pairs
    if name is None or (source.base / name).exists():
        return None
    repo, path = f"{DATA_SETS}{name}", find(name, source.base, None).path
    if path is not None:
        return RemoteFile(repo, MAIN, path.name, path.stat().st_size, present=True)
    if not online:
        return RemoteFile(repo, MAIN, f"its {SPLIT} split", None, present=False)
    from huggingface_hub import HfApi

    with plainly(repo, MAIN):
        about = HfApi().dataset_info(name, files_metadata=True)
    sizes = {file.rfilename: file.size for file in about.siblings or ()}
    chosen = file_of_split(sizes, name)
    return RemoteFile(repo, MAIN, chosen, sizes[chosen], present=False)


def fetch_pairs(file: RemoteFile, tell: Callable[[str], None]) -> None:
    """Download the file of a data set unless it is here; ``tell`` is told how large it is before.

    Raises what the hub refuses.
    """
    if file.present:
        return
    from huggingface_hub import hf_hub_download

    name = file.repo.removeprefix(DATA_SETS)
    tell(f"downloading {in_words(file.size or 0)} of the data set {name} (1 file)")
    with plainly(file.repo, MAIN):
        hf_hub_download(name, file.name, repo_type="dataset")

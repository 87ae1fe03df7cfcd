"""The named files that the claims of a run need of a subject's model and transcoder."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from prolepsis.errors import Untested, UserError
from prolepsis.hub import ranges
from prolepsis.hub.data_sets import planned_pairs
from prolepsis.hub.last_rows import kept_bytes, kept_last
from prolepsis.hub.needs import ROWS_OF_ACTIVE, Needs, needs, published_features, reads_pairs
from prolepsis.hub.remote import MAIN, RemoteFile, in_words, total
from prolepsis.hub.repository import Repository, cached, listed

if TYPE_CHECKING:
    from prolepsis.names import Feature
    from prolepsis.subjects.source import SubjectSource

LAST = " last rows"
"""What stands behind the name of a file of whose decoders only those rows are kept."""
_BESIDE_WEIGHTS = re.compile(
    r"(generation_)?config\.json|tokenizer.*|(special|added)_tokens.*\.json|vocab\..*|merges\.txt|chat_template\..*"
)
_TOKENIZER = re.compile(r"tokenizer\.json|tekken\.json|vocab\..*|.*\.(model|tiktoken)")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_PER_LAYER = re.compile(
    r".*layer_(\d+)\.safetensors|.*layer_(\d+)[^/]*/params\.safetensors|(?:.*/)?layer_(\d+)/(?:.*/)?params\.npz"
)


@dataclass(frozen=True)
class Part:
    """A subject's model or transcoder: a plain folder, or a repository and the ``files`` that are needed of it.

    ``later`` is a line about what is read of it only when a run comes to it, so that no file here stands for it.
    """

    place: Path | Repository
    files: tuple[RemoteFile, ...] = ()
    later: str | None = None

    @property
    def missing(self) -> tuple[RemoteFile, ...]:
        return tuple(file for file in self.files if not file.present)


@dataclass(frozen=True)
class Plan:
    """The files a subject needs of repositories (none of plain folders), and what stands in the way.

    Each problem is one line naming the thing and its cure; ``mistakes`` are those among them that the user has to mend,
    ``blocking`` those that keep the model from being loaded.
    ``model`` and ``transcoder`` are None where the subject names none, or where nothing of it is known. ``pairs`` is
    the file of the data set it is asked, where the claims ask any, and ``no_pairs`` says why it cannot be had.
    """

    files: tuple[RemoteFile, ...]
    problems: tuple[str, ...]
    mistakes: tuple[str, ...] = ()
    blocking: tuple[str, ...] = ()
    model: Part | None = field(default=None, repr=False)
    transcoder: Part | None = field(default=None, repr=False)
    pairs: RemoteFile | None = None
    no_pairs: str | None = None

    @property
    def missing(self) -> tuple[RemoteFile, ...]:
        return tuple(file for file in self.files if not file.present)

    @property
    def missing_bytes(self) -> int:
        """What is to be downloaded, as far as sizes are known."""
        return total(self.missing)


def plan(source: "SubjectSource", experiments: Collection[str], online: bool) -> Plan:
    """What ``source`` needs for ``experiments``, as the ledger calls them.

    The hub is asked only when ``online``, and only where something is missing in the cache.
    """
    wanted, features = needs(experiments), published_features(source.published)

    def of_transcoder(repository: Repository) -> Iterator[RemoteFile]:
        return _transcoder_files(repository, wanted, features, online)

    model = _looked_for(source, source.model, source.revision, _model_files, online)
    transcoder = _looked_for(
        source, source.transcoder if wanted else None, source.transcoder_revision, of_transcoder, online
    )
    part = transcoder.part
    if wanted.active and part is not None and isinstance(part.place, Repository):
        transcoder = transcoder._replace(part=replace(part, later=_later(part.place, part.files)))
    looked = (model, transcoder)
    pairs, no_pairs = _pairs(source, experiments, online)
    files = (*(file for each in looked if each.part for file in each.part.files), *((pairs,) if pairs else ()))
    return Plan(
        files=files,
        problems=tuple(str(each.problem) for each in looked if each.problem),
        mistakes=tuple(
            str(one) for one in (*(each.problem for each in looked), no_pairs) if isinstance(one, UserError)
        ),
        blocking=(str(model.problem),) if model.problem else (),
        model=model.part,
        transcoder=transcoder.part,
        pairs=pairs,
        no_pairs=None if no_pairs is None else str(no_pairs),
    )


def _pairs(
    source: "SubjectSource", experiments: Collection[str], online: bool
) -> tuple[RemoteFile | None, Exception | None]:
    """The file of the data set that ``source`` is asked, and why it cannot be had."""
    if source.pairs is None or not reads_pairs(experiments):
        return None, None
    try:
        return planned_pairs(source, online), None
    except (Untested, UserError) as problem:
        return None, problem


class _Looked(NamedTuple):
    part: Part | None = None
    problem: Exception | None = None


def _looked_for(
    source: "SubjectSource",
    name: str | None,
    revision: str | None,
    files_of: Callable[[Repository], Iterable[RemoteFile]],
    online: bool,
) -> _Looked:
    """A model or transcoder as it lies here, else, if ``online``, as the hub has it."""
    if name is None:
        return _Looked()
    if (source.base / name).is_dir():
        return _Looked(Part(source.base / name))
    asked = revision or MAIN
    part = None
    try:
        known = _known(name, asked, online)
        if known is not None:
            part = Part(known, tuple(files_of(known)))
        if online and (part is None or part.missing):
            known = listed(name, asked)
            part = Part(known, tuple(files_of(known)))
    except (Untested, UserError) as problem:
        return _Looked(part, problem)
    if part is None or (part.missing and not online):
        return _Looked(part, Untested(_not_here(source, name, revision, part)))
    return _Looked(part)


def _known(name: str, asked: str, online: bool) -> Repository | None:
    """The commit in the cache, with all files that the hub says it has where it may be asked and never was.

    Without that what another program left here, whole or not, would be taken for all there is.
    """
    known = cached(name, asked)
    if known is None or known.listed or not online:
        return known
    try:
        return listed(name, asked, known.commit)
    except (Untested, UserError):
        # What is here may be enough; where it is not, the hub is asked again and its answer told.
        return known


def _not_here(source: "SubjectSource", name: str, revision: str | None, part: Part | None) -> str:
    """What is not on this machine, how large it is and how to get it."""
    gib = source.model_gib if name == source.model else source.transcoder_gib
    size = "" if gib is None else f" ({gib:g} GiB)"
    what = f"{name}{size}"
    if part is not None:
        size = f" ({in_words(total(part.missing))})" if total(part.missing) else ""
        names = [file.name for file in part.missing]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        what = f"{part.place}: {', '.join(names[:3])}{more}{size}"
    pinned = "" if revision is None else f" --revision {revision}"
    licence = f"; the licence is accepted at {source.licence}" if source.licence and name == source.model else ""
    return f"not on this machine: {what}; get it with `hf download {name}{pinned}`{licence}"


def _file(repository: Repository, name: str) -> RemoteFile:
    size = repository.entries[name].size if name in repository.entries else None
    return RemoteFile(repository.id, repository.commit, name, size, present=repository.path(name) is not None)


def _model_files(repository: Repository) -> list[RemoteFile]:
    """Configuration, tokenizer and weights; safetensors where there are any."""
    names = [name for name in repository.entries if _BESIDE_WEIGHTS.fullmatch(name)]
    if not repository.listed and not any(map(_TOKENIZER.fullmatch, repository.entries)):
        names.append("tokenizer.json")
    return [_file(repository, name) for name in sorted({"config.json", *names, *_weights(repository)})]


def _weights(repository: Repository) -> list[str]:
    for whole in _WEIGHTS:
        stem, suffix = whole.split(".")
        index = f"{whole}.index.json"
        if whole in repository.entries:
            return [whole]
        if index in repository.entries:
            shards = re.compile(rf"{stem}-\d+-of-\d+\.{suffix}")
            return [index, *_indexed(repository, index), *filter(shards.fullmatch, repository.entries)]
    return [_WEIGHTS[0]]


def _indexed(repository: Repository, index: str) -> list[str]:
    """The shards an index names, as far as it is here: they are missing even where nothing else knows of them."""
    path = repository.path(index)
    if path is None:
        return []
    try:
        return list(json.loads(path.read_text())["weight_map"].values())
    except (ValueError, KeyError, AttributeError):
        raise UserError(f"{path}: names no shards; remove it and fetch it again") from None


def _transcoder_files(
    repository: Repository, wanted: Needs, features: Collection["Feature"], online: bool
) -> Iterator[RemoteFile]:
    """Whole files of encoders, rows of the last target layer of decoders, and single rows.

    Where the server sends whole files only, these are the files of the layers that are read.
    """
    layers = _layers(repository)
    if not (layers or repository.listed):
        yield RemoteFile(repository.id, repository.commit, "its layers", None, present=False)
        return
    whole = {"config.yaml"} & repository.entries.keys()
    if not whole and repository.listed and _declared(repository, layers[min(layers)][0], online):
        raise UserError(
            f"{repository}: has no config.yaml, which says where its features read and write; put one beside its files "
            "in a folder, and give that"
        )
    parts: list[RemoteFile] = []
    for encoder, decoder in layers.values():
        archive = encoder.endswith(".npz")
        whole |= {encoder} if wanted.encoders or archive else set()
        if wanted.decoders or archive:
            part = None if encoder == decoder else _last_rows(repository, decoder, online)
            whole |= {decoder} if part is None else set()
            parts += [part] if part else []
    for feature in features if wanted.published else ():
        if feature.layer not in layers and not repository.listed:
            whole.add(f"decoders of layer {feature.layer}")
            continue
        if feature.layer not in layers:
            raise UserError(f"{repository}: has no layer {feature.layer} to read {feature} of; choose another one")
        encoder, decoder = layers[feature.layer]
        if decoder in whole or repository.linked(decoder):
            whole.add(decoder)
            continue
        part = _row(repository, decoder, feature, online)
        whole |= {encoder, decoder} if part is None else set()
        parts += [part] if part else []
    encoders = [encoder for encoder, _ in layers.values()]
    if not any(name in whole or repository.linked(name) for name in encoders):
        # What activates its features stands with encoders: in the header of the first, or else in the whole file.
        whole |= set() if _header(repository, encoders[0], online) else {encoders[0]}
    yield from (_file(repository, name) for name in sorted(whole))
    yield from parts


def _declared(repository: Repository, encoder: str, online: bool) -> bool:
    """Whether a file of encoders, as far as its header is known, is of a layout that a config.yaml belongs to."""
    about = None if encoder.endswith(".npz") else _header(repository, encoder, online)
    return about is not None and any(name.startswith("W_enc") for name in about.tensors)


def _last_rows(repository: Repository, decoder: str, online: bool) -> RemoteFile | None:
    """The rows of the last target layer of a decoder file, None where the whole file is to be here, or is."""
    about = None if repository.linked(decoder) else _header(repository, decoder, online)
    kept = None if about is None else kept_bytes(about)
    if kept is None:
        return None
    size, present = repository.entries[decoder].size, kept_last(repository, decoder) is not None
    return RemoteFile(repository.id, repository.commit, decoder + LAST, size, present, kept)


def _later(repository: Repository, files: Iterable[RemoteFile]) -> str | None:
    """How many rows are read of decoders that are not to be here whole; None where all are."""
    names = [file.name.removesuffix(LAST) for file in files if file.name.endswith(LAST)]
    headers = [header for name in names if (header := ranges.kept_header(repository, name)) is not None]
    sizes = [header.row_bytes(tensor) for header in headers if (tensor := header.decoder()) is not None]
    if not sizes:
        return None
    return (
        f"{repository}: besides, decoder rows of active features are read when they are asked for, and kept: up to "
        f"{ROWS_OF_ACTIVE} rows for each feature that is active at a position, "
        f"{in_words(ROWS_OF_ACTIVE * sum(sizes) // len(sizes))}"
    )


def _header(repository: Repository, name: str, online: bool) -> ranges.Header | None:
    """The header of a file as far as it can be had without the file."""
    try:
        return ranges.header(repository, name) if online else ranges.kept_header(repository, name)
    except ranges.NoRangesError:
        return None


def _row(repository: Repository, decoder: str, feature: "Feature", online: bool) -> RemoteFile | None:
    """The row of one feature, None where its whole file is to be here."""
    about = _header(repository, decoder, online)
    if about is None:
        return None
    tensor = about.decoder()
    if tensor is None or feature.index >= about.tensors[tensor]["shape"][0]:
        raise UserError(f"{repository}/{decoder}: has no row for {feature}; choose another transcoder")
    kept = ranges.kept_row(repository, decoder, tensor, feature.index)
    name = f"{decoder} row {feature.index}"
    return RemoteFile(repository.id, repository.commit, name, about.row_bytes(tensor), present=kept is not None)


def _layers(repository: Repository) -> dict[int, tuple[str, str]]:
    """Layer → its files of encoders and decoders, which may be one; empty where the cache may hold none of them yet.

    Raises UserError for names of no known layout.
    """
    found = {}
    for name in sorted(repository.entries):
        if match := re.fullmatch(r"W_dec_(\d+)\.safetensors", name):
            found[int(match[1])] = (f"W_enc_{match[1]}.safetensors", name)
    for name in sorted(repository.entries) if not found else ():
        if match := _PER_LAYER.fullmatch(name):
            layer = int(match[1] or match[2] or match[3])
            if layer in found:
                raise UserError(
                    f"{repository}: holds layer {layer} more than once ({found[layer][0]}, {name}); get one of each "
                    "layer into a folder, and give that"
                )
            found[layer] = (name, name)
    if not found and repository.listed:
        raise UserError(f"{repository}: holds no transcoder of a known layout; choose another repository")
    return found

"""A pytest plugin that counts what each family of claims does.

    python -m pytest claims --claims-subject planner -p prolepsis.doctor.counter --work FILE

Batches are as large as on a GPU, and logits are made as there. A family that shares something with an earlier one does
not count it again. The file is written whenever a family is done, and of a run that is interrupted it holds what was
done.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prolepsis.doctor.started import each_start
from prolepsis.doctor.work import LOADING, Work
from prolepsis.report.storage import write_json

if TYPE_CHECKING:
    from prolepsis.subject import Subject


class Counter:
    """Adds up what is done under the name of a family; loading and its checks have a name of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.works: dict[str, Work] = {}
        self.now = Work()

    @contextmanager
    def under(self, name: str) -> Iterator[None]:
        """Count what is done inside under ``name``, and under no other."""
        before, self.now = self.now, self.works.setdefault(name, Work())
        try:
            yield
        finally:
            self.now = before
            write_json(self.path, {name: asdict(work) for name, work in self.works.items()})

    def loading(self, load: Callable[..., Any]) -> Callable[..., Any]:
        """Count what ``load`` does under a name of its own."""

        def loaded(*given: Any) -> Any:
            with self.under(LOADING):
                return load(*given)

        return loaded

    def watch(self, subject: "Subject") -> "Subject":
        """Count every run of the subject's layers."""
        for layer in range(subject.n_layers):
            subject.layer(layer).register_forward_pre_hook(self._layer, with_kwargs=True)
        return subject

    def _layer(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        mask = kwargs.get("attention_mask")
        tokens = hidden.shape[0] * hidden.shape[1]
        self.now.layer_calls += 1
        self.now.layer_tokens += tokens
        self.now.keys += tokens * (hidden.shape[1] if mask is None else mask.shape[-1])

    def unembedded(self, resid: Any) -> None:
        """Count rows of logits."""
        self.now.logits += resid.numel() // resid.shape[-1]
        self.now.logits_calls += 1

    def encoded(self, _layer: int, rows: Any) -> None:
        """Count rows that an encoder reads."""
        self.now.encoded += rows.numel() // rows.shape[-1]
        self.now.encodings += 1

    def scanned(self, subject: "Subject", *_: Any) -> None:
        """Count every layer, whose last decoder rows are held against all tokens of the vocabulary."""
        self.now.scans += subject.n_layers

    def drawn(self, *_: Any) -> None:
        """Count a twin."""
        self.now.twins += 1

    def started(self) -> None:
        """Count an operation."""
        self.now.starts += 1

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Have everything that is counted pass by here, in batches of a GPU's size and with its products."""
        from torch.nn.functional import linear

        from prolepsis import subject
        from prolepsis.experiments import measuring, vocabulary_scan
        from prolepsis.report.measuring import Measuring
        from prolepsis.running import batching
        from prolepsis.subject import Subject
        from prolepsis.subjects import loading, twins
        from prolepsis.transcoder import Transcoder

        patch.setitem(batching.TOKENS_PER_BATCH, "cpu", batching.TOKENS_PER_BATCH["cuda"])
        patch.setitem(batching.MOST_BYTES, "cpu", batching.MOST_BYTES["cuda"])
        patch.setattr(subject, "row_by_row", linear)
        patch.setattr(measuring, "done_for", self.under)
        patch.setattr(Measuring, "_subject", self.loading(Measuring._subject))
        load = loading.load_subject
        patch.setattr(loading, "load_subject", lambda *given: self.watch(load(*given)))
        patch.setattr(Subject, "unembed", _counting(Subject.unembed, self.unembedded))
        patch.setattr(Transcoder, "encode", _counting(Transcoder.encode, self.encoded))
        patch.setattr(vocabulary_scan, "_nearest", partial(_first, self.scanned, vocabulary_scan._nearest))
        patch.setattr(twins, "_draw", partial(_first, self.drawn, twins._draw))


def _counting(method: Callable[..., Any], count: Callable[..., None]) -> Callable[..., Any]:
    def counted(self: Any, *given: Any) -> Any:
        count(*given)
        return method(self, *given)

    return counted


def _first(count: Callable[..., None], function: Callable[..., Any], *given: Any) -> Any:
    count(*given)
    return function(*given)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register ``--work``."""
    parser.addoption("--work", metavar="FILE", help="where to write what each family does")


def pytest_configure(config: pytest.Config) -> None:
    """Count where a file is named to write to."""
    if not config.option.work:
        return
    counter, patch = Counter(config.invocation_params.dir / config.option.work), pytest.MonkeyPatch()
    counter.install(patch)
    config.pluginmanager.register(counter, "work")
    config.add_cleanup(patch.undo)
    starts = ExitStack()
    starts.enter_context(each_start(counter.started))
    config.add_cleanup(starts.close)

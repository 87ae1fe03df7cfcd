"""The room that all downloads of a run need together, before any of them begins."""

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.doctor.diagnosis import diagnose
from prolepsis.hub import NoRoom, Part, Plan, RemoteFile, Room, plan, without_room
from prolepsis.hub.remote import total
from prolepsis.hub.room import SPARE
from tests.hub_server import Hub
from tests.test_doctor import CPU
from tests.test_hub_plan import SOURCE

SIZES = st.lists(st.integers(0, 9), max_size=4)


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let the disk of the cache have so many bytes beside those that stay free."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 0, SPARE + size))


def part(repo: str, *sizes: int, kept: int | None = None) -> Part:
    """Files of these sizes, none of them here."""
    files = (RemoteFile(repo, "c", f"{i}", size, present=False, kept=kept) for i, size in enumerate(sizes))
    return Part(Path(repo), tuple(files))


def planned(model: Part, transcoder: Part | None = None, *, blocking: tuple[str, ...] = ()) -> Plan:
    """A plan of these parts."""
    return Plan((), (), blocking=blocking, model=model, transcoder=transcoder)


def lacking(*plans: Plan) -> list[str]:
    """What has no room: "0 model" for the first plan's."""
    found = without_room(plans)
    return [f"{i} {kind}" for i, each in enumerate(found) for kind, why in each._asdict().items() if why is not None]


@given(free_bytes=st.integers(0, 40), parts=st.lists(st.tuples(st.sampled_from("abc"), SIZES), max_size=6))
def test_what_is_let_in_fits_together(free_bytes: int, parts: list[tuple[str, list[int]]]) -> None:
    """Files that were let in, each counted once, never exceed the free bytes, and one more part would have."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        free(monkeypatch, free_bytes)
        room, taken = Room(), dict[tuple[str, str], int]()
        for repo, sizes in parts:
            one = part(repo, *sizes)
            with_it = {(file.repo, file.name): file.size for file in one.missing} | taken
            if room.take(one.place, one.missing) is None:
                taken = with_it
                assert sum(taken.values()) <= free_bytes
            else:
                assert sum(with_it.values()) > free_bytes


def test_a_transcoder_comes_after_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for both models and one transcoder goes to these, whichever subject is met first."""
    free(monkeypatch, 12)
    one, other = planned(part("a", 5), part("a clt", 3)), planned(part("b", 4), part("b clt", 2))
    assert lacking(one, other) == ["1 transcoder"]
    assert lacking(other, one) == ["1 transcoder"]


def test_what_has_no_room_leaves_it_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what is too large nor the transcoder of a model that cannot be had takes room from the rest."""
    free(monkeypatch, 12)
    large, small = planned(part("a", 20), part("a clt", 5)), planned(part("b", 4), part("b clt", 8))
    assert lacking(large, small) == ["0 model"]
    assert lacking(planned(part("a", 4), part("a clt", 5), blocking=("gated",)), small) == []


def test_a_model_that_subjects_share_takes_room_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two transcoders of one model fit where the model fits once."""
    free(monkeypatch, 12)
    assert lacking(*(planned(part("a", 5), part(f"clt {i}", 3)) for i in range(2))) == []


def test_what_passes_by_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files that are transferred and not kept, only what is kept is counted."""
    free(monkeypatch, 12)
    assert lacking(planned(part("a", 5), part("a clt", 1000, kept=7))) == []


@pytest.mark.usefixtures("hub")
def test_doctor_looks_at_both_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model and a transcoder that fit one by one and not together are a problem, which says beside what."""
    found = plan(SOURCE, ["localisation_rate"], online=True)
    model, transcoder = (total(each.missing, kept=True) for each in (found.model, found.transcoder))
    claims = [row for row in ledger.rows() if row.experiment == "localisation_rate"]

    def problems() -> tuple[str, ...]:
        (found,) = diagnose([SOURCE], claims, replace(CPU, lacking=None), "float32", online=True)
        return found.problems

    free(monkeypatch, model + transcoder)
    assert problems() == ()
    free(monkeypatch, model + transcoder - 1)
    (problem,) = problems()
    assert "o/clt@cccccccc: " in problem
    assert " of other downloads" in problem


def test_doctor_looks_at_subjects_together_where_it_is_asked_so(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What subjects share has to fit once; what fits for each by itself and not for both is short in a run on both."""
    other = replace(SOURCE, id="other", transcoder=None)
    claims = [row for row in ledger.rows() if row.experiment == "localisation_rate"]
    found = plan(SOURCE, ["localisation_rate"], online=True)
    model, transcoder = (total(each.missing, kept=True) for each in (found.model, found.transcoder))

    def problems(together: bool) -> list[int]:
        asked = diagnose([other, SOURCE], claims, CPU, "float32", online=True, together=together)
        return [len(one.problems) for one in asked]

    free(monkeypatch, model + transcoder)
    assert problems(together=True) == [0, 0]
    hub.repos["o/other"] = hub.repos["o/model"]
    other = replace(other, model="o/other")
    assert (problems(together=False), problems(together=True)) == ([0, 0], [0, 1])


def test_pairs_come_before_transcoders_and_after_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some megabytes, of which facts need all, go before what a subject can be asked without."""
    free(monkeypatch, 12)
    pairs = RemoteFile("datasets/p", "main", "test.json", 3, present=False)
    one = replace(planned(part("a", 5), part("a clt", 5)), pairs=pairs)
    other = replace(planned(part("b", 4), part("b clt", 1)), pairs=pairs)
    assert lacking(one, other) == ["0 transcoder", "1 transcoder"]
    assert lacking(one, replace(other, pairs=replace(pairs, repo="datasets/q", size=1))) == [
        "0 transcoder", "1 transcoder", "1 pairs",
    ]  # fmt: skip


def test_the_real_parts_of_a_subject(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk has room for a model alone, its transcoder is refused with the cure, and nothing was sent."""
    found = plan(SOURCE, ["localisation_rate"], online=True)
    sent = dict(hub.sent)
    free(monkeypatch, total(found.model.missing))
    ((model, transcoder, _),) = without_room([found])
    assert model is None
    assert "free space there or set HF_HOME to another disk" in transcoder
    assert hub.sent == sent
    free(monkeypatch, 1 << 30)
    assert without_room([found]) == [NoRoom()]

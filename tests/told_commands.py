"""How the commands of README and docs are run: in which environment, and which of them fail."""

from collections.abc import Mapping
from typing import NamedTuple


class Arranged(NamedTuple):
    """What a command finds in its environment, and why."""

    why: str
    variables: Mapping[str, str]


def asked(why: str, *options: str) -> Arranged:
    """Pytest finds further options in its environment, as a user may leave them there."""
    return Arranged(why, {"PYTEST_ADDOPTS": " ".join(options)})


ARITHMETIC = asked("all claims take many minutes", "--claims-subject paper -k B09")
ONE_CLAIM = asked("all claims take many minutes", "-k X75")
ONE_MODULE = asked("all tests take minutes", "--ignore-glob=*/test_[!k]*")
TRAINED = Arranged("training takes minutes", {"PYTHONPATH": "{folder}/short"})

ARRANGED: Mapping[str, Arranged] = {
    **dict.fromkeys(
        (
            "make claims", "make TORCH=none claims", "make truth", 'python -m pytest claims -m "not gpu"',
            "python -m pytest claims -n 2",
            "python -m pytest claims --dist load --tx popen --px id=far//execmodel=thread//ssh=user@far//"
            "python=/checkout/.venv/bin/python//chdir=/checkout "
            "--tx 2*popen//via=far//python=/checkout/.venv/bin/python",
            "python -m execnet.script.socketserver HOST:PORT",
        ),
        ARITHMETIC,
    ),
    **{
        f"python -m pytest claims --claims-subject planner{options}": ONE_CLAIM
        for options in (
            "", " --claims-compare", " --claims-subject window-2 -n auto",
            " --claims-subject window-2 --claims-shard 1/2 --claims-report parts",
            " --claims-subject window-2 --claims-shard 2/2 --claims-report parts",
        )
    },
    **dict.fromkeys(("make test", "make PYTHON=python3.12 TORCH=torch==2.9.1 test"), ONE_MODULE),
    **dict.fromkeys(
        (
            "prolepsis train planner --out my-planner", "prolepsis train planner --seed 1 --out mine/planner",
            "prolepsis train planner-untrained --out mine/planner-untrained",
        ),
        TRAINED,
    ),
    "make truth-seeds": Arranged(
        "all organisms take hours", {"TRUTH_SEEDS": "--only window-1 --seeds 7", "PYTHONPATH": "{folder}/short-barred"}
    ),
    "python -m prolepsis.doctor.count gemma-2-2b-426k": asked("all families take ten minutes", "-k X205"),
    "make rehearsal": Arranged(
        "three presets take many minutes",
        {"REHEARSAL": "--preset gemma-2-2b-426k --scale 0.01 -k X205"},
    ),
    # Of which one file alone is mutated.
    "make mutants": asked("the terminal leaves out the plugin that tests of mutants need", "-p hypothesispytest"),
}  # fmt: skip
"""Commands that are run as they are written, where they find less to do."""


class Instead(NamedTuple):
    """Why a command is not run as it is written, and what is run in its place."""

    why: str
    command: str


FAR = (
    "python -m pytest claims --dist load --tx popen --px id=far//execmodel=thread//{at}//chdir={folder}/checkout "
    "--tx 2*popen//via=far//python={folder}/checkout/.venv/bin/python"
)
"""A run that is spread to another machine, whose checkout lies in the terminal's folder."""

SSH = "ssh=user@far//python={folder}/checkout/.venv/bin/python"
SOCKET = "socket=127.0.0.1:{port}"

INSTEAD: Mapping[str, Instead] = {
    FAR.replace("{at}", SSH).replace("{folder}", ""): Instead(
        "a test cannot write to /checkout", f"python3 -m venv .venv; {FAR.replace('{at}', SSH)}"
    ),
    "python -m execnet.script.socketserver HOST:PORT": Instead(
        "HOST:PORT stands for any address, and the server listens until it is stopped",
        "python -u -m execnet.script.socketserver 127.0.0.1:{port} > listening & trap 'kill $!' EXIT; "
        f"until test -s listening; do sleep 0.1; done; {FAR.replace('{at}', SOCKET)}",
    ),
    "prolepsis transcoder my-transcoder --model my-model": Instead(
        "the model that lies here knows a few words only",
        'prolepsis transcoder my-transcoder --model my-model --text "she saw the cat , <nl> he found the"',
    ),
}  # fmt: skip


class Fails(NamedTuple):
    """With which exit code a command leaves here, why, and some words by which it says so."""

    code: int
    why: str
    said: str


FINE = Fails(0, "nothing stands in its way", "")
UNMEASURED = Fails(1, "nothing can be measured without weights", "nothing was measured")
MISSED = Fails(1, "the run asked nothing but the paper, of which the truth table has no verdict", "0 false")
NO_GPU = Fails(1, "there is no GPU, or it is hidden", "no GPU that torch can use")

FAILING: Mapping[str, Fails] = {
    **dict.fromkeys(
        (
            "python -m pytest claims -m gpu",
            "python -m pytest claims --claims-subject gemma-2-2b-426k",
            "python -m pytest claims -m gpu --claims-subject pythia-410m",
            ".venv/bin/python -m pytest claims -m gpu --claims-device cuda --claims-subject gemma-2-2b-426k",
            ".venv/bin/python -m pytest claims -m gpu --claims-device cuda --claims-dtype bfloat16 "
            "--claims-subject gemma-2-2b-426k",
        ),
        UNMEASURED,
    ),
    "make claims-gpu": UNMEASURED._replace(code=2),
    "python -m pytest claims --claims-archive recordings": Fails(
        1, "made-up recordings give other verdicts", "changed since expected.toml: 20"
    ),
    "python -m pytest claims --claims-model my-model --claims-transcoder my-transcoder -k S16": Fails(
        1, "verdicts on one's own model are not pinned yet", "1 vacuous"
    ),
    **dict.fromkeys(
        (
            "prolepsis doctor",
            "prolepsis doctor gemma-2-2b-426k",
            "prolepsis doctor gemma-2-2b-426k llama-3.2-1b-524k",
        ),
        Fails(1, "a run cannot start here", "short: not on this machine"),
    ),
    "prolepsis truth reports/latest": MISSED,
    "make truth": MISSED._replace(code=2),
    "make truth-seeds": Fails(2, "what was trained for three steps misses its bars", "window-1: not made: "),
    "python -m prolepsis.rehearsal --preset gemma-2-2b-426k --device cuda": NO_GPU,
    'make rehearsal REHEARSAL="--device cuda"': NO_GPU._replace(code=2),
}
"""Commands that leave with another code than 0; make does so with 2, whatever the code of what it ran."""

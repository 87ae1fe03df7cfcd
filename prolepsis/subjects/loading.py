"""From an id or a folder to a subject: bundled organisms, and folders in the layout they are stored in."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from prolepsis.errors import NoMemory, Untested, UntilFull, UserError, is_out_of_memory
from prolepsis.organisms import ABSORBER, BUNDLED, CARRIERS, PLANTED, SPOILED, TWO_TASKS, XOR
from prolepsis.reachability.masks import mask_rule
from prolepsis.running.batching import TOKENS_PER_BATCH
from prolepsis.subject import Subject
from prolepsis.subjects import selfcheck
from prolepsis.subjects.families import family_of
from prolepsis.subjects.precision import multiply_exactly
from prolepsis.subjects.task_file import read_task
from prolepsis.transcoder import Transcoder
from prolepsis.watching import watched

ORGANISMS = Path(__file__).parents[2] / "fixtures" / "organisms"


def load_subject(reference: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Subject:
    """Load a bundled organism by id, or a subject folder by path, and check its wiring.

    Raises UserError for a reference that is neither, for a broken file, and for a model that is not wired as modelled;
    Untested where the device is not there or too small. Products are exact from then on in the whole process
    (:func:`prolepsis.subjects.precision.multiply_exactly`).
    """
    check_device(device)
    multiply_exactly()
    with UntilFull():
        subject = _load(reference, device, dtype)
        selfcheck.check(subject)
        return subject
    raise NoMemory(
        f"{Path(reference).name}: {device} has no memory for its weights as {str(dtype).removeprefix('torch.')}; "
        f"free some, or use --claims-dtype bfloat16 or --claims-device cpu; `prolepsis doctor` says what it takes"
    )


def check_device(device: str, option: str = "--claims-device") -> None:
    """Raises Untested for a GPU that is not there, UserError for what is no device or none that claims run on.

    ``option`` is the one that names a device where this is asked.
    """
    others = "|".join(kind for kind in TOKENS_PER_BATCH if kind != "cpu")
    if re.fullmatch(rf"cpu(:0)?|({others})(:\d+)?", device) is None:
        raise UserError(f"{option} {device} cannot be used: claims run on cpu, cuda or cuda:N")
    try:
        # A GPU that this torch has no kernels for holds tensors all the same. That memory is full is said later.
        with UntilFull():
            torch.empty(0, device=device)
            torch.ones(1, device=device).add_(1)
    except (RuntimeError, AssertionError) as error:
        raise Untested(
            f"no GPU that torch can use as {device} ({str(error).splitlines()[0]}); `prolepsis doctor` says what is "
            f"here, and {option} cpu does without, slowly"
        ) from None


def _load(reference: str, device: str, dtype: torch.dtype) -> Subject:
    if reference in (*PLANTED, *CARRIERS, *TWO_TASKS, *SPOILED, *XOR, ABSORBER):
        subject = _planted(reference, device, dtype)
    elif reference in BUNDLED or (ORGANISMS / reference / "config.json").is_file():
        subject = load_folder(ORGANISMS / reference, device, dtype)
    elif Path(reference).is_dir():
        subject = load_folder(Path(reference), device, dtype)
    else:
        raise UserError(f"subject {reference!r} is no folder and no bundled organism; known: {', '.join(BUNDLED)}")
    return subject


@lru_cache(maxsize=8)
def kept_subject(reference: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Subject:
    """As :func:`load_subject`, but kept for the next who asks, with all that has been measured on it.

    For small subjects only: an organism is a subject of its own and the control of others.
    """
    return load_subject(reference, device, dtype)


def load_folder(folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Subject:
    """Load a subject folder: config.json, weights, tokenizer, and task.json, subject.json, transcoder/ where present.

    An untrained twin's folder holds no weights: its subject.json names the folder it is ``like`` and a seed. Raises
    UserError naming the file that is missing or broken.
    """
    about = _about(folder)
    like = folder / about["weights"]["like"] if "weights" in about else folder
    model = _untrained(like, about["weights"]["seed"]) if "weights" in about else _trained(folder, dtype)
    transcoder = None
    if (folder / "transcoder").is_dir():
        config = model.config.get_text_config()
        transcoder = Transcoder.open(folder / "transcoder", config.num_hidden_layers, config.hidden_size)
    return Subject(
        id=folder.resolve().name,
        model=in_dtype(model, dtype).to(device),
        tokenizer=tokenizer_in(like),
        transcoder=transcoder,
        mask_rule=mask_rule(about.get("mask_rule")),
        task=read_task(like / "task.json") if (like / "task.json").exists() else None,
        twin=_sibling(folder, about.get("untrained_twin")),
        same_behaviour=_sibling(folder, about.get("same_behaviour")),
        ladder=tuple(_named(folder, name) for name in about.get("ladder", ())),
        folder=None if "weights" in about else folder,
    )


def in_dtype(model: Any, dtype: torch.dtype) -> Any:
    """``model`` with its parameters in ``dtype``, and its buffers as they are.

    Frequencies of rotary embeddings are buffers, and float32 in every dtype a model is published for: as bfloat16 they
    would turn by a tenth of a radian too much or too little within a hundred tokens.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def _sibling(folder: Path, name: str | None) -> str | None:
    return None if name is None else _named(folder, name)


def _named(folder: Path, name: str) -> str:
    """A control subject by name: the folder beside this one where there is one, else an id."""
    beside = folder.parent / name
    return str(beside) if beside.is_dir() and folder.parent != ORGANISMS else name


def _planted(reference: str, device: str, dtype: torch.dtype) -> Subject:
    from prolepsis.organisms.planted import planted
    from prolepsis.organisms.planted_absorber import planted_absorber
    from prolepsis.organisms.planted_carriers import planted_carrier
    from prolepsis.organisms.planted_spoiled import planted_spoiled
    from prolepsis.organisms.planted_xor import planted_xor

    _, family, variant = reference.split("-", 2)
    if dtype != torch.float32:
        raise UserError(f"{reference}: its hand-set weights hold in float32 only; use --claims-dtype float32")
    if reference in XOR:
        parts = planted_xor(variant)
    elif reference == ABSORBER:
        parts = planted_absorber(family)
    elif reference in SPOILED:
        parts = planted_spoiled(variant)
    elif reference in (*CARRIERS, *TWO_TASKS):
        parts = planted_carrier(family, variant)
    else:
        parts = planted(family, variant)
    same_behaviour = None if variant in ("dormant", "untrained") or reference in XOR else f"planted-{family}-dormant"
    return Subject(
        id=reference,
        model=parts.model.to(device),
        tokenizer=parts.tokenizer,
        transcoder=parts.transcoder,
        task=parts.task,
        twin=_planted_twin(family, variant),
        same_behaviour=same_behaviour,
    )


def _planted_twin(family: str, variant: str) -> str | None:
    if variant.endswith("untrained"):
        return None
    return f"planted-{family}-xor-untrained" if variant == "xor" else f"planted-{family}-untrained"


def _about(folder: Path) -> dict[str, Any]:
    """What subject.json says; a plain model folder has none, and then nothing is special about it."""
    path = folder / "subject.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such subject folder")
    if not path.exists():
        return {}
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    return about


def config_in(folder: Path) -> Any:
    """The configuration of the model in ``folder``; raises UserError without it, and for an unknown wiring."""
    from transformers import AutoConfig

    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: no config.json; give a folder that save_pretrained wrote")
    try:
        with _errors_alone():
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
        family_of(config)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{folder}: its config.json cannot be read ({_first_line(error)}); get it again") from None
    # Not every transformers that is supported looks at what kind of value stands there.
    for name in ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size"):
        if not isinstance(size := getattr(config.get_text_config(), name, None), int) or size < 1:
            raise UserError(f"{folder}: its config.json cannot be read ({name} is {size!r}); get it again")
    return config


def _trained(folder: Path, dtype: torch.dtype) -> Any:
    """The model in ``folder`` in ``dtype``, with eager attention; raises Untested where a package is missing."""
    from transformers import AutoModelForCausalLM

    config = config_in(folder)
    try:
        auto: Any = AutoModelForCausalLM
        with _errors_alone(), _bars_of_ours():
            model, found = auto.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation="eager",
                local_files_only=True,
                output_loading_info=True,
                # Named below, where transformers would refer to a table that it logs as a warning.
                ignore_mismatched_sizes=True,
                **_unpacking(config),
            )
    except ImportError as error:
        reason = _first_line(error)
        raise Untested(f"{folder}: a package that loads it is not installed ({reason}); install it") from None
    except Exception as error:
        # Some versions unpack weights on a GPU while they load.
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        raise UserError(f"{folder}: the model cannot be loaded ({_first_line(error)}); get its files again") from None
    for keys, what in (
        (found["unexpected_keys"], "which the model does not have"),
        (found["missing_keys"], "which the model needs, is missing"),
        (found["mismatched_keys"], "of another shape than config.json says"),
    ):
        if keys:
            # What is of another shape comes with both shapes.
            name = min(key if isinstance(key, str) else key[0] for key in keys)
            raise UserError(f"{folder}: weight {name}, {what}; get its files again")
    return model


def _unpacking(config: Any) -> dict[str, Any]:
    """What to ask for besides where weights are packed (GPT-OSS): floating-point numbers."""
    packed = getattr(config, "quantization_config", None)
    if not packed or packed.get("quant_method") != "mxfp4":
        return {}
    transformers: Any = import_module("transformers")
    return {"quantization_config": transformers.Mxfp4Config(dequantize=True)}


@contextmanager
def _errors_alone() -> Iterator[None]:
    """While active transformers logs no warnings: what is wrong with a folder is said in one line, as an error."""
    logging: Any = import_module("transformers.utils.logging")
    before = logging.get_verbosity()
    logging.set_verbosity(max(before, logging.ERROR))
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextmanager
def _bars_of_ours() -> Iterator[None]:
    """Whoever watches the run is shown what transformers goes through, and its own bars are left out."""
    logging: Any = import_module("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    # The oldest transformers that is supported tells nobody.
    hook = getattr(logging, "set_tqdm_hook", lambda _: None)
    before = hook(_watched_bar)
    try:
        yield
    finally:
        hook(before)
        if shown:
            logging.enable_progress_bar()


def _watched_bar(plain: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What transformers gets for a bar: the loop itself, watched, or nothing to be seen where it is no loop."""
    if arguments and hasattr(arguments[0], "__len__"):
        return watched(list(arguments[0]), "weights read")
    return plain(*arguments, **options)


def _untrained(like: Path, seed: int) -> Any:
    """The configuration in ``like`` with weights drawn from ``seed``."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from prolepsis.organisms.untrained import untrained_weights

    config = AutoConfig.from_pretrained(like, local_files_only=True)
    model: Any = AutoModelForCausalLM.from_config(config, attn_implementation="eager")  # type: ignore[no-untyped-call]
    model.load_state_dict(untrained_weights(config, seed), strict=False)
    return model


def tokenizer_in(folder: Path) -> Any:
    """The tokenizer in ``folder``; raises UserError where there is none that can be loaded."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise UserError(f"{folder}: the tokenizer cannot be loaded ({_first_line(error)}); get it again") from None


def _first_line(error: Exception) -> str:
    """The first line of a library's message, with the next one that it announces, or its type when it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2]).rstrip(",") if lines[0].endswith(":") else lines[0]

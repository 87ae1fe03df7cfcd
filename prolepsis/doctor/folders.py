"""Whether what lies in plain folders can be loaded, as far as that shows without reading any weights."""

from collections.abc import Iterator
from pathlib import Path

from prolepsis.errors import Untested, UserError


def faults(model: Path, transcoder: Path | None, hook: str | None = None) -> list[str]:
    """What keeps a run from loading the model in a folder, and the transcoder in another, a line each.

    ``hook`` is where the transcoder's features read if its files do not say.
    """
    from prolepsis.subject import first_token
    from prolepsis.subjects.families import family_of
    from prolepsis.subjects.loading import config_in, tokenizer_in
    from prolepsis.transcoder import Transcoder

    found: list[str] = []
    config = None
    try:
        config = config_in(model)
        found += _of_weights(model)
        first_token(tokenizer_in(model), str(model))
    except (UserError, Untested) as error:
        found.append(str(error))
    try:
        if transcoder is not None and config is not None:
            size = config.get_text_config()
            found_there = Transcoder.open(transcoder, size.num_hidden_layers, size.hidden_size, input_hook=hook)
            found_there.check_output(family_of(config))
    except (UserError, Untested) as error:
        found.append(str(error))
    return found


def fault_of_task(task: Path) -> str | None:
    """Why a task file is refused; None where it is not."""
    from prolepsis.subjects.task_file import read_task

    try:
        read_task(task)
    except UserError as error:
        return str(error)
    return None


def _of_weights(folder: Path) -> Iterator[str]:
    """Files of weights that are missing or cut short; of other formats than safetensors that they are there."""
    from prolepsis.layouts.files import opened
    from prolepsis.subjects.checkpoint import INDEX, weight_files

    try:
        names = weight_files(folder)
    except (OSError, ValueError, KeyError, AttributeError):
        yield f"{folder / INDEX}: cannot be read; get it again"
        return
    for name in names:
        if not (folder / name).exists() and any(folder.glob("pytorch_model*.bin")):
            continue
        try:
            with opened(folder / name):
                pass
        except UserError as error:
            yield str(error)

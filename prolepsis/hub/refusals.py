"""What the hub, the network or the disk refuses, in one line each."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from prolepsis.errors import Untested, UserError

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


@contextmanager
def plainly(name: str, revision: str) -> Iterator[None]:
    """While active, what huggingface_hub raises about repository ``name`` becomes Untested with the cure.

    A name that can be none and a revision that does not exist become UserError.
    """
    from huggingface_hub import constants

    errors: Any = import_module("huggingface_hub.errors")
    page = f"{constants.ENDPOINT}/{name}"
    try:
        yield
    except errors.HFValidationError:
        raise UserError(f"{name} is neither a folder nor a Hugging Face repository") from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{name}: has no revision {revision!r}; see {page}/commits/main for those it has") from None
    except errors.RepositoryNotFoundError as error:
        raise Untested(f"{name}: {_closed(page, gated=isinstance(error, errors.GatedRepoError))}") from None
    except errors.DisabledRepoError:
        raise Untested(f"{name}: the hub has closed this repository; see {page}") from None
    except errors.OfflineModeIsEnabled:
        raise Untested(f"{name}: not all of it is here and HF_HUB_OFFLINE is set; unset it to download") from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        raise Untested(f"{name}: {_broken(error) if status is None else _answered(status, page)}") from None
    except (OSError, errors.HTTPError) as error:
        raise Untested(f"{name}: {_broken(error)}") from None


def _closed(page: str, *, gated: bool) -> str:
    from huggingface_hub import get_token

    login = "" if get_token() else " and log in with `hf auth login`"
    if gated:
        return f"its licence is not accepted by this account; accept it at {page}{login}"
    return f"the hub shows no such repository to this account; check its name at {page}{login or ' and your access'}"


def _answered(status: int, page: str) -> str:
    if status in (401, 403):
        return f"the hub refuses this token ({status}); check your access at {page} and log in with `hf auth login`"
    return f"the hub answers {status}; see {page} and run again later"


def _broken(error: Exception) -> str:
    from huggingface_hub import constants

    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        return (
            f"{constants.HF_HUB_CACHE} cannot be written to ({error.strerror}); free space there or set HF_HOME to "
            "another disk"
        )
    said = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return f"asking {constants.ENDPOINT} failed ({said}); run again, transfers go on where they stopped"

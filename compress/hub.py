"""Weights on the Hugging Face Hub: fetched into its cache, or found there. Safetensors only, never a pickle."""

import logging
import os
from pathlib import Path

from compress.environment import show_path
from compress.errors import CompressError, InvalidInputError, first_line
from compress.recipes.schema import HubSource
from compress.runs import write_atomically

logger = logging.getLogger(__name__)

HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
CONVERTER = "SFconvertbot"
CONVERSION_TITLE = "Adding `safetensors` variant of this model"
CONVERSIONS = "compress-conversions"
"""Beside a model's snapshots in the cache: for each commit without safetensors, the commit that was taken instead."""


def find_snapshot(source: HubSource) -> Path | None:
    """The snapshot of a model in the Hub's cache, if its weights are there; asks nobody."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(source.id, revision=source.revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    return path if any(path.glob("*.safetensors")) else _recall_conversion(path)


def fetch_snapshot(source: HubSource) -> Path:
    """A model's snapshot, brought into the Hub's cache where it is not there yet.

    Many older models are kept as pickles alone; the Hub's own converter offers the same weights as safetensors in a
    pull request, which is then taken and said aloud.

    Raises:
        InvalidInputError: It is no id, or the Hub knows no such model or revision.
        CompressError: The Hub cannot be reached and the cache does not hold the model, or it has no safetensors.
    """
    logger.info(
        "Looking for %s (revision %s) in the Hugging Face cache and on the Hub", source.id, source.revision
    )
    path = _download(source)
    if any(path.glob("*.safetensors")):
        return path
    if converted := _recall_conversion(path):
        return converted
    revision = _find_conversion(source.id)
    if revision is None:
        raise CompressError(
            f"{source.id} (revision {source.revision}) has no *.safetensors in {show_path(path)}, "
            "and compress loads no pickles.",
            "Be online once, so that the snapshot is complete; or convert the weights "
            "(save_pretrained writes safetensors) and name the directory.",
        )
    logger.warning(
        "%s has no safetensors at %s: taking the Hub's own conversion, %s",
        source.id,
        source.revision,
        revision,
    )
    converted = _download(HubSource(id=source.id, revision=revision))
    write_atomically(path.parent.parent / CONVERSIONS / path.name, converted.name)
    return converted


def cache_directory() -> Path:
    """Where the Hub's models are kept on this machine."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _download(source: HubSource) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(source.id, revision=source.revision, allow_patterns=list(HUB_FILES)))
    except HFValidationError as error:
        raise InvalidInputError(
            f"{source.id!r} is no id of the Hub: {first_line(error)}", "Write it as OWNER/NAME."
        ) from None
    except GatedRepoError:
        raise CompressError(
            f"The Hub gives {source.id} only to those who accepted its terms.",
            "Accept them on its page, then log in: hf auth login",
        ) from None
    except RepositoryNotFoundError:
        raise InvalidInputError(
            f"The Hub knows no model {source.id}, or it is private.",
            "Check the id; for a private one log in: hf auth login",
        ) from None
    except RevisionNotFoundError:
        raise InvalidInputError(
            f"{source.id} has no revision {source.revision!r} on the Hub.", "Check it; `main` is the newest."
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
        reason = "HF_HUB_OFFLINE is set" if offline else first_line(error)
        raise CompressError(
            f"{source.id} (revision {source.revision}) is not in the Hugging Face cache "
            f"({show_path(cache_directory())}), and the Hub cannot be reached: {reason}",
            f"{'Unset HF_HUB_OFFLINE' if offline else 'Be online'}, or name a directory in Hugging Face format.",
        ) from None


def _recall_conversion(path: Path) -> Path | None:
    """The conversion that was once taken for a snapshot, so that it is found without asking the Hub again."""
    note = path.parent.parent / CONVERSIONS / path.name
    if not note.is_file():
        return None
    converted = path.with_name(note.read_text(encoding="utf-8"))
    return converted if any(converted.glob("*.safetensors")) else None


def _find_conversion(name: str) -> str | None:
    """The revision at which the Hub's converter offers a model's main weights as safetensors; None if it does not."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from transformers.safetensors_conversion import previous_pr

    try:
        request = previous_pr(HfApi(), name, CONVERSION_TITLE, token=None)  # type: ignore[arg-type]
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError):
        return None
    # Anybody may open a request of that title; only the converter's is known to hold the same weights.
    return f"refs/pr/{request.num}" if request and request.author == CONVERTER else None

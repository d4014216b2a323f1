"""Names on the Hugging Face Hub: the one module that imports huggingface_hub, once there is a name to look up."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from torchless.errors import CheckpointError, MissingExtraError, OptionError, TorchlessError
from torchless.folder.foreign_checkpoints import hint_without_config
from torchless.folder.layout import CHAT_TEMPLATES, SETTINGS, check_graph_choice, data_files, find_graphs, missing_graph
from torchless.folder.model_folder import ModelFolder
from torchless.folder.onnx_file import external_files

__all__ = ["is_path", "open_folder", "snapshot"]

_LOGGER = logging.getLogger(__name__)

# A connection that is cut is resumed this often; huggingface_hub 1 and newer also do so by themselves.
_ATTEMPTS = 3
_PAUSE_S = 1.0
_LISTING_TIMEOUT_S = 10.0


def is_path(source: str | PathLike[str]) -> bool:
    """Return whether a source can only be a folder: a name on the Hub is `model` or `user/model`."""
    return (
        not isinstance(source, str)
        or source.startswith((".", "~"))
        or source.count("/") > 1
        or source.endswith("/")
        or "\\" in source
        or Path(source).is_absolute()
    )


def open_folder(
    source: str | PathLike[str],
    *,
    revision: str | None = None,
    dtype: str | None = None,
    file_name: str | None = None,
) -> ModelFolder:
    """Open a folder, or a repository of the Hub once the files that are needed are in the cache.

    All files are those of one commit. What is downloaded is compared with the hashes that the Hub lists, once.

    Args:
        source: A folder, which comes first, or a name on the Hub.
        revision: A branch, tag or commit on the Hub, by default `main`.
        dtype: The graph to bring; by default none.
        file_name: The graph's own name, instead of a dtype.

    Raises:
        CheckpointError: There is no such folder or repository, it lacks what is needed, it cannot be reached and is not
            in the cache, or what arrived is not what the Hub lists.
        OptionError: There is no such dtype, the file name leads out of the folder, or a folder is given a revision.
        MissingExtraError: huggingface_hub is not installed.
    """
    if dtype is not None:
        check_graph_choice(dtype, file_name)
    if is_path(source) or Path(source).is_dir():
        folder = ModelFolder(source)
        if revision is not None:
            raise OptionError(
                f"revision={revision!r} is for names on the Hub, and {str(source)!r} is a folder.",
                hint="Leave revision out.",
            )
        return folder
    name = str(source)
    with _explained(name, revision, CheckpointError):
        path = _completed(name, revision, dtype, file_name)
    return ModelFolder(path, hub_name=name)


def snapshot(name: str, *, revision: str | None, patterns: Sequence[str], error: type[TorchlessError]) -> Path:
    """Return the folder of the cache that holds a repository's files, downloaded where they were not there.

    Args:
        name: A name on the Hub.
        revision: A branch, tag or commit, by default `main`.
        patterns: Which files; `*` stands for anything.
        error: What to raise.

    Returns:
        The folder, named after the commit.
    """
    with _explained(name, revision, error):
        return Path(_client().snapshot_download(name, revision=revision, allow_patterns=list(patterns)))


def _client() -> Any:
    try:
        # Here, because importing it takes longer than answering from a folder.
        import huggingface_hub.constants  # noqa: PLC0415
        import huggingface_hub.errors  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("A name on the Hub", extra="hub") from error
    return huggingface_hub


def _completed(name: str, revision: str | None, dtype: str | None, file_name: str | None) -> Path:
    """Return a snapshot's folder, once it holds what is needed."""
    hub = _client()
    api = hub.HfApi(library_name="torchless")
    try:
        info = api.model_info(name, revision=revision, files_metadata=True, timeout=_LISTING_TIMEOUT_S)
    except (hub.errors.HFValidationError, hub.errors.RevisionNotFoundError):
        raise
    except Exception as error:  # noqa: BLE001 - HTTP errors are those of requests, httpx or httpx2, by its version
        return _cached(name, revision, dtype, file_name, error)
    listing = {file.rfilename: file for file in info.siblings or ()}
    if "config.json" not in listing:
        raise CheckpointError(
            f"The repository {name!r} has no config.json.",
            hint=hint_without_config(listing.__contains__, otherwise="Name one that holds a model of transformers."),
        )
    first, *settings = (file for file in SETTINGS if file in listing)
    graphs: tuple[str, ...] = ()
    files = [first, *sorted(file for file in listing if file.startswith(f"{CHAT_TEMPLATES}/")), *settings]
    if dtype is not None:
        graphs = find_graphs(listing.__contains__, dtype, file_name)
        if not graphs:
            otherwise = f"export the checkpoint: torchless export {name} OUT"
            raise missing_graph(f"The repository {name!r}", listing, dtype, file_name, otherwise=otherwise)
        # The graphs last: where they are, only the files that they name can be missing.
        files += graphs
    paths = [_path_of(name, listing[file], info.sha) for file in files]
    folder = paths[0].parent  # that of config.json
    for graph, data in _data_files(name, folder, graphs):
        if data not in listing:
            raise CheckpointError(
                f"The repository {name!r} has no {data}, which holds weights of {graph}.",
                hint=f"Choose another graph, or export the checkpoint: torchless export {name} OUT",
            )
        _path_of(name, listing[data], info.sha)
    _remember(folder, revision)
    return folder


def _data_files(name: str, folder: Path, graphs: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each graph of a snapshot's folder with each file that it names for its weights."""
    for graph in graphs:
        try:
            locations = external_files(folder / graph)
        except ValueError:  # no graph: ONNX Runtime says how
            continue
        for data in data_files(f"The repository {name!r}", graph, locations):
            yield graph, data


def _path_of(name: str, listed: Any, commit: str) -> Path:
    """Return a file of the cache; if it is not there yet, bring it, or raise if it is not what the Hub lists."""
    cached = _client().try_to_load_from_cache(name, listed.rfilename, revision=commit)
    if isinstance(cached, str):
        return Path(cached)
    path = _download(name, listed.rfilename, commit)
    try:
        expected, actual = _hashes(path, listed)
    except BaseException:  # interrupted: the next start downloads nothing, but checks again
        path.unlink(missing_ok=True)
        raise
    if actual != expected:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{listed.rfilename} of {name!r} is not what the Hub lists: its hash is {actual}, and should be {expected}.",
            hint="It was removed from the cache. Try again; if it stays so, the Hub or a proxy serves damaged files.",
        )
    return path


def _remember(folder: Path, revision: str | None) -> None:
    """Write which commit a branch or tag is, once all its files are there, for starts without the Hub.

    Source: the cache's layout, https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
    """
    commit = folder.name
    reference = folder.parents[1] / "refs" / (revision or "main")
    if revision == commit or (reference.is_file() and reference.read_text(encoding="utf-8") == commit):
        return
    try:
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit, encoding="utf-8")
    except OSError as error:  # a cache that cannot be written can still be read
        _LOGGER.info("%s is not written: %s", reference, error)


def _cached(name: str, revision: str | None, dtype: str | None, file_name: str | None, reason: Exception) -> Path:
    """Return a snapshot's folder that holds what is needed, or raise because the Hub does not answer."""
    config = _client().try_to_load_from_cache(name, "config.json", revision=revision)
    if not isinstance(config, str):
        if _status(reason) is not None:
            raise reason
        raise _nowhere(name, reason, CheckpointError) from reason
    folder = Path(config).parent
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    why = _unreachable(reason)
    last = ("tokenizer.json",) if dtype is None else find_graphs(files.__contains__, dtype, file_name)
    if last and files.issuperset(last):  # they are downloaded after all others, but for the files that graphs name
        for graph, data in _data_files(name, folder, () if dtype is None else last):
            if data not in files:
                raise CheckpointError(
                    f"{why[0].upper()}{why[1:]}, and the copy of {name!r} in the cache {folder} has no {data}, which "
                    f"holds weights of {graph}.",
                    hint="Try again when it can be reached.",
                ) from reason
        _LOGGER.info("%s; %r is answered from the cache %s.", why, name, folder)
        return folder
    if _status(reason) in {401, 403, 404}:
        raise reason
    home = f"{why[0].upper()}{why[1:]}, and the copy of {name!r} in the cache {folder}"
    again = "try again when it can be reached."
    if dtype is None:
        raise CheckpointError(f"{home} has no tokenizer.json.", hint=again.capitalize()) from reason
    raise missing_graph(home, files, dtype, file_name, otherwise=again) from reason


def _download(name: str, file: str, revision: str | None) -> Path:
    hub = _client()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return Path(hub.hf_hub_download(name, file, revision=revision, library_name="torchless"))
        except (hub.errors.HfHubHTTPError, hub.errors.EntryNotFoundError):
            raise
        except OSError:  # what huggingface_hub 0.x raises for a connection that was cut; it goes on from what is there
            if attempt == _ATTEMPTS:
                raise
            time.sleep(_PAUSE_S)
    raise AssertionError("the last attempt returns or raises")


def _hashes(path: Path, listed: Any) -> tuple[str | None, str | None]:
    """Return the hash that a file should have, and the one it has: SHA-256 of large files, and of others Git's."""
    import hashlib  # noqa: PLC0415 - it loads OpenSSL, which a folder has no use for

    with path.open("rb") as file:
        if listed.lfs is not None:
            return listed.lfs.sha256, hashlib.file_digest(file, "sha256").hexdigest()
        if listed.blob_id is None:  # mirrors leave it out
            return None, None
        content = file.read()
    return listed.blob_id, hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextmanager
def _explained(name: str, revision: str | None, raised: type[TorchlessError]) -> Iterator[None]:
    """Turn the errors of huggingface_hub into errors of torchless."""
    hub = _client()
    errors, endpoint = hub.errors, hub.constants.ENDPOINT
    authorise = "give a token that may read it in the environment variable HF_TOKEN"
    try:
        yield
    except TorchlessError:
        raise
    except errors.HFValidationError as error:
        raise raised(
            f"{name!r} is neither a folder nor a name on the Hub.", hint="Give a folder, or user/model."
        ) from error
    except errors.GatedRepoError as error:
        raise raised(
            f"{name!r} is gated on the Hub.", hint=f"Accept its terms at {endpoint}/{name}, then {authorise}."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise raised(
            f"{name!r} has no revision {revision!r} on the Hub {endpoint}.", hint="Name a branch, a tag or a commit."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise raised(
            f"The Hub {endpoint} has no {name!r}, and there is no folder of this name.",
            hint=f"Check the spelling; for a private repository, {authorise}.",
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise _nowhere(name, error.__cause__, raised) from error
    except Exception as error:  # HTTP errors are those of requests, httpx or httpx2, by the client's version
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise raised(
            f"{name!r} cannot be downloaded from the Hub {endpoint}: {reason}",
            hint=f"Check your token; {authorise}."
            if _status(error) in {401, 403}
            else "Try again when the connection is better.",
        ) from error


def _nowhere(name: str, reason: BaseException | None, raised: type[TorchlessError]) -> TorchlessError:
    """Return the error for a name that is neither a folder, nor in the cache, nor on the Hub."""
    return raised(
        f"{name!r} is not a folder here, not in the cache {_client().constants.HF_HUB_CACHE}, and {_unreachable(reason)}.",
        hint=f"Give a folder instead; from a checkpoint's, one is made by: torchless export PATH/TO/{name.rpartition('/')[2]}",
    )


def _unreachable(error: BaseException | None) -> str:
    """Return what is wrong with the Hub."""
    constants = _client().constants
    if _status(error) is not None:
        return f"the Hub {constants.ENDPOINT} answers with status {_status(error)}"
    reason = ": HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ""
    return f"the Hub {constants.ENDPOINT} cannot be reached{reason}"


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status that an error stands for, if it does."""
    return getattr(getattr(error, "response", None), "status_code", None)

"""The settings of a server. Flags override the environment, the environment overrides a file, and a file the defaults."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Self, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from torchless.errors import OptionError, nearest

__all__ = ["ModelSettings", "SettingInfo", "Settings", "setting_infos"]

_PREFIX = "TORCHLESS_"
_DAY_S = 86_400


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a model.

    Attributes:
        folder: The exported folder, or a name on the Hub.
        task: The task; by default the task of the export.
        dtype: The variant; by default the `dtype` of the server.
    """

    folder: str
    task: str | None = None
    dtype: str | None = None


def _setting(description: str, *, default: str | None = None, **limits: Any) -> Meta:
    """Return the metadata of a setting, for `torchless serve --help` and for the table of the documentation.

    Args:
        description: The meaning of the setting.
        default: The default in words, if the default value does not show it.
        limits: The limits of the value, as in `msgspec.Meta`.
    """
    return Meta(description=description, extra={"default": default}, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a server. Flags, environment variables and the documentation are made from these declarations.

    Settings that text-embeddings-inference has too have the same names and meanings here.
    """

    models: Annotated[
        dict[str, ModelSettings],
        _setting("The models by name: exported folders, or names on the Hub."),
    ] = {}
    dtype: Annotated[str, _setting("The variant of models without a dtype.")] = "fp32"
    threads: Annotated[
        Annotated[int, Meta(ge=1)] | None, _setting("Threads for each run.", default="all available CPU cores")
    ] = None
    host: Annotated[str, _setting("The address to listen on.", pattern=r"^[^\s]+$")] = "127.0.0.1"
    port: Annotated[int, _setting("The port; with 0 the system chooses it.", ge=0, le=65535)] = 8000
    max_concurrent_requests: Annotated[
        int, _setting("Maximum number of requests at once; further requests get the status 429.", ge=1)
    ] = 512
    max_batch_tokens: Annotated[int, _setting("Maximum tokens in a batch, padding included.", ge=1)] = 384
    max_client_batch_size: Annotated[
        int,
        _setting("Maximum inputs in a request; for generation also maximum beams or answers, over all inputs.", ge=1),
    ] = 32
    payload_limit: Annotated[int, _setting("Maximum bytes in a body.", ge=1)] = 2_000_000
    max_buffered_bytes: Annotated[
        int,
        _setting(
            "Maximum bytes of all bodies in memory, without the first 64 KiB of each; further requests get the status "
            "429.",
            ge=1,
        ),
    ] = 64_000_000
    max_input_length: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _setting("Maximum tokens in an input.", default="the limit of each model, or 4096 if it has no limit"),
    ] = None
    max_request_tokens: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _setting(
            "Maximum tokens in a request, over all its rows (texts, labels, documents, windows), padding included. A request "
            "may have 8 characters for each token.",
            default="65536, or as many as the maximum number of inputs of the maximum length have",
        ),
    ] = None
    max_answer_values: Annotated[
        int,
        _setting(
            "Maximum values in an answer: labels, spans, tokens, numbers; for fill-mask the tokens of all filled texts.",
            ge=1,
        ),
    ] = 2_000_000
    request_timeout_s: Annotated[
        float,
        _setting(
            "Maximum seconds to receive a request's head, then to receive its body, and then to answer it, streams "
            "included.",
            gt=0,
            le=_DAY_S,
        ),
    ] = 60.0
    keep_alive_timeout_s: Annotated[
        float,
        _setting(
            "Seconds before the server closes an idle connection. A proxy in front of it should close sooner.",
            gt=0,
            le=_DAY_S,
        ),
    ] = 75.0
    api_key: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        _setting(
            "The key that requests must send as `Authorization: Bearer …`. `ps` shows a flag, but not the environment."
        ),
    ] = None
    cors_allow_origin: Annotated[
        list[str], _setting("An origin whose pages may send requests, or `*` for all origins; repeatable.")
    ] = []
    log_format: Annotated[
        Literal["json", "text", "none"], _setting("The access log on standard error: json, text or none.")
    ] = "json"
    log_inputs: Annotated[bool, _setting("Write the bodies of requests to the access log.")] = False
    open_telemetry: Annotated[
        bool,
        _setting("Trace requests. Needs the extra `telemetry`; OpenTelemetry's environment variables configure it."),
    ] = False

    @classmethod
    def load(cls, flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None) -> Self:
        """Combine flags, environment and file.

        Args:
            flags: The values by name; None means that the flag is absent. `models` is a list of `folder` and
                `name=folder`.
            environment: The environment variables: `TORCHLESS_PORT` and so on. Spaces separate the items of
                `TORCHLESS_MODELS` and `TORCHLESS_CORS_ALLOW_ORIGIN`.
            file: A TOML file. Its table `models` has a folder or a table for each name.

        Raises:
            OptionError: There is no such setting, its value is not possible, or the file cannot be read.
        """
        values = _read_file(file) | _read_environment(environment)
        values |= {name: value for name, value in flags.items() if value is not None}
        for name in values:
            if name not in cls.__struct_fields__:
                raise OptionError(f"There is no setting {name!r}.", hint=nearest(name, cls.__struct_fields__))
        values["models"] = _models(values.get("models") or {})
        try:
            return msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            raise OptionError(
                f"A setting is not possible: {error}.", hint="`torchless serve --help` shows the possible values."
            ) from error

    def to_toml(self) -> str:
        """Return the settings as TOML that `load` reads, without the key."""
        values = msgspec.to_builtins(self)
        models = values.pop("models")
        lines = [] if values.pop("api_key") is None else ["# api_key is set, but not shown"]
        lines += [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
        for name, model in models.items():
            lines += ["", f"[models.{_toml(name)}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in model.items() if value is not None]
        return "\n".join(lines)


class SettingInfo(NamedTuple):
    """The description of a setting, for users.

    Attributes:
        name: The name of the field, as in a file.
        flag: The flag of `torchless serve`.
        variable: The environment variable.
        description: The meaning of the setting.
        default: The default in words; None if there is no default.
        kind: The type of the flag's value: `int`, `float`, `str`, `bool`, or `list[str]`.
    """

    name: str
    flag: str
    variable: str
    description: str
    default: str | None
    kind: Any


def setting_infos() -> Iterator[SettingInfo]:
    """Yield the descriptions of all settings, in the order of the fields."""
    for field in msgspec.structs.fields(Settings):
        (meta,) = field.type.__metadata__
        types = _plain_types(field.type)
        has_default = field.default not in (msgspec.NODEFAULT, None, False)
        default = meta.extra["default"] or (str(field.default).removesuffix(".0") if has_default else None)
        yield SettingInfo(
            name=field.name,
            flag=f"--{field.name.replace('_', '-')}",
            variable=f"{_PREFIX}{field.name.upper()}",
            description=meta.description,
            default=default,
            kind=list[str] if list in types else next((kind for kind in (int, float, bool) if kind in types), str),
        )


def _plain_types(annotation: Any) -> set[Any]:
    """Return the types in an annotation, without their metadata."""
    if get_origin(annotation) is Annotated:
        return _plain_types(annotation.__origin__)
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_plain_types, get_args(annotation)))
    return {get_origin(annotation) or annotation}


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(
            f"{file} cannot be read: {error}.", hint="Give a TOML file, as `torchless serve --print-config` prints it."
        ) from error


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        info.name: environment[info.variable] for info in setting_infos() if info.variable in environment
    }
    return values | {name: values[name].split() for name in ("models", "cors_allow_origin") if name in values}


def _models(value: Any) -> Any:
    """Return the models by name, from a table or from a list of `folder` and `name=folder`."""
    if isinstance(value, dict):
        return {name: {"folder": model} if isinstance(model, str) else model for name, model in value.items()}
    if not isinstance(value, list):
        return value
    models: dict[str, Any] = {}
    for item in map(str, value):
        name, equals, folder = item.partition("=")
        if not equals:
            path = os.path.normpath(Path(item).absolute())  # the name of a link, not of its target
            name, folder = Path(path if Path(item).is_dir() else item).name, item
        if not name or "/" in name or name in models:
            raise OptionError(
                f"The model name of {item!r} is empty, contains a slash, or belongs to another model.",
                hint="Give each model a name: torchless serve mine=models/sentiment",
            )
        models[name] = {"folder": folder}
    return models


def _toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()  # TOML and JSON write strings, numbers, booleans and lists alike

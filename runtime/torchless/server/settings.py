"""The settings of a server: flags win over the environment, the environment over a file, and the file over defaults."""

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


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model to serve.

    Attributes:
        folder: The exported folder, or a name on the Hub.
        task: By default the task that the folder was exported for.
        dtype: The variant; by default the server's.
    """

    folder: str
    task: str | None = None
    dtype: str | None = None


def _setting(description: str, *, default: str | None = None, **limits: Any) -> Meta:
    """Return what is said of a setting: in `torchless serve --help`, and in the table of the documentation.

    Args:
        description: What the setting is.
        default: What holds without it, where the value of the default does not say.
        limits: The limits of its value, as `msgspec.Meta` has them.
    """
    return Meta(description=description, extra={"default": default}, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a server, each declared once: the flags, the environment, the file and the documentation follow.

    Names and meanings are text-embeddings-inference's, where it has them.
    """

    models: Annotated[
        dict[str, ModelSettings],
        _setting("The models by the names that requests give them: folders, or names on the Hub."),
    ] = {}
    dtype: Annotated[str, _setting("The variant of models that name none.")] = "fp32"
    threads: Annotated[
        Annotated[int, Meta(ge=1)] | None, _setting("Threads of one run.", default="what the machine grants")
    ] = None
    host: Annotated[str, _setting("The address to listen at.")] = "127.0.0.1"
    port: Annotated[int, _setting("The port; 0 lets the system choose.", ge=0, le=65535)] = 8000
    max_concurrent_requests: Annotated[
        int, _setting("Requests that the server works on at once; more get the status 429.", ge=1)
    ] = 512
    max_batch_tokens: Annotated[int, _setting("Tokens in a batch, padding included.", ge=1)] = 384
    max_client_batch_size: Annotated[
        int, _setting("Inputs in a request; for generation, beams or answers of all inputs together.", ge=1)
    ] = 32
    payload_limit: Annotated[int, _setting("Bytes in a body.", ge=1)] = 2_000_000
    max_input_length: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _setting("Tokens in an input.", default="what each model takes, or 4096 where it does not say"),
    ] = None
    request_timeout_s: Annotated[
        float, _setting("Seconds for a request's head to arrive, then for its body, and then for the answer.", gt=0)
    ] = 60.0
    api_key: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        _setting("The key that requests must give as `Authorization: Bearer …`. The environment keeps it out of `ps`."),
    ] = None
    cors_allow_origin: Annotated[list[str], _setting("An origin whose pages may ask, or `*` for all; repeatable.")] = []
    log_format: Annotated[
        Literal["json", "text", "none"], _setting("The access log on standard error: json, text or none.")
    ] = "json"
    log_inputs: Annotated[bool, _setting("Write the bodies of requests to the access log.")] = False
    open_telemetry: Annotated[
        bool, _setting("Trace requests, with the extra `telemetry`, configured by OpenTelemetry's own variables.")
    ] = False

    @classmethod
    def load(cls, flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None) -> Self:
        """Combine flags, environment and file.

        Args:
            flags: Values by name; None means not given. `models` are `folder` or `name=folder`.
            environment: `TORCHLESS_PORT` and so on. Spaces separate the items of `TORCHLESS_MODELS` and
                `TORCHLESS_CORS_ALLOW_ORIGIN`.
            file: A TOML file, with a table `models` of folders or of tables.

        Raises:
            OptionError: There is no such setting, its value is not possible, or the file cannot be read.
        """
        layers = [_of_file(file), _of_environment(environment), {k: v for k, v in flags.items() if v is not None}]
        values: dict[str, Any] = {}
        for layer in layers:
            values |= layer
        for name in values:
            if name not in cls.__struct_fields__:
                raise OptionError(f"There is no setting {name!r}.", hint=nearest(name, cls.__struct_fields__))
        values["models"] = _models(values.get("models") or {})
        try:
            return msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            raise OptionError(
                f"The settings are not possible: {error}.", hint="`torchless serve --help` says what each may be."
            ) from error

    def printed(self) -> str:
        """Return the settings as the TOML that `load` reads, but for the key."""
        values = msgspec.to_builtins(self)
        models = values.pop("models")
        lines = [] if values.pop("api_key") is None else ["# api_key is given, and not shown"]
        lines += [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
        for name, model in models.items():
            lines += ["", f"[models.{_toml(name)}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in model.items() if value is not None]
        return "\n".join(lines)


class SettingInfo(NamedTuple):
    """A setting, for people.

    Attributes:
        name: The name of the field, as in a file.
        flag: The flag of `torchless serve`.
        variable: The variable of the environment.
        description: What the setting is.
        default: What holds without it, in words; None where nothing does.
        kind: The type of the flag's value: `int`, `float`, `str`, `bool`, or `list[str]`.
    """

    name: str
    flag: str
    variable: str
    description: str
    default: str | None
    kind: Any


def setting_infos() -> Iterator[SettingInfo]:
    """Yield all settings, in their order."""
    for field in msgspec.structs.fields(Settings):
        (meta,) = field.type.__metadata__
        declared: Any = field.type.__origin__
        types = _plain_types(declared)
        value = "" if field.default is msgspec.NODEFAULT else field.default
        shown = meta.extra["default"] or (str(value).removesuffix(".0") if value not in (None, False, "") else None)
        yield SettingInfo(
            name=field.name,
            flag=f"--{field.name.replace('_', '-')}",
            variable=f"{_PREFIX}{field.name.upper()}",
            description=meta.description,
            default=shown,
            kind=list[str] if list in types else next((kind for kind in (int, float, bool) if kind in types), str),
        )


def _plain_types(declared: Any) -> set[Any]:
    """Return the types that a declaration names, without what is said of them."""
    if get_origin(declared) is Annotated:
        return _plain_types(declared.__origin__)
    if get_origin(declared) in (Union, UnionType):
        return set().union(*map(_plain_types, get_args(declared)))
    return {get_origin(declared) or declared}


def _of_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(
            f"{file} cannot be read: {error}.", hint="Give a TOML file, as `torchless serve --print-config` writes it."
        ) from error


def _of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
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
            path = os.path.normpath(Path(item).absolute())  # a link keeps its own name
            name, folder = Path(path if Path(item).is_dir() else item).name, item
        if not name or "/" in name or name in models:
            raise OptionError(
                f"{item!r} does not give its model a name of its own.",
                hint="Name each one: torchless serve mine=models/sentiment",
            )
        models[name] = {"folder": folder}
    return models


def _toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()  # strings, numbers, booleans and lists are written alike

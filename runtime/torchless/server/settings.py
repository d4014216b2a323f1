"""What a server is told: flags, above the environment, above a file, above what holds otherwise."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

from torchless.errors import OptionError, nearest

__all__ = ["ModelSettings", "Settings"]

_PREFIX = "TORCHLESS_"

Positive = Annotated[int, Meta(ge=1)]


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model to serve.

    Attributes:
        folder: The exported folder, or a name on the Hub.
        task: By default what the folder was exported for.
        dtype: The variant; by default the server's.
    """

    folder: str
    task: str | None = None
    dtype: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server is told. Names and meanings are text-embeddings-inference's, where it has them.

    Attributes:
        models: The models by the names that requests give them.
        dtype: The variant of models that name none.
        threads: How many threads one run may use; by default what the machine grants this process.
        host: The address to listen at.
        port: The port; 0 lets the system choose.
        max_concurrent_requests: How many requests may be under way; more are refused at once.
        max_batch_tokens: The most tokens that a batch may have, padding included.
        max_client_batch_size: The most inputs that a request may have.
        payload_limit: The largest body, in bytes.
        max_input_length: The longest row in tokens; by default what each model takes, or 4,096 where it does not say.
        request_timeout_s: How long a request may take, to arrive and then to be answered, in seconds.
        api_key: What a request must give as `Authorization: Bearer …`; by default none need to.
        cors_allow_origin: The origins whose pages may ask; `*` for all.
        log_format: Of the access log, on standard error: `json`, `text` or `none`.
        log_inputs: Let the access log have the bodies of requests too; by default it has nothing of them but sizes.
        open_telemetry: Trace requests, by OpenTelemetry's own configuration.
    """

    models: dict[str, ModelSettings] = {}
    dtype: str = "fp32"
    threads: Positive | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    max_concurrent_requests: Positive = 512
    max_batch_tokens: Positive = 384
    max_client_batch_size: Positive = 32
    payload_limit: Positive = 2_000_000
    max_input_length: Positive | None = None
    request_timeout_s: Annotated[float, Meta(gt=0)] = 60.0
    api_key: Annotated[str, Meta(min_length=1)] | None = None
    cors_allow_origin: list[str] = []
    log_format: Literal["json", "text", "none"] = "json"
    log_inputs: bool = False
    open_telemetry: bool = False

    @classmethod
    def load(cls, flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None) -> Self:
        """Return what holds.

        Args:
            flags: Values by name; None is not given. `models` are `folder` or `name=folder`.
            environment: `TORCHLESS_PORT` and so on; `TORCHLESS_MODELS` and `TORCHLESS_CORS_ALLOW_ORIGIN` have spaces
                between several.
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
    names = {f"{_PREFIX}{name.upper()}": name for name in Settings.__struct_fields__}
    given: dict[str, Any] = {names[name]: value for name, value in environment.items() if name in names}
    return given | {name: given[name].split() for name in ("models", "cors_allow_origin") if name in given}


def _models(given: Any) -> Any:
    """Return the models by name, from a table or from a list of `folder` and `name=folder`."""
    if isinstance(given, dict):
        return {name: {"folder": value} if isinstance(value, str) else value for name, value in given.items()}
    if not isinstance(given, list):
        return given
    models: dict[str, Any] = {}
    for one in map(str, given):
        name, equals, folder = one.partition("=")
        if not equals:
            path = os.path.normpath(Path(one).absolute())  # a link keeps its own name
            name, folder = Path(path if Path(one).is_dir() else one).name, one
        if not name or "/" in name or name in models:
            raise OptionError(
                f"{one!r} gives no model a name of its own.",
                hint="Name each one: torchless serve mine=models/sentiment",
            )
        models[name] = {"folder": folder}
    return models


def _toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()  # strings, numbers, booleans and lists are written alike

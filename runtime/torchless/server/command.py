"""The command `torchless serve`."""

import os
from pathlib import Path

import typer

from torchless.errors import MissingExtraError, OptionError

__all__ = ["serve"]


def serve(
    models: list[str] | None = typer.Argument(
        None,
        metavar="[NAME=]FOLDER...",
        help="Exported folders, or names on the Hub; a name is by default the folder's.",
    ),
    config: Path | None = typer.Option(None, help="A TOML file of these settings, beneath flags and environment."),
    dtype: str | None = typer.Option(None, help="The variant.  [default: fp32]"),
    host: str | None = typer.Option(None, help="The address to listen at.  [default: 127.0.0.1]"),
    port: int | None = typer.Option(None, help="The port; 0 lets the system choose.  [default: 8000]"),
    threads: int | None = typer.Option(None, help="Threads a run.  [default: what the machine grants]"),
    max_concurrent_requests: int | None = typer.Option(
        None, help="Requests under way; more get 429 at once.  [default: 512]"
    ),
    max_batch_tokens: int | None = typer.Option(None, help="Tokens in a batch, padding included.  [default: 384]"),
    max_client_batch_size: int | None = typer.Option(None, help="Inputs in a request.  [default: 32]"),
    payload_limit: int | None = typer.Option(None, help="Bytes in a body.  [default: 2000000]"),
    max_input_length: int | None = typer.Option(
        None, help="Tokens in a row.  [default: what each model takes, else 4096]"
    ),
    request_timeout_s: float | None = typer.Option(
        None, help="Seconds that a request may take to arrive, and then to be answered.  [default: 60]"
    ),
    api_key: str | None = typer.Option(None, help="The key that requests must give. Better: TORCHLESS_API_KEY."),
    cors_allow_origin: list[str] | None = typer.Option(None, help="An origin whose pages may ask; repeatable."),
    log_format: str | None = typer.Option(None, help="The access log: json, text or none.  [default: json]"),
    log_inputs: bool | None = typer.Option(
        None, "--log-inputs", help="Write the bodies of requests to the access log."
    ),
    open_telemetry: bool | None = typer.Option(
        None, "--open-telemetry", help="Trace requests, by OpenTelemetry's own configuration."
    ),
    print_config: bool = typer.Option(False, "--print-config", help="Print the settings that hold, and exit."),  # noqa: FBT003 - typer's way
) -> None:
    """Serve models over HTTP. Each setting is also TORCHLESS_… in the environment."""
    try:
        from torchless.server.process import serve as run
        from torchless.server.settings import Settings
    except ImportError as error:
        raise MissingExtraError("The server", extra="serve") from error
    flags = {
        "models": models or None,
        "dtype": dtype,
        "host": host,
        "port": port,
        "threads": threads,
        "max_concurrent_requests": max_concurrent_requests,
        "max_batch_tokens": max_batch_tokens,
        "max_client_batch_size": max_client_batch_size,
        "payload_limit": payload_limit,
        "max_input_length": max_input_length,
        "request_timeout_s": request_timeout_s,
        "api_key": api_key,
        "cors_allow_origin": cors_allow_origin or None,
        "log_format": log_format,
        "log_inputs": log_inputs,
        "open_telemetry": open_telemetry,
    }
    settings = Settings.load(flags, os.environ, config)
    if print_config:
        typer.echo(settings.printed())
        return
    if not settings.models:
        raise OptionError("There is no model to serve.", hint="Name a folder: torchless serve models/sentiment")
    run(settings)

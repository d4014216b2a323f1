"""The command `torchless serve`, whose flags are the settings."""

import os
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import typer

from torchless.errors import MissingExtraError, OptionError

__all__ = ["add_serve_command"]

_HELP = "Serve models over HTTP. Each setting is also TORCHLESS_… in the environment."


def add_serve_command(app: typer.Typer) -> None:
    """Add the command to an application. Without the packages that the server needs, a call says how to install them.

    Args:
        app: The application.
    """
    try:
        from torchless.server.settings import Settings, setting_infos
    except ImportError as import_error:
        reason = import_error

        @app.command("serve", help=_HELP, context_settings={"ignore_unknown_options": True})
        def unavailable(arguments: list[str] | None = typer.Argument(None, hidden=True)) -> None:  # noqa: ARG001
            raise MissingExtraError("The server", extra="serve") from reason

        return

    def serve(models: list[str] | None, config: Path | None, print_config: bool | None, **flags: Any) -> None:
        values = {name: value for name, value in flags.items() if value not in (None, [])}
        settings = Settings.load({**values, "models": models or None}, os.environ, config)
        if print_config:
            typer.echo(settings.printed())
            return
        if not settings.models:
            raise OptionError("There is no model to serve.", hint="Name a folder: torchless serve models/sentiment")
        try:
            from torchless.server.process import serve as run
        except ImportError as error:
            raise MissingExtraError("The server", extra="serve") from error
        run(settings)

    parameters = [
        _parameter(
            "models",
            list[str],
            typer.Argument(
                None,
                metavar="[NAME=]FOLDER...",
                help="Exported folders, or names on the Hub; a model's name is by default the folder's.",
            ),
        ),
        _parameter(
            "config", Path, typer.Option(None, help="A TOML file of these settings; flags and environment win over it.")
        ),
        *(
            _parameter(
                info.name,
                info.kind,
                typer.Option(None, info.flag, help=info.description, show_default=info.default or False),
            )
            for info in setting_infos()
            if info.name != "models"
        ),
        _parameter(
            "print_config", bool, typer.Option(None, "--print-config", help="Print the settings that hold, and exit.")
        ),
    ]
    serve.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    serve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command("serve", help=_HELP)(serve)


def _parameter(name: str, kind: Any, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind | None)

"""Where chat templates run: Jinja's sandbox, with a budget for each rendering. The one module that imports jinja2."""

import json
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import datetime
from functools import cache, lru_cache, wraps
from typing import Any

from torchless.errors import InputError, MissingExtraError, OptionError

__all__ = ["ASSISTANT_BEGINS", "ASSISTANT_ENDS", "TRACKED", "compiled", "rendered"]

# The marks around the text of the assistant: two code points that are not characters, so no text holds them.
ASSISTANT_BEGINS, ASSISTANT_ENDS = "\ufdd0", "\ufdd1"
TRACKED = "assistant_is_tracked"

# The most steps of a rendering, about a second, and the longest text that it may make. A call costs as much as some steps.
_MAX_STEPS = 500_000
_CALL_STEPS = 10
_MAX_CHARACTERS = 2**24
# Functions whose text can be as long as the product of two arguments, and those that read a width in a text.
_MULTIPLYING = frozenset({"expandtabs", "indent", "join", "replace", "translate"})
_FORMATTING = frozenset({"%", "format", "format_map"})
_WIDE = re.compile(r"\d{8}")
_MEND = "Mend chat_template.jinja (or chat_template in tokenizer_config.json), or give another: chat_template=…"

_TOO_LONG = "it makes too long a text"

_steps: ContextVar[list[int] | None] = ContextVar("_steps", default=None)


def rendered(template: str, values: dict[str, Any]) -> str:
    """Return the text that a template makes of values.

    Args:
        template: In Jinja.
        values: What the template may use.

    Raises:
        InputError: The template refuses the values, or does not end.
        OptionError: The template is malformed.
        MissingExtraError: jinja2 is not installed.
    """
    program = compiled(template)
    token = _steps.set([_MAX_STEPS])
    try:
        return str(program.render(**values))
    except (
        ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
        _jinja2().TemplateError,
    ) as error:  # fmt: skip
        raise InputError(f"The chat template refuses this chat{_line_of(error)}: {error}.", hint=_MEND) from error
    finally:
        _steps.reset(token)


@lru_cache(maxsize=16)
def compiled(template: str) -> Any:
    """Return a template as a program.

    Raises:
        OptionError: The template is malformed.
        MissingExtraError: jinja2 is not installed.
    """
    jinja2 = _jinja2()
    try:
        return _environment().from_string(template)
    except jinja2.TemplateSyntaxError as error:
        line = (template.splitlines() or [""])[min(error.lineno, len(template.splitlines())) - 1].strip()
        raise OptionError(
            f"The chat template is malformed in line {error.lineno}, {line!r}: {error.message}.", hint=_MEND
        ) from error
    except (ArithmeticError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        # Those of Python's compiler: too many nested blocks, a surrogate.
        raise OptionError(f"The chat template is malformed: {error}.", hint=_MEND) from error


def _jinja2() -> Any:
    try:
        # Here, because most models have no chats, and the package is an extra.
        import jinja2  # noqa: PLC0415
        import jinja2.ext  # noqa: PLC0415
        import jinja2.sandbox  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("A chat", extra="chat") from error
    return jinja2


@cache
def _environment() -> Any:
    jinja2 = _jinja2()

    class Generation(jinja2.ext.Extension):  # type: ignore[misc, name-defined]
        """`{% generation %}…{% endgeneration %}`: what the assistant says."""

        tags = frozenset({"generation"})

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = self.call_method("_marked", [jinja2.nodes.ContextReference()])
            return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

        def _marked(self, context: Any, caller: Callable[[], str]) -> str:
            return f"{ASSISTANT_BEGINS}{caller()}{ASSISTANT_ENDS}" if context.get(TRACKED) else caller()

    class Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):  # type: ignore[misc, name-defined]
        """Counts the iterations and the calls of a rendering."""

        intercepted_binops = frozenset({"*", "**", "+", "%"})

        def _parse(self, source: str, name: str | None, filename: str | None) -> Any:
            tree = super()._parse(source, name, filename)
            for loop in list(tree.find_all(jinja2.nodes.For)):
                loop.iter = jinja2.nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)
            return tree.set_environment(self)

        def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
            receiver = getattr(function, "__self__", None)
            _check_call(getattr(function, "__name__", ""), receiver, *args, *kwargs.values())
            return _checked(super().call(context, function, *args, **kwargs))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_call(operator, left, right)
            if operator == "*":
                for sequence, count in ((left, right), (right, left)):
                    if isinstance(sequence, str | list | tuple) and isinstance(count, int):
                        _check_size(len(sequence) * count)
            return _checked(super().call_binop(context, operator, left, right))

    # Without the optimizer, compiling computes nothing.
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    filters = environment.filters | {"tojson": _tojson}
    environment.filters = {name: _limited(name, function) for name, function in filters.items()} | {"counted": _Counted}
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    return environment


class _Counted:
    """What a loop goes through, with its steps counted."""

    def __init__(self, items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            _count(1)
            yield item


def _count(number: int) -> None:
    steps = _steps.get()
    if steps is not None:
        steps[0] -= number
        if steps[0] < 0:
            raise OverflowError(f"it has more than {_MAX_STEPS} steps")


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter whose calls count, and whose text is not too long."""

    @wraps(function)  # with jinja2's marks of what is passed to it
    def call(*args: Any, **kwargs: Any) -> Any:
        _check_call(name, *args, *kwargs.values())
        return _checked(function(*args, **kwargs))

    return call


def _check_call(name: str, *values: Any) -> None:
    """Count a call, and check what it would make of its values.

    Raises:
        OverflowError: There are too many calls, or it would make too long a text.
    """
    _count(_CALL_STEPS)
    _check_size(*values)
    if name in _FORMATTING and any(isinstance(value, str) and _WIDE.search(value) for value in values):
        raise OverflowError(_TOO_LONG)
    if name in _MULTIPLYING:
        *_, second, first = [1, 1, *sorted(map(_size, values))]
        _check_size((1 + first) * (1 + second))


def _size(value: Any) -> int:
    """Return how long a text a value can add to another."""
    if isinstance(value, int):
        return abs(value)
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | tuple):
        return sum(len(item) for item in value if isinstance(item, str))
    return max(map(_size, value.values()), default=0) if isinstance(value, dict) else 0


def _check_size(*values: Any) -> None:
    for value in values:
        if isinstance(value, tuple):
            _check_size(*value)
        elif isinstance(value, int) and abs(value) > _MAX_CHARACTERS:
            raise OverflowError(_TOO_LONG)


def _checked(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MAX_CHARACTERS:
        raise OverflowError(_TOO_LONG)
    return value


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter of that name escapes what HTML does not take."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise _jinja2().TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)  # noqa: DTZ005 - where the caller lives


def _line_of(error: BaseException) -> str:
    """Return where in the template an error was raised, which jinja2 writes into the traceback."""
    line, frame = None, error.__traceback__
    while frame is not None:
        line = frame.tb_lineno if frame.tb_frame.f_code.co_filename == "<template>" else line
        frame = frame.tb_next
    return "" if line is None else f" in line {line}"

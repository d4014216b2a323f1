"""The options of generation: names, defaults, checks and precedence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isnan
from numbers import Integral, Real
from typing import Any, Literal, Self

from torchless.errors import CheckpointError, OptionError, nearest

__all__ = ["OPTION_NAMES", "GenerationConfig"]

# The most new tokens if no option sets a length. Source: `GenerationConfig` of transformers 4.57.6.
_DEFAULT_LENGTH = 20

_UNSUPPORTED_MODES = {
    "assistant_early_exit": "Assisted generation",
    "assistant_model": "Assisted generation",
    "constraints": "Constrained generation",
    "custom_generate": "Custom generation code",
    "diversity_penalty": "Group beam search",
    "dola_layers": "DoLa",
    "force_words_ids": "Constrained generation",
    "guidance_scale": "Classifier-free guidance",
    "num_beam_groups": "Group beam search",
    "penalty_alpha": "Contrastive search",
    "prefix_allowed_tokens_fn": "Constrained generation",
    "prompt_lookup_num_tokens": "Assisted generation",
    "token_healing": "Token healing",
    "watermarking_config": "Watermarking",
}
_NEUTRAL_AT_ONE = frozenset({"guidance_scale", "num_beam_groups"})

_NEVER_NONE = frozenset({
    "do_sample", "early_stopping", "length_penalty", "num_beams", "num_return_sequences", "remove_invalid_values",
    "renormalize_logits", "use_cache",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfig:
    """How tokens are chosen, and when generation ends. Names and defaults are those of `transformers`.

    Attributes:
        max_length: The most tokens of a sequence, with the prompt; by default 20 more than the prompt.
        max_new_tokens: The most tokens after the prompt; takes precedence over `max_length`.
        min_length: The fewest tokens of a sequence, with the prompt.
        min_new_tokens: The fewest tokens after the prompt; takes precedence over `min_length`.
        max_time: Seconds after which no further step begins.
        stop_strings: Texts that end a sequence as soon as they are generated.
        early_stopping: When beam search ends: True with the first `num_beams` finished candidates, False when a better
            candidate is unlikely, "never" when a better candidate is impossible.
        do_sample: Draw tokens; by default the likeliest token is taken.
        num_beams: The number of sequences that beam search keeps; 1 means no beam search.
        num_return_sequences: The number of sequences for each prompt.
        seed: A number that makes draws repeatable. Not in the reference.
        use_cache: Accepted as in the reference; it does not change the result.
        temperature: Divides the logits before a draw.
        top_k: Draw only from this many likeliest tokens; 0 draws from all.
        top_p: Draw only from the likeliest tokens that together have this probability.
        min_p: Draw only from tokens with at least this share of the highest probability.
        typical_p: Draw only from the most typical tokens that together have this probability.
        epsilon_cutoff: Draw only from tokens with at least this probability.
        eta_cutoff: As `epsilon_cutoff`, but lower in a flat distribution.
        repetition_penalty: Above 1, earlier tokens become less likely.
        encoder_repetition_penalty: Above 1, tokens of the input become likelier.
        length_penalty: Above 0, beam search prefers longer sequences; below 0, shorter sequences.
        no_repeat_ngram_size: No n-gram of this size occurs twice.
        encoder_no_repeat_ngram_size: No n-gram of this size from the input occurs.
        bad_words_ids: Sequences of token ids that do not occur.
        renormalize_logits: Turn the processed scores into log-probabilities.
        forced_bos_token_id: The token after the decoder's first token.
        forced_eos_token_id: The last token at `max_length`, or several tokens to choose from.
        remove_invalid_values: Replace nan and infinity by finite scores.
        exponential_decay_length_penalty: (start, factor): after `start` new tokens, each further token makes the end
            likelier by this factor.
        suppress_tokens: Tokens that do not occur.
        begin_suppress_tokens: Tokens that do not come first.
        sequence_bias: A number to add to the score of a token that completes a sequence: {(5, 7): -2.0} or
            [[[5, 7], -2.0]].
        pad_token_id: The token that fills a sequence after its end; by default the first of `eos_token_id`.
        bos_token_id: The token that begins a text.
        eos_token_id: The token, or the tokens, that end a text.
        decoder_start_token_id: The first token of the decoder in an encoder-decoder.
        unsupported: Values of a folder's files that are not possible here, by name. Generation begins once a caller has
            replaced them.

    Raises:
        OptionError: A value is not possible, or contradicts another option.

    Source: `GenerationConfig` in transformers 4.57.6, generation/configuration_utils.py.
    """

    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int | None = 0
    min_new_tokens: int | None = None
    max_time: float | None = None
    stop_strings: str | Sequence[str] | None = None
    early_stopping: bool | Literal["never"] = False
    do_sample: bool = False
    num_beams: int = 1
    num_return_sequences: int = 1
    seed: int | None = None
    use_cache: bool = True
    temperature: float | None = 1.0
    top_k: int | None = 50
    top_p: float | None = 1.0
    min_p: float | None = None
    typical_p: float | None = 1.0
    epsilon_cutoff: float | None = 0.0
    eta_cutoff: float | None = 0.0
    repetition_penalty: float | None = 1.0
    encoder_repetition_penalty: float | None = 1.0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int | None = 0
    encoder_no_repeat_ngram_size: int | None = 0
    bad_words_ids: Sequence[Sequence[int]] | None = None
    renormalize_logits: bool = False
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | Sequence[int] | None = None
    remove_invalid_values: bool = False
    exponential_decay_length_penalty: tuple[int, float] | None = None
    suppress_tokens: Sequence[int] | None = None
    begin_suppress_tokens: Sequence[int] | None = None
    sequence_bias: Mapping[tuple[int, ...], float] | Sequence[Sequence[Any]] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | Sequence[int] | None = None
    decoder_start_token_id: int | None = None
    unsupported: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, (is_possible, hint) in _RULES.items():
            value = getattr(self, name)
            if (name in _NEVER_NONE or value is not None) and not is_possible(value):
                raise OptionError(f"{name}={value!r} is not possible.", hint=hint)
        if self.num_beams == 1 and self.num_return_sequences > 1 and not self.do_sample:
            raise OptionError(
                f"num_return_sequences={self.num_return_sequences} is not possible: greedy search gives one sequence.",
                hint=f"num_beams={self.num_return_sequences} or do_sample=True",
            )
        if self.do_sample and self.temperature == 0:
            raise OptionError("temperature=0.0 with do_sample=True is not possible.", hint=_RULES["temperature"][1])
        if 1 < self.num_beams < self.num_return_sequences:
            raise OptionError(
                f"num_return_sequences={self.num_return_sequences} is more than num_beams={self.num_beams}.",
                hint=f"num_beams={self.num_return_sequences}",
            )

    @classmethod
    def from_configs(cls, config: Mapping[str, Any], generation_config: Mapping[str, Any] | None) -> Self:
        """Read the options from the files of a folder. `unsupported` keeps the values that are not possible here.

        Args:
            config: The values of `config.json`; they apply only if there is no `generation_config.json`.
            generation_config: The values of `generation_config.json`, or None if the file does not exist.

        Raises:
            CheckpointError: Two values are not possible together.
        """
        if generation_config is None:
            source, values = "config.json", {name: value for name, value in config.items() if value is not None}
        else:
            source, values = "generation_config.json", dict(generation_config)
        known = {
            name: value
            for name, value in values.items()
            if name in OPTION_NAMES and not (value is None and name in _NEVER_NONE)
        }
        if known.get("max_length") == _DEFAULT_LENGTH:  # files have this value if nobody chose a length
            del known["max_length"]
        if known.get("temperature") == 0:
            known |= {"temperature": 1.0, "do_sample": False}
        impossible = {name for name, value in known.items() if value is not None and not _RULES[name][0](value)}
        modes = {name for name in _UNSUPPORTED_MODES if _requests_mode(name, values.get(name))}
        unsupported = {name: values[name] for name in sorted(impossible | modes)}
        try:
            return cls(**{name: known[name] for name in known.keys() - impossible}, unsupported=unsupported)
        except OptionError as error:
            raise CheckpointError(f"{source}: {error.problem}", hint=f"Change {source}. {error.hint}") from error

    def updated(self, **options: Any) -> Self:
        """Return the options with some of them changed.

        Args:
            options: The new values by name.

        Raises:
            OptionError: There is no such option, a value is not possible, or it requests a generation mode that is not
                supported.
        """
        if not options:
            return self
        for name, value in options.items():
            if name not in OPTION_NAMES and name not in _UNSUPPORTED_MODES:
                raise OptionError(f"Generation has no option {name!r}.", hint=nearest(name, OPTION_NAMES))
            if _requests_mode(name, value):
                raise _unsupported_mode(name, value)
        known = {name: value for name, value in options.items() if name not in _UNSUPPORTED_MODES}
        remaining = {name: value for name, value in self.unsupported.items() if name not in options}
        return replace(self, **known, unsupported=remaining)

    def check_supported(self) -> None:
        """Raise unless all values of the folder's files are possible here, or were replaced.

        Raises:
            OptionError: A value is not possible here.
        """
        for name, value in self.unsupported.items():
            if name in _UNSUPPORTED_MODES:
                problem, hint = _unsupported_mode(name, value).problem, f"Override it in the call: {name}=None"
            else:
                problem, hint = f"{name}={value!r} is not possible.", f"Override it in the call. {_RULES[name][1]}"
            raise OptionError(f"The model's generation settings cannot be used: {problem}", hint=hint)

    def with_defaults(self, **defaults: Any) -> Self:
        """Return the options of a folder with a pipeline's defaults; the caller's options are applied after this.

        As in the reference, the defaults replace the folder's values, with one exception: a `max_length` of the folder
        removes a default `max_new_tokens`.

        Args:
            defaults: The pipeline's values by name.

        Raises:
            OptionError: As `updated`.

        Source: `Pipeline.__init__` in transformers 4.57.6, pipelines/base.py, and `_prepare_generation_config` in
        generation/utils.py.
        """
        if self.max_length is not None and "max_new_tokens" in defaults:
            defaults["max_new_tokens"] = None
        return self.updated(**defaults)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens that end a text, without negative ids, which in files mean that there is no such token."""
        return tuple(token for token in _sequence(self.eos_token_id) if token >= 0)

    @property
    def forced_eos_token_ids(self) -> tuple[int, ...]:
        """The tokens that may come last at `max_length`."""
        return _sequence(self.forced_eos_token_id)

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a sequence."""
        return (self.stop_strings,) if isinstance(self.stop_strings, str) else tuple(self.stop_strings or ())

    def max_total_length(self, prompt_length: int, *, max_positions: int | None = None) -> int:
        """Return the most tokens of a sequence, with the prompt.

        Args:
            prompt_length: The number of tokens of the prompt, padding included.
            max_positions: The most tokens that the model takes, if it has a limit; it limits only the default length.
        """
        if self.max_new_tokens is not None:
            return prompt_length + self.max_new_tokens
        if self.max_length is not None:
            return self.max_length
        max_length = prompt_length + _DEFAULT_LENGTH
        return max_length if max_positions is None else min(max_length, max_positions)

    def min_total_length(self, prompt_length: int) -> int:
        """Return the fewest tokens of a sequence, with the `prompt_length` tokens of the prompt."""
        return (self.min_length or 0) if self.min_new_tokens is None else prompt_length + self.min_new_tokens


OPTION_NAMES = frozenset(field.name for field in fields(GenerationConfig)) - {"unsupported"}
"""The names of the options that a caller may give."""


def _requests_mode(name: str, value: Any) -> bool:
    """Return whether an option requests a generation mode that is not supported."""
    return name in _UNSUPPORTED_MODES and bool(value) and not (name in _NEUTRAL_AT_ONE and value == 1)


def _unsupported_mode(name: str, value: Any) -> OptionError:
    return OptionError(
        f"{_UNSUPPORTED_MODES[name]} is not supported ({name}={value!r}).",
        hint=f"Leave out {name}; use greedy search, sampling (do_sample=True) or beam search (num_beams=4).",
    )


def _sequence(value: int | Sequence[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, Sequence) else (value,)


def _is_whole(value: Any, at_least: int = 0) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= at_least


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_real(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and isinstance(value, Real) and not isnan(value)
    except OverflowError:  # an integer that is no float
        return False


def _is_token(value: Any, at_least: int = 0) -> bool:
    return _is_whole(value, at_least) and value < _TOKEN_LIMIT


def _are_tokens(value: Any, at_least: int = 0) -> bool:
    return isinstance(value, list | tuple) and all(_is_token(token, at_least) for token in value)


def _are_sequences(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_are_tokens(sequence) and len(sequence) > 0 for sequence in value)


def _is_bias(value: Any) -> bool:
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    return isinstance(pairs, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and _are_tokens(pair[0]) and pair[0] and _is_real(pair[1])
        for pair in pairs
    )


def _at_least(number: int) -> Callable[[Any], bool]:
    return lambda value: _is_whole(value, number)


def _between(low: float, high: float, *, with_low: bool = False, with_high: bool = False) -> Callable[[Any], bool]:
    return lambda value: (
        _is_real(value) and (low < value < high or (with_low and value == low) or (with_high and value == high))
    )


_INFINITY = float("inf")
_TOKEN_LIMIT = 2**31  # token ids have 32 bits

# For each option, a check of its value, and the hint if the check fails.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_length": (_at_least(1), "Give a number of tokens, the prompt's included: max_length=256"),
    "max_new_tokens": (_at_least(1), "Give a number of tokens from 1: max_new_tokens=64"),
    "min_length": (_at_least(0), "Give a number of tokens, the prompt's included: min_length=10"),
    "min_new_tokens": (_at_least(0), "Give a number of tokens: min_new_tokens=10"),
    "max_time": (_between(0, _INFINITY), "Give seconds: max_time=10.0"),
    "stop_strings": (
        lambda value: isinstance(value, str | list | tuple) and value != "" and all(isinstance(x, str) and x for x in value),
        'Give a text or a list of texts: stop_strings=["\\n\\n"]',
    ),
    "early_stopping": (lambda value: _is_flag(value) or value == "never", 'early_stopping=True, False or "never"'),
    "do_sample": (_is_flag, "do_sample=True or do_sample=False"),
    "num_beams": (_at_least(1), "Give a number from 1, which means no beam search: num_beams=4"),
    "num_return_sequences": (_at_least(1), "Give a number from 1: num_return_sequences=1"),
    "seed": (_at_least(0), "Give a whole number: seed=0"),
    "use_cache": (_is_flag, "use_cache=True"),
    "temperature": (
        _between(0, _INFINITY, with_low=True),
        "Give a number above 0: temperature=0.7. To take the likeliest tokens, do_sample=False",
    ),
    "top_k": (_at_least(0), "Give a number of tokens, or 0 for all: top_k=50"),
    "top_p": (_between(0, 1, with_high=True), "Give a probability above 0, up to 1: top_p=0.95"),
    "min_p": (_between(0, 1, with_low=True, with_high=True), "Give a probability: min_p=0.05"),
    "typical_p": (_between(0, 1, with_high=True), "Give a probability above 0, up to 1: typical_p=0.95"),
    "epsilon_cutoff": (_between(0, 1, with_low=True), "Give a probability below 1: epsilon_cutoff=0.0003"),
    "eta_cutoff": (_between(0, 1, with_low=True), "Give a probability below 1: eta_cutoff=0.0003"),
    "repetition_penalty": (_between(0, _INFINITY), "Give a number above 0; 1 means no penalty: repetition_penalty=1.2"),
    "encoder_repetition_penalty": (
        _between(0, _INFINITY),
        "Give a number above 0; 1 means no penalty: encoder_repetition_penalty=1.2",
    ),
    "length_penalty": (_is_real, "Give a number: length_penalty=1.0"),
    "no_repeat_ngram_size": (_at_least(0), "Give a number of tokens, or 0: no_repeat_ngram_size=3"),
    "encoder_no_repeat_ngram_size": (_at_least(0), "Give a number of tokens, or 0: encoder_no_repeat_ngram_size=3"),
    "bad_words_ids": (_are_sequences, "Give a list of lists of token ids: bad_words_ids=[[5], [7, 8]]"),
    "renormalize_logits": (_is_flag, "renormalize_logits=True or renormalize_logits=False"),
    "forced_bos_token_id": (_is_token, "Give a token id: forced_bos_token_id=0"),
    "forced_eos_token_id": (
        lambda value: _is_token(value) or _are_tokens(value),
        "Give a token id, or a list of them: forced_eos_token_id=2",
    ),
    "remove_invalid_values": (_is_flag, "remove_invalid_values=True or remove_invalid_values=False"),
    "exponential_decay_length_penalty": (
        lambda value: isinstance(value, list | tuple) and len(value) == 2 and _is_whole(value[0]) and _is_real(value[1]),
        "Give a start and a factor: exponential_decay_length_penalty=(20, 1.05)",
    ),
    "suppress_tokens": (_are_tokens, "Give a list of token ids: suppress_tokens=[5]"),
    "begin_suppress_tokens": (_are_tokens, "Give a list of token ids: begin_suppress_tokens=[5]"),
    "sequence_bias": (_is_bias, "Give sequences of token ids with numbers: sequence_bias={(5, 7): -2.0}"),
    "pad_token_id": (lambda value: _is_token(value, -1), "Give a token id: pad_token_id=0"),
    "bos_token_id": (lambda value: _is_token(value, -1), "Give a token id: bos_token_id=0"),
    "eos_token_id": (
        lambda value: _is_token(value, -1) or _are_tokens(value, -1),
        "Give a token id, or a list of them: eos_token_id=[2, 5]",
    ),
    "decoder_start_token_id": (_is_token, "Give a token id: decoder_start_token_id=0"),
}  # fmt: skip

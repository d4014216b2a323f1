"""The options of generation: their names, defaults, checks, and which of several values holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isnan
from numbers import Integral, Real
from typing import Any, Literal, Self

from torchless.errors import CheckpointError, OptionError, nearest

__all__ = ["GenerationConfig"]

# What a continuation may have where nothing says its length. Source: `GenerationConfig` of transformers 4.57.6.
_DEFAULT_LENGTH = 20

_OTHER_MODES = {
    "assistant_early_exit": "Assisted generation",
    "assistant_model": "Assisted generation",
    "constraints": "Constrained generation",
    "custom_generate": "A checkpoint's own code",
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
    """How tokens are chosen, and when that ends. Names and defaults are those of `transformers`.

    Attributes:
        max_length: Tokens at most, the prompt's included; by default 20 more than the prompt.
        max_new_tokens: Tokens at most, the prompt's not included; where both are set, this one holds.
        min_length: Tokens at least, the prompt's included.
        min_new_tokens: Tokens at least, the prompt's not included; where both are set, this one holds.
        max_time: Seconds after which no further step begins.
        stop_strings: Texts that end a row once they are written.
        early_stopping: When beam search ends: True with the first `num_beams` finished candidates, False once a better
            one is unlikely, "never" once it is impossible.
        do_sample: Draw tokens; by default the likeliest is taken.
        num_beams: Sequences that beam search keeps; 1 is no beam search.
        num_return_sequences: Answers a prompt.
        seed: What makes draws repeatable. Not in the reference.
        use_cache: Accepted as the reference accepts it, and without effect on an answer.
        temperature: Logits are divided by it before a draw.
        top_k: Draw among so many of the likeliest; 0 draws among all.
        top_p: Draw among the likeliest that together have this probability.
        min_p: Draw among those at least this likely, relative to the likeliest.
        typical_p: Draw among the most typical that together have this probability.
        epsilon_cutoff: Draw among those at least this likely.
        eta_cutoff: The same, less strict where the distribution is flat.
        repetition_penalty: Above 1, tokens that occur already become less likely.
        encoder_repetition_penalty: Above 1, tokens of the input become likelier.
        length_penalty: Above 0, beam search prefers longer sequences; below 0, shorter.
        no_repeat_ngram_size: So many tokens in a row occur only once.
        encoder_no_repeat_ngram_size: So many tokens in a row of the input do not occur.
        bad_words_ids: Token ids, or sequences of them, that do not occur.
        renormalize_logits: Make the processed scores a distribution again.
        forced_bos_token_id: The token after the decoder's first.
        forced_eos_token_id: The token, or one of the tokens, at `max_length`.
        remove_invalid_values: Replace nan and infinity by finite scores.
        exponential_decay_length_penalty: (start, factor): so many tokens after the prompt, the end becomes likelier by
            this factor with every further token.
        suppress_tokens: Tokens that do not occur.
        begin_suppress_tokens: Tokens that do not come first.
        sequence_bias: What is added to the score of a token that completes a sequence: {(5, 7): -2.0} or
            [[[5, 7], -2.0]].
        pad_token_id: What fills rows that ended before others; by default the (first) end.
        bos_token_id: The token that begins a text.
        eos_token_id: The token, or the tokens, that end one.
        decoder_start_token_id: What the decoder of an encoder-decoder begins with.

    Raises:
        OptionError: A value is not possible, or does not go with another.

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

    def __post_init__(self) -> None:
        for name, (holds, hint) in _RULES.items():
            value = getattr(self, name)
            if (name in _NEVER_NONE or value is not None) and not holds(value):
                raise OptionError(f"{name}={value!r} is not possible.", hint=hint)
        if self.num_beams == 1 and self.num_return_sequences > 1 and not self.do_sample:
            raise OptionError(
                f"num_return_sequences={self.num_return_sequences} is not possible: the likeliest tokens make one sequence.",
                hint=f"num_beams={self.num_return_sequences} or do_sample=True",
            )
        if 1 < self.num_beams < self.num_return_sequences:
            raise OptionError(
                f"num_return_sequences={self.num_return_sequences} is more than num_beams={self.num_beams}.",
                hint=f"num_beams={self.num_return_sequences}",
            )

    @classmethod
    def from_configs(cls, config: Mapping[str, Any], generation_config: Mapping[str, Any] | None) -> Self:
        """Read what a checkpoint says of generation.

        Args:
            config: The values of `config.json`; they hold where there is no `generation_config.json`.
            generation_config: The values of `generation_config.json`, or None where there is none.

        Raises:
            CheckpointError: A value is not possible, or asks for a way to generate that does not exist here.
        """
        source, values = (
            ("config.json", config) if generation_config is None else ("generation_config.json", generation_config)
        )
        if generation_config is None:
            values = {name: value for name, value in values.items() if value is not None}
        names = {field.name for field in fields(cls)}
        known = {
            name: value
            for name, value in values.items()
            if name in names and not (value is None and name in _NEVER_NONE)
        }
        if known.get("max_length") == _DEFAULT_LENGTH:  # what files say that were written without a choice
            del known["max_length"]
        if known.get("temperature") == 0:
            known |= {"temperature": 1.0, "do_sample": False}
        try:
            _check_modes(values)
            return cls(**known)
        except OptionError as error:
            raise CheckpointError(f"{source}: {error.problem}", hint=f"Change {source}. {error.hint}") from error

    def updated(self, **options: Any) -> Self:
        """Return the options with some of them changed.

        Args:
            options: The new values by name.

        Raises:
            OptionError: There is no such option, a value is not possible, or it asks for a way to generate that does not
                exist here.
        """
        if not options:
            return self
        names = [field.name for field in fields(self)]
        for name in options:
            if name not in names and name not in _OTHER_MODES:
                raise OptionError(f"Generation has no option {name!r}.", hint=nearest(name, names))
        _check_modes(options)
        return replace(self, **{name: value for name, value in options.items() if name not in _OTHER_MODES})

    def with_defaults(self, **defaults: Any) -> Self:
        """Return a checkpoint's options with a pipeline's own defaults, to which a caller's options come next.

        The reference means a checkpoint's values to win over its pipelines' defaults, and lets them win in one case: a
        `max_length` over a default `max_new_tokens`.

        Args:
            defaults: The pipeline's values by name.

        Raises:
            OptionError: As of `updated`.

        Source: `Pipeline.__init__` in transformers 4.57.6, pipelines/base.py, and `_prepare_generation_config` in
        generation/utils.py.
        """
        if self.max_length is not None and "max_new_tokens" in defaults:
            defaults["max_new_tokens"] = None
        return self.updated(**defaults)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens that end a text; a negative one, which files have for none, is left out."""
        return tuple(token for token in _sequence(self.eos_token_id) if token >= 0)

    @property
    def forced_eos_token_ids(self) -> tuple[int, ...]:
        """The tokens of which one is forced at `max_length`."""
        return _sequence(self.forced_eos_token_id)

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a row."""
        return (self.stop_strings,) if isinstance(self.stop_strings, str) else tuple(self.stop_strings or ())

    def max_total_length(self, prompt_length: int, *, max_positions: int | None = None) -> int:
        """Return how many tokens a row has at most.

        Args:
            prompt_length: The prompt's tokens, padding included.
            max_positions: How many the model takes, where it has a limit; it caps the default length alone.
        """
        if self.max_new_tokens is not None:
            return prompt_length + self.max_new_tokens
        if self.max_length is not None:
            return self.max_length
        max_length = prompt_length + _DEFAULT_LENGTH
        return max_length if max_positions is None else min(max_length, max_positions)

    def min_total_length(self, prompt_length: int) -> int:
        """Return how many tokens a row has at least, of which `prompt_length` are the prompt's."""
        return (self.min_length or 0) if self.min_new_tokens is None else prompt_length + self.min_new_tokens


def _check_modes(options: Mapping[str, Any]) -> None:
    """Raise if an option asks for a way to generate that does not exist here."""
    for name, mode in _OTHER_MODES.items():
        value = options.get(name)
        if value and not (name in _NEUTRAL_AT_ONE and value == 1):
            raise OptionError(
                f"{mode} does not exist in torchless ({name}={value!r}).",
                hint=f"Leave out {name}; there are greedy search, sampling (do_sample=True) and beams (num_beams=4).",
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
    return not isinstance(value, bool) and isinstance(value, Real) and not isnan(value)


def _is_token(value: Any, at_least: int = 0) -> bool:
    return _is_whole(value, at_least) and value < _NO_TOKEN


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_is_token(token) for token in value)


def _are_sequences(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_are_tokens(sequence) and len(sequence) > 0 for sequence in value)


def _is_bias(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_are_tokens(tokens) and len(tokens) > 0 and _is_real(bias) for tokens, bias in value.items())
    return isinstance(value, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and _are_tokens(pair[0]) and pair[0] and _is_real(pair[1])
        for pair in value
    )


def _at_least(number: int) -> Callable[[Any], bool]:
    return lambda value: _is_whole(value, number)


def _between(low: float, high: float, *, low_too: bool = False, high_too: bool = False) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        return _is_real(value) and (low < value < high or (low_too and value == low) or (high_too and value == high))

    return holds


_INFINITY = float("inf")
_NO_TOKEN = 2**31  # and above it: vocabularies count in 32 bits

# What each option can be, and what to type where it is something else.
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
    "num_beams": (_at_least(1), "Give a number from 1, which is no beam search: num_beams=4"),
    "num_return_sequences": (_at_least(1), "Give a number from 1: num_return_sequences=1"),
    "seed": (_at_least(0), "Give a whole number: seed=0"),
    "use_cache": (_is_flag, "use_cache=True"),
    "temperature": (
        _between(0, _INFINITY),
        "Give a number above 0, such as temperature=0.7; for the likeliest tokens, do_sample=False",
    ),
    "top_k": (_at_least(0), "Give a number of tokens, or 0 for all: top_k=50"),
    "top_p": (_between(0, 1, high_too=True), "Give a probability above 0, up to 1: top_p=0.95"),
    "min_p": (_between(0, 1, low_too=True, high_too=True), "Give a probability: min_p=0.05"),
    "typical_p": (_between(0, 1, high_too=True), "Give a probability above 0, up to 1: typical_p=0.95"),
    "epsilon_cutoff": (_between(0, 1, low_too=True), "Give a probability below 1: epsilon_cutoff=0.0003"),
    "eta_cutoff": (_between(0, 1, low_too=True), "Give a probability below 1: eta_cutoff=0.0003"),
    "repetition_penalty": (_between(0, _INFINITY), "Give a number above 0, 1 for none: repetition_penalty=1.2"),
    "encoder_repetition_penalty": (
        _between(0, _INFINITY),
        "Give a number above 0, 1 for none: encoder_repetition_penalty=1.2",
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
        lambda value: _is_token(value, -1) or (isinstance(value, list | tuple) and all(_is_token(x, -1) for x in value)),
        "Give a token id, or a list of them: eos_token_id=[2, 5]",
    ),
    "decoder_start_token_id": (_is_token, "Give a token id: decoder_start_token_id=0"),
}  # fmt: skip

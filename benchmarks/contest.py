"""Peers who take turns on the same inputs; who is absent or fails is written down, and the others go on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

from benchmarks.checkpoints import CheckpointError
from benchmarks.peers import Peer, PeerError, Process

__all__ = ["Contest"]


class Contest:
    """Peers, loaded, each in a process of its own.

    Args:
        peers: Who takes part.

    Attributes:
        skipped: Who is not installed, by name, and what to do about it.
        failed: Who failed, by name, in its own words.
    """

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = peers
        self._processes: dict[str, Process] = {}
        self._stack = ExitStack()
        self.skipped: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    def __enter__(self) -> Self:
        with self._stack:
            for peer in self._peers:
                absence = peer.absence()
                if absence:
                    self.skipped[peer.name] = absence
                    print(f"  {peer.name}: skipped, {absence}", flush=True)
                    continue
                print(f"  loading {peer.name}", flush=True)
                try:
                    process = Process(peer.command())
                except (CheckpointError, PeerError) as error:
                    self.exclude(peer.name, str(error))
                else:
                    self._processes[peer.name] = self._stack.enter_context(process)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __contains__(self, name: str) -> bool:
        return name in self._processes

    def __iter__(self) -> Iterator[str]:
        return iter(self._processes)

    def answers(self, name: str, inputs: Sequence[Any], *, batch_size: int | None = None) -> list[Any] | None:
        """Return a peer's answer to each input; None if it takes no part, or fails."""
        if name not in self._processes:
            return None
        try:
            return self._processes[name].answers(inputs, batch_size=batch_size)
        except PeerError as error:
            self.exclude(name, str(error))
            return None

    def exclude(self, name: str, reason: str) -> None:
        """Count a peer as failed, and ask it no more."""
        self.failed[name] = reason
        self._processes.pop(name, None)
        print(f"  {name} failed: {reason}", flush=True)

    def rounds(
        self,
        inputs: Sequence[Any],
        *,
        rounds: int,
        repeats: int = 1,
        warm_up: Sequence[Any] = (),
        batch_sizes: Mapping[str, int | None] | None = None,
        names: Sequence[str] | None = None,
    ) -> dict[str, list[list[float]]]:
        """Ask every peer in turn, round after round.

        Args:
            inputs: What each turn calls with, one after the other.
            rounds: How many turns each peer has.
            repeats: How often a turn goes through the inputs.
            warm_up: What each turn calls with before, unmeasured.
            batch_sizes: By peer; None, or no entry, leaves it to the engine.
            names: Who takes part; by default all.

        Returns:
            By peer, for each round the times of its calls in milliseconds. Who failed is missing.
        """
        sizes = batch_sizes or {}
        found: dict[str, list[list[float]]] = {name: [] for name in self._processes if names is None or name in names}
        for number in range(rounds + 1):
            for name in tuple(found):
                try:
                    times = self._processes[name].times_ms(
                        inputs if number else warm_up or inputs[:1],
                        repeats=repeats if number else 1,
                        warm_up=warm_up,
                        batch_size=sizes.get(name),
                    )
                except PeerError as error:
                    self.exclude(name, str(error))
                    del found[name]
                else:
                    if number:  # the round before the first is for caches, and for what is compiled at the first call
                        found[name].append(times)
        return found

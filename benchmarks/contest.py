"""Peers that take turns on the same inputs. A peer that is absent or fails is recorded, and the other peers continue."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

from benchmarks.checkpoints import ConversionError
from benchmarks.peers import Peer, PeerError, Process

__all__ = ["Contest"]


class Contest:
    """Loaded peers, each in its own process.

    Args:
        peers: The peers.

    Attributes:
        skipped: By name of a peer that is not installed, what to install.
        failed: By name of a peer that failed, its error message.
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
                except (ConversionError, PeerError) as error:
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
        """Return a peer's answer to each input, or None if the peer is excluded or fails."""
        if name not in self._processes:
            return None
        try:
            return self._processes[name].answers(inputs, batch_size=batch_size)
        except PeerError as error:
            self.exclude(name, str(error))
            return None

    def exclude(self, name: str, reason: str) -> None:
        """Record a peer as failed, and stop measuring it."""
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
        """Measure the peers in turns, round after round.

        Args:
            inputs: The inputs of the calls of a turn.
            rounds: The number of turns of each peer.
            repeats: How many times a turn repeats the inputs.
            warm_up: The inputs of calls at the start of each turn, which are not measured.
            batch_sizes: The batch size by peer. With None or without an entry, the engine chooses the size.
            names: The peers to measure, by default all.

        Returns:
            By peer, the times of its calls in each round, in milliseconds. Failed peers are missing.
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
                    if number:  # round 0 fills caches and compiles, and is not measured
                        found[name].append(times)
        return found

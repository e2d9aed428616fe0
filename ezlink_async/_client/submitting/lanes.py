"""The gates of one client: jobs of one lane wait for room together."""

from __future__ import annotations

from ezlink_async._client.submitting.gate import Admission, Gate
from ezlink_async._core.policies import RetryPolicy


class Lanes:
    """
    One :class:`Gate` for each lane, made when its first job comes.

    A busy answer is about one lane. A network that is down is down for all.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._gates: dict[str, Gate] = {}

    def gate(self, lane: str) -> Gate:
        """Return the gate of *lane*."""
        gate = self._gates.get(lane)
        if gate is None:
            gate = self._gates[lane] = Gate(self._policy)
        return gate

    @property
    def pause(self) -> float:
        """Seconds until all gates are open; 0 if they are."""
        return max((gate.pause for gate in self._gates.values()), default=0.0)

    def close_all(self, gate: Gate, admission: Admission) -> None:
        """Close every gate: a submit that *gate* had let through met a dead network."""
        gate.close(admission, full=False)
        for other in self._gates.values():
            if other.is_open:
                other.close(full=False)

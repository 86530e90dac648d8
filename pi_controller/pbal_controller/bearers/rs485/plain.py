"""Plain Modbus requests on a segment (to a meter on the same wires), and their turn.

The segment's owner (bearer.py) says when one may be sent; who asked waits for its answer here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from pbal_controller.bearers.rs485.line import LineClient
from pbal_controller.errors import BearerError

_ANSWER_S = 0.5


@dataclass(frozen=True)
class Job:
    """A request, and who waits for what comes of it."""

    pdu: ModbusPDU
    result: asyncio.Future[ModbusPDU]


class PlainRequests:
    """The requests that wait on one segment, in the order in which they came."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: deque[Job] = deque()

    @property
    def waiting(self) -> bool:
        """Whether any does."""
        return bool(self._jobs)

    async def ask(
        self, pdu: ModbusPDU, wake: Callable[[], None], timeout_s: float = 5.0
    ) -> ModbusPDU:
        """Wait for the turn of one request, and for its answer; `wake` tells the owner of it.

        Raises BearerError: the unit is silent or answers with an exception, or the port was lost.
        """
        job = Job(pdu, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        wake()
        try:
            async with asyncio.timeout(timeout_s):
                answer = await job.result
        except TimeoutError:
            raise BearerError(f"bus {self._name}: unit {pdu.dev_id} does not answer") from None
        if answer.isError():
            raise BearerError(
                f"bus {self._name}: unit {pdu.dev_id} answered exception {answer.exception_code}"
            )
        return answer

    def next(self) -> Job | None:
        """The first one, taken out; None when nobody waits for it any more."""
        job = self._jobs.popleft()
        return None if job.result.done() else job

    async def send(self, client: LineClient, job: Job) -> None:
        """Send it, and hand its answer, or what went wrong, to who asked."""
        client.line.comm_params.timeout_connect = _ANSWER_S
        try:
            answer = await client.execute(False, job.pdu)
        except (ModbusException, OSError) as error:
            if not job.result.done():
                job.result.set_exception(BearerError(f"bus {self._name}: {error}"))
        else:
            if not job.result.done():
                job.result.set_result(answer)

    def lost(self) -> None:
        """The port was lost: none of them is answered."""
        for job in self._jobs:
            if not job.result.done():
                job.result.set_exception(BearerError(f"bus {self._name}: the port was lost"))
        self._jobs.clear()

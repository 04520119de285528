"""What the messages of gRPC calls weigh: their octets, and the frame that each of them has.

Counted where grpcio writes and reads them, so whatever a codec makes of a message counts, and
what a codec raises is grpcio's to deal with.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..clock import Clock
from ..dataplane import FRAME, Meter

NOTED = 100
"""Messages of one stream that its span tells of."""

Codec = Callable[[Any], Any] | None


def note(messages: list[tuple[bool, float, int]], message: tuple[bool, float, int]) -> None:
    """Of streams that go on for days, the first ones."""
    if len(messages) < NOTED:
        messages.append(message)


class Outgoing:
    """The codecs of one attempt: an attempt made anew counts anew, and those beside each other
    count what one of them sent and received."""

    __slots__ = (
        "_clock",
        "_deserialize",
        "_meter",
        "_received",
        "_sent",
        "_serialize",
    )

    def __init__(self, meter: Meter, clock: Clock, serialize: Codec, deserialize: Codec) -> None:
        meter.request_bytes = meter.request_messages = 0
        meter.response_bytes = meter.response_messages = 0
        if meter.messages:
            meter.messages = []
        self._meter = meter
        self._clock = clock
        self._serialize = serialize
        self._deserialize = deserialize
        self._sent = self._received = (0, 0)

    def write(self, message: Any) -> Any:
        octets = message if self._serialize is None else self._serialize(message)
        meter, (messages, weight) = self._meter, self._sent
        self._sent = messages + 1, weight + len(octets) + FRAME
        meter.request_messages, meter.request_bytes = self._sent
        meter.request_ended = now = self._clock()
        if meter.messages is not None:
            note(meter.messages, (True, now, len(octets)))
        return octets

    def read(self, octets: bytes) -> Any:
        meter, (messages, weight) = self._meter, self._received
        if not messages:
            meter.response_began = self._clock()
        if meter.messages is not None:
            note(meter.messages, (False, self._clock(), len(octets)))
        self._received = messages + 1, weight + len(octets) + FRAME
        meter.response_messages, meter.response_bytes = self._received
        return octets if self._deserialize is None else self._deserialize(octets)


class Incoming:
    """The codecs of one call that is served.

    ``broken``: hears that a message of a stream cannot be written, of which a handler is not told.
    """

    __slots__ = ("_clock", "_deserialize", "_serialize", "broken", "meter")

    def __init__(self, meter: Meter, clock: Clock, serialize: Codec, deserialize: Codec) -> None:
        self.meter = meter
        self.broken: Callable[[], object] | None = None
        self._clock = clock
        self._serialize = serialize
        self._deserialize = deserialize

    def came(self, octets: bytes) -> None:
        meter = self.meter
        meter.request_bytes += len(octets) + FRAME
        meter.request_messages += 1
        meter.request_ended = now = self._clock()
        if meter.messages is not None:
            note(meter.messages, (True, now, len(octets)))

    def read(self, octets: bytes) -> Any:
        self.came(octets)
        return octets if self._deserialize is None else self._deserialize(octets)

    def write(self, message: Any) -> Any:
        try:
            octets = message if self._serialize is None else self._serialize(message)
        except Exception:
            if self.broken is not None:
                self.broken()
            raise
        meter = self.meter
        if not meter.response_messages:
            meter.response_began = self._clock()
        if meter.messages is not None:
            note(meter.messages, (False, self._clock(), len(octets)))
        meter.response_bytes += len(octets) + FRAME
        meter.response_messages += 1
        return octets


class Weighed:
    """What a codec that all calls of a method share makes of an answer."""

    __slots__ = ("message", "octets")

    def __init__(self, message: Any, octets: int) -> None:
        self.message = message
        self.octets = octets


def shared(serialize: Codec, deserialize: Codec, clock: Clock) -> tuple[Any, Any]:
    """Codecs for all calls of a method with one message each way.

    What is sent is ``(meter, message)``, and what comes is :class:`Weighed`.
    """

    def write(sent: tuple[Meter, Any]) -> Any:
        meter, message = sent
        octets = message if serialize is None else serialize(message)
        meter.request_bytes = len(octets) + FRAME
        meter.request_messages = 1
        meter.request_ended = clock()
        return octets

    def read(octets: bytes) -> Any:
        message = octets if deserialize is None else deserialize(octets)
        return None if message is None else Weighed(message, len(octets) + FRAME)

    return write, read


def noted(answer: Any, meter: Meter, clock: Clock) -> Any:
    """The message of an answer that was read by a codec that calls share."""
    if type(answer) is not Weighed:
        return answer  # of a channel that is none of the mesh's
    meter.response_bytes = answer.octets
    meter.response_messages = 1
    meter.response_began = clock()
    return answer.message


class Unserialized(NamedTuple):
    """Stands for a response of which no message could be made: grpcio tells its caller."""

    error: Exception


def answered(scale: Incoming, response: Any) -> Any:
    """A call's one response, serialized while the call lasts, so that it counts."""
    try:
        return scale.write(response)
    except Exception as error:  # noqa: BLE001 - whatever the application's own function raises
        return Unserialized(error)


def passed(response: Any) -> Any:
    """The serializer of handlers whose responses are :func:`answered`."""
    if type(response) is Unserialized:
        raise response.error
    return response

"""Time that passes only when told to."""


class FakeClock:
    """A clock for whatever takes one: ``clock()`` is now, :meth:`jump` makes it later."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def jump(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"time does not run backwards, so not by {seconds} s")
        self.now += seconds

"""When a CA's root follows another: prepared, active, old, gone. Decisions only; no keys here.

A root is in everyone's bundle before the first leaf is signed under it, and stays there until
the last of its leaves is dead: so each two members always share one.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from .credentials import IdentityError

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0

BACKDATE = 60.0
"""How far before its making a certificate is valid from: clocks differ."""
DEFAULT_TTL = HOUR
LONGEST_TTL = DAY
ENOUGH = 0.95
"""The part of all members that must have a root before it is signed with."""


class Stage(StrEnum):
    PREPARED = "prepared"
    ACTIVE = "active"
    OLD = "old"


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In seconds. ``propagation``: how long until everyone has a new bundle, at worst; it must
    not be shorter than the life of leaves whose owners get new bundles with new leaves only.
    """

    root_life: float = 365 * DAY
    intermediate_life: float = 30 * DAY
    propagation: float = LONGEST_TTL
    prune_after: float = DAY

    def __post_init__(self) -> None:
        if min(self.root_life, self.intermediate_life) <= 0 or self.prune_after < 0:
            raise IdentityError("the lives of a CA's certificates must be longer than nothing")
        if not 0 <= self.propagation <= self.prepare_before - self.activate_before:
            raise IdentityError(
                f"a root that lives {self.root_life:g} s is followed too fast: the next would be"
                f" known for {self.prepare_before - self.activate_before:g} s before it is used,"
                f" and bundles need {self.propagation:g} s"
            )

    @property
    def prepare_before(self) -> float:
        return min(self.root_life / 2, 30 * DAY)

    @property
    def activate_before(self) -> float:
        return min(self.root_life / 6, 7 * DAY)


class Slot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A root and where it stands. ``retire_at`` is when an old one leaves the bundle."""

    name: str
    stage: Stage
    prepared_at: float
    not_before: float
    not_after: float
    forced: bool = False
    retire_at: float | None = None


class Prepare(msgspec.Struct, frozen=True):
    """Make the next root and put it into the bundle."""


class Activate(msgspec.Struct, frozen=True):
    """Sign with this one from now on."""

    name: str


class Prune(msgspec.Struct, frozen=True):
    """Take this one out of the bundle."""

    name: str


Step = Prepare | Activate | Prune


def find(slots: Sequence[Slot], stage: Stage) -> Slot | None:
    """The one that is prepared, or the one that is active."""
    return next((slot for slot in slots if slot.stage is stage), None)


def due(
    slots: Sequence[Slot], schedule: Schedule, now: float, acknowledged: float = 1.0
) -> Step | None:
    """What is to be done now; asked again after each step until it is ``None``.

    ``acknowledged``: the part of all members that has taken the newest bundle.
    """
    for slot in slots:
        if slot.retire_at is not None and now >= slot.retire_at:
            return Prune(slot.name)
    active, prepared = find(slots, Stage.ACTIVE), find(slots, Stage.PREPARED)
    if prepared is None:
        ripe = active is None or active.not_after - now <= schedule.prepare_before
        return Prepare() if ripe else None
    if active is None or now >= active.not_after:  # there is nothing that could break
        return Activate(prepared.name)
    if now < _activation(active, prepared, schedule):
        return None
    late = active.not_after - now <= schedule.activate_before / 2
    return Activate(prepared.name) if acknowledged >= ENOUGH or late else None


def next_moment(slots: Sequence[Slot], schedule: Schedule) -> float:
    """Before this moment :func:`due` has nothing to say."""
    moments = [slot.retire_at for slot in slots if slot.retire_at is not None]
    active, prepared = find(slots, Stage.ACTIVE), find(slots, Stage.PREPARED)
    if active is None:
        return float("-inf")
    if prepared is None:
        moments.append(active.not_after - schedule.prepare_before)
    else:
        moments.append(min(active.not_after, _activation(active, prepared, schedule)))
    return min(moments)


def _activation(active: Slot, prepared: Slot, schedule: Schedule) -> float:
    known = prepared.prepared_at + schedule.propagation
    return known if prepared.forced else max(known, active.not_after - schedule.activate_before)


def activated(slots: Sequence[Slot], name: str, schedule: Schedule, now: float) -> tuple[Slot, ...]:
    """The same slots after ``name`` has become the active one.

    One that was replaced early (by force) stays until the last leaf under it is dead.
    """
    changed = []
    for slot in slots:
        if slot.name == name:
            changed.append(msgspec.structs.replace(slot, stage=Stage.ACTIVE))
        elif slot.stage is Stage.ACTIVE:
            forced = next(one.forced for one in slots if one.name == name)
            end = slot.not_after + schedule.prune_after
            retire_at = min(end, now + LONGEST_TTL) if forced else end
            changed.append(msgspec.structs.replace(slot, stage=Stage.OLD, retire_at=retire_at))
        else:
            changed.append(slot)
    return tuple(changed)

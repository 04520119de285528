"""Root rotation, as decisions: in virtual time, with bundles that arrive late."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.identity.credentials import IdentityError
from meshlib.identity.slots import (
    BACKDATE,
    DAY,
    LONGEST_TTL,
    Activate,
    Prepare,
    Prune,
    Schedule,
    Slot,
    Stage,
    activated,
    due,
    find,
    next_moment,
)


class Roots:
    """A CA without keys: what :class:`Authority` does with the decisions."""

    def __init__(self, schedule, now):
        self.schedule, self.slots, self.made = schedule, (), 0
        self.advance(now)

    @property
    def names(self):
        return {slot.name for slot in self.slots}

    @property
    def active(self):
        return find(self.slots, Stage.ACTIVE)

    def advance(self, now, acknowledged=1.0):
        taken = []
        while step := due(self.slots, self.schedule, now, acknowledged):
            self.take(step, now)
            taken.append(step)
        return taken

    def take(self, step, now):
        match step:
            case Prepare():
                self.made += 1
                life = self.schedule.root_life
                slot = Slot(
                    name=f"r{self.made}",
                    stage=Stage.PREPARED,
                    prepared_at=now,
                    not_before=now - BACKDATE,
                    not_after=now + life,
                )
                self.slots += (slot,)
            case Activate(name):
                self.slots = activated(self.slots, name, self.schedule, now)
            case Prune(name):
                self.slots = tuple(one for one in self.slots if one.name != name)

    def force(self, now):
        if find(self.slots, Stage.PREPARED) is None:
            self.take(Prepare(), now)
        self.slots = tuple(
            msgspec.structs.replace(one, forced=True) if one.stage is Stage.PREPARED else one
            for one in self.slots
        )


class Member:
    """Renews its leaf at about half of its life, and hears of bundles late."""

    def __init__(self, roots, now, delay, ttl):
        self.roots, self.delay, self.ttl = roots, delay, ttl
        self.heard = [(now, roots.names)]
        self.renew(now)

    def renew(self, now):
        self.issuer, self.since = self.roots.active.name, now
        self.until = min(now + self.ttl, self.roots.active.not_after)

    def step(self, now):
        if now >= self.since + (self.until - self.since) * 0.6:
            self.renew(now)
        self.heard.append((now, self.roots.names))
        while len(self.heard) > 1 and self.heard[1][0] <= now - self.delay:
            self.heard.pop(0)

    @property
    def bundle(self):
        return self.heard[0][1]


@settings(max_examples=60, deadline=None)
@given(
    life=st.floats(600, 10 * DAY),
    part=st.floats(0.05, 1.0),
    ttl_part=st.floats(0.05, 1.0),
    delays=st.lists(st.floats(0, 1), min_size=2, max_size=5),
    forced=st.lists(st.integers(0, 400), max_size=4),
    slow=st.sets(st.integers(0, 400), max_size=100),
)
def test_at_every_instant_all_live_pairs_share_a_root(life, part, ttl_part, delays, forced, slow):
    # A tick is part of how late news comes.
    tick = life / 100
    propagation = part * (life / 2 - life / 6)  # to the last bit what a schedule allows
    late = max(propagation - 2 * tick, 0.0)
    schedule = Schedule(root_life=life, propagation=max(propagation, 2 * tick), prune_after=life)
    ttl = max(min(ttl_part * life / 6, LONGEST_TTL), 5 * tick)
    roots = Roots(schedule, 0.0)
    members = [Member(roots, 0.0, delay * late, ttl) for delay in delays]
    seen = {roots.active.name}
    for number in range(400):
        now = number * tick
        if number in forced:
            roots.force(now)
        roots.advance(now, acknowledged=0.9 if number in slow else 1.0)
        seen.add(roots.active.name)
        for member in members:
            member.step(now)
        for client in members:
            for server in members:
                assert server.issuer in client.bundle, (now, server.issuer, roots.slots)
        assert all(member.until > now for member in members)
    assert len(seen) > 3


@settings(max_examples=60, deadline=None)
@given(st.floats(600, 10**9), st.lists(st.floats(0, 10**9), max_size=30), st.booleans())
def test_before_the_next_moment_there_is_nothing_to_do_and_the_end_is_reached(life, moments, force):
    roots = Roots(Schedule(root_life=life, propagation=0.0), 0.0)
    for now in sorted(moments):
        if now < next_moment(roots.slots, roots.schedule):
            assert due(roots.slots, roots.schedule, now) is None
        roots.advance(now)
        assert next_moment(roots.slots, roots.schedule) > now
        assert now < roots.active.not_after
        if force:
            roots.force(now)


def test_a_ca_begins_with_one_active_root():
    roots = Roots(Schedule(), 0.0)
    assert [slot.stage for slot in roots.slots] == [Stage.ACTIVE]
    assert next_moment((), Schedule()) == float("-inf")


def test_the_next_root_is_known_long_before_it_is_used_and_the_old_one_stays_a_day_longer():
    roots = Roots(Schedule(), 0.0)
    assert roots.advance(335 * DAY - 1) == []
    assert roots.advance(335 * DAY) == [Prepare()]
    assert roots.advance(358 * DAY - 1) == []
    assert roots.advance(358 * DAY) == [Activate("r2")]
    assert roots.names == {"r1", "r2"}
    assert roots.advance(366 * DAY - 1) == []
    assert roots.advance(366 * DAY) == [Prune("r1")]
    assert roots.names == {"r2"}


def test_a_root_that_not_enough_members_have_is_not_signed_with():
    roots = Roots(Schedule(), 0.0)
    roots.advance(335 * DAY)
    assert roots.advance(358 * DAY, acknowledged=0.94) == []
    assert roots.advance(358 * DAY, acknowledged=0.95) == [Activate("r2")]


def test_members_that_never_answer_do_not_let_the_ca_die():
    roots = Roots(Schedule(), 0.0)
    roots.advance(335 * DAY)
    assert roots.advance(361.5 * DAY - 1, acknowledged=0.0) == []
    assert roots.advance(361.5 * DAY, acknowledged=0.0) == [Activate("r2")]


def test_a_forced_root_waits_for_the_bundle_to_arrive_and_no_longer():
    roots = Roots(Schedule(), 0.0)
    roots.force(10 * DAY)
    assert roots.advance(11 * DAY - 1) == []
    assert roots.advance(11 * DAY) == [Activate("r2")]
    assert roots.advance(12 * DAY - 1) == []
    assert roots.advance(12 * DAY) == [Prune("r1")]  # its last leaf is dead


def test_a_ca_that_was_off_for_years_begins_anew():
    roots = Roots(Schedule(), 0.0)
    roots.advance(340 * DAY)
    taken = roots.advance(4000 * DAY)
    assert taken == [Activate("r2"), Prune("r1"), Prepare(), Activate("r3"), Prune("r2")]
    assert roots.active.not_after > 4000 * DAY


@pytest.mark.parametrize(
    "wrong",
    [
        {"root_life": 0},
        {"intermediate_life": -1},
        {"prune_after": -1},
        {"propagation": -1},
        {"root_life": 2 * DAY},  # a third of it is less than a bundle takes
        {"propagation": 24 * DAY},
    ],
)
def test_a_schedule_that_could_part_members_is_refused(wrong):
    with pytest.raises(IdentityError):
        Schedule(**wrong)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.identity.rotation import JUMP, LOOK_AGAIN, ClockWatch, Renewal

HOUR, DAY = 3600.0, 86400.0
NOW = 1_800_000_000.0


@pytest.fixture
def renew():
    """``renew(life, luck)``: one that has just got a certificate, as our CA makes them."""

    def of(life=HOUR, luck=0.5):
        renewal = Renewal(lambda: luck, NOW, 0.0)
        renewal.renewed(NOW - 60, NOW + life, NOW)
        return renewal

    return of


def test_before_there_is_a_certificate_it_is_asked_for_at_once():
    renewal = Renewal(lambda: 0.5, NOW, 0.0)
    assert renewal.due(NOW, 0.0)
    assert renewal.wait(NOW, 0.0) == 0
    assert renewal.alarms(NOW) == ()


@pytest.mark.parametrize(("luck", "part"), [(0.0, 0.4), (0.5, 0.5), (0.999999, 0.6)])
def test_it_is_renewed_at_half_of_its_life_more_or_less(renew, luck, part):
    renewal = renew(luck=luck)
    assert renewal.moment == pytest.approx(NOW + part * HOUR, abs=0.01)
    assert not renewal.due(renewal.moment - 0.01, 1.0)
    assert renewal.due(renewal.moment, 1.0)
    assert renewal.not_after == NOW + HOUR


def test_the_minute_before_its_making_is_no_part_of_its_life(renew):
    assert renew(life=2.0).moment == NOW + 1


@given(st.floats(0, 600), st.floats(1, 10**7), st.floats(0, 1, exclude_max=True), st.floats(0, 0.9))
def test_it_is_renewed_while_it_is_still_good(backdate, life, luck, age):
    renewal = Renewal(lambda: luck, NOW, 0.0)
    renewal.renewed(NOW - backdate, NOW + life, NOW + age * life)
    assert NOW - backdate <= renewal.moment < NOW + life


def test_a_certificate_of_the_future_is_renewed_within_its_life(renew):
    renewal = Renewal(lambda: 0.5, NOW, 0.0)
    renewal.renewed(NOW + HOUR, NOW + 2 * HOUR, NOW)
    assert NOW + HOUR < renewal.moment < NOW + 2 * HOUR


def test_after_a_failure_the_pauses_grow_to_a_minute(renew):
    renewal, monotonic, pauses = renew(), 1800.0, []
    for _ in range(20):
        wall = NOW + monotonic
        assert renewal.due(wall, monotonic)
        renewal.failed(monotonic)
        assert not renewal.due(wall, monotonic)
        assert renewal.wait(wall, monotonic) <= LOOK_AGAIN
        begin = monotonic
        while not renewal.due(NOW + monotonic, monotonic):
            monotonic += renewal.wait(NOW + monotonic, monotonic)
        pauses.append(monotonic - begin)
    assert pauses[:5] == pytest.approx([1, 2, 4, 8, 16])
    assert pauses[-10:] == pytest.approx([60] * 10)


@pytest.mark.parametrize(("luck", "pause"), [(0.0, 0.8), (1.0, 1.2)])
def test_those_who_fail_together_do_not_come_back_together(renew, luck, pause):
    renewal = renew(luck=luck)
    renewal.failed(0.0)
    assert renewal.wait(NOW, 0.0) == pytest.approx(pause)


def test_a_short_life_has_short_pauses(renew):
    renewal = renew(life=60.0)
    for _ in range(10):
        renewal.failed(0.0)
    assert renewal.wait(NOW, 0.0) == pytest.approx(6)


def test_a_renewal_ends_the_failures(renew):
    renewal = renew()
    for _ in range(8):
        renewal.failed(0.0)
    renewal.renewed(NOW - 60, NOW + HOUR, NOW)
    assert not renewal.due(NOW, 1.0)
    renewal.failed(1.0)
    assert renewal.wait(NOW, 1.0) == 1


def test_a_clock_set_forward_renews_at_once(renew):
    renewal = renew()
    assert not renewal.due(NOW, 0.0)
    assert renewal.due(NOW + HOUR, 1.0)


@pytest.mark.parametrize("jump", [-DAY, -JUMP - 1, JUMP + 1, DAY])
def test_a_jump_of_the_clock_ends_all_waiting(renew, jump):
    renewal = renew()
    assert renewal.due(NOW + HOUR, HOUR)
    renewal.failed(HOUR)
    assert not renewal.due(NOW + HOUR, HOUR)
    looked = renewal.due(NOW + HOUR + jump + 0.1, HOUR + 0.1)
    assert looked == (NOW + HOUR + jump + 0.1 >= renewal.moment)
    assert renewal.wait(NOW + HOUR + jump, HOUR) <= LOOK_AGAIN


def test_a_clock_that_drifts_has_not_jumped():
    watch = ClockWatch(NOW, 0.0)
    assert not any(watch.jumped(NOW + second * 1.5, second) for second in range(1, 1000))
    assert watch.jumped(NOW, 1000.0)
    assert not watch.jumped(NOW + 1, 1001.0)


def test_a_sleeper_looks_at_the_clock_now_and_then(renew):
    assert renew().wait(NOW, 0.0) == LOOK_AGAIN
    assert renew().wait(NOW + HOUR, 0.0) == 0


def told(renewal, wall):
    return [alarm.text for alarm in renewal.alarms(wall)]


def test_each_alarm_is_told_once_for_each_certificate(renew):
    renewal = renew(life=365 * DAY)
    days = [(left, told(renewal, NOW + (365 - left) * DAY)) for left in range(365, -2, -1)]
    assert [(left, text) for left, texts in days for text in texts] == [
        (91, "the certificate has less than 25% of its life left"),
        (30, "the certificate has less than 30 days left"),
        (7, "the certificate has less than 7 days left"),
        (1, "the certificate has less than a day left"),
        (0, "the certificate has expired"),
    ]
    renewal.renewed(NOW, NOW + 365 * DAY, NOW)
    assert told(renewal, NOW + 365 * DAY - 1)[-1] == "the certificate has less than a day left"


def test_a_certificate_of_an_hour_is_not_told_by_days(renew):
    renewal = renew()
    assert told(renewal, NOW) == []
    assert told(renewal, NOW + 0.75 * HOUR) == [
        "the certificate has less than 25% of its life left"
    ]
    (alarm,) = renewal.alarms(NOW + HOUR + 5)
    assert (alarm.left, alarm.text) == (-5, "the certificate has expired")


def test_a_certificate_that_comes_dead_is_renewed_at_once_and_told():
    renewal = Renewal(lambda: 0.5, NOW, 0.0)
    renewal.renewed(NOW - 2 * HOUR, NOW - HOUR, NOW)
    assert renewal.due(NOW, 0.0)
    assert told(renewal, NOW)[-1] == "the certificate has expired"

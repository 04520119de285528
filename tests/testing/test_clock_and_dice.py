import pytest

from meshlib.testing import FakeClock, always, scripted, seeded


def test_time_passes_only_when_told_to(fake_clock: FakeClock) -> None:
    assert fake_clock() == fake_clock() == 0.0
    fake_clock.jump(30)
    assert fake_clock() == 30.0
    with pytest.raises(ValueError, match="backwards"):
        fake_clock.jump(-1)


def test_scripted_dice_say_when_they_are_used_up() -> None:
    dice = scripted([0.1, 0.9])
    assert (dice(), dice()) == (0.1, 0.9)
    with pytest.raises(AssertionError, match="more often than scripted"):
        dice()


def test_seeded_dice_are_the_same_in_every_run() -> None:
    first, second, other = seeded(1), seeded(1), seeded(2)
    rolls = [first() for _ in range(5)]
    assert rolls == [second() for _ in range(5)]
    assert rolls != [other() for _ in range(5)]
    assert all(0 <= roll < 1 for roll in rolls)


def test_loaded_dice_never_change() -> None:
    dice = always(0.25)
    assert (dice(), dice()) == (0.25, 0.25)

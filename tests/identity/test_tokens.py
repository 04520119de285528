import re
import threading

import pytest

from meshlib.identity.credentials import IdentityError
from meshlib.identity.spiffe import SpiffeId
from meshlib.identity.store import MemoryStore
from meshlib.identity.tokens import (
    FILE,
    LONGEST_LIFE,
    MOST,
    REFUSED,
    JoinTokens,
    RefusedTokenError,
)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def tokens(store):
    return JoinTokens(store)


def test_a_token_is_worth_its_id_once(tokens, reviews, now):
    token = tokens.create(reviews, now)
    other = tokens.create(reviews, now)
    assert tokens.redeem(token, now + 1) == reviews
    with pytest.raises(RefusedTokenError):
        tokens.redeem(token, now + 1)
    assert tokens.redeem(other, now + 1) == reviews


def test_a_token_is_of_256_bits_and_never_the_same(tokens, reviews, now):
    made = {tokens.create(reviews, now) for _ in range(20)}
    assert len(made) == 20
    assert all(len(token) == 43 for token in made)


def test_a_token_is_kept_as_its_hash_alone(tokens, store, reviews, now):
    token = tokens.create(reviews, now)
    assert token.encode() not in store.read(FILE)
    with pytest.raises(RefusedTokenError):
        tokens.redeem(store.read(FILE).decode().split('"')[3], now)


def test_a_token_lives_ten_minutes_at_most(tokens, reviews, now):
    token = tokens.create(reviews, now)
    with pytest.raises(RefusedTokenError):
        tokens.redeem(token, now + LONGEST_LIFE)
    with pytest.raises(RefusedTokenError):
        tokens.redeem(token, now)  # it was shown, so it is used
    for life in (0, -1, LONGEST_LIFE + 1, float("nan")):
        with pytest.raises(IdentityError, match="lives up to 600 s"):
            tokens.create(reviews, now, life)


@pytest.mark.parametrize("token", ["", "x", "x" * 300, "\udcff", "é"])
def test_what_is_no_token_is_refused_with_the_same_words(tokens, reviews, now, token):
    kept = tokens.create(reviews, now)
    with pytest.raises(RefusedTokenError, match=f"^{re.escape(REFUSED)}$"):
        tokens.redeem(token, now)
    assert tokens.redeem(kept, now) == reviews


def test_a_token_is_bound_to_a_member(tokens, now):
    with pytest.raises(IdentityError, match="nobody in it"):
        tokens.create(SpiffeId.parse("spiffe://cluster.local"), now)


def test_unused_tokens_do_not_pile_up(tokens, reviews, now, monkeypatch):
    monkeypatch.setattr("meshlib.identity.tokens.MOST", 3)
    assert MOST == 1000
    for _ in range(3):
        tokens.create(reviews, now)
    with pytest.raises(IdentityError, match="3 unused join tokens"):
        tokens.create(reviews, now)
    assert tokens.create(reviews, now + LONGEST_LIFE)


def test_of_many_who_show_a_token_at_once_one_gets_in(folder, reviews, now):
    tokens = JoinTokens(folder)
    token = tokens.create(reviews, now)
    won, barrier = [], threading.Barrier(4)

    def show():
        barrier.wait()
        try:
            won.append(JoinTokens(type(folder)(folder.folder)).redeem(token, now))
        except RefusedTokenError:
            won.append(None)

    threads = [threading.Thread(target=show) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(won, key=str) == [None, None, None, reviews]


def test_a_file_that_is_not_understood_is_refused(tokens, store, now):
    store.write(FILE, b'[{"digest": 1}]')
    with pytest.raises(IdentityError, match=r"tokens\.json: "):
        tokens.redeem("x", now)

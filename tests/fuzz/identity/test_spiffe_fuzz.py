"""Whatever comes in place of a SPIFFE id: it is one, or is refused in words."""

from meshlib.identity.credentials import IdentityError
from meshlib.identity.spiffe import SpiffeId

BOTH = frozenset({True, False})


def test_an_id_is_read_exactly_where_it_is_one(corpus, bend_text, fits, check_words, fuzz):
    lines = (corpus / "spiffe.txt").read_text(encoding="utf-8").splitlines()

    def is_read(text):
        try:
            found = SpiffeId.parse(text)
        except IdentityError as refused:
            assert not fits(text)
            check_words(refused)
            return False
        assert fits(text)
        assert SpiffeId.parse(str(found)) == found
        assert str(found)[6:] == text[6:]
        return True

    def make(seed):
        return bend_text(lines[seed % len(lines)], seed // len(lines))

    fuzz(make, is_read, rounds=50 * len(lines), sees=BOTH)

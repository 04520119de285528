"""Whatever comes as a host: it has one form, or is none."""

from meshlib.dataplane.inbound_hygiene import canonical_host

BOTH = frozenset({True, False})
FORBIDDEN = frozenset(" ,@/\\?#%\0\t\r\n")


def test_a_host_has_one_form_in_any_case_and_with_a_dot_at_its_end(lines, bend, fuzz):
    def is_one(text):
        made = canonical_host(text)
        if made is None:
            return False
        assert canonical_host(made) == made
        assert made.isascii()
        assert not FORBIDDEN & set(made)
        assert made == made.lower()
        if text.isascii():
            assert canonical_host(text.upper()) == made
        host, _, port = made.partition(":") if made[:1] != "[" else (made, "", "")
        assert not host.endswith(".")
        if made and ":" not in text:
            assert canonical_host(f"{made}.") == made
            assert canonical_host(f"{made}:443") == f"{made}:443"
        assert not port or int(port) < 65536
        return True

    texts = lines("hosts")
    fuzz(
        lambda seed: bend(texts[seed % len(texts)], seed // len(texts)),
        is_one,
        rounds=40 * len(texts),
        sees=BOTH,
    )

"""Whatever comes as a target: it has one form, which is routed as it was, or it is refused."""

from urllib.parse import unquote

import pytest

from meshlib.dataplane.inbound_hygiene import segments_unescaped
from meshlib.dataplane.routing.paths import normalizer
from meshlib.model import HttpConnectionManager, PathWithEscapedSlashesAction, Rds

BOTH = frozenset({True, False})
LEVELS = {
    "NONE": {},
    "BASE": {"normalize_path": True},
    "MERGE_SLASHES": {"normalize_path": True, "merge_slashes": True},
    "DECODE_AND_MERGE_SLASHES": {
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": PathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD,
    },
}


@pytest.mark.parametrize("level", LEVELS)
def test_a_path_that_was_made_canonical_stays_as_it_is(level, lines, bend, fuzz):
    normalize = normalizer(HttpConnectionManager(routes=Rds(""), **LEVELS[level]))

    def canonical(path):
        made = segments_unescaped(path)
        return made if made is None or normalize is None else normalize(made)

    def is_one(path):
        made = canonical(path)
        if made is None:
            return False
        assert canonical(made) == made
        plain, mark, query = made.partition("?")
        assert (mark, query) == path.partition("?")[1:]
        assert "\0" not in unquote(plain)
        assert "#" not in plain
        if level != "NONE" and plain != "*":
            assert plain[0] == "/"
            assert not {".", ".."} & set(unquote(plain).split("/")) or "%2" in plain
        if "MERGE" in level:
            assert "//" not in plain or plain == "//"  # as Envoy has it
        if "DECODE" in level:
            assert "%2f" not in plain.lower()
            assert "%5c" not in plain.lower()
        return True

    texts = lines("paths")
    fuzz(
        lambda seed: bend(texts[seed % len(texts)], seed // len(texts)),
        is_one,
        rounds=40 * len(texts),
        sees=BOTH,
    )


def test_what_is_unescaped_means_to_a_server_what_it_meant(lines, bend, fuzz):
    """aiohttp routes by the path with everything unescaped but slashes and percent signs."""

    def routed(path):
        return unquote(path.replace("%2F", "%252F").replace("%2f", "%252F").replace("%25", "%2525"))

    def is_alike(path):
        made = segments_unescaped(path)
        if made is None:
            return False
        assert routed(made.partition("?")[0]) == routed(path.partition("?")[0])
        return True

    texts = lines("paths")
    fuzz(
        lambda seed: bend(texts[seed % len(texts)], seed // len(texts)),
        is_alike,
        rounds=40 * len(texts),
        sees=BOTH,
    )

"""Where the filter that verifies tokens leaves their claims, and how they are asked for."""

from collections.abc import Sequence

from ... import model

JWT = "envoy.filters.http.jwt_authn"
PAYLOAD = "payload"


def claim_matcher(
    path: Sequence[str], match: model.ValueMatch, *, invert: bool = False
) -> model.MetadataMatcher:
    """A claim that is one value, or a list of which one item matches."""
    either = model.OrMatch((model.ListMatch(match), match))
    return model.MetadataMatcher(filter=JWT, path=(PAYLOAD, *path), match=either, invert=invert)

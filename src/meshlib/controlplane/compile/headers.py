"""``headers`` of a VirtualService → header mutations."""

from ... import model
from ...xds.formats import literal
from ..manifests.virtual_service import HeaderOperations, Headers

AUTHORITY = frozenset({":authority", "host"})


def mutations(*levels: Headers) -> model.HeaderMutations:
    """All levels in one, the first speaking first."""
    requests = [level.request for level in levels]
    responses = [level.response for level in levels]
    return model.HeaderMutations(
        request_headers_to_add=tuple(o for level in requests for o in _options(level)),
        request_headers_to_remove=tuple(n.lower() for level in requests for n in level.remove),
        response_headers_to_add=tuple(o for level in responses for o in _options(level)),
        response_headers_to_remove=tuple(n.lower() for level in responses for n in level.remove),
    )


def authority_of(*levels: Headers) -> str:
    """Setting ``host`` is a host rewrite; the first to say it wins."""
    for level in levels:
        for name, value in level.request.set.items():
            if name.lower() in AUTHORITY:
                return _plain(value)
    return ""


def _options(operations: HeaderOperations) -> tuple[model.HeaderValueOption, ...]:
    replaced = tuple(
        model.HeaderValueOption(
            name=name.lower(), value=_plain(value), append_action="overwrite_if_exists_or_add"
        )
        for name, value in sorted(operations.set.items())
        if name.lower() not in AUTHORITY
    )
    added = tuple(
        model.HeaderValueOption(name=name.lower(), value=_plain(value))
        for name, value in sorted(operations.add.items())
    )
    return replaced + added


def _plain(value: str) -> str:
    plain = literal(value)
    assert plain is not None, "manifests refuse formats"
    return plain

"""``headers`` of a VirtualService → header mutations."""

from ... import model
from ...model.format import literal
from ..manifests.virtual_service import AUTHORITY, HeaderOperations, Headers

SILENT = Headers()


def mutations(*said: Headers | None) -> model.HeaderMutations:
    """All levels in one, the first speaking first."""
    levels = [level or SILENT for level in said]
    requests = [level.request for level in levels]
    responses = [level.response for level in levels]
    return model.HeaderMutations(
        request_headers_to_add=tuple(o for level in requests for o in _options(level)),
        request_headers_to_remove=tuple(n.lower() for level in requests for n in level.remove),
        response_headers_to_add=tuple(o for level in responses for o in _options(level)),
        response_headers_to_remove=tuple(n.lower() for level in responses for n in level.remove),
    )


def authority_of(*said: Headers | None) -> str:
    """Setting ``host`` is a host rewrite; the first to say it wins."""
    for level in said:
        for name, value in (level or SILENT).request.set.items():
            if name.lower() in AUTHORITY:
                return literal(value) or ""
    return ""


def _options(operations: HeaderOperations) -> tuple[model.HeaderValueOption, ...]:
    replaced = tuple(
        model.HeaderValueOption(
            name=name.lower(), value=value, append_action="overwrite_if_exists_or_add"
        )
        for name, value in sorted(operations.set.items())
        if name.lower() not in AUTHORITY
    )
    added = tuple(
        model.HeaderValueOption(name=name.lower(), value=value)
        for name, value in sorted(operations.add.items())
    )
    return replaced + added

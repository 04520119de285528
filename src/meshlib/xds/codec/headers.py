"""Header changes of routes, hosts and tables ⇄ :class:`HeaderMutations`."""

from ...model import NO_MUTATIONS, HeaderMutations, HeaderValueOption
from ..formats import literal, quoted
from .wire import Fields, Reader

ADD = ("request_headers_to_add", "response_headers_to_add")
REMOVE = ("request_headers_to_remove", "response_headers_to_remove")
RESPONSES = ("response_headers_to_add", "response_headers_to_remove")


def encode_mutations(mutations: HeaderMutations) -> Fields:
    if mutations == NO_MUTATIONS:
        return {}
    return {
        **{field: [_encode_option(o) for o in getattr(mutations, field)] for field in ADD},
        **{field: getattr(mutations, field) for field in REMOVE},
    }


def decode_mutations(reader: Reader, *, forwards: bool) -> HeaderMutations:
    """``forwards``: the answers are those of an upstream, whose headers nothing changes yet."""
    if not reader.which(*ADD, *REMOVE):
        return NO_MUTATIONS
    unheeded = [field for field in RESPONSES if forwards and reader.has(field)]
    made = HeaderMutations(
        request_headers_to_add=_decode_options(reader, "request_headers_to_add"),
        request_headers_to_remove=_decode_names(reader, "request_headers_to_remove"),
        response_headers_to_add=_decode_options(reader, "response_headers_to_add"),
        response_headers_to_remove=_decode_names(reader, "response_headers_to_remove"),
    )
    for field in unheeded:
        reader.drop(field)
    return made


def _decode_options(reader: Reader, field: str) -> tuple[HeaderValueOption, ...]:
    found = (_decode_option(option) for option in reader.children(field))
    return tuple(option for option in found if option is not None)


def _decode_names(reader: Reader, field: str) -> tuple[str, ...]:
    names = reader.texts(field)
    for name in names:
        _check_name(reader, name, field)
    return names


def _encode_option(option: HeaderValueOption) -> Fields:
    return {
        "header": {"key": option.name, "value": quoted(option.value)},
        "append_action": option.append_action.upper(),
        "keep_empty_value": option.keep_empty_value,
    }


def _decode_option(reader: Reader) -> HeaderValueOption | None:
    """``None`` where the value is not plain: a header with its raw format would say nonsense."""
    header = reader.child("header")
    name = header.text("key")
    _check_name(header, name, "key")
    value = literal(_decode_value(header))
    if value is None:
        reader.drop()
        return None
    return HeaderValueOption(
        name=name,
        value=value,
        append_action=_decode_append_action(reader),
        keep_empty_value=reader.flag("keep_empty_value"),
    )


def _check_name(reader: Reader, name: str, field: str) -> None:
    if not name:
        reader.problem("must not be empty", field)
    elif name.startswith(":") or name.lower() == "host":
        reader.problem(f"{name!r} may not be changed", field)


def _decode_value(header: Reader) -> str:
    try:
        return header.text("value") or header.octets("raw_value").decode()
    except UnicodeDecodeError:
        header.problem("is not UTF-8", "raw_value")
        return ""


def _decode_append_action(reader: Reader) -> str:
    """The deprecated ``append`` says it where it is set."""
    if not reader.has("append"):
        return reader.enum("append_action").lower()
    return "append_if_exists_or_add" if reader.flag("append") else "overwrite_if_exists_or_add"

"""Header changes of routes, hosts and tables ⇄ :class:`HeaderMutations`."""

from ...model import NO_MUTATIONS, HeaderMutations, HeaderValueOption
from ...model.format import FormatError, parse_format
from .wire import Fields, Reader

ADD = ("request_headers_to_add", "response_headers_to_add")
REMOVE = ("request_headers_to_remove", "response_headers_to_remove")


def encode_mutations(mutations: HeaderMutations) -> Fields:
    if mutations == NO_MUTATIONS:
        return {}
    return {
        **{field: [_encode_option(o) for o in getattr(mutations, field)] for field in ADD},
        **{field: getattr(mutations, field) for field in REMOVE},
    }


def decode_mutations(reader: Reader) -> HeaderMutations:
    if not reader.which(*ADD, *REMOVE):
        return NO_MUTATIONS
    return HeaderMutations(
        request_headers_to_add=_decode_options(reader, "request_headers_to_add"),
        request_headers_to_remove=_decode_names(reader, "request_headers_to_remove"),
        response_headers_to_add=_decode_options(reader, "response_headers_to_add"),
        response_headers_to_remove=_decode_names(reader, "response_headers_to_remove"),
    )


def _decode_options(reader: Reader, field: str) -> tuple[HeaderValueOption, ...]:
    return tuple(_decode_option(option) for option in reader.children(field))


def _decode_names(reader: Reader, field: str) -> tuple[str, ...]:
    names = reader.texts(field)
    for name in names:
        _check_name(reader, name, field)
    return names


def _encode_option(option: HeaderValueOption) -> Fields:
    return {
        "header": {"key": option.name, "value": option.value},
        "append_action": option.append_action.upper(),
        "keep_empty_value": option.keep_empty_value,
    }


def _decode_option(reader: Reader) -> HeaderValueOption:
    header = reader.child("header")
    name = header.text("key")
    _check_name(header, name, "key")
    return HeaderValueOption(
        name=name,
        value=_decode_value(header),
        append_action=_decode_append_action(reader),
        keep_empty_value=reader.flag("keep_empty_value"),
    )


def _check_name(reader: Reader, name: str, field: str) -> None:
    if not name:
        reader.problem("must not be empty", field)
    elif name.startswith(":") or name.lower() == "host":
        reader.problem(f"{name!r} may not be changed", field)


def _decode_value(header: Reader) -> str:
    """The text itself: what it stands for is only known for each call."""
    field = "value" if header.has("value") else "raw_value"
    try:
        value = header.text("value") or header.octets("raw_value").decode()
        parse_format(value)
    except UnicodeDecodeError:
        header.problem("is not UTF-8", field)
        return ""
    except FormatError as refused:
        header.problem(str(refused), field)
        return ""
    return value


def _decode_append_action(reader: Reader) -> str:
    """The deprecated ``append`` says it where it is set."""
    if not reader.has("append"):
        return reader.enum("append_action").lower()
    return "append_if_exists_or_add" if reader.flag("append") else "overwrite_if_exists_or_add"

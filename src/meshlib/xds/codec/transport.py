"""``transport_socket``: how the bytes of a connection travel."""

from .wire import Reader

RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"


def refuse_encryption(reader: Reader) -> None:
    """Refuse what asks for TLS: to go on in plain text would be worse than not at all."""
    if reader.has("transport_socket_matches"):
        reader.refuse("transport_socket_matches")
    socket = reader.optional_child("transport_socket")
    if socket is None:
        return
    socket.skip("name")
    type_name, _ = socket.extension("typed_config")
    if type_name != RAW_BUFFER:
        socket.problem(f"{type_name or 'without typed_config'} is not supported")

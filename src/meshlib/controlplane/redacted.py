"""What was served, as people may see it: without keys, wherever in it they stand."""

from typing import Any

HIDDEN = frozenset(
    {
        "private_key",
        "privateKey",
        "password",
        "pkcs12",
        "session_ticket_keys",
        "sessionTicketKeys",
        "generic_secret",
        "genericSecret",
    }
)
REDACTED = "[redacted]"


def redacted(shown: Any) -> Any:
    """Of JSON the same, with nothing but a word in place of each secret."""
    match shown:
        case dict():
            return {
                name: REDACTED if name in HIDDEN else redacted(held) for name, held in shown.items()
            }
        case list():
            return [redacted(held) for held in shown]
        case _:
            return shown

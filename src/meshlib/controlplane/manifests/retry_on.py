"""``retryOn``: Envoy's words, and bare status numbers."""

from collections.abc import Iterator

HTTP_CONDITIONS = frozenset(
    {"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx"}
    | {"refused-stream", "retriable-status-codes", "retriable-headers", "envoy-ratelimited"}
    | {"http3-post-connect-failure"}
)
GRPC_CONDITIONS = frozenset(
    {"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
)


def words(retry_on: str) -> Iterator[str]:
    return (word.strip() for word in retry_on.split(",") if word.strip())


def unknown_conditions(retry_on: str) -> Iterator[str]:
    for word in words(retry_on):
        is_status = len(word) == 3 and word.isascii() and word.isdigit() and "100" <= word < "600"
        if not is_status and word not in HTTP_CONDITIONS | GRPC_CONDITIONS:
            yield word


def conditions_and_statuses(retry_on: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The conditions with ``retriable-status-codes`` added when there are bare numbers."""
    conditions = [word for word in words(retry_on) if not word.isdigit()]
    statuses = tuple(int(word) for word in words(retry_on) if word.isdigit())
    if statuses and "retriable-status-codes" not in conditions:
        conditions.append("retriable-status-codes")
    return tuple(conditions), statuses

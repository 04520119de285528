"""Texts of strangers, as they may be told to others."""


def encodable(text: str) -> str:
    """As every encoding has it: aiohttp makes octets that are no UTF-8 lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()

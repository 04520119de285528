"""Header values as Envoy's configuration writes them: ``%NAME%`` is filled in, ``%%`` is "%"."""


def literal(text: str) -> str | None:
    """What the text stands for; ``None`` where something would have to be filled in."""
    parts = text.split("%%")
    return None if any("%" in part for part in parts) else "%".join(parts)


def quoted(value: str) -> str:
    """The text that stands for this very value."""
    return value.replace("%", "%%")

"""The values of headers as text."""

__all__ = ["readable"]


def readable(value: str) -> str:
    """Return a value that can be written again, whatever bytes it came as.

    HTTP does not say in which encoding they are: what is no UTF-8 is taken for Latin-1.

    :param value: in which bytes that are no UTF-8 are lone surrogates.
    """
    if value.isascii():
        return value
    text = value.encode("utf-8", "surrogateescape")
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")

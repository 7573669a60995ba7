"""What odd spellings mean: the slow way of conversions, behind the failure of the fast one.

Both the compiled core and the reference ask here, so that these rules are said once.
"""

from decimal import Decimal, InvalidOperation

__all__ = ["plain_number"]

_MAX_DIGITS = 64


def plain_number(text: str) -> str:
    """Return the shortest digits of a JSON number, without an exponent: 5.55E3 is 5550.

    Numbers that would be longer than 64 digits stay as they are.
    """
    if len(text) > _MAX_DIGITS:
        return text
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number:
        return "0"
    if max(abs(number.adjusted()), len(number.as_tuple().digits)) > _MAX_DIGITS:
        return text
    plain = format(number, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain

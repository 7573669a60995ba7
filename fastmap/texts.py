"""What odd spellings mean: the slow way of conversions, behind the failure of the fast one.

Both the compiled core and the reference ask here, so that these rules are said once.
"""

import re
from decimal import Decimal, InvalidOperation

__all__ = ["number_in", "plain_number"]

_MAX_DIGITS = 64

_NUMBER = re.compile(r"([+-]?)(0|[1-9][0-9]*|)(?:\.([0-9]*))?([eE][+-]?[0-9]+)?")
_WITH_SEPARATORS = [
    # Only what can be read in one way: 1,234 may be a thousand and more, or one and a bit.
    re.compile(r"[+-]?[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+(?P<point>\.)[0-9]+|(?:,[0-9]{3}){2,})"),
    re.compile(r"[+-]?[1-9][0-9]{0,2}(?:(?:\.[0-9]{3})+(?P<point>,)[0-9]+|(?:\.[0-9]{3}){2,})"),
    re.compile(
        r"[+-]?[1-9][0-9]{0,2}(?:[ \u00a0\u2009\u202f'][0-9]{3})+(?:(?P<point>[.,])[0-9]+)?"
    ),
]


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


def number_in(text: str) -> str | None:
    """Return the JSON number that a text is for a person: " +5. " is 5, "1.234,50" is 1234.50.

    None where it is none, or can be read in two ways, as "1,234" and "1,5".
    """
    if len(text) > _MAX_DIGITS:
        return None
    text = _without_separators(text.strip())
    found = _NUMBER.fullmatch(text)
    if found is None or not (found[2] or found[3]):
        return None
    sign, whole, fraction, exponent = found.groups(default="")
    return f"{sign.strip('+')}{whole or 0}{'.' + fraction if fraction else ''}{exponent}"


def _without_separators(text: str) -> str:
    """Return a number without the separators of thousands, and with a point."""
    for pattern in _WITH_SEPARATORS:
        found = pattern.fullmatch(text)
        if found is None:
            continue
        at = found.start("point") if found["point"] else len(text)
        return "".join(filter("+-0123456789".__contains__, text[:at])) + "." + text[at + 1 :]
    return text

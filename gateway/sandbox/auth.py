"""Who may send to /import."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import BasicAuth

__all__ = ["Credentials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What /import accepts as HTTP Basic; with nothing set, any user name.

    :param token: project token, as user name with an empty password.
    :param api_secret: the project's legacy secret, as user name with an empty password.
    :param service_account: user name and secret; asks for a ``project_id`` in the query.
    """

    token: str | None = None
    api_secret: str | None = field(default=None, repr=False)
    service_account: tuple[str, str] | None = field(default=None, repr=False)

    def admit(self, authorization: str | None, query: Mapping[str, str]) -> bool:
        """Tell whether an ``Authorization`` header, with the query it came with, is good."""
        try:
            given = BasicAuth.decode(authorization or "", encoding="utf-8")
        except ValueError:
            return False
        if not given.login:
            return False
        if not (self.token or self.api_secret or self.service_account):
            return True
        if (given.login, given.password) == self.service_account:
            return bool(query.get("project_id"))
        return not given.password and given.login in (self.token, self.api_secret)

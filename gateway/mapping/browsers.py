"""Browser name and version from a user agent, by the rules of ``user_agents.toml``."""

import re
from collections.abc import Callable

import msgspec

from gateway.mapping.profile import load_table

__all__ = ["browser_of"]


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    browser: str
    contains: list[str]
    also: str = msgspec.field(name="and", default="")
    any_case: bool = False
    profile: str = ""
    version: str = ""

    def applies(self, user_agent: str) -> bool:
        if self.also not in user_agent:
            return False
        if self.any_case:
            user_agent = user_agent.lower()
            return any(text.lower() in user_agent for text in self.contains)
        return any(text in user_agent for text in self.contains)


class _Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    versions: dict[str, str]
    rules: list[_Rule]


MAX_USER_AGENT = 1024
"""Characters that are looked at; longer ones are no browser's."""


def browser_of(profile: str) -> Callable[[str], tuple[str, str | None]]:
    """Return a function from a user agent to its browser ("" when unknown) and version."""
    table = msgspec.convert(load_table("user_agents.toml"), _Rules)
    digits = table.versions[profile]
    rules = [
        (rule, re.compile(rule.version + digits) if rule.version else None)
        for rule in table.rules
        if rule.profile in ("", profile)
    ]

    def parse(user_agent: str) -> tuple[str, str | None]:
        user_agent = user_agent[:MAX_USER_AGENT]
        for rule, version in rules:
            if rule.applies(user_agent):
                found = version.search(user_agent) if version else None
                return rule.browser, found[1] if found else None
        return "", None

    return parse

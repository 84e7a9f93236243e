# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose call is it, and who gets it? Pure: no DNS, no clock, no log.

Both questions are answered with reasons, because the answer that matters most is
the one nobody expected: `trunkline check --route` prints the reasons of all
candidates, and a call uses the same code.

Trunks.  A request belongs to the trunk whose `match` names its source address
most narrowly: an address with port before an address, a smaller network before a
larger one; between equals the first in the file.  A trunk that registers and has
no `match` matches the addresses that its registrar's name resolved to.  A trunk with
`match_certificate` comes before all that ask for an address alone, and takes nothing
that did not show such a certificate.

Routes.  The first in the file whose conditions all hold.
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from collections.abc import Collection, Mapping, Sequence

from trunkline.gateway.config.addresses import IpAddress, SourceMatch, split_source
from trunkline.gateway.config.model import Route, Trunk
from trunkline.gateway.config.patterns import Pattern, bare_number

Resolved = Mapping[str, Sequence[str]]
"Addresses of each registering trunk's server, by trunk name."


_ANYWHERE = SourceMatch.parse("0.0.0.0/0")

# --- numbers -------------------------------------------------------------------------------


def number_of(uri: str) -> str:
    """The number (or name) that a SIP or tel URI stands for; empty when it has none.

    Accepts what From and To carry: `"Ann" <sip:+49-30-123;phone-context=x@host>;tag=1`.
    Parameters of the user part, escapes and visual separators are taken off.
    """
    if match := re.search(r"<([^>]*)>", uri):
        uri = match[1]
    scheme, colon, rest = uri.strip().partition(":")
    if not colon or scheme.lower() not in ("sip", "sips", "tel"):
        return ""
    if scheme.lower() == "tel":
        user = rest.split(";")[0].split("?")[0]
    else:
        # An unescaped @ can stand only between user and host; `;` and `?` before it belong to the user.
        user, at, _ = rest.partition("@")
        if not at:
            return ""
        user = user.split(";")[0].split(":")[0]
    return bare_number(urllib.parse.unquote(user, errors="replace"))


# --- trunks --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class TrunkMatch:
    """A trunk and the entry by which a source address is its."""

    trunk: Trunk
    entry: SourceMatch | None
    "None: any address, since a certificate decides"
    by_registration: bool

    @property
    def why(self) -> str:
        """The reason, for people."""
        what = "address of its registrar" if self.by_registration else "match"
        parts = [f"{what} {self.entry}"] if self.entry is not None else []
        if self.trunk.match_certificate:
            parts.append(f"a certificate for {' or '.join(self.trunk.match_certificate)}")
        return " and ".join(parts)

    def fits(self, address: IpAddress, port: int | None, names: Collection[str] | None) -> bool:
        """Whether a request is its; `names` are those of its certificate, None leaves certificates out."""
        wanted = {name.lower() for name in self.trunk.match_certificate}
        if wanted and names is not None and not wanted & {name.lower() for name in names}:
            return False
        return self.entry is None or self.entry.matches(address, port)

    @property
    def order(self) -> tuple[bool, tuple[int, int]]:
        """Greater: asked first."""
        narrow = self.entry.specificity if self.entry is not None else _ANYWHERE.specificity
        return bool(self.trunk.match_certificate), narrow


class TrunkTable:
    """Trunks by source address."""

    def __init__(self, trunks: Sequence[Trunk], resolved: Resolved | None = None) -> None:
        """`resolved` is needed for trunks that register and have no `match`."""
        found = [match for trunk in trunks for match in _entries(trunk, (resolved or {}).get(trunk.name, ()))]
        # A stable sort: between equals, the order of the file stays.
        self._matches = sorted(found, key=lambda match: match.order, reverse=True)

    def candidates(self, source: str, names: Collection[str] | None = ()) -> list[TrunkMatch]:
        """All trunks' entries that name `source` (`address:port`), the deciding one first.

        `names` are those that the sender's certificate proves; None: as if it proved whatever is asked for.
        """
        try:
            address, port = split_source(source)
        except ValueError:
            return []
        return [match for match in self._matches if match.fits(address, port, names)]

    def identify(self, source: str, names: Collection[str] = ()) -> TrunkMatch | None:
        """The trunk that a request from `source` belongs to, None for a stranger."""
        return next(iter(self.candidates(source, names)), None)


def _entries(trunk: Trunk, resolved: Sequence[str]) -> list[TrunkMatch]:
    if trunk.match:
        return [TrunkMatch(trunk, SourceMatch.parse(text), False) for text in trunk.match]
    if trunk.match_certificate:
        return [TrunkMatch(trunk, None, False)]
    if trunk.registration is None:
        return []
    return [TrunkMatch(trunk, SourceMatch.parse(text), True) for text in resolved]


# --- routes --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class RouteQuery:
    """What routes may ask about a call."""

    trunk: str
    called: str
    "number, as `number_of` gives it"
    calling: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    "SIP headers of the INVITE, first value of each; case of names does not matter"

    @classmethod
    def of_uris(cls, trunk: str, request_uri: str, from_uri: str, headers: Mapping[str, str]) -> RouteQuery:
        """From the URIs of an INVITE."""
        return cls(trunk, number_of(request_uri), number_of(from_uri), headers)


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a route, tried on a call."""

    subject: str
    "`trunk`, `called`, `calling` or a header's name"
    wanted: str
    found: str | None
    "None: the call has no such header"
    holds: bool

    def __str__(self) -> str:
        """`called '601' matches 6..`"""
        found = "is absent" if self.found is None else f"{self.found!r}"
        return f"{self.subject} {found} {'matches' if self.holds else 'does not match'} {self.wanted}"


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """A route tried on a call."""

    route: Route
    conditions: list[Condition]

    @property
    def matches(self) -> bool:
        """Whether the route takes the call (if none before it does)."""
        return all(condition.holds for condition in self.conditions)

    @property
    def why(self) -> str:
        """The reason, for people: what failed, or what held."""
        failed = [str(condition) for condition in self.conditions if not condition.holds]
        held = [str(condition) for condition in self.conditions]
        return "; ".join(failed or held) or "it takes every call"


class RouteTable:
    """Routes with their patterns compiled."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [_CompiledRoute(route) for route in routes]

    def match(self, query: RouteQuery) -> Route | None:
        """The route that takes the call."""
        lowered = _lowered(query.headers)
        return next((entry.route for entry in self._routes if entry.verdict(query, lowered).matches), None)

    def explain(self, query: RouteQuery) -> list[Verdict]:
        """Every route, in order, with what held and what did not. The first that matches takes the call."""
        lowered = _lowered(query.headers)
        return [entry.verdict(query, lowered) for entry in self._routes]


class _CompiledRoute:
    """A route, ready to be tried."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self._called = Pattern.parse(route.called)
        self._calling = Pattern.parse(route.calling)
        self._headers = [(name, Pattern.parse(text)) for name, text in route.header.items()]

    def verdict(self, query: RouteQuery, headers: Mapping[str, str]) -> Verdict:
        """Try all conditions; those that every call meets are left out."""
        conditions = []
        if self.route.trunk is not None:
            holds = self.route.trunk == query.trunk
            conditions.append(Condition("trunk", self.route.trunk, query.trunk, holds))
        numbers = (("called", self._called, query.called), ("calling", self._calling, query.calling))
        for subject, pattern, number in numbers:
            if pattern.text != "*":
                conditions.append(Condition(subject, pattern.text, number, pattern.matches(number)))
        for name, pattern in self._headers:
            value = headers.get(name.lower())
            holds = value is not None and pattern.matches(value)
            conditions.append(Condition(name, pattern.text, value, holds))
        return Verdict(self.route, conditions)


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value.strip() for name, value in headers.items()}

# SPDX-License-Identifier: GPL-2.0-or-later
"""The first route whose conditions all hold takes the call, and every route can say why or why not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.config import Route
from trunkline.gateway.routing import RouteQuery, RouteTable, number_of


def route(name: str, **conditions: Any) -> Route:
    """A route to the agent `echo`."""
    return Route.model_validate({"name": name, "agent": "echo", **conditions})


def query(called: str = "600", calling: str = "100", trunk: str = "pbx", **headers: str) -> RouteQuery:
    """A call; underscores in header names stand for dashes."""
    return RouteQuery(
        trunk, called, calling, {name.replace("_", "-"): value for name, value in headers.items()}
    )


def taker(table: RouteTable, asked: RouteQuery) -> str | None:
    """Name of the route that takes the call."""
    found = table.match(asked)
    return None if found is None else found.name


@pytest.mark.parametrize(
    ("uri", "number"),
    [
        ("sip:600@pbx", "600"),
        ("sip:600@pbx:5060;transport=udp?X-A=b", "600"),
        ("SIPS:600@pbx", "600"),
        ("sip:+49-30.12(34)@pbx;user=phone", "+49301234"),
        ("sip:+4930123;phone-context=example.com@pbx", "+4930123"),
        ("sip:600:secret@pbx", "600"),
        ("sip:%36%30%30@pbx", "600"),
        ("sip:*98@pbx", "*98"),
        ("sip:john.doe@pbx", "john.doe"),
        ("tel:+49-30-123;phone-context=+49", "+4930123"),
        ('"Ann <b>" <sip:600@pbx>;tag=1', ""),
        ('"Ann" <sip:600@pbx>;tag=1', "600"),
        ("<tel:030123>", "030123"),
        ("sip:pbx", ""),
        ("sip:pbx;x=a", ""),
        ("mailto:a@b", ""),
        ("600", ""),
        ("", ""),
    ],
)
def test_number_of(uri: str, number: str) -> None:
    """User part, without parameters, escapes, separators, password."""
    assert number_of(uri) == number


@given(st.text(max_size=80))
def test_any_text_has_a_number_or_none(text: str) -> None:
    """From is a peer's text: nothing in it may raise."""
    assert isinstance(number_of(text), str)
    assert isinstance(number_of(f'"{text}" <sip:{text}@{text}>'), str)


def test_the_first_that_matches_wins() -> None:
    """Not the most specific one."""
    table = RouteTable([route("wide", called="6*"), route("exact", called="600"), route("rest")])
    assert taker(table, query("600")) == "wide"
    assert taker(table, query("700")) == "rest"


def test_no_route_takes_what_matches_none() -> None:
    """None, which becomes 404."""
    assert taker(RouteTable([]), query()) is None
    assert taker(RouteTable([route("a", called="7..")]), query()) is None


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({"trunk": "pbx"}, True),
        ({"trunk": "other"}, False),
        ({"called": "6.."}, True),
        ({"calling": "1.."}, True),
        ({"calling": "6.."}, False),
        ({"header": {"x-tenant": "ac*"}}, True),
        ({"header": {"X-Tenant": "other"}}, False),
        ({"header": {"X-Missing": "*"}}, False),
        ({"trunk": "pbx", "called": "6..", "calling": "re:^1", "header": {"X-TENANT": "acme"}}, True),
        ({"trunk": "pbx", "called": "6..", "calling": "re:^2", "header": {"X-TENANT": "acme"}}, False),
    ],
)
def test_all_conditions_must_hold(conditions: dict[str, Any], matches: bool) -> None:
    """Names of headers in any case; `*` still wants the header to be there."""
    table = RouteTable([route("a", **conditions)])
    assert (taker(table, query(X_Tenant=" acme ")) == "a") is matches


def test_a_call_without_a_number_is_taken_by_catch_alls_only() -> None:
    """`sip:host` has an empty number."""
    assert taker(RouteTable([route("a", called="re:^$")]), query("")) == "a"
    assert taker(RouteTable([route("a")]), query("")) == "a"
    assert taker(RouteTable([route("a", called="6*")]), query("")) is None


def test_every_route_says_why_it_does_not_match_and_the_taker_why_it_does() -> None:
    """What failed, all of it; what held, when all held."""
    table = RouteTable(
        [
            route("a", trunk="other", called="6..", header={"X-A": "1"}),
            route("b", called="600", calling="1*"),
            route("c"),
        ]
    )
    first, second, third = table.explain(query())
    assert first.why == "trunk 'pbx' does not match other; X-A is absent does not match 1"
    assert second.why == "called '600' matches 600; calling '100' matches 1*"
    assert third.why == "it takes every call"
    assert [verdict.matches for verdict in (first, second, third)] == [False, True, True]


PATTERNS = st.sampled_from(["*", "6..", "60*", "600", "re:^6", "7*", "..."])
ROUTES = st.lists(
    st.fixed_dictionaries(
        {"called": PATTERNS, "calling": PATTERNS},
        optional={"trunk": st.sampled_from(["pbx", "other"]), "header": st.just({"X-A": "1"})},
    ),
    max_size=6,
)


@given(ROUTES, st.text("067", max_size=4), st.text("067", max_size=4), st.booleans())
def test_match_and_explain_agree(
    routes: list[dict[str, Any]], called: str, calling: str, header: bool
) -> None:
    """What `check --route` tells is what a call gets."""
    table = RouteTable([route(f"r{number}", **conditions) for number, conditions in enumerate(routes)])
    asked = query(called, calling, **({"X_A": "1"} if header else {}))
    explained = next((verdict.route for verdict in table.explain(asked) if verdict.matches), None)
    assert table.match(asked) is explained

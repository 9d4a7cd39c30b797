"""What a document can say of paths with ids in them and of counts that stand in headers."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from turnledger.instrument.documents import DocumentError, Registry, parse_documents
from turnledger.instrument.exchange import Exchange, clean_headers
from turnledger.instrument.facts import CallFacts, extract
from turnledger.instrument.usage import Usage

TEXT = """+++
id = "acme"
name = "Acme"
hosts = ["api.acme.test"]
[[surface]]
name = "run"
operation = "chat"
path = "/model/{model}/run"
[surface.fields]
request_model = "url:model"
error_type = ["response.header:x-error", "response.body:__type"]
service_tier = ["response.header:X-Tier", "response.header:X-Speed=fast"]
[surface.usage]
at = "usage"
headers = { in = "X-In-Count", out = "x-out-count" }
input_tokens = "in"
output_tokens = "out"
[[surface]]
name = "trace"
operation = "invoke_agent"
path = "/trace"
[surface.usage]
at = "steps.*.usage"
merge = "sum"
input_tokens = "in"
output_tokens = "out"
[[surface]]
name = "say"
operation = "chat"
path = "/model/{model}:say"
[surface.fields]
request_model = "url:model"
+++
# Acme
"""
REGISTRY = Registry(parse_documents({"acme.md": TEXT}))


def facts(
    path: str, body: Any = None, headers: tuple[tuple[str, str], ...] = (), status: int = 200
) -> CallFacts | None:
    """Return the facts of an exchange at a path."""
    return extract(
        Exchange.build(
            method="POST",
            url="https://api.acme.test" + path,
            request_body=b"{}",
            status_code=status,
            response_headers=headers,
            response_body=json.dumps(body or {}).encode(),
        ),
        REGISTRY,
    )


@pytest.mark.parametrize(
    ("path", "surface", "model"),
    [
        ("/model/m-1/run", "run", "m-1"),
        ("/model/acme.m-1:0/run", "run", "acme.m-1:0"),
        ("/model/acme.m-1%3A0/run", "run", "acme.m-1:0"),
        ("/model/arn%3Aacme%3A012%3Aprofile%2Facme.m-1%3A0/run", "run", "arn:acme:012:profile/acme.m-1:0"),
        ("/model/m-1:say", "say", "m-1"),
        ("/model/a/b/run", None, None),
        ("/model/m-1:0:say", None, None),
    ],
)
def test_a_model_in_the_path_may_hold_a_colon(path: str, surface: str | None, model: str | None):
    found = facts(path)
    assert (found and found.surface, found and found.request_model) == (surface, model)


@pytest.mark.parametrize(
    ("usage", "headers", "expected"),
    [
        (None, {"X-In-Count": "5", "X-Out-Count": " 7 "}, (5, 7)),
        ({"in": 6}, {"x-in-count": "5", "x-out-count": "7"}, (6, 7)),
        ({"in": 6, "out": 8}, {}, (6, 8)),
        (None, {"x-in-count": "", "x-out-count": "-1"}, (None, None)),
        (None, {"x-in-count": "9" * 30, "x-out-count": "a1"}, (None, None)),
        (None, {"x-in-count": "\u0665", "x-out-count": "1.x"}, (None, None)),
    ],
)
def test_counts_may_stand_in_headers(usage: Any, headers: dict[str, str], expected: tuple[int | None, int | None]):
    found = facts("/model/m/run", {"usage": usage}, tuple(headers.items()))
    assert found
    assert (found.usage.input_tokens, found.usage.output_tokens) == expected
    if expected == (None, None):
        assert found.usage == Usage()


@pytest.mark.parametrize(
    ("header", "amount"),
    [
        ("0.000415", "0.000415"),
        ("1.5e-05", "0.000015"),
        ("12", "12"),
        ("", None),
        ("free", None),
        ("-1", None),
        ("1" * 40, None),
        ("0." + "1" * 40, None),
        ("1e99", None),
    ],
)
def test_an_amount_in_a_header_is_exact_as_it_was_written(header: str, amount: str | None):
    registry = Registry(parse_documents({"acme.md": TEXT.replace('input_tokens = "in"', 'billed_cost = "in"')}))
    exchange = Exchange.build(
        method="POST",
        url="https://api.acme.test/model/m/run",
        status_code=200,
        response_headers=[("X-In-Count", header)],
        response_body=b"{}",
    )
    found = extract(exchange, registry)
    assert found is not None
    assert found.usage.billed_cost_usd == (None if amount is None else Decimal(amount))


def test_a_header_that_is_no_text_is_refused():
    with pytest.raises(DocumentError, match=r"surface\[0\]\.usage\.headers\.in: expected a text"):
        parse_documents({"acme.md": TEXT.replace('"X-In-Count"', "1")})


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Throttled:http://internal.acme.test/errors/", "Throttled"),
        ("com.acme.errors#Throttled", "Throttled"),
        ("Throttled", "Throttled"),
        ("rate:limit", "rate:limit"),
        ("https://acme.test/errors/throttled", "https://acme.test/errors/throttled"),
    ],
)
def test_the_name_of_an_error_is_taken_out_of_what_wraps_it(said: str, expected: str):
    for found in (
        facts("/model/m/run", {"__type": said}, status=400),
        facts("/model/m/run", {}, (("X-Error", said),), status=400),
    ):
        assert found
        assert found.error_type == expected


def test_figures_of_calls_of_their_own_are_added_up():
    found = facts("/trace", {"steps": {"a": {"usage": {"in": 5, "out": 1}}, "b": {"usage": {"in": 7, "note": "x"}}}})
    assert found
    assert (found.usage.input_tokens, found.usage.output_tokens) == (12, 1)


def test_a_count_of_tokens_is_no_token():
    secrets = ("X-Amz-Security-Token", "x-token", "token-id")
    assert clean_headers((name, "1") for name in ("x-input-token-count", *secrets)) == (("x-input-token-count", "1"),)


@pytest.mark.parametrize(
    ("headers", "tier"),
    [
        ({"X-Tier": "flex", "X-Speed": "slow"}, "flex"),
        ({"X-Tier": "flex", "X-Speed": "fast"}, "fast"),
        ({"X-Speed": "slow"}, None),
    ],
)
def test_a_header_may_be_wanted_with_one_value_only(headers: dict[str, str], tier: str | None):
    found = facts("/model/m/run", {}, tuple(headers.items()))
    assert found
    assert found.service_tier == tier


def test_the_credentials_of_signed_requests_reach_no_exchange():
    secret = "s3cr3t-0123456789abcdef"
    signed = Exchange.build(
        method="POST",
        url=f"https://api.acme.test/model/m/run?X-Amz-Credential={secret}&X-Amz-Signature={secret}&X-Amz-Security-Token={secret}",
        request_headers=[
            ("Authorization", f"AWS4-HMAC-SHA256 Credential={secret}/20261101, Signature={secret}"),
            ("X-Amz-Security-Token", secret),
        ],
        request_body=b"{}",
    )
    assert secret not in repr(signed)
    found = extract(signed, REGISTRY)
    assert found
    assert secret not in repr(found)

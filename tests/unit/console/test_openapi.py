"""The OpenAPI document and the table that it is made of."""

import re

import pytest

from leyden.console.call import Call, Needs
from leyden.console.openapi import document
from leyden.console.table import TABLE

DOCUMENT = document(TABLE)


def test_each_call_has_its_operation_and_a_name_of_its_own() -> None:
    pairs = [(call.path, call.method.lower()) for call in TABLE]
    assert len(set(pairs)) == len(pairs), "a call stands twice in the table"
    operations = [DOCUMENT["paths"][path][method] for path, method in pairs]
    assert len({each["operationId"] for each in operations}) == len(pairs)


def test_each_reference_leads_somewhere() -> None:
    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [each for inner in value.values() for each in references(inner)]
        return [each for inner in value for each in references(inner)] if isinstance(value, list) else []

    for reference in references(DOCUMENT):
        _, kind, group, name = reference.split("/")
        assert name in DOCUMENT[kind][group], reference


@pytest.mark.parametrize("call", TABLE, ids=lambda call: f"{call.method} {call.path}")
def test_what_changes_something_needs_the_right_to(call: Call) -> None:
    """Only signing in and out is open: everything else that is not a GET takes an operator."""
    if call.method != "GET" and call.path not in ("/api/login", "/api/logout"):
        assert call.needs is Needs.OPERATE
    security = DOCUMENT["paths"][call.path][call.method.lower()]["security"]
    assert ({} in security or not security) is (call.needs <= Needs.NO_PATIENT_DATA)


@pytest.mark.parametrize("call", TABLE, ids=lambda call: f"{call.method} {call.path}")
def test_what_may_show_patient_data_needs_a_token(call: Call) -> None:
    """Objects, stories, the log and the rules: what they say may name a patient, or come from one."""
    if re.match(r"/api/(queue/(items|studies|series)|logs|trace|search|studies|rules)", call.path):
        assert call.needs >= Needs.READ

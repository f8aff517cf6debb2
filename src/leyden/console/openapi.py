"""The OpenAPI 3.1 document of a table of calls: what each takes and gives is said by the types of its row."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from leyden import __version__
from leyden.console.access import COOKIE
from leyden.console.call import Call, Given, Needs, Nothing
from leyden.console.envelope import JSON, Envelope, Error

_REF = "#/components/schemas/{name}"
_REFUSED = "#/components/responses/Refused"
PATHS: dict[str, tuple[dict[str, Any], str]] = {
    "ae": ({"type": "string", "minLength": 1, "maxLength": 16}, "the AE title of a node, or an alias"),
    "id": ({"type": "string", "minLength": 1, "maxLength": 512}, "the id of an object, as the list of them has it"),
    "uid": ({"type": "string", "pattern": r"^[0-9.]{1,64}$"}, "a UID"),
}
ALWAYS = {
    400: "what is asked is not understood",
    403: "it needs a token or a session, or one that may do more",
    404: "there is no such call, or no such thing",
    421: "the console is not called by that name",
    429: "too many requests, or wrong tokens, from one address",
    500: "a fault of Leyden",
    503: "too much is asked at once",
    504: "it took too long",
}
WITH_BODY = {413: "the body is too large", 415: "the body is not JSON"}


def document(table: Sequence[Call]) -> dict[str, Any]:
    """The whole document, for JSON."""
    types = [each for call in table for each in (call.answer, call.query, call.body) if each is not None]
    (*schemas,), components = msgspec.json.schema_components([*types, Error, Envelope], ref_template=_REF)
    of = {id(each): schema for each, schema in zip(types, schemas, strict=False)}
    paths: dict[str, dict[str, Any]] = {}
    for call in table:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, of, components)
    used = {name: _plain(each) for name, each in components.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Leyden",
            "version": __version__,
            "description": "The console of a DICOM router. Answers are {ok, data, error, timestamp}.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": used,
            "responses": {"Refused": {"description": "refused", "content": {JSON: {"schema": _refusal()}}}},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`leyden token new` makes one"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "POST /api/login sets it"},
            },
        },
    }


def _operation(call: Call, of: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{call.method.lower()}{call.path}").strip("_"),
        "summary": call.summary,
        "security": _security(call.needs),
        "responses": _responses(call, of),
    }
    if parameters := [*_of_path(call.path), *_of_query(call.query, components)]:
        operation["parameters"] = parameters
    if call.body is not None:
        operation["requestBody"] = {
            "required": _is_required(call.body),
            "content": {JSON: {"schema": of[id(call.body)]}},
        }
    if call.own:
        operation["x-own"] = True
    return operation


def _security(needs: Needs) -> list[dict[str, list[str]]]:
    known: list[dict[str, list[str]]] = [{"token": []}, {"session": []}]
    if needs is Needs.NOTHING:
        return []
    return [{}, *known] if needs is Needs.NO_PATIENT_DATA else known


def _of_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": PATHS[name][0], "description": PATHS[name][1]}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _of_query(query: type[Given], components: dict[str, Any]) -> list[dict[str, Any]]:
    schema = components.get(query.__name__, {})
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _plain(each)}
        for name, each in schema.get("properties", {}).items()
    ]


def _responses(call: Call, of: dict[int, Any]) -> dict[str, Any]:
    refusals = ALWAYS | (WITH_BODY if call.method in ("POST", "PUT", "DELETE") else {}) | call.refuses
    found: dict[str, Any] = {}
    schema = of.get(id(call.answer), {"type": "string"})
    if call.enveloped:
        schema = {
            "type": "object",
            "properties": {
                "ok": {"const": True},
                "data": schema,
                "error": {"type": "null"},
                "timestamp": {"type": "string", "format": "date-time"},
            },
            "required": ["ok", "data", "error", "timestamp"],
        }
    content = {call.media_type: {"schema": schema}}
    found["200"] = {"description": call.summary, "content": content}
    for status, text in sorted(refusals.items()):
        alike = not call.enveloped and call.answer is not None and status in call.refuses
        found[str(status)] = {"description": text, **({"content": content} if alike else {"$ref": _REFUSED})}
    return found


def _refusal() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "ok": {"const": False},
            "data": {"type": "null"},
            "error": {"$ref": _REF.format(name=Error.__name__)},
            "timestamp": {"type": "string", "format": "date-time"},
        },
        "required": ["ok", "data", "error", "timestamp"],
    }


def _is_required(body: type[Given]) -> bool:
    """Whether it has fields that must be there."""
    return any(field.required for field in msgspec.structs.fields(body))


def _plain(schema: Any) -> Any:
    """Regular expressions as JSON Schema (ECMA 262) has them: (?i:x) is spelt out for each letter."""
    if isinstance(schema, dict):
        return {
            name: _spelt(each) if name == "pattern" and isinstance(each, str) else _plain(each)
            for name, each in schema.items()
        }
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema


def _spelt(pattern: str) -> str:
    def each(found: re.Match[str]) -> str:
        letters = (f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in found[1])
        return f"({''.join(letters)})"

    return re.sub(r"\(\?i:([^()]*)\)", each, pattern)


def shown(calls: Iterable[Call]) -> list[tuple[str, str, str, str]]:
    """The rows of docs/api.md: the call, what it needs, and what it does."""
    needs = {
        Needs.NOTHING: "",
        Needs.NO_PATIENT_DATA: "(read)",
        Needs.READ: "read",
        Needs.OPERATE: "operate",
    }
    rows = []
    for call in calls:
        given = [f"query: {_names(call.query)}"] if call.query is not Nothing else []
        given += [f"body: {_names(call.body)}"] if call.body is not None else []
        gives = [f"gives {_names(call.answer)}"] if hasattr(call.answer, "__struct_fields__") else []
        refuses = [f"{status}: {text}" for status, text in call.refuses.items()]
        own = " [own]" if call.own else ""
        rows.append(
            (
                f"`{call.method} {call.path}`{own}",
                needs[call.needs],
                call.summary,
                "; ".join([*given, *gives, *refuses]),
            )
        )
    return rows


def _names(kind: type[Any]) -> str:
    return ", ".join(f"`{name}`" for name in kind.__struct_encode_fields__)

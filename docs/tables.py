"""Writes the tables of docs/configure.md from src/leyden/config/schema.py: `python docs/tables.py`.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; everything else of the page is written by hand.
"""

import re
from pathlib import Path
from typing import Any

from leyden.config.schema import (
    ActionEntry,
    Alerts,
    AnonymizeEntry,
    Api,
    Audit,
    CallerEntry,
    CaseEntry,
    Collector,
    ConditionEntry,
    Config,
    CredentialsEntry,
    DeidentifyEntry,
    DestinationEntry,
    EditEntry,
    Entry,
    ExpectedDeliveryEntry,
    ExpectEntry,
    JwtEntry,
    ListenerEntry,
    Mail,
    MappingEntry,
    MutationEntry,
    NodeEntry,
    PrivateEntry,
    RouteEntry,
    SortActionEntry,
    SortingEntry,
    SourceEntry,
    TlsEntry,
    Webhook,
)

PAGE = Path(__file__).with_name("configure.md")
MODELS: dict[str, type[Entry]] = {
    "config.yml": Config,
    "tls": ListenerEntry,
    "api": Api,
    "alerts": Alerts,
    "webhook": Webhook,
    "mail": Mail,
    "audit": Audit,
    "collector": Collector,
    "nodes.yml": NodeEntry,
    "node tls": TlsEntry,
    "credentials": CredentialsEntry,
    "callers.yml": CallerEntry,
    "jwt": JwtEntry,
    "routings.yml": RouteEntry,
    "conditions": ConditionEntry,
    "actions": ActionEntry,
    "sortings.yml": SortingEntry,
    "sort actions": SortActionEntry,
    "cases.yml": CaseEntry,
    "expect": ExpectEntry,
    "expected deliveries": ExpectedDeliveryEntry,
    "mutations.yml": MutationEntry,
    "edits": EditEntry,
    "source": SourceEntry,
    "destination": DestinationEntry,
    "anonymize": AnonymizeEntry,
    "mapping": MappingEntry,
    "deidentify": DeidentifyEntry,
    "private": PrivateEntry,
}
_TABLE = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str) -> str:
    """The page with its tables as they have to be. KeyError: there is no such table."""
    return _TABLE.sub(lambda found: f"{found[1]}{_table(found[2])}{found[3]}", text)


def _table(name: str) -> str:
    if name == "without effect":
        head = ("file", "key", "what Leyden does instead")
        rows = [row for file, model in MODELS.items() for row in _idle(file, model)]
    else:
        head = ("key", "default", "unit", "effect", "since")
        rows = keys(MODELS[name])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ("---",) * len(head), *rows))


def keys(model: type[Entry]) -> list[tuple[str, ...]]:
    """The rows of a table: key, default, unit, effect, since."""
    rows = []
    for field in model.model_fields.values():
        told: Any = field.json_schema_extra
        if told is not None:
            default = "required" if field.alias in model.required else told["shown"] or _shown(field.default)
            rows.append((f"`{field.alias}`", default, told["unit"], _cell(str(field.description)), told["since"]))
    return rows


def _idle(file: str, model: type[Entry]) -> list[tuple[str, ...]]:
    """The keys without effect: those that cause a warning, then those that cause none."""
    families = {f"{begin}…": instead for begin, instead in model.later_families.items()}
    warned = [(file, f"`{key}`", instead) for key, instead in (model.later | families).items()]
    return warned + [(file, f"`{key}`", f"{instead}; no warning") for key, instead in model.silent.items()]


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple | list):
        return ", ".join(default) or "none"
    return f"{default:.10g}" if isinstance(default, float) else "none" if default is None else str(default)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

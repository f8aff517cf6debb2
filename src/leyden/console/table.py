"""All calls of the console, in one table: their routes, docs/api.md and the OpenAPI document are made of it."""

from leyden.console.call import Call, Needs
from leyden.console.calls import sight

TABLE: tuple[Call, ...] = (
    Call(
        "GET", "/health", Needs.NOTHING, sight.health,
        "200 while the service can receive and the disk has room, else 503 with the reasons",
        answer=sight.Healthy, enveloped=False, own=True, refuses={503: "it can't receive"},
    ),
    Call(
        "GET", "/health/live", Needs.NOTHING, sight.alive, "200 while the console answers", media_type="text/plain",
        enveloped=False, own=True,
    ),
    Call(
        "GET", "/metrics", Needs.NO_PATIENT_DATA, sight.metrics, "the numbers of the service, for Prometheus",
        media_type="text/plain", enveloped=False, own=True,
    ),
)  # fmt: skip

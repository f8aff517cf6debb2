"""All calls of the console, in one table: their routes, docs/api.md and the OpenAPI document are made of it."""

from leyden.console.call import Call, Needs
from leyden.console.calls import session, sight

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
    Call(
        "GET", "/api/live", Needs.NO_PATIENT_DATA, sight.live,
        "what the page shows, once a second, as server-sent events with JSON in `data`",
        media_type="text/event-stream", enveloped=False, own=True, refuses={503: "too many watch already"},
    ),
    Call(
        "GET", "/api/session", Needs.NOTHING, session.session, "who one is by one's token or session",
        answer=session.Session, own=True,
    ),
    Call(
        "POST", "/api/login", Needs.NOTHING, session.sign_in,
        "begins a session, by the service password or a token: sets the cookie capacitor_session",
        answer=session.Session, body=session.SignIn, own=True, refuses={403: "it is neither"},
    ),
    Call(
        "POST", "/api/logout", Needs.NOTHING, session.sign_out, "ends the session", answer=session.Session, own=True,
    ),
)  # fmt: skip

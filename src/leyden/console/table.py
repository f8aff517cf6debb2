"""All calls of the console, in one table: their routes, docs/api.md and the OpenAPI document are made of it."""

from typing import Any

from leyden.console.call import Call, Needs
from leyden.console.calls import nodes, page, session, sight, stories, system

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
        "GET", "/api/rules", Needs.READ, page.rules, "the rules as the page draws them: sources, rules, destinations",
        answer=dict[str, Any], own=True,
    ),
    Call(
        "GET", "/api/search", Needs.READ, page.search,
        "what is known of an accession number, a UID or a receipt id, in words: objects and studies",
        answer=dict[str, Any], query=page.Searched, own=True, limit_s=60.0,
        refuses={403: "`names` needs the right to operate"},
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
    Call(
        "GET", "/api/system/info", Needs.NO_PATIENT_DATA, system.info, "which service this is, and since when it runs",
        answer=system.Info,
    ),
    Call("GET", "/api/nodes", Needs.NO_PATIENT_DATA, nodes.nodes, "all nodes", answer=nodes.Nodes),
    Call(
        "GET", "/api/nodes/{ae}", Needs.NO_PATIENT_DATA, nodes.node, "one node, by its AE title or an alias",
        answer=nodes.Node, refuses={404: "there is no such node"},
    ),
    Call(
        "POST", "/api/nodes/{ae}/echo", Needs.OPERATE, nodes.echo_node, "sends a C-ECHO to it, and waits up to 10 s",
        answer=nodes.Echoed, refuses={404: "there is no such node"},
    ),
    Call(
        "GET", "/api/queue/stats", Needs.NO_PATIENT_DATA, system.queue_stats, "how many objects are in which state",
        answer=system.QueueStats, enveloped=False,
    ),
    Call(
        "GET", "/api/queue/health", Needs.NO_PATIENT_DATA, system.queue_health, "whether objects can be received",
        answer=system.QueueHealth, enveloped=False,
    ),
    Call("GET", "/api/metrics", Needs.NO_PATIENT_DATA, system.metrics, "the same, in short", answer=system.Metrics),
    Call(
        "GET", "/api/logs/recent", Needs.READ, system.logs, "the last lines of the log", query=system.LogQuery,
        answer=system.LogLines,
    ),
    Call(
        "POST", "/api/service/reload", Needs.OPERATE, system.reload, "has the service read its files again",
        answer=system.Reloaded, own=True, refuses={409: "a reload is under way", 504: "it has not answered in time"},
    ),
    Call(
        "GET", "/api/trace", Needs.READ, stories.find, "the stories of objects, by one of four names",
        query=stories.TraceQuery, answer=stories.Stories, own=True,
    ),
    Call(
        "GET", "/api/studies/{uid}", Needs.READ, stories.of_study, "how far a study is, for each destination",
        answer=stories.Study, own=True, refuses={404: "nothing is known of it"},
    ),
    Call(
        "GET", "/api/worklist/status", Needs.NO_PATIENT_DATA, system.absent, "there is no worklist service yet",
        answer=system.Absent,
    ),
    Call(
        "GET", "/api/prefetch/status", Needs.NO_PATIENT_DATA, system.absent, "nothing is prefetched yet",
        answer=system.Absent,
    ),
)  # fmt: skip

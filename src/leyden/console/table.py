"""All calls of the console, in one table: their routes, docs/api.md and the OpenAPI document are made of it."""

from typing import Any

from leyden.console.call import Asked, Call, Needs, Nothing, Plain
from leyden.console.calls import control, nodes, page, queue, session, sight, stories, system
from leyden.console.console import Console
from leyden.console.envelope import encoded
from leyden.console.openapi import document

_ITEM = {404: "it is not in the queue", 409: "it can't be done with it, or a process works on it"}
_MANY = {404: "it is no UID, or there is no such node", 409: "that can't be done"}


async def _openapi(_console: Console, _asked: Asked[Nothing, Nothing]) -> Plain:
    return Plain(encoded(document(TABLE)))


TABLE: tuple[Call, ...] = (
    Call(
        "GET", "/api/openapi.json", Needs.NOTHING, _openapi, "this API, as an OpenAPI 3.1 document",
        answer=dict[str, Any], enveloped=False, own=True,
    ),
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
        "PUT", "/api/nodes/{ae}", Needs.OPERATE, nodes.put_node,
        "changes it in nodes.yml, and reloads: only while it is paused and nothing is sent to it",
        answer=nodes.NodeChanged, body=nodes.NodeSettings, limit_s=60.0,
        refuses={404: "there is no such node", 409: "it is not drained, or the file can't be changed so",
                 504: "the service has not answered in time"},
    ),
    Call(
        "POST", "/api/nodes/{ae}/echo", Needs.OPERATE, nodes.echo_node, "sends a C-ECHO to it, and waits up to 10 s",
        answer=nodes.Echoed, refuses={404: "there is no such node"},
    ),
    Call(
        "POST", "/api/nodes/{ae}/pause", Needs.OPERATE, control.pause, "sends nothing more to it; receiving goes on",
        answer=control.NodeControl, body=control.Ordered, refuses={404: "there is no such node"},
    ),
    Call(
        "POST", "/api/nodes/{ae}/resume", Needs.OPERATE, control.resume, "sends to it again",
        answer=control.NodeControl, refuses={404: "there is no such node"},
    ),
    Call(
        "POST", "/api/nodes/{ae}/override-schedule", Needs.OPERATE, control.override,
        "sends to it at any time of the day, whatever its ProcessSchedule",
        answer=control.NodeControl, body=control.Ordered, refuses={404: "there is no such node"},
    ),
    Call(
        "DELETE", "/api/nodes/{ae}/override-schedule", Needs.OPERATE, control.end_override,
        "goes by its ProcessSchedule again", answer=control.NodeControl, refuses={404: "there is no such node"},
    ),
    Call(
        "GET", "/api/queue/items", Needs.READ, queue.items, "what stands in the queue, the oldest first",
        query=queue.ItemsQuery, answer=queue.Items, refuses={404: "there is no such node"},
    ),
    Call(
        "GET", "/api/queue/items/{id}", Needs.READ, queue.item, "one object, with elements of its data set",
        answer=queue.Detail, refuses={404: "it is not in the queue"},
    ),
    Call(
        "DELETE", "/api/queue/items/{id}", Needs.OPERATE, queue.delete_item, "deletes it for good",
        answer=queue.Outcome, refuses=_ITEM,
    ),
    Call(
        "POST", "/api/queue/items/{id}/retry", Needs.OPERATE, queue.retry_item,
        "tries it again now: from rejected/, failed/, expired/ or deferred/", answer=queue.Outcome, refuses=_ITEM,
    ),
    Call(
        "POST", "/api/queue/items/{id}/reject", Needs.OPERATE, queue.reject_item,
        "takes it out of the queue, into rejected/", answer=queue.Outcome, refuses=_ITEM,
    ),
    Call(
        "POST", "/api/queue/items/{id}/fail", Needs.OPERATE, queue.fail_item,
        "always 409: with Leyden, an object can't fail by order", answer=queue.Outcome, refuses=_ITEM,
    ),
    Call(
        "POST", "/api/queue/items/{id}/move", Needs.OPERATE, queue.move_item,
        "brings it into another state, or into the queue of another node",
        answer=queue.Outcome, body=queue.Target, refuses=_ITEM,
    ),
    Call(
        "POST", "/api/queue/actions/retry-failed", Needs.OPERATE, queue.retry_failed, "tries again what is in failed/",
        answer=queue.Outcome, query=queue.WhichQuery, refuses={404: "there is no such node"},
    ),
    Call(
        "POST", "/api/queue/actions/retry-rejected", Needs.OPERATE, queue.retry_rejected,
        "tries again what is in rejected/ and expired/",
        answer=queue.Outcome, query=queue.WhichQuery, refuses={404: "there is no such node"},
    ),
    Call(
        "POST", "/api/queue/studies/{uid}/move", Needs.OPERATE, queue.move_study, "the same for all of a study",
        answer=queue.Outcome, body=queue.Target, refuses=_MANY,
    ),
    Call(
        "DELETE", "/api/queue/studies/{uid}", Needs.OPERATE, queue.delete_study, "deletes all of a study for good",
        answer=queue.Outcome, refuses=_MANY,
    ),
    Call(
        "POST", "/api/queue/series/{uid}/move", Needs.OPERATE, queue.move_series, "the same for all of a series",
        answer=queue.Outcome, body=queue.Target, refuses=_MANY,
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
        "GET", "/api/service/status", Needs.NO_PATIENT_DATA, control.status, "what is paused for all nodes",
        answer=control.ServiceStatus,
    ),
    Call(
        "GET", "/api/service/processing-status", Needs.NO_PATIENT_DATA, control.processing, "whether anything is done",
        answer=control.Processing,
    ),
    Call(
        "POST", "/api/service/pause", Needs.OPERATE, control.pause_service,
        "plans, compresses and sends nothing more; receiving and queueing go on",
        answer=control.ServiceStatus, body=control.Ordered,
    ),
    Call(
        "POST", "/api/service/resume", Needs.OPERATE, control.resume_service, "goes on; a paused node stays paused",
        answer=control.ServiceStatus,
    ),
    Call(
        "POST", "/api/service/reload", Needs.OPERATE, system.reload, "has the service read its files again",
        answer=system.Reloaded, own=True, refuses={409: "a reload is under way", 504: "it has not answered in time"},
    ),
    Call(
        "GET", "/api/trace", Needs.READ, stories.find, "the stories of objects, by one of four names",
        query=stories.TraceQuery, answer=stories.Stories, own=True, refuses={409: "none or several are named"},
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

"""nodes.yml as a whole: which called titles stand for which node, and what planner and sender must know of each.

Only Storage nodes are destinations; the others are read, and a warning says that they have no effect. A title that is
written in the file wins over one that the prefix makes. No two nodes may have the same title.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from leyden.config import values
from leyden.config.node_tls import Way
from leyden.config.report import Report, did_you_mean
from leyden.config.schema import NO_EFFECT, Config, NodeEntry, Steps, place, read
from leyden.config.yaml_text import At, Items, Node, Text
from leyden.deliver.destination import Destination
from leyden.dicom import uids
from leyden.plan.rules import Target

# The keys of a node that say how much may be lost -> the syntaxes for which each means something.
_OF_LOSS = {
    "Quality": (uids.JPEG_BASELINE, uids.JPEG_EXTENDED, uids.JPEGXL),
    "CompressionRatio": (uids.JPEG2000, uids.HTJ2K),
    "NearLossless": (uids.JPEGLS_NEAR_LOSSLESS,),
    "RecompressLossy": tuple(
        uid for uid, syntax in uids.SYNTAXES.items() if syntax.lossy and uid in uids.MADE - {uids.JPEGXL_JPEG}
    ),
}


class Served(msgspec.Struct, frozen=True):
    """The Storage nodes with the syntax UID of each, and every accepted called title -> node title ("" = ours)."""

    nodes: tuple[tuple[NodeEntry, str], ...] = ()
    titles: dict[str, str] = msgspec.field(default_factory=dict)
    others: dict[str, str] = msgspec.field(default_factory=dict)  # titles of nodes with another role -> that role
    missing: bool = False  # nodes.yml
    calling: tuple[str, ...] = ()  # the only titles that may call us; empty = all

    def resolve(self, title: str) -> str | None:
        """The Storage node that a title or an alias, as written in nodes.yml, stands for."""
        for node, _ in self.nodes:
            if title in (node.ae_title, *node.aliases):
                return str(node.ae_title)
        return None

    def unknown(self, title: str) -> str:
        """Why a title is not that of a destination, in words."""
        if title in self.others:
            return f"{title} is a node of role {self.others[title]}; only Storage nodes are destinations"
        if self.missing:
            return f"no node named {title}: nodes.yml is missing"
        names = (name for node, _ in self.nodes for name in (node.ae_title, *node.aliases))
        return f"no node named {title}{did_you_mean(title, names)}"


def served(document: Node | None, config: Config, report: Report) -> Served:
    """Read every entry, and check them against one another."""
    if document is not None and not isinstance(document, Items):
        report.error(document.at, "", "must be a list: each node begins with a dash (- AeTitle: ...)")
        return Served()
    nodes: list[tuple[NodeEntry, str]] = []
    others: dict[str, str] = {}
    for given in document or ():
        node = read(NodeEntry, given, report)
        if node is None or not node.ae_title:
            continue
        if node.node_role != "Storage":
            report.warn(node.places["NodeRole"], "NodeRole", f"{node.node_role} {NO_EFFECT}")
            others[node.ae_title] = node.node_role
        else:
            syntax = _syntax_of(node, config, report)
            if syntax is not None:
                _warn_of_idle_keys(node, syntax, report)
            _check_not_ourselves(node, config, report)
            nodes.append((node, syntax or ""))
    own = _own_titles([node for node, _ in nodes], report)
    allowed = tuple(map(str, config.allowed_calling_ae_titles))
    return Served(tuple(nodes), _called_titles(own, config, report), others, calling=allowed)


def resolved(title: Text, steps: Steps, served: Served | None, report: Report) -> str:
    """The Storage node that a title in a rule stands for; an unknown one is reported. `served` None: not looked up."""
    if served is None:
        return str(title)
    found = served.resolve(title)
    if found is None:
        report.error(title.at, place(steps), served.unknown(title))
    return found or str(title)


def targets(served: Served) -> tuple[Target, ...]:
    """What the planner must know of each destination."""
    return tuple(
        Target(str(node.ae_title), syntax, node.sop_class_priorities, node.recompress_lossy)
        for node, syntax in served.nodes
    )


def destinations(served: Served, config: Config, ways: Mapping[str, Way]) -> tuple[Destination, ...]:
    """What the sender must know of each; config.yml fills in what a node leaves open."""
    return tuple(_destination(node, syntax, served.titles, config, ways) for node, syntax in served.nodes)


def _destination(
    node: NodeEntry, syntax: str, titles: dict[str, str], config: Config, ways: Mapping[str, Way]
) -> Destination:
    title = str(node.ae_title)
    return Destination(
        ae_title=title,
        host=node.host_name,
        port=node.port,
        aliases=tuple(called for called, meant in titles.items() if meant == title != called),
        impersonate=node.impersonate,
        syntax=syntax,
        quality=node.quality,
        compression_ratio=node.compression_ratio,
        near_lossless=node.near_lossless,
        recompress_lossy=node.recompress_lossy,
        priority=node.priority,
        max_associations=node.max_associations,
        batch_size=_either(node.batch_size, config.batch_size),
        minimum_line_speed_kb_per_s=_either(node.minimum_line_speed, config.minimum_line_speed),
        maximum_line_speed_kb_per_s=node.maximum_line_speed,
        stall_threshold_s=_either(node.stall_threshold, config.stall_threshold_seconds),
        connect_timeout_s=config.connect_timeout_seconds,
        storage_timeout_floor_s=config.storage_timeout_floor_seconds,
        abandon_grace_s=config.send_abandon_grace_seconds,
        process_delay_ms=_either(node.process_delay, config.process_delay),
        process_delay_window_multiplier=config.process_delay_window_multiplier,
        schedule=_either(node.process_schedule, config.process_schedule),
        networks=node.process_networks,
        retry_delays_s=node.retry_delays,
        expiry_threshold_s=config.expiry_threshold,
        keep_rejected=config.move_rejected_cached_files,
        tls=ways[title].tls,
        credentials=ways[title].credentials,
        disk_share_percent=_either(node.disk_share, config.destination_share),
    )


Value = TypeVar("Value")


def _either(own: Value | None, general: Value) -> Value:
    return general if own is None else own


def _syntax_of(node: NodeEntry, config: Config, report: Report) -> str | None:
    """The UID of the syntax that the node gets; "" = as received, None = not known because of an error."""
    if node.transfer_syntax is None:
        return config.default_transfer_syntax or ""
    try:
        return values.makeable_syntax(node.transfer_syntax)
    except ValueError as error:
        report.error(node.transfer_syntax.at, "TransferSyntax", str(error))
        return None


def _warn_of_idle_keys(node: NodeEntry, syntax: str, report: Report) -> None:
    for key, concerned in _OF_LOSS.items():
        if key in node.places and syntax not in concerned:
            names = ", ".join(map(uids.syntax_name, concerned))
            wanted = uids.syntax_name(syntax) if syntax else "as received"
            report.warn(node.places[key], key, f"does nothing: it is for {names}; this node's syntax is {wanted}")


def _check_not_ourselves(node: NodeEntry, config: Config, report: Report) -> None:
    if (key := config.ports.get(node.port)) and _is_loopback(node.host_name):
        at = node.places.get("HostName") or node.places.get("Port") or node.ae_title.at
        what = f"{node.host_name}:{node.port} is Leyden itself ({key}), which would get back what it sends"
        report.error(at, "HostName", f"{what}; name the destination's address")


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine, wherever the configuration is read."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    return address.is_loopback or address.is_unspecified


def _own_titles(nodes: Sequence[NodeEntry], report: Report) -> dict[Text, str]:
    """Every title and alias -> node title. Where two nodes have the same one, the second is reported as an error."""
    owners: dict[Text, str] = {}
    places: dict[str, At] = {}
    for node in nodes:
        title = node.ae_title
        if title in owners:
            report.error(title.at, "AeTitle", f"{title} is also the title of the Storage node in {places[title]}")
        else:
            owners[title], places[title] = str(title), title.at
    for node in nodes:
        for n, alias in enumerate(node.aliases):
            owner = owners.setdefault(alias, str(node.ae_title))
            at = places.setdefault(alias, alias.at)
            if owner != node.ae_title:
                report.error(alias.at, f"Aliases[{n}]", f"{alias} is also a title of the node {owner} in {at}")
    return owners


def _called_titles(owners: dict[Text, str], config: Config, report: Report) -> dict[str, str]:
    titles = {str(title): node for title, node in owners.items()}
    ours = config.my_ae_title
    if titles.setdefault(str(ours), "") != "":
        report.warn(ours.at, "myAeTitle", f"{ours} is also a title of the node {titles[ours]}: calls to it go there")
    for title, node in (*owners.items(), (ours, titles[ours])):
        prefixed = config.ae_title_prefix + title
        if len(prefixed) > values.AE_TITLE_MAX_CHARS:
            too_long = f"{prefixed} has more than {values.AE_TITLE_MAX_CHARS} characters: not a title we answer to"
            report.warn(title.at, "aeTitlePrefix", too_long)
        elif titles.setdefault(prefixed, node) != node:
            meant = titles[prefixed] or "our own title"
            report.warn(title.at, "aeTitlePrefix", f"{prefixed} is not {title} with the prefix, it means {meant}")
    return titles

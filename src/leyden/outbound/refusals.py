"""What waits in a syntax that the destination does not take: it is remade into another one, or rejected.

A destination says in a negotiation, or by an answer, which syntaxes it takes of a SOP class; capabilities.py remembers
it. In which syntax an instance goes then is decided by outcome.form_after_refusal().
"""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence

from leyden.deliver.destination import Destination
from leyden.deliver.pool import Member
from leyden.form.choose import Fail, Make
from leyden.form.ladder import Acceptance, Pair
from leyden.outbound.capabilities import Capabilities
from leyden.outbound.claims import Claims
from leyden.outbound.jobs import Jobs
from leyden.outbound.outcome import Outcome, form_after_refusal, refused
from leyden.outbound.queue import Instance
from leyden.outbound.window import Window
from leyden.spool.stage import Stage

Decided = tuple[Instance, Make | Fail]

RENEGOTIATE_S = 5.0  # a SOP class that was refused in all syntaxes is proposed again at most so often


class Refusals:
    """Applies to the instances of a window what their destination takes."""

    def __init__(
        self, destination: Destination, window: Window, claims: Claims, capabilities: Capabilities, jobs: Jobs
    ) -> None:
        self.destination = destination
        self._window = window
        self._claims = claims
        self._capabilities = capabilities
        self._jobs = jobs
        self._refused_s: dict[tuple[str, str], float] = {}  # (calling, SOP class) -> when it was proposed in vain

    # -- what the destination said

    def negotiated(self, member: Member, accepted: Collection[Pair]) -> None:
        """An association was established; the member gets what of `accepted` may be used."""
        member.accepted = self._capabilities.negotiated(member.proposed, accepted, time.time())
        self._jobs.start(self._capabilities.save())

    def unsupported(self, pair: Pair, members: Iterable[Member]) -> None:
        """The destination accepted a pair in negotiation and refused an object for it: no more of them are sent.

        The caller saves the capabilities.
        """
        self._capabilities.unsupported(pair, time.time())
        for member in members:
            if pair in member.accepted:
                member.accepted = frozenset(member.accepted) - {pair}

    def ask_again(self) -> None:
        """What an operator retries is to be tried as if it had never been refused by an answer."""
        for instance in self._window.all_waiting():
            if retried_s := instance.queued.entry.retried_s:
                self._capabilities.ask_again(instance.pair, retried_s)

    # -- what follows for the instances that wait

    def apply(self, members: Iterable[Member]) -> bool:
        """Have remade or rejected what these associations refused, and have made lossy what waited to be asked for.

        True: the destination refused something. So it answers.
        """
        refusals = [decided for member in members for decided in self._take_refused(member)]
        if refusals:
            self._jobs.start(self._end(refusals))
        accepted = [
            (self._window.take(instance), Make(self.destination.syntax))
            for instance in list(self._window.all_waiting())
            if instance.queued.stage is Stage.ASKING and self._takes_lossy(instance)
        ]
        if accepted:
            self._jobs.start(self._end(accepted))
        return bool(refusals)

    def on_hold(self, now_s: float) -> Collection[tuple[str, str]]:
        """(calling AE title, SOP class) of what was refused in all syntaxes, and is not proposed again yet."""
        if self._refused_s:
            self._refused_s = {what: s for what, s in self._refused_s.items() if now_s < s + RENEGOTIATE_S}
        return self._refused_s.keys()

    def _take_refused(self, member: Member) -> Iterator[Decided]:
        """Take out of the window what the peer refused, with the form that it gets instead.

        What has no other form left stays for another association, unless this one was opened after it had come: the
        peer may have learnt since then.
        """
        pairs = member.refused
        for instance in list(self._window.all_waiting()) if pairs else ():
            if instance.pair not in pairs or instance.calling != member.calling:
                continue
            sop_class = instance.pair[0]
            form = self._form(instance, self._capabilities.known(sop_class, time.time()))
            if not isinstance(form, Make) and instance.since_s <= member.opened_s:  # just negotiated, so not too old
                form = self._form(instance, self._capabilities.knowledge.get(sop_class, Acceptance()))
                assert form is not None
                yield self._window.take(instance), form
            elif isinstance(form, Make):
                yield self._window.take(instance), form
            else:
                self._refused_s.setdefault((instance.calling, sop_class), member.opened_s)

    def _takes_lossy(self, instance: Instance) -> bool:
        """Whether the destination is now seen to accept the lossy syntax of its node for this instance."""
        acceptance = self._capabilities.known(instance.pair[0], time.time())
        return self._form(instance, acceptance) == Make(self.destination.syntax)

    def _form(self, instance: Instance, acceptance: Acceptance | None) -> Make | Fail | None:
        """None: nothing is known of what the destination accepts of the SOP class."""
        if acceptance is None:
            return None
        return form_after_refusal(self.destination, instance, acceptance, self._claims.history.of(instance.receipt))

    async def _end(self, decided: Sequence[Decided]) -> None:
        await self._capabilities.save()  # first: a worker decides by it, and may have the object a moment later
        for instance, form in decided:
            claim = self._claims.take(instance)
            await self._claims.end(claim if isinstance(claim, Outcome) else refused(instance, claim, form))

"""What waits in a syntax that the destination does not take: it is remade into another one, or rejected.

A destination says in a negotiation, or by an answer, which syntaxes it takes of a SOP class; capabilities.py remembers
it. In which syntax an instance goes then is decided by outcome.form_after_refusal().
"""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence

from leyden.deliver.destination import Destination
from leyden.deliver.pool import Member
from leyden.form.choose import Form, Make
from leyden.form.ladder import Pair
from leyden.outbound.capabilities import Capabilities
from leyden.outbound.claims import Claims
from leyden.outbound.jobs import Jobs
from leyden.outbound.outcome import Outcome, form_after_refusal, refused
from leyden.outbound.queue import Instance
from leyden.outbound.window import Window
from leyden.spool.stage import Stage

RENEGOTIATE_S = 5.0  # a SOP class that was refused in all syntaxes is proposed again at most so often


class Refusals:
    """Applies to the instances of a window what their destination takes."""

    def __init__(
        self, destination: Destination, window: Window, claims: Claims, capabilities: Capabilities, jobs: Jobs
    ) -> None:
        self._destination = destination
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
        """The destination accepted a pair in negotiation and refused an object for it: no more of them are sent."""
        self._capabilities.unsupported(pair, time.time())
        self._jobs.start(self._capabilities.save())
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
        """Have remade or rejected what waits and was refused by these associations, and have made lossy what waited to
        be asked for. True: something was refused, so that the destination works."""
        ended = [instance for member in members for instance in self._take_refused(member)]
        if ended:
            self._jobs.start(self._end(ended))
        allowed = [instance for instance in self._window.all_waiting() if self._allowed(instance)]
        if allowed:
            self._jobs.start(self._make_lossy([self._window.take(instance) for instance in allowed]))
        return bool(ended)

    def held_back(self, now_s: float) -> Collection[tuple[str, str]]:
        """(calling AE title, SOP class) of what was refused in all syntaxes, and is not proposed again yet."""
        if self._refused_s:
            self._refused_s = {what: s for what, s in self._refused_s.items() if now_s < s + RENEGOTIATE_S}
        return self._refused_s.keys()

    def _take_refused(self, member: Member) -> Iterator[Instance]:
        """Take out of the window what the peer refused and can be ended.

        Without another syntax left, only an association that was asked for after an instance had come may reject it:
        the destination may have learnt since.
        """
        pairs = member.refused
        for instance in list(self._window.all_waiting()) if pairs else ():
            if instance.pair not in pairs or instance.calling != member.calling:
                continue
            if isinstance(self._form_after_refusal(instance), Make) or instance.since_s <= member.opened_s:
                yield self._window.take(instance)
            else:
                self._refused_s.setdefault((instance.calling, instance.pair[0]), member.opened_s)

    def _allowed(self, instance: Instance) -> bool:
        """Whether it waits to be made lossy, and the destination is now seen to take that."""
        return instance.queued.stage is Stage.ASKING and self._form_after_refusal(instance) == Make(
            self._destination.syntax
        )

    def _form_after_refusal(self, instance: Instance) -> Form:
        acceptance = self._capabilities.known(instance.pair[0], time.time())
        return form_after_refusal(self._destination, instance, acceptance, self._claims.history.of(instance.receipt))

    async def _make_lossy(self, instances: Sequence[Instance]) -> None:
        await self._capabilities.save()  # the workers read it
        await self._end(instances)

    async def _end(self, instances: Sequence[Instance]) -> None:
        for instance in instances:
            claim = self._claims.take(instance)
            if isinstance(claim, Outcome):
                await self._claims.end(claim)
                continue
            acceptance = self._capabilities.knowledge.get(instance.pair[0])
            record = self._claims.history.of(instance.receipt)
            await self._claims.end(refused(self._destination, instance, claim, acceptance, record))

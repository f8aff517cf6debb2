"""Sends messages, each channel in a thread of its own, in their order; what is not taken is tried again for a day."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from leyden.alerts.causes import Message
from leyden.alerts.channels import Channel, Refused, Unreachable
from leyden.log import once

logger = logging.getLogger("leyden.watcher")

FIRST_PAUSE_S = 5.0
PAUSE_MAX_S = 600.0
GIVE_UP_S = 86400.0
WAITING_MAX = 100  # of each channel; the oldest goes first


class Post:
    """`waiting`: the messages that an earlier Post had not sent, by the name of their channel."""

    def __init__(self, channels: Iterable[Channel], waiting: Mapping[str, Sequence[Message]]) -> None:
        self._posts = [_OfChannel(channel, waiting.get(channel.name, ())) for channel in channels]

    def send(self, message: Message) -> None:
        """Through each channel, some time."""
        for post in self._posts:
            post.put(message)

    def waiting(self) -> dict[str, list[Message]]:
        """What is not sent yet, by the name of the channel."""
        return {post.name: left for post in self._posts if (left := post.left())}

    def stop(self) -> None:
        """Begin nothing more. What is under way is not waited for, and counts as not sent."""
        for post in self._posts:
            post.stop()


class _OfChannel:
    def __init__(self, channel: Channel, waiting: Sequence[Message]) -> None:
        self.name = channel.name
        self._channel = channel
        self._waiting = deque(waiting, WAITING_MAX)
        self._news = threading.Condition()
        self._stopped = False
        threading.Thread(target=self._run, name=f"alerts by {channel.name}", daemon=True).start()

    def put(self, message: Message) -> None:
        with self._news:
            if len(self._waiting) == WAITING_MAX:
                text = "%s: %d alerts wait to be sent; the oldest is dropped"
                logger.error(text, self.name, WAITING_MAX)
            self._waiting.append(message)
            self._news.notify()

    def left(self) -> list[Message]:
        with self._news:
            return list(self._waiting)

    def stop(self) -> None:
        with self._news:
            self._stopped = True
            self._news.notify()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while (message := self._next()) is not None:
            try:
                self._channel.send(message)
            except Unreachable as error:
                if time.time() - message.at_s < GIVE_UP_S:
                    text = f"{self.name}: an alert could not be sent, and is tried again: {error}"
                    once(logger, logging.WARNING, f"alerts {self.name} {error}", text)
                    self._pause(pause_s)
                    pause_s = min(2 * pause_s, PAUSE_MAX_S)
                    continue
                logger.error("%s: an alert was not sent within a day, and is dropped: %s", self.name, error)
            except Refused as error:
                logger.error("%s: an alert was refused, and is dropped: %s", self.name, error)
            except Exception:  # the others must go on
                logger.exception("%s: a fault of ours", self.name)
            pause_s = FIRST_PAUSE_S
            with self._news:
                if self._waiting and self._waiting[0] is message:
                    self._waiting.popleft()

    def _next(self) -> Message | None:
        """The oldest message, as soon as there is one; None: it is to end."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._stopped)
            return None if self._stopped else self._waiting[0]

    def _pause(self, for_s: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self._stopped, for_s)

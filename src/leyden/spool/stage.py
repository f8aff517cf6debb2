"""The stages of the spool: a state is a folder, and `ls` tells it. Every other module names them by this enum.

```
embryo ─► new ─┬────────────────────────────► prepared ─► (delivered: unlinked)
               ├─► transform ────────────────►    │
               └─► asking ─► transform, prepared  ├─► deferred ─► prepared, asking
                                                  └─► rejected, failed, expired
```

From transform, asking and prepared an entry is claimed into active/<claimant>/, from where it goes on or comes back.
"""

from enum import StrEnum


class Stage(StrEnum):
    """Where an object stands. The value is the name of the folder below the spool's root."""

    EMBRYO = "embryo"  # being received: not acknowledged yet
    NEW = "new"  # received and acknowledged, waits for the planner
    TRANSFORM = "transform"  # waits for a worker, to be made into the syntax in its name
    ASKING = "asking"  # waits until its destination was asked whether it takes the lossy syntax in the name
    PREPARED = "prepared"  # waits to be sent as it is
    ACTIVE = "active"  # claimed by one process
    DEFERRED = "deferred"  # waits for the time in its name, after an answer that was no final one, or none
    REJECTED = "rejected"  # the destination refused it for good
    FAILED = "failed"  # it could not be planned, read or made
    EXPIRED = "expired"  # it was not delivered within expiryThreshold


CLAIMED_FROM = (Stage.TRANSFORM, Stage.ASKING, Stage.PREPARED)
SENT_FROM = (Stage.ASKING, Stage.PREPARED)  # what an attempt to send may hold; unanswered, if it ends without one
BY_DESTINATION = (Stage.TRANSFORM, Stage.ASKING, Stage.PREPARED, Stage.DEFERRED, Stage.REJECTED)
ENDED = (Stage.REJECTED, Stage.FAILED, Stage.EXPIRED)  # until an operator decides otherwise

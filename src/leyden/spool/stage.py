"""The stages of the spool: each is a folder, so `ls` shows where an object stands. All modules use this enum.

```
embryo ─► new ─┬────────────────────────────► prepared ─► (delivered: unlinked)
               ├─► transform ────────────────►    ├─► deferred ─► prepared, asking
               └─► asking ─► transform            └─► rejected, failed, expired
                          └► (sent as it came, as from prepared)
```

An entry in transform, asking or prepared is claimed into active/<claimant>/; from there it moves on, or back.
"""

from enum import StrEnum


class Stage(StrEnum):
    """Where an object stands. The value is the name of the folder below the spool's root."""

    EMBRYO = "embryo"  # being received: not acknowledged yet
    NEW = "new"  # received and acknowledged, waits for the planner
    TRANSFORM = "transform"  # waits for a worker, to be made into the syntax in its name
    ASKING = "asking"  # waits until its destination was asked whether it accepts the lossy syntax in the name
    PREPARED = "prepared"  # waits to be sent as it is
    ACTIVE = "active"  # claimed by one process
    DEFERRED = "deferred"  # waits for the time in its name, after a transient answer or none
    REJECTED = "rejected"  # the destination refused it for good
    FAILED = "failed"  # it could not be planned, read or made
    EXPIRED = "expired"  # it was not delivered within expiryThreshold


CLAIMED_FROM = (Stage.TRANSFORM, Stage.ASKING, Stage.PREPARED)
SENT_FROM = (Stage.ASKING, Stage.PREPARED)  # a claim from these may have been sent when its claimant dies
BY_DESTINATION = (Stage.TRANSFORM, Stage.ASKING, Stage.PREPARED, Stage.DEFERRED, Stage.REJECTED)
ENDED = (Stage.REJECTED, Stage.FAILED, Stage.EXPIRED)  # the trip has ended here, unless an operator brings it back

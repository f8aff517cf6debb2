"""The keys of DICOM Capacitor that a storage router needs all have an effect."""

import pytest

from leyden.config.schema import (
    ActionEntry,
    Api,
    ConditionEntry,
    Config,
    DestinationEntry,
    EditEntry,
    Entry,
    MutationEntry,
    NodeEntry,
    RouteEntry,
    SortActionEntry,
    SortingEntry,
    SourceEntry,
)

NEEDED: dict[type[Entry], str] = {
    Config: """scpPort myAeTitle aeTitlePrefix filters cachePath defaultTransferSyntax minimumAge processDelay
        processDelayWindowMultiplier batchSize minimumLineSpeed stallThresholdSeconds connectTimeoutSeconds
        clientTimeout storageTimeoutFloorSeconds sendAbandonGraceSeconds duplicateBehavior duplicateThreshold
        holdIncomingStorageAssociations storageAssociationHoldExpectedTtlSeconds minFreeSpace expiryThreshold
        dropUnfilteredInstances cycleRejectedFilesOnStartup moveRejectedCachedFiles storageReceiptExpiryHours
        processSchedule rejectAbstractSyntaxes maxClientsPerServer maxDataBuffer maxPDVsPerPDU suppressLogAeTitles
        logSuffix daysToKeepLogs api""",
    Api: "enabled port servicePassword token",
    NodeEntry: """AeTitle Aliases HostName Port NodeRole TransferSyntax Impersonate MinimumLineSpeed BatchSize
        ProcessDelay StallThreshold Priority ProcessSchedule ProcessNetworks SopClassPriorities""",
    ConditionEntry: "Tag MatchExpression Search SequenceItems PrivateTagCreator Log",
    RouteEntry: "AeTitles Conditions Actions Description",
    ActionEntry: "Type Target RemoveOriginal Description Log",
    MutationEntry: "Description AeTitles Conditions Affects Actions",
    EditEntry: "Type Source Destination OnError Description",
    SourceEntry: "Tag Expression PrivateTagCreator",
    DestinationEntry: "Tag Value PrivateTagCreator",
    SortingEntry: "Description AeTitles Conditions Actions",
    SortActionEntry: "Type Description SortTag SortType SortDirection",
}


@pytest.mark.parametrize("model", NEEDED, ids=lambda model: model.__name__)
def test_no_key_of_a_storage_router_is_without_effect(model: type[Entry]) -> None:
    """Each key that a storage router needs is read; none is only accepted, or unknown."""
    needed = NEEDED[model].split()
    assert set(needed) <= set(model.keys())
    idle = (
        [key for key in needed if key.lower().startswith(tuple(model.later_families))] if model.later_families else []
    )
    assert not idle
    assert not set(needed) & (set(model.later) | set(model.silent))
    assert not [key for key in needed if "no effect yet" in described(model)[key]]


def described(model: type[Entry]) -> dict[str, str]:
    return {field.alias or "": field.description or "" for field in model.model_fields.values()}

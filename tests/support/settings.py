"""Settings as a role gets them, of a service without rules."""

from pathlib import Path
from typing import Any

from leyden.config.settings import ReceiverSettings, Settings
from leyden.deliver.destination import Destination
from leyden.dicom.negotiate import AcceptorPolicy
from leyden.plan.rules import PlanSettings


def settings_of(folder: Path, *titles: str, **keys: Any) -> Settings:
    """Those of a service on folder/cache that delivers to `titles`."""
    return Settings(
        path=str(folder),
        log_dir=str(folder / "log"),
        cache_path=str(folder / "cache"),
        scp_port=0,
        my_ae_title="LEYDEN",
        receiver=ReceiverSettings(AcceptorPolicy(titles=("LEYDEN", *titles)), min_free_percent=0.0),
        plan=PlanSettings("LEYDEN", {title: title for title in titles}, ()),
        destinations=tuple(Destination(title, "127.0.0.1", 104) for title in titles),
        **keys,
    )

"""All scenes of the fault matrix, in the order of the table in docs/reliability.md."""

from chaos import answers, callers, certificates, changes, network, upgrade
from chaos.scene import Scene

SCENES: tuple[Scene, ...] = (
    answers.SCENE, callers.SCENE, network.SCENE, certificates.SCENE, upgrade.SCENE, changes.SCENE,
)  # fmt: skip

"""How much notebook 05 measures: the scale of each profile."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Scale:
    """How much of everything; nothing else differs between the profiles."""

    device: str = "cpu"
    threads: int | None = None  # None: as many as there are usable cores


SCALES = {"quick": Scale(), "cpu": Scale(), "gpu": Scale(device="cuda")}
SMOKE = replace(SCALES["gpu"])

"""The tags of a recording, taken from what Dunya says about it.

Which fields are tags is the study's choice: makam, usul and instruments for
Turkish-makam; raga, tala, instruments and forms for the Indian traditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Prefix of the tag, field of the recording, and the way to the name in each item of the field.
FIELDS: Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "makam": (
        ("makam", "makamlist", ("name",)),
        ("usul", "usullist", ("name",)),
        ("instrument", "performers", ("instrument", "name")),
    ),
    "hindustani": (
        ("raga", "raags", ("common_name",)),
        ("tala", "taals", ("common_name",)),
        ("instrument", "artists", ("instrument", "name")),
        ("form", "forms", ("common_name",)),
    ),
    "carnatic": (
        ("raga", "raaga", ("common_name",)),
        ("tala", "taala", ("common_name",)),
        ("instrument", "artists", ("instrument", "name")),
        ("form", "form", ("name",)),
    ),
}


def recording_tags(dataset: str, recording: Mapping[str, Any]) -> list[str]:
    """The tags of a recording, `prefix--name`, without repetitions and in the order of its fields.

    A field that is missing or empty, and an item without a name, give no tag.

    Args:
        dataset: "makam", "hindustani" or "carnatic".
        recording: Dunya's answer for the recording.
    """
    return list(
        dict.fromkeys(
            f"{prefix}--{name}" for prefix, field, way in FIELDS[dataset] for name in _names(recording.get(field), way)
        )
    )


def _names(items: object, way: tuple[str, ...]) -> Iterable[str]:
    for item in items if isinstance(items, list) else []:
        for step in way:
            item = item.get(step) if isinstance(item, Mapping) else None
        if isinstance(item, str) and item.strip():
            yield item

"""Freely licensed music that Debian packages carry, and what is known of it.

Composers and genres are taken from the files' own metadata; where these say nothing, the composer
is the one that the package's copyright file names for these files, or unknown. Licences are those
of the copyright files, /usr/share/doc/<package>/copyright.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from runtime.errors import UsageError, listed

SHARE = Path("/usr/share")


@dataclass(frozen=True)
class Package:
    """A Debian package with music."""

    name: str
    game: str
    files: str  # glob pattern under /usr/share
    licence: str
    composer: str | None = None  # of files whose metadata name nobody
    composers: Mapping[str, str] = field(default_factory=dict)  # name in the metadata, or stem of a file -> composer


PACKAGES = {
    package.name: package
    for package in (
        Package("planetblupi-music-ogg", "Planet Blupi", "planetblupi/music/*.ogg", "GPL-3+"),
        Package("asc-music", "ASC", "games/asc/music/*.mp3", "GPL-2+", composer="Michael Kievernagel"),
        # fb-music-high has the same music as one tracker module, which libsndfile does not decode.
        Package(
            "frozen-bubble-data",
            "Frozen-Bubble",
            "games/frozen-bubble/snd/*zik*.ogg",
            "GPL-2",
            composer="Matthias Le Bidan",
        ),
        Package("wesnoth-1.16-music", "Wesnoth", "games/wesnoth/*/data/core/music/*.ogg", "GPL-2+"),
        Package(
            "hyperrogue-music",
            "HyperRogue",
            "hyperrogue/music/*.ogg",
            "CC-BY-SA-3.0",
            composers={
                "NeonCorridor": "Shawn Parrotte",
                "hr-domina-hunting": "Lincoln Domina",
                "hr-domina-mountain": "Lincoln Domina",
            },
        ),
        Package(
            "singularity-music",
            "Singularity",
            "games/singularity/music/**/*.ogg",
            "CC-BY-SA-3.0",
            composers={"Maxstack": "Max McCracken"},
        ),
        Package("colobot-common-sounds", "Colobot", "games/colobot/music/*.ogg", "GPL-3+"),
        Package("warzone2100-music", "Warzone 2100", "games/warzone2100/music/**/*.opus", "GPL-2+"),
    )
}


@dataclass(frozen=True)
class Track:
    """A piece of music as a package carries it."""

    package: Package
    path: Path
    seconds: float
    composer: str | None
    genre: str | None

    @property
    def tags(self) -> list[str]:
        """What is known of it: the game, the composer, the genre."""
        known = {"game": self.package.game, "composer": self.composer, "genre": self.genre}
        return [f"{kind}--{value}" for kind, value in known.items() if value]


def installed_tracks(names: list[str] | None, share: Path = SHARE) -> list[Track]:
    """The tracks of the packages that are installed, in the order of the packages and their files.

    Args:
        names: packages to take; None: those of `PACKAGES` that are installed.
        share: where packages install their data.

    Raises:
        UsageError: a package that is asked for is unknown or not installed, or none is installed.
    """
    unknown = [name for name in names or () if name not in PACKAGES]
    if unknown:
        raise UsageError(f"nothing is known of the package {listed(unknown)}; known are {', '.join(PACKAGES)}")
    files = {name: sorted(share.glob(PACKAGES[name].files)) for name in names or PACKAGES}
    missing = [name for name, found in files.items() if not found]
    if names and missing:
        raise UsageError(f"no music of {listed(missing)} under {share}; apt-get install {' '.join(missing)}")
    if len(missing) == len(files):
        raise UsageError(f"no music of {', '.join(missing)} under {share}; apt-get install one or more of them")
    return [_track(PACKAGES[name], path) for name, found in files.items() for path in found]


def _track(package: Package, path: Path) -> Track:
    with soundfile.SoundFile(path) as file:
        metadata = file.copy_metadata()
        seconds = file.frames / file.samplerate
    composer = metadata.get("artist") or path.stem
    composer = package.composers.get(composer, package.composer if composer == path.stem else composer)
    return Track(package, path, seconds, composer, metadata.get("genre") or None)

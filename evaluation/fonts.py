"""Fonts for tag names in any script.

matplotlib's own DejaVu Sans covers Latin with all diacritics, Greek and Cyrillic; what it lacks
(Devanagari, Kannada, Chinese …) is looked for among the fonts installed on the machine.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable

from matplotlib.font_manager import FontEntry, findSystemFonts, fontManager, get_font

DEFAULT_FAMILY = "DejaVu Sans"
_NO_REAL_GLYPHS = "Last Resort"  # matplotlib's font of placeholder boxes claims every character

logger = logging.getLogger(__name__)


def font_families(texts: Iterable[str]) -> list[str]:
    """Font families which together have the characters of `texts`, for matplotlib's `font.family`.

    Characters that no installed font has are drawn as boxes, which a warning says.
    """
    families = [DEFAULT_FAMILY]
    missing = {character for text in texts for character in text if not character.isspace()}
    missing -= _characters(fontManager.findfont(DEFAULT_FAMILY), missing)
    for fonts in (lambda: fontManager.ttflist, _new_fonts):
        covered: dict[str, set[str]] = {}
        for font in fonts() if missing else ():
            if font.style == "normal" and not font.name.startswith(_NO_REAL_GLYPHS):
                covered[font.name] = covered.get(font.name, set()) | _characters(font.fname, missing)
        # First the font that has most: those of other scripts often have a few characters of this one.
        while covered:
            name = max(covered, key=lambda family: len(covered[family] & missing))
            found = covered.pop(name) & missing
            if not found:
                break
            families.append(name)
            missing -= found
    if missing:
        shown = "".join(sorted(missing)[:10])
        logger.warning("no installed font has %s; install one (the Noto fonts cover every script)", shown)
    return families


def _new_fonts() -> list[FontEntry]:
    """Fonts installed since matplotlib last made its list, which it keeps in a file and never renews by itself."""
    known = {font.fname for font in fontManager.ttflist}
    before = len(fontManager.ttflist)
    for path in sorted(set(findSystemFonts()) - known):
        with contextlib.suppress(OSError, RuntimeError):  # not readable, or no font
            fontManager.addfont(path)
    return fontManager.ttflist[before:]


def _characters(font_file: str, wanted: set[str]) -> set[str]:
    """Those of `wanted` that the font has."""
    try:
        covered = get_font(font_file).get_charmap()
    except (OSError, RuntimeError):  # removed since matplotlib listed it, or not readable
        return set()
    return {character for character in wanted if ord(character) in covered}

"""
Text drawn with a built-in font of 5 x 7 dots.

The font has the characters from blank to underscore; small letters are drawn as
capitals, every other character as a box. Short for a module: the font is data, and
nothing else of the emulator draws text.
"""

from __future__ import annotations

from functools import cache

HEIGHT = 7
"""The height of a character in dots."""

ADVANCE = 6
"""The width of a character in dots, with the gap behind it."""

# Seven rows of five dots for each character: a row is one digit of base 32, whose
# highest bit is the dot at the left.
_FONT = (
    "00000004444404AAA0000AAVAVAA4FKE5U4OP248J3CIK8LID4480000"
    "2488842842224804LEL40044V4400000C48000V00000000CC01248G0"
    "EHJLPHE4C4444EEH1248VV2421HE26AIV22VGU11HE68GUHHEV124888"
    "EHHEHHEEHHF12C0CC0CC00CC0C48248G84200V0V008421248EH12404"
    "EH1DLLEEHHVHHHUHHUHHUEHGGGHESIHHHISVGGUGGVVGGUGGGEHGNHHF"
    "HHHVHHHE44444E72222ICHIKOKIHGGGGGGVHRLLHHHHHPLJHHEHHHHHE"
    "UHHUGGGEHHHLIDUHHUKIHFGGE11UV444444HHHHHHEHHHHHA4HHHLLLA"
    "HHA4AHHHHHA444V1248GVE88888E0G84210E22222E4AH0000000000V"
)
_BOX = "VHHHHHV"


def draw_line(text: str, *, ink: int, paper: int, scale: int) -> list[bytes]:
    """
    Return *text* as rows of pixels, one byte each: *ink* or *paper*.

    A dot is *scale* pixels wide and high, so that a row has ``6 * scale`` bytes for
    each character, and there are ``7 * scale`` rows.
    """
    glyphs = [_glyph(character) for character in text]
    rows = []
    for number in range(HEIGHT):
        digits = "".join(glyph[number] for glyph in glyphs)
        row = b"".join(_dots(digit, ink, paper, scale) for digit in digits)
        rows += [row] * scale
    return rows


def _glyph(character: str) -> str:
    number = ord(character.upper()[0]) - ord(" ")
    inside = 0 <= number < len(_FONT) // HEIGHT
    return _FONT[HEIGHT * number :][:HEIGHT] if inside else _BOX


@cache
def _dots(digit: str, ink: int, paper: int, scale: int) -> bytes:
    bits = f"{int(digit, 32):05b}0"
    return b"".join(bytes([ink if bit == "1" else paper]) * scale for bit in bits)

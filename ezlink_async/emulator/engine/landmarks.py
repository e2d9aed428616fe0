"""
The features of a face as indices of the mesh's 468 points.

Indices of Google's canonical face mesh. Right and left are the person's own, so
"right" is on the left side of a picture. Short for a module: a table without code.
"""

from __future__ import annotations

# fmt: off
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379,
    378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127,
    162, 21, 54, 103, 67, 109,
)
LIPS_INNER = (
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415,
    308, 324, 318, 402, 317, 14, 87, 178, 88, 95,
)
LIPS_OUTER = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
)
RIGHT_EYE = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246,
)
LEFT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466,
)
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
# fmt: on

SOCKETS = (
    (*RIGHT_EYE, 52, 65, 222, 118, 119, 120),
    (*LEFT_EYE, 282, 295, 442, 347, 348, 349),
)
BROWS_BELOW = (46, 53, 52, 65, 55, 285, 295, 282, 283, 276)
BROWS_ABOVE = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
BROWS = RIGHT_BROW + LEFT_BROW
FEATURES = RIGHT_EYE + LEFT_EYE + LIPS_OUTER + BROWS
NOSE_AND_CHEEKBONES = (2, 98, 327, 50, 280)
GLASSES = (*BROWS, *SOCKETS[0], *SOCKETS[1], 234, 454, 127, 356)
MIDDLE = (1, *NOSE_AND_CHEEKBONES, 205, 425)

RIGHT_EYE_CORNER, LEFT_EYE_CORNER = 33, 263
RIGHT_EAR, LEFT_EAR = 234, 454
FOREHEAD_TOP, CHIN = 10, 152
NOSE_TIP = 4
UPPER_LIP, LOWER_LIP = 13, 14
RIGHT_MOUTH, LEFT_MOUTH = 61, 291

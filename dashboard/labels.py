"""The three labels as a person meets them: in words, shape and colour, in the order of the API's own."""

WORDS = ("Fiable", "À examiner", "Risqué")
SHAPES = ("●", "◆", "▲")
COLOURS = ("#2e7d32", "#b7791f", "#c9382f")
KEYS = ("reliable", "grey", "risky")  # what the API calls them where it counts clients
NAMES = tuple(f"{shape} {word}" for shape, word in zip(SHAPES, WORDS, strict=True))

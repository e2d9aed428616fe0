"""How the docs are built."""

import ezlink_async

project = "ezlink-async"
author = "The ezlink-async authors"
project_copyright = "2026, the ezlink-async authors"
release = version = ezlink_async.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "samples"]
html_theme = "furo"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "mixed"

# No inventories of other projects: building must not need a network.
nitpick_ignore_regex = [
    ("py:.*", r"(aiohttp|asyncio|collections|datetime|enum|os|pathlib|typing)\..*"),
    ("py:.*", r"(Path|PathLike|Iterable|AsyncIterator|Mapping|Self|Unpack|dt\..*)"),
    ("py:.*", r"ezlink_async\.(images\.ImageLike|stream\..*|config\.Options)"),
    ("py:.*", r"(ImageLike|Targets|Options|Home|TaskFamily|SwapStream|Image)"),
    ("py:.*", r"(EzlinkError|TaskRecord|TaskStatus|TaskHandle|Mode|Timeouts|.*Policy)"),
]

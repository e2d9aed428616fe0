"""How the docs are built."""

import runpy
from pathlib import Path

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

import ezlink_async

project = "ezlink-async"
author = "The ezlink-async authors"
project_copyright = "2026, the ezlink-async authors"
release = version = ezlink_async.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "howto/webapp", "samples"]
html_theme = "furo"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "mixed"

# No inventories of other projects: building must not need a network.
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(aiohttp|asyncio|collections|datetime|enum|mmap|os|pathlib|typing)\..*",
    ),
    ("py:.*", r"(opentelemetry|metrics|trace)\..*"),
    ("py:.*", r"(Path|PathLike|Iterable|AsyncIterator|Mapping|Self|Unpack|dt\..*)"),
    ("py:.*", r"ezlink_async\.(images\.ImageLike|stream\..*|config\.Options)"),
    ("py:.*", r"(ImageLike|Targets|Options|Home|TaskFamily|SwapStream|Image)"),
    ("py:.*", r"ezlink_async\._core\.images\.(AsyncReader|ChunkReader|Upload)"),
    ("py:.*", r"ezlink_async\._client\..*\.(.*_co|SwapKeywords|SwapStream)"),
    ("py:.*", r"ezlink_async\.services\.base\.R"),  # the variable for records
    ("py:.*", r"ezlink_async\.services\.stability\..*\.(H|UpscaleFields)"),
    ("py:.*", r"(EzlinkError|TaskRecord|TaskStatus|TaskHandle|Mode|Timeouts|.*Policy)"),
]


def _by_its_last_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: Element
) -> Element | None:
    """Resolve a bare name of a docstring, as a reader of the source would."""
    if node.get("refdomain") != "py":
        return None
    domain = env.get_domain("py")
    target = node["reftarget"]
    found = {
        entry[1]
        for entry in domain.find_obj(env, "", "", target, None, 1)  # type: ignore[attr-defined]
        if not entry[1].aliased
    }
    if len(found) != 1:
        return None
    entry = found.pop()
    here = node["refdoc"]
    return make_refnode(app.builder, here, entry.docname, entry.node_id, contnode)


def _draw_rooms(_: Sphinx) -> None:
    script = Path(__file__).parent / "draw_rooms.py"
    runpy.run_path(str(script))["draw"]()


def _name_language(
    _: Sphinx, page: str, __: str, context: dict[str, object], ___: object
) -> None:
    """Have the HTML of a Chinese page say so: fonts and screen readers ask for it."""
    if page.startswith("zh/"):
        context["language"] = "zh-CN"


def setup(app: Sphinx) -> None:
    """Draw the picture of the rooms, name languages, and connect the resolver above."""
    app.connect("builder-inited", _draw_rooms)
    app.connect("html-page-context", _name_language)
    app.connect("missing-reference", _by_its_last_name)

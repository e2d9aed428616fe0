"""The report: its facts, and names of strangers that cannot break the page."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import html
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import cast
from urllib.parse import unquote_to_bytes

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async.errors import ConfigurationError
from ezlink_async.report import Facts, Photo, Status, write_report
from ezlink_async.report.escaping import address, markup, script_json, shown
from ezlink_async.report.models import MEANINGS
from ezlink_async.report.page import lasted, photos, span

Row = dict[str, object]

PIL = pytest.importorskip("PIL.Image", reason="needs the cli extra")

STARTED = dt.datetime(2026, 3, 31, 21, 5, tzinfo=dt.timezone(dt.timedelta(), "UTC"))
FACTS = Facts(
    title="Album",
    started=STARTED,
    finished=STARTED + dt.timedelta(hours=1),
    seconds=3600.0,
)

# A name with everything that could break a page.
EVIL = "</script><!--<b>\"'&\u202egpj.\u2028\n👩\u200d🚀\udcff"


def picture(path: Path, size: tuple[int, int] = (60, 40)) -> Path:
    """Write a picture and return where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.new("RGB", size, "teal").save(path)
    return path


@attrs.frozen
class Album:
    """A source, targets and a folder for results, all with real pictures."""

    top: Path

    @property
    def out(self) -> Path:
        """Where the results and the page are."""
        return self.top / "out"

    def photo(self, name: str = "a.jpg", status: Status = "succeeded") -> Photo:
        """Return a photo; it has a result if it succeeded."""
        output = picture(self.out / name) if status == "succeeded" else None
        return Photo(
            source=picture(self.top / "me.jpg"),
            target=picture(self.top / "in" / name),
            status=status,
            output=output,
        )

    def write(self, *photos: Photo, facts: Facts = FACTS) -> str:
        """Write the report and return the page."""
        return write_report(self.out, photos, facts).read_text(encoding="utf-8")


@pytest.fixture
def album(tmp_path: Path) -> Album:
    """Return an empty album."""
    return Album(tmp_path)


def rows(page: str) -> list[Row]:
    """Return the data of the photos, as the script in the page reads it."""
    found = re.search(
        r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL
    )
    assert found
    return cast("list[Row]", json.loads(found[1]))


# Text of strangers


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("plain.jpg", "plain.jpg"),
        ("Ünïcödé 写真.jpg", "Ünïcödé 写真.jpg"),
        ("no\u00a0break", "no\u00a0break"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("\u202egpj.exe", "⟨U+202E⟩gpj.exe"),
        ("a\nb\u2028c", "a⟨U+000A⟩b⟨U+2028⟩c"),
        ("byte \udcff", "byte \\xff"),
        ("half \ud83d", "half ⟨U+D83D⟩"),
    ],
)
def test_characters_that_hide_or_reorder_are_spelled_out(
    text: str, visible: str
) -> None:
    assert shown(text) == visible
    assert shown(text).encode()


def test_line_breaks_stay_only_where_lines_are_allowed() -> None:
    assert shown("one\ntwo\x00", lines=True) == "one\ntwo⟨U+0000⟩"
    assert markup("one\n<two>", lines=True) == "one\n&lt;two&gt;"


@given(st.text())
def test_markup_of_any_text_begins_no_element_and_ends_no_attribute(text: str) -> None:
    made = markup(text)
    assert not set(made) & set("<>\"'")
    assert html.unescape(made) == shown(text)


@given(st.recursive(st.text(), st.lists))
def test_script_json_ends_no_element_and_reads_back_the_same(row: object) -> None:
    made = script_json(row)
    assert made.isascii()
    assert not set(made) & set("<>&")
    assert json.loads(made) == row


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/out/a b#?.jpg", "a%20b%23%3F.jpg"),
        ("/out/100%.jpg", "100%25.jpg"),
        ("/out/c:d.jpg", "c%3Ad.jpg"),
        ("/out/\udcff.jpg", "%FF.jpg"),
        ("/out/deep/é.jpg", "deep/%C3%A9.jpg"),
        ("/in/a.jpg", "../in/a.jpg"),
        ("/outer/a.jpg", "../outer/a.jpg"),
    ],
)
def test_address_is_relative_and_encoded(path: str, url: str) -> None:
    assert address(PurePosixPath(path), PurePosixPath("/out")) == url


@pytest.mark.parametrize(
    ("path", "url"),
    [
        (r"C:\out\a b\ü.jpg", "a%20b/%C3%BC.jpg"),
        (r"c:\out\a.jpg", "a.jpg"),
        (r"C:\in\a.jpg", "../in/a.jpg"),
        (r"D:\in\a #1.jpg", "file:///D:/in/a%20%231.jpg"),
        (r"\\nas\photos\a.jpg", "file://nas/photos/a.jpg"),
    ],
)
def test_address_on_windows_has_slashes_and_names_another_drive(
    path: str, url: str
) -> None:
    assert address(PureWindowsPath(path), PureWindowsPath(r"C:\out")) == url


@given(st.lists(st.binary(min_size=1).filter(lambda part: not set(b"/\0") & {*part})))
def test_address_gives_back_the_bytes_of_any_name(parts: list[bytes]) -> None:
    names = [os.fsdecode(part) for part in parts if part not in {b".", b".."}]
    url = address(PurePosixPath("/out", *names), PurePosixPath("/out"))
    assert unquote_to_bytes(url) == b"/".join(map(os.fsencode, names))


# Numbers and times


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min 0 s"),
        (61, "1 min 1 s"),
        (3599.6, "1 h 0 min"),
        (6240, "1 h 44 min"),
    ],
)
def test_duration_has_at_most_two_units(seconds: float, said: str) -> None:
    assert lasted(seconds) == said


def test_span_names_a_second_day_only_if_there_is_one() -> None:
    evening = span(STARTED, STARTED + dt.timedelta(hours=1))
    assert evening == "31 March 2026, 21:05 – 22:05 (UTC)"
    night = span(STARTED, STARTED + dt.timedelta(hours=9))
    assert night == "31 March 2026, 21:05 – 1 April 2026, 06:05 (UTC)"


def test_number_of_photos_has_singular_and_comma() -> None:
    assert [photos(each) for each in (0, 1, 5000)] == [
        "0 photos",
        "1 photo",
        "5,000 photos",
    ]


# The page


def test_row_has_every_fact_of_its_photo(album: Album) -> None:
    """The keys are the ones that the script reads."""
    photo = attrs.evolve(
        album.photo("ü #1.jpg"),
        error="odd",
        next_step="none",
        task_id="17",
        request_id="99",
        maybe_charged=True,
        seconds=12.345,
        changes=("converted from HEIC",),
    )
    (row,) = rows(album.write(photo))
    stems = {row.pop(key) for key in ("before", "after", "face")}
    assert len(stems) == 3
    assert row == {
        "status": "succeeded",
        "name": "ü #1.jpg",
        "folder": str(album.top / "in"),
        "source": "me.jpg",
        "original": "../in/%C3%BC%20%231.jpg",
        "saved": "ü #1.jpg",
        "result": "%C3%BC%20%231.jpg",
        "error": "odd",
        "next": "none",
        "task": "17",
        "request": "99",
        "paid": True,
        "seconds": 12.3,
        "changes": ["converted from HEIC"],
    }


def test_row_leaves_out_empty_values(album: Album) -> None:
    (row,) = rows(album.write(album.photo(status="open")))
    assert {*row} == {
        *("status", "name", "folder", "source", "original"),
        *("before", "face"),
    }


def _job(album: Album, *names: str, **facts: object) -> Photo:
    """Return a job that is no swap, with results of these names."""
    outputs = tuple(
        picture(album.out / name) if name.endswith(".png") else album.out / name
        for name in names
    )
    plain = Photo(
        kind="imagine",
        label="a <b>fox</b>",
        status="succeeded",
        output=next(iter(outputs), None),
        outputs=outputs,
    )
    return attrs.evolve(plain, **facts)  # type: ignore[arg-type]


def test_row_of_a_job_of_another_kind_has_what_it_made(album: Album) -> None:
    """One picture, with no other beside it."""
    page = album.write(_job(album, "fox.png"))
    (row,) = rows(page)
    assert row.pop("after")
    assert row == {
        "status": "succeeded",
        "name": "a <b>fox</b>",
        "folder": "imagine",
        "kind": "imagine",
        "saved": "fox.png",
        "result": "fox.png",
    }
    assert "<b>fox" not in page
    assert "All" not in page.split("</header>")[0].split("<h1>")[1][:60]
    assert "<strong>1</strong> of 1 job succeeded" in page


def test_several_pictures_of_a_job_are_a_strip_and_videos_are_links(
    album: Album,
) -> None:
    names = ("fox_1.png", "fox_2.png", "fox_3.mp4")
    (row,) = rows(album.write(_job(album, *names)))
    strip = cast("list[str]", row["strip"])
    assert len(set(strip)) == 2
    assert row["after"] == strip[0]
    assert row["files"] == [{"saved": name, "result": name} for name in names]
    (alone,) = rows(album.write(_job(album, "fox.mp4")))
    assert "after" not in alone
    assert alone["result"] == "fox.mp4"


def test_one_picture_in_and_one_out_have_the_divider(album: Album) -> None:
    """Two pictures in have none, and are shown in a row."""
    one, two = (picture(album.top / name) for name in ("me.png", "you.png"))
    (row,) = rows(album.write(_job(album, "fox.png", inputs=(one,))))
    assert row["before"]
    assert row["inputs"] == [{"name": "me.png", "address": "../me.png"}]
    (row,) = rows(album.write(_job(album, "fox.png", inputs=(one, two))))
    assert "before" not in row
    assert len(cast("list[str]", row["given"])) == 2
    assert row["after"]


def test_text_of_a_job_is_in_full_beside_its_picture(album: Album) -> None:
    """It may be hostile, and long."""
    text = f"{EVIL} " + "words " * 3_000
    (album.out / "words.txt").parent.mkdir(parents=True, exist_ok=True)
    (album.out / "words.txt").write_text("words")
    one = picture(album.top / "me.png")
    job = _job(album, "words.txt", inputs=(one,), text=text, label=EVIL)
    page = album.write(job, album.photo("a.jpg"))
    row, swapped = rows(page)
    assert row["before"]
    assert "after" not in row
    assert cast("str", row["text"]).count("words ") == 3_000
    assert "</script><" not in str(page.split('id="photos"')[1].split("</script>")[0])
    assert "kind" not in swapped
    assert "<strong>2</strong> jobs succeeded" in page


def test_jobs_are_not_called_photos(album: Album) -> None:
    lost = _job(album, status="unknown", maybe_charged=True, output=None, outputs=())
    page = album.write(lost, _job(album, status="failed", output=None, outputs=()))
    head = page[: page.index('<script type="application/json"')]
    assert "photo" not in re.sub(r"<style>.*?</style>", "", head, flags=re.DOTALL)
    assert "<strong>1 job</strong> may have been paid" in page
    assert "<dt>Failed: <bdi>a &lt;b&gt;fox" in page
    assert 'data-noun="job"' in page


def test_result_outside_the_folder_is_named_but_not_linked(album: Album) -> None:
    far = picture(album.top / "far" / "a.jpg")
    (row,) = rows(album.write(attrs.evolve(album.photo(), output=far)))
    assert row["saved"] == str(far)
    assert "result" not in row


def test_photos_keep_their_order_and_are_counted_by_status(album: Album) -> None:
    """Each status has its number, its share of the bar and its explanation."""
    given_photos = [
        album.photo(f"{number}-{status}.jpg", status)
        for status, count in zip(MEANINGS, (5, 4, 3, 2, 1), strict=True)
        for number in range(count)
    ]
    page = album.write(*given_photos)
    assert [row["name"] for row in rows(page)] == [
        photo.target.name for photo in given_photos
    ]
    for status, count in zip(MEANINGS, (5, 4, 3, 2, 1), strict=True):
        assert f"<span>{status.capitalize()} <b>{count}</b></span>" in page
        assert f'data-meaning="{html.escape(MEANINGS[status])}"' in page
        assert page.count(f'<rect class="{status}"') == 1
    assert "<span>All <b>15</b></span>" in page
    assert "<strong>5</strong> of 15 photos succeeded" in page


def test_bar_shows_the_smallest_share_and_is_exactly_filled(album: Album) -> None:
    many = [album.photo()] * 40
    page = album.write(*many, album.photo("bad.jpg", "failed"))
    widths = [float(each) for each in re.findall(r'<rect .*?width="([\d.]+)"', page)]
    assert sum(widths) == pytest.approx(1000, abs=0.1)
    assert min(widths) > 6


def test_page_of_a_full_success_says_all_and_has_no_warning(album: Album) -> None:
    page = album.write(album.photo("a.jpg"), album.photo("b.jpg"))
    assert "All <strong>2</strong> photos succeeded" in page
    assert 'class="aside' not in page
    assert 'class="failed zero"' in page


def test_empty_batch_has_a_page(album: Album) -> None:
    page = album.write()
    assert rows(page) == []
    assert "<strong>0</strong> of 0 photos succeeded" in page


def test_photos_that_may_be_paid_are_counted_beside_the_charges(album: Album) -> None:
    lost = attrs.evolve(album.photo("lost.jpg", "unknown"), maybe_charged=True)
    one = album.write(lost)
    assert "<strong>1 photo</strong> may have been paid for and has no" in one
    facts = attrs.evolve(FACTS, charged_note="0.36 was <charged>.")
    two = album.write(lost, lost, facts=facts)
    assert "<strong>2 photos</strong> may have been paid for and have no" in two
    assert "<p>0.36 was &lt;charged&gt;.</p>" in two
    assert "aside warned" in two
    assert "aside warned" not in album.write(album.photo(), facts=facts)


def test_page_has_the_command_word_for_word_and_the_notes(album: Album) -> None:
    facts = attrs.evolve(FACTS, command="ezlink swap 'a & b'", notes=("one", "two"))
    page = album.write(facts=facts)
    found = re.search(r'<code id="command"[^>]*>(.*?)</code>', page)
    assert found
    assert html.unescape(found[1]) == facts.command
    assert "<p>one</p><p>two</p>" in page


def test_source_stands_in_the_head_only_if_it_is_the_only_one(album: Album) -> None:
    photo = album.photo()
    other = attrs.evolve(photo, source=picture(album.top / "you.jpg"))
    assert "<figcaption>Source<bdi>me.jpg</bdi>" in album.write(photo, photo)
    assert "<figure>" not in album.write(photo, other, photo)
    gone = attrs.evolve(photo, source=album.top / "gone.jpg")
    assert "<figure>" not in album.write(gone)


def test_hostile_names_do_not_change_the_elements_of_the_page(album: Album) -> None:

    def written(word: str) -> str:
        photo = Photo(
            source=Path(word),
            target=album.top / word.replace("/", ""),
            status="failed",
            output=album.out / word,
            error=word,
            next_step=word,
            task_id=word,
            changes=(word,),
        )
        facts = attrs.evolve(
            FACTS, title=word, command=word, charged_note=word, notes=(word,)
        )
        return album.write(photo, facts=facts)

    elements = re.compile(r"<[!/a-z]+")
    calm, page = map(written, ("calm", EVIL))
    assert elements.findall(page) == elements.findall(calm)
    assert "\u202e" not in page
    assert rows(page)[0]["error"] == shown(EVIL, lines=True)


def test_failures_can_be_read_without_javascript(album: Album) -> None:
    """Each failure has its reason and its next step in the page itself."""
    bad = attrs.evolve(
        album.photo("bad.jpg", "failed"), error="no face", next_step="Try <another>."
    )
    lost = attrs.evolve(album.photo("lost.jpg", "unknown"), maybe_charged=True)
    page = album.write(bad, album.photo("good.jpg"), lost)
    (plain,) = re.findall(r"<noscript>(.*?)</noscript>", page, flags=re.DOTALL)
    assert "<dt>Failed: <bdi>bad.jpg</bdi></dt>" in plain
    assert "<dd>no face <b>Next:</b> Try &lt;another&gt;.</dd>" in plain
    assert "<dt>Unknown: <bdi>lost.jpg</bdi></dt><dd>It may have been paid" in plain
    assert "good.jpg" not in plain


def test_policy_allows_only_the_script_and_style_of_the_page(album: Album) -> None:
    page = album.write(album.photo())
    for element, rule in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in page
    assert "default-src 'none'" in page
    assert "http" not in re.sub(r"http-equiv", "", page)


# How it is written


def test_photos_are_read_only_a_few_ahead(album: Album) -> None:
    photo, done, most = album.photo(), 0, 0

    def batch() -> Iterator[Photo]:
        nonlocal most
        for number in range(100):
            most = max(most, number - done)
            yield photo

    def progress(count: int) -> None:
        nonlocal done
        done = count

    write_report(album.out, batch(), FACTS, workers=2, progress=progress)
    assert done == 100
    assert most <= 8


def test_error_of_the_photos_leaves_the_previous_page_and_no_part_files(
    album: Album,
) -> None:
    before = album.write(album.photo())

    def batch() -> Iterator[Photo]:
        yield from [album.photo("b.jpg")] * 20
        raise OSError("the journal is gone")

    with pytest.raises(OSError, match="the journal is gone"):
        write_report(album.out, batch(), FACTS)
    assert (album.out / "report.html").read_text(encoding="utf-8") == before
    assert not [*album.out.rglob(".ezlink-*"), *album.out.rglob("tmp*")]


def test_exception_of_progress_ends_the_work(album: Album) -> None:

    def progress(count: int) -> None:
        if count == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(album.out, [album.photo()] * 20, FACTS, progress=progress)
    assert not (album.out / "report.html").exists()


def test_unwritable_page_raises_os_error_and_leaves_no_part_files(album: Album) -> None:
    (album.out / "report.html" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"report\.html"):
        album.write(album.photo())
    assert not [*album.out.glob(".ezlink-*.part")]


def test_relative_folder_gives_the_same_addresses(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = album.photo()
    monkeypatch.chdir(album.top)
    near = attrs.evolve(photo, target=Path("in/a.jpg"), output=Path("out/a.jpg"))
    place = write_report(Path("out"), [near], FACTS)
    (row,) = rows(place.read_text(encoding="utf-8"))
    assert place == album.out / "report.html"
    assert (row["original"], row["result"]) == ("../in/a.jpg", "a.jpg")
    assert row["folder"] == "in"


def test_missing_pillow_raises_an_error_that_names_the_extra(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "ezlink_async.report.thumbnails", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'ezlink-async\[cli\]'"):
        album.write()

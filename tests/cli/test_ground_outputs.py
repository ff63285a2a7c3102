"""What `mttsg ground` gives beyond rows: the best of a folder, what is absent, clips, pages, and only the rest."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import srt
import webvtt

from mttsg_core.features.store import EXTERNAL
from mttsg_core.video.excerpt_marks import MARK
from mttsg_core.video.probe import probe
from tests.conftest import Mttsg, Ran
from tests.helpers.tiny import CLIP_DIM, model_folder

QUERY, OTHER = "the red circle moves left", "the blue star grows"


@pytest.fixture
def folder(corpus: Path, tmp_path: Path) -> Path:
    """Three videos, one of them deeper."""
    made = tmp_path / "videos"
    names = [path.name for path in sorted((corpus / "videos").glob("*.mp4"))[:3]]
    for source, target in zip(names, (names[0], names[1], f"deep/{names[2]}"), strict=True):
        (made / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(corpus / "videos" / source, made / target)
    return made


def rows(ran: Ran) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(ran.out, newline=""), delimiter="\t"))


class TestTop:
    """`--top N`."""

    def test_of_a_folder_ranks_over_all_videos(self, ground: Mttsg, folder: Path) -> None:
        def asked(*more: str) -> list[dict[str, object]]:
            return list(json.loads(ground(folder, QUERY, OTHER, "--format", "json", *more).out))

        every = [row for video in sorted(folder.rglob("*.mp4")) for row in json.loads(
            ground(video, QUERY, OTHER, "--format", "json", "--top", "4").out)]  # fmt: skip
        found = asked("--top", "4")
        assert [(row["query"], row["rank"]) for row in found] == [(q, n) for q in (QUERY, OTHER) for n in (1, 2, 3, 4)]
        for query in (QUERY, OTHER):
            best = sorted((row["score"] for row in every if row["query"] == query), reverse=True)[:4]
            assert [row["score"] for row in found if row["query"] == query] == best
        assert len({row["video"] for row in found}) > 1
        assert asked("--top", "1") == [row for row in found if row["rank"] == 1]

    def test_with_all_every_video_has_its_best(self, ground: Mttsg, folder: Path) -> None:
        found = rows(ground(folder, QUERY, OTHER, "--all"))
        assert [(row["query"], row["rank"]) for row in found] == [(q, n) for q in (QUERY, OTHER) for n in "123"]
        assert len({(row["video"], row["query"]) for row in found}) == 6
        scores = [float(row["score"]) for row in found[:3]]
        assert scores == sorted(scores, reverse=True)
        several = rows(ground(folder, QUERY, "--all", "--top", "2"))
        assert len(several) > 3 and {row["video"] for row in several} == {row["video"] for row in found}

    def test_a_config_file_gives_it_too(self, ground: Mttsg, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text("top = 2\n")
        assert len(rows(ground(folder, QUERY, "--config", tmp_path / "c.toml"))) == 2

    def test_failed_videos_cost_themselves(self, ground: Mttsg, folder: Path) -> None:
        (folder / "broken.mp4").write_text("no video")
        ran = ground(folder, QUERY, "--top", "2")
        assert (ran.code, len(ran.errors), len(rows(ran))) == (1, 1, 2)


def test_subtitles_and_tables_name_the_video_where_several_are_asked(ground: Mttsg, folder: Path) -> None:
    command = (folder, QUERY, "--top", "1")  # in one of the three
    [row] = rows(ground(*command))
    name = Path(row["video"]).relative_to(folder).as_posix()
    [cue] = srt.parse(ground(*command, "--format", "srt").out)
    assert cue.content == f"{name}: {QUERY}"
    [cue] = webvtt.from_string(ground(*command, "--format", "vtt").out).captions
    assert cue.text == f"{name}: {QUERY}"
    table = ground(*command, "--format", "table").out.splitlines()
    assert table[0] == QUERY and table[1].split() == ["rank", "start", "end", "score", "video"]
    assert table[2].endswith(f"  {name}")
    [cue] = srt.parse(ground(row["video"], QUERY, "--format", "srt").out)
    assert cue.content == QUERY


class TestDefault:
    """Without `--top`, several videos are answered best first, and what is weak or beyond the best is counted."""

    def grounded(self, ground: Mttsg, folder: Path, *more: str) -> tuple[list[float], Ran]:
        ran = ground(folder, QUERY, *more)
        return [float(row["score"]) for row in rows(ran)], ran

    def test_the_best_five_videos(self, ground: Mttsg, corpus: Path) -> None:
        everything, _ = self.grounded(ground, corpus / "videos", "--all")
        assert len(everything) == 24
        limit = everything[8]  # eight are better
        shown, ran = self.grounded(ground, corpus / "videos", "--threshold", str(limit - 0.0006))
        assert shown == everything[:5]
        assert re.search(r"^\d+ more: --all$", ran.err, re.MULTILINE)
        assert "more" not in self.grounded(ground, corpus / "videos", "--top", "2")[1].err
        assert "more" not in self.grounded(ground, corpus / "videos", "--all")[1].err

    def test_what_is_weak_is_counted_and_the_best_is_always_shown(self, ground: Mttsg, folder: Path) -> None:
        everything, _ = self.grounded(ground, folder, "--all")
        shown, ran = self.grounded(ground, folder)
        strong = [score for score in everything if score >= 0.3]
        assert shown == (strong or everything[:1])
        left = len(everything) - len(shown)
        assert f"{left} more" in ran.err or not left
        assert "below 0.3" in ran.err or not left

    def test_the_table_says_it_and_standard_error_need_not(self, ground: Mttsg, folder: Path) -> None:
        ran = ground(folder, QUERY, OTHER, "--format", "table", "--threshold", "0")
        assert ran.out.splitlines()[0] == QUERY and OTHER in ran.out.splitlines()
        assert "more" not in ran.err
        both = ground(folder, "x y", "z", "--format", "tsv")
        assert "more" not in both.out

    def test_all_formats_have_the_same_rows(self, ground: Mttsg, folder: Path, tmp_path: Path) -> None:
        expected = rows(ground(folder, QUERY, OTHER, "--top", "2"))
        ran = ground(folder, QUERY, OTHER, "--top", "2", "--out", tmp_path / "o.jsonl", "--quiet")
        assert ran.err == ""
        written = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
        assert [[str(row["video"]), row["rank"]] for row in written] == [[r["video"], int(r["rank"])] for r in expected]


class TestSubtitles:
    """`--format srt` and `vtt` of several videos: a file for each."""

    def test_beside_each_video(self, ground: Mttsg, folder: Path) -> None:
        taken = sorted(folder.glob("*.mp4"))[0].with_suffix(".srt")
        taken.write_text("mine")
        ran = ground(folder, QUERY, OTHER, "--all", "--format", "srt", "--out", folder)
        assert (ran.code, ran.out) == (0, "")
        assert "subtitles of 2 videos written, 1 existing file kept" in ran.err
        assert taken.read_text() == "mine"
        found = sorted(folder.rglob("*.srt"))
        assert [path.with_suffix(".mp4") for path in found] == sorted(folder.rglob("*.mp4"))
        cues = list(srt.parse(found[-1].read_text()))
        assert sorted(cue.content for cue in cues) == sorted([QUERY, OTHER])
        assert ground(folder, QUERY, "--all", "--format", "srt", "--out", folder, "--overwrite").code == 0
        assert taken.read_text() != "mine"

    def test_in_a_new_folder(self, ground: Mttsg, folder: Path, tmp_path: Path) -> None:
        first = sorted(folder.glob("*.mp4"))[0]
        shutil.copy2(first, first.with_suffix(".mkv"))
        ran = ground(folder, QUERY, "--all", "--format", "vtt", "--out", tmp_path / "subs")
        assert ran.code == 0
        names = {path.relative_to(tmp_path / "subs").as_posix() for path in (tmp_path / "subs").rglob("*.vtt")}
        assert {f"{first.name}.vtt", f"{first.stem}.mkv.vtt"} <= names and len(names) == 4

    def test_one_stream_says_why_not(self, ground: Mttsg, folder: Path, clip: Path, tmp_path: Path) -> None:
        ran = ground(folder, QUERY, "--all", "--format", "srt")
        assert len(list(srt.parse(ran.out))) == 3
        assert ran.err.count("no player takes; --out FOLDER writes a file for each video") == 1
        assert "no player" not in ground(clip, QUERY, "--format", "srt").err
        assert ground(clip, QUERY, "--format", "srt", "--out", tmp_path / "m").code == 0
        assert (tmp_path / "m").is_file()


class TestThreshold:
    """`--threshold S`, and sentences that nothing answers."""

    def test_a_video_without_an_answer(self, ground: Mttsg, clip: Path) -> None:
        ran = ground(clip, QUERY, OTHER, "--threshold", "1")
        assert (ran.code, rows(ran)) == (0, [])
        assert [line for line in ran.err.splitlines() if line.startswith("not in")] == [
            f"not in {clip}: {QUERY}",
            f"not in {clip}: {OTHER}",
        ]
        table = ground(clip, QUERY, "--threshold", "1", "--format", "table").out
        assert "".join(f"not in {clip}".split()) in re.sub(f"\\s+|{QUERY}", "", table)  # folded where it is long
        assert ground(clip, QUERY, "--threshold", "1", "--format", "jsonl", "--quiet").err == ""

    def test_a_folder_without_an_answer(self, ground: Mttsg, folder: Path) -> None:
        best = rows(ground(folder, QUERY, "--top", "1"))[0]["score"]
        some = ground(folder, QUERY, "--threshold", str(float(best) - 0.001), "--all")
        assert 1 <= len(rows(some)) <= 3
        assert "not in" not in some.err
        for more in ([], ["--top", "3"]):
            none = ground(folder, QUERY, "--threshold", "1", *more)
            assert (none.code, rows(none)) == (0, [])
            assert none.err.count("not in any video") == 1
            table = ground(folder, QUERY, "--threshold", "1", "--format", "table", *more)
            assert (table.out.count("not in any video"), table.err.count("not in any video")) == (1, 0)

    def test_what_could_not_be_read_is_not_said_to_be_absent(self, ground: Mttsg, tmp_path: Path) -> None:
        (tmp_path / "broken.mp4").write_text("no video")
        ran = ground(tmp_path, QUERY)
        assert (ran.code, ran.out) == (2, "")
        assert "not in" not in ran.err


class TestClips:
    """`--clips DIR`."""

    def test_each_answer_is_a_file(self, ground: Mttsg, folder: Path, tmp_path: Path) -> None:
        clips = tmp_path / "new" / "clips"
        ran = ground(folder, QUERY, OTHER, "--top", "2", "--clips", clips)
        assert ran.code == 0
        found = rows(ran)
        assert len(found) == 4
        for row in found:
            name = f"{row['query']}/0{row['rank']}_{Path(row['video']).stem}_{row['start']}.mp4"
            assert probe(clips / name).duration == pytest.approx(float(row["end"]) - float(row["start"]), abs=2e-3)
        assert len(list(clips.rglob("*.mp4"))) == 4
        assert "4 moments, 4 excerpts, 0 failed" in ran.err

    def test_names_of_one_sentence_need_not_say_it(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        [row] = rows(ground(clip, QUERY, "--clips", tmp_path / "c"))
        assert (tmp_path / "c" / f"{clip.stem}_1_{row['start']}-{row['end']}.mp4").is_file()

    def test_only_the_rest_is_cut(self, ground: Mttsg, folder: Path, tmp_path: Path) -> None:
        command = (folder, QUERY, "--all", "--clips", tmp_path / "c", "--clip-name", "{query}/{rank} {video}")
        assert ground(*command).code == 0
        first, *others = sorted((tmp_path / "c" / QUERY).iterdir())
        assert len(others) == 2
        first.unlink()
        mine = others[1].read_bytes()
        others[0].write_bytes(mine)  # any video counts
        ran = ground(*command)
        assert ran.code == 0
        assert "2 existing excerpts skipped" in ran.err
        assert others[0].read_bytes() == mine
        assert probe(first).duration > 0
        others[1].write_bytes(mine[:1000])  # what cannot be played does not
        ran = ground(*command)
        assert ran.code == 0
        assert "2 existing excerpts skipped" in ran.err
        assert others[1].read_bytes() == mine
        assert ground(*command, "--overwrite").code == 0
        assert others[0].read_bytes() != mine

    def test_clips_in_the_folder_are_not_taken_for_videos(self, ground: Mttsg, mttsg: Mttsg, folder: Path) -> None:
        clips = folder / "clips"
        command = (folder, QUERY, "--all", "--clips", clips)
        first = ground(*command)
        assert len(list(clips.glob("*.mp4"))) == 3
        assert rows(ground(*command)) == rows(first)
        assert rows(ground(folder, QUERY, "--all")) == rows(first)  # nor without the option
        extracted = mttsg("extract", folder, "--out", folder.parent / "f", "--workers", "1", "--json")
        assert json.loads(extracted.out)["videos"] == 3
        [cut, *_] = sorted(clips.glob("*.mp4"))
        assert ground(cut, QUERY, "--clips", clips).code == 0  # asked for by its name
        for wrong in (folder, folder.parent):
            ran = ground(folder, QUERY, "--clips", wrong)
            assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)

    def test_excerpts_of_earlier_versions_are_not_searched_where_clips_names_them(
        self, ground: Mttsg, folder: Path
    ) -> None:
        command = (folder, QUERY, "--all", "--clips", folder / "clips")
        first = ground(*command)
        (folder / "clips" / MARK).unlink()
        second = ground(*command)
        assert rows(first) == rows(second)
        assert f"{folder / 'clips'}: 3 videos not searched" in second.err

    def test_other_videos_beside_the_excerpts_stay_videos(self, ground: Mttsg, folder: Path, clip: Path) -> None:
        (folder / "mine").mkdir()
        shutil.copy2(clip, folder / "mine" / "own.mp4")
        assert ground(folder / "deep", QUERY, "--clips", folder / "mine").code == 0
        assert len(list((folder / "mine").glob("*.mp4"))) == 2
        found = {row["video"] for row in rows(ground(folder, QUERY, "--all"))}
        assert len(found) == 4 and str(folder / "mine" / "own.mp4") in found

    def test_an_unknown_field_names_the_right_ones(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        ran = ground(clip, QUERY, "--clips", tmp_path / "c", "--clip-name", "{vid}")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert "{vid}" in ran.errors[0] and "{video}, {rank}" in ran.errors[0]
        ran = ground(clip, QUERY, "--clip-name", "{video}")
        assert (ran.code, len(ran.errors)) == (2, 1)
        assert "--clips" in ran.errors[0]

    def test_a_moment_that_cannot_be_cut_costs_only_itself(self, mttsg: Mttsg, clip: Path, tmp_path: Path) -> None:
        made = {"encoder": EXTERNAL, "clip_dim": CLIP_DIM, "regions": 0, "region_dim": 0}
        model = model_folder(tmp_path / "m", regions=False, fingerprint=made)
        videos, given = tmp_path / "v", tmp_path / "f"
        videos.mkdir()
        given.mkdir()
        shutil.copy2(clip, videos / "good.mp4")
        shutil.copy2(clip, videos / "swapped.mp4")
        for name in ("good", "swapped"):
            np.save(given / f"{name}.npy", np.random.default_rng(0).normal(size=(20, CLIP_DIM)).astype(np.float32))
        (tmp_path / "c").mkdir()
        (tmp_path / "c" / "swapped").touch()  # in the way of the folder of its clip
        ran = mttsg(
            *("ground", videos, QUERY, "--features", given, "--model", model, "--all"),
            *("--clips", tmp_path / "c", "--clip-name", "{video}/{rank}"),
        )
        assert (ran.code, len(ran.errors), len(rows(ran))) == (1, 1, 2)
        assert ran.errors[0].startswith(f"error: {videos / 'swapped.mp4'}: ")
        assert probe(tmp_path / "c" / "good" / "1.mp4").duration > 0


def test_features_that_are_missing_cost_their_video(mttsg: Mttsg, folder: Path, tmp_path: Path) -> None:
    made = {"encoder": EXTERNAL, "clip_dim": CLIP_DIM, "regions": 0, "region_dim": 0}
    model = model_folder(tmp_path / "m", regions=False, fingerprint=made)
    given = tmp_path / "f"
    given.mkdir()
    first, second, third = sorted(folder.rglob("*.mp4"))
    for video, width in ((first, CLIP_DIM), (second, CLIP_DIM + 1)):  # the second's are of another kind
        np.save(given / f"{video.stem}.npy", np.ones((20, width), dtype=np.float32))
    ran = mttsg("ground", folder, QUERY, "--features", given, "--model", model)
    assert (ran.code, [row["video"] for row in rows(ran)]) == (1, [str(first)])
    assert len(ran.errors) == 2
    assert str(second) in ran.errors[0] and third.stem in ran.errors[1]


class TestPage:
    """`--html FILE`."""

    def test_it_has_the_answers_and_plays_the_videos(self, ground: Mttsg, folder: Path, tmp_path: Path) -> None:
        page = tmp_path / "pages" / "p.html"
        ran = ground(folder, QUERY, OTHER, "--top", "2", "--html", page)
        assert ran.code == 0
        content = page.read_text(encoding="utf-8")
        for row in rows(ran):
            assert f'data-start="{row["start"]}" data-end="{row["end"]}"' in content
            place = f"{os.path.relpath(row['video'], page.parent)}#t={row['start']},{row['end']}"
            assert f'href="{place}"' in content
        assert content.count("<video ") == 1
        assert content.count('<img src="data:image/jpeg;base64,') == len(rows(ran))
        assert [path.name for path in page.parent.iterdir()] == ["p.html"]

    def test_absent_sentences_are_in_it(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        assert ground(clip, QUERY, "--threshold", "1", "--html", tmp_path / "p.html").code == 0
        assert "Not in this video." in (tmp_path / "p.html").read_text()


class TestTheRest:
    """The same command again does what is left, and touches nothing that is there."""

    def test_nothing_is_computed_when_all_is_there(self, mttsg: Mttsg, clip: Path, tmp_path: Path) -> None:
        for name in ("o.csv", "p.html"):
            (tmp_path / name).write_text("mine")
        command = ("ground", clip, QUERY, "--out", tmp_path / "o.csv", "--html", tmp_path / "p.html")
        ran = mttsg(*command, "--model", tmp_path / "absent")  # which is not even looked for
        assert (ran.code, ran.out, ran.errors) == (0, "", [])
        assert len(re.findall("already exists, skipped", ran.err)) == 2
        assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}
        assert mttsg(*command, "--model", tmp_path / "absent", "--overwrite").code == 2

    def test_an_output_that_lacks_something_is_made_anew(self, ground: Mttsg, folder: Path, tmp_path: Path) -> None:
        out, page = tmp_path / "o.csv", tmp_path / "p.html"
        command = (folder, QUERY, "--all", "--out", out, "--html", page)
        first, *_ = sorted(folder.rglob("*.mp4"))
        whole = first.read_bytes()
        first.write_bytes(b"no video")
        for _ in range(2):  # it fails again, and is tried again
            ran = ground(*command)
            assert (ran.code, len(ran.errors), len(out.read_text().splitlines())) == (1, 1, 3)
            assert "already exists" not in ran.err
        assert ran.err.count("some inputs failed when it was written") == 2
        first.write_bytes(whole)
        assert ground(*command).code == 0
        assert len(out.read_text().splitlines()) == 4
        assert page.read_text().count('class="hit"') == 3
        assert {path.name for path in tmp_path.iterdir()} == {"o.csv", "p.html", folder.name}
        assert ground(*command).err.count("already exists") == 2

    def test_the_longest_name_that_a_file_may_have(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        out = tmp_path / f"{'x' * 251}.csv"
        for _ in range(2):  # its note would have a name that is too long
            assert ground(clip, QUERY, "--out", out).code == 0
        assert len(out.read_text().splitlines()) == 2

    def test_what_somebody_made_of_an_unfinished_output_is_theirs(
        self, ground: Mttsg, folder: Path, tmp_path: Path
    ) -> None:
        (folder / "broken.mp4").write_text("no video")
        command = (folder, QUERY, "--out", tmp_path / "o.csv")
        assert ground(*command).code == 1
        (tmp_path / "o.csv").write_text("mine")
        ran = ground(*command)
        assert (ran.code, (tmp_path / "o.csv").read_text()) == (0, "mine")
        assert "already exists" in ran.err

    def test_each_output_by_itself(self, ground: Mttsg, clip: Path, tmp_path: Path) -> None:
        out, page, clips = tmp_path / "o.csv", tmp_path / "p.html", tmp_path / "c"
        command = (clip, QUERY, "--out", out, "--html", page, "--clips", clips)
        assert ground(*command).code == 0

        def contents() -> dict[Path, bytes]:
            made = rb"Made \S+ on "  # when a page was made
            return {path: re.sub(made, b"", path.read_bytes()) for path in (out, page, *clips.glob("*.mp4"))}

        whole = contents()
        assert len(whole) == 3
        for lost in whole:
            lost.unlink()
            ran = ground(*command)
            assert (ran.code, ran.out) == (0, "")
            assert len(re.findall("already exists|existing excerpt", ran.err)) == 2
            assert contents() == whole

    @pytest.mark.parametrize("option", ["--out", "--html", "--clips"])
    def test_a_place_that_cannot_be_written_is_said_before_any_work(
        self, mttsg: Mttsg, clip: Path, tmp_path: Path, option: str
    ) -> None:
        (tmp_path / "file").touch()
        wrong = [tmp_path / "file"] if option == "--clips" else [tmp_path, tmp_path / "file" / "x"]
        for path in wrong:
            ran = mttsg("ground", clip, QUERY, option, path, "--model", tmp_path / "absent")
            assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
            assert str(path) in ran.errors[0]
            assert "absent" not in ran.errors[0]

    @pytest.mark.parametrize("command", ["ground", "evaluate"])
    def test_two_outputs_in_one_file_are_refused(
        self, mttsg: Mttsg, clip: Path, corpus: Path, tmp_path: Path, command: str
    ) -> None:
        asked = [clip, QUERY] if command == "ground" else [corpus]
        ran = mttsg(command, *asked, "--out", tmp_path / "x", "--html", tmp_path / "d" / ".." / "x")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert "--out and --html" in ran.errors[0]

    def test_a_dash_is_standard_output(
        self, ground: Mttsg, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert len(rows(ground(clip, QUERY, "--out", "-"))) == 1
        assert list(tmp_path.iterdir()) == []

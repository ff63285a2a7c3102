"""The routes of the page: each checks what it is given, asks one of the parts, and answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response

from mttsg_core import __version__
from mttsg_core.errors import BusyError, DataError, MttsgError, UnknownVideoError
from mttsg_core.moments import Moment
from mttsg_core.server import messages
from mttsg_core.server.clips import save_clip
from mttsg_core.server.corrections import Correction, Corrections
from mttsg_core.server.media import STILL_HEIGHTS, Pieces, Stills, media_type
from mttsg_core.server.messages import Choice, Judgement, Question, SpanOfVideo
from mttsg_core.server.searching import Searcher, clean_sentence
from mttsg_core.server.security import Access, Guard
from mttsg_core.server.training_job import Stage, TrainingJob, TrainingRequest, TrainingStatus
from mttsg_core.utils.files import is_file
from mttsg_core.utils.paths import home_relative
from mttsg_core.utils.text import visible_text
from mttsg_core.workflows.library import LibraryVideo
from mttsg_core.workflows.options import FeatureOptions

_LISTED_VIDEOS = 200  # of those whose names contain what is asked for
_LISTED_FOLDERS = 500
_SHOWN_ROWS = 50
_MODULES = ("annotate", "answers", "api", "app", "format", "hits", "player", "timeline")
_PAGE_FILES = {
    **{f"{name}.js": "text/javascript" for name in _MODULES},
    "page.css": "text/css",
    "icon.svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Workplace:
    """All that the page works with.

    Attributes:
        searcher: answers sentences.
        corrections: keeps what is said about answers.
        training: how to train on them. The features are those of the model that answers when it starts.
        clips: folder of saved moments; None saves each beside its video.
        title: what is searched, for people.
    """

    searcher: Searcher
    corrections: Corrections
    training: TrainingRequest
    clips: Path | None
    title: str


def create_app(work: Workplace, access: Access) -> FastAPI:
    """Return the application. Its life keeps worker processes, and ends the reading and the training with it.

    Args:
        work: what it works with.
        access: who may ask.
    """
    job = TrainingJob(work.searcher.load_model)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            app.state.stills = stack.enter_context(Stills.open())
            app.state.pieces = stack.enter_context(Pieces.open())
            stack.callback(work.searcher.close)
            stack.callback(job.close)
            yield

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, access=access)
    app.add_exception_handler(MttsgError, _explain)
    app.add_exception_handler(RequestValidationError, _refuse)
    _add_page(app)
    _add_search(app, work)
    _add_media(app, work)
    _add_corrections(app, work)
    _add_training(app, work, job)
    return app


def _add_page(app: FastAPI) -> None:
    """The page, and the files that it consists of."""

    @app.get("/")
    def page() -> Response:
        return _own_file("page.html", "text/html")

    @app.get("/assets/{name}")
    def asset(name: str) -> Response:
        if name == "colours.css":
            return Response((files("mttsg_core.report") / "assets" / name).read_bytes(), media_type="text/css")
        if name not in _PAGE_FILES:
            return JSONResponse({"error": "the page has no such file"}, 404)
        return _own_file(name, _PAGE_FILES[name])


def _add_search(app: FastAPI, work: Workplace) -> None:
    """Questions, and what is searched."""
    searcher = work.searcher

    @app.post("/api/ask")
    def ask(question: Question) -> dict[str, Any]:
        answer = searcher.ask(question.query, question.top, question.folder, question.since)
        return messages.answer_message(answer)

    @app.get("/api/folders")
    def folders() -> dict[str, Any]:
        found = searcher.folders()
        return {"folders": found[:_LISTED_FOLDERS], "found": len(found)}

    @app.get("/api/videos")
    def videos(name: str = "") -> dict[str, Any]:
        wanted = name.casefold()
        found = [video for video in searcher.library.videos if wanted in video.name.casefold()]
        return {"videos": [messages.video_message(video) for video in found[:_LISTED_VIDEOS]], "found": len(found)}

    @app.get("/api/videos/{video_id}/curve")
    def curve(video_id: str, query: str) -> dict[str, Any]:
        return messages.curve_message(*searcher.library.saliency(video_id, clean_sentence(query)))

    @app.post("/api/reading", status_code=202)
    def read_again() -> None:
        searcher.start_reading()

    @app.post("/api/model", status_code=202)
    def use_model(choice: Choice) -> None:
        searcher.use(choice.model)


def _add_media(app: FastAPI, work: Workplace) -> None:
    """Videos, pictures and pieces of them, and moments saved as files. A video is named by its id, never by a path."""

    @app.api_route("/media/{video_id}", methods=["GET", "HEAD"])
    def video_file(video_id: str) -> Response:
        path = _existing(work.searcher.library.video(video_id)).path
        return FileResponse(path, media_type=media_type(path), headers={"Cache-Control": "private, no-cache"})

    @app.get("/media/{video_id}/still")
    def still(request: Request, video_id: str, at: float = 0.0, large: bool = False) -> Response:
        path = work.searcher.library.video(video_id).path
        if not 0 <= at < float("inf"):
            raise DataError("a time must be a number of seconds")
        picture = request.app.state.stills.get(path, at, STILL_HEIGHTS[large])
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})

    @app.api_route("/media/{video_id}/piece", methods=["GET", "HEAD"])
    def piece(request: Request, video_id: str, start: float, end: float) -> Response:
        video = work.searcher.library.video(video_id)
        moment = _moment_in(video, start, end)
        path = request.app.state.pieces.get(video.path, moment.start, moment.end)
        return FileResponse(path, media_type="video/mp4")

    @app.post("/api/clips", status_code=201)
    def save(span: SpanOfVideo) -> dict[str, Any]:
        video = _existing(work.searcher.library.video(span.video))
        target = save_clip(video.path, _moment_in(video, span.start, span.end), span.query, work.clips)
        return {"name": visible_text(target.name), "folder": visible_text(home_relative(target.parent))}


def _add_corrections(app: FastAPI, work: Workplace) -> None:
    """What people say about answers."""

    @app.post("/api/rows", status_code=201)
    def add(judgement: Judgement) -> dict[str, Any]:
        video = work.searcher.library.video(judgement.video)
        moment = _moment_in(video, judgement.start, judgement.end)._replace(score=judgement.score)
        query = clean_sentence(judgement.query)
        correction = Correction(judgement.kind, video.path, video.duration, query, moment, judgement.rank)
        return {"id": work.corrections.add(correction)}

    @app.delete("/api/rows/{row_id}")
    def remove(row_id: str) -> dict[str, Any]:
        return {"removed": work.corrections.remove(row_id)}

    @app.get("/api/rows")
    def rows() -> dict[str, Any]:
        own = work.corrections.rows()
        return {"rows": [messages.row_message(row) for row in reversed(own[-_SHOWN_ROWS:])], "all": len(own)}


def _add_training(app: FastAPI, work: Workplace, job: TrainingJob) -> None:
    """Training, and the state of everything that changes by itself."""
    searcher = work.searcher

    @app.post("/api/training", status_code=202)
    def start() -> None:
        if not work.corrections.training_rows():
            raise DataError("there is nothing to train on yet: mark moments as right, or move their ends")
        made = searcher.model.grounder.fingerprint
        features = FeatureOptions(
            encoder=str(made["encoder"]),
            fps=float(made["fps"]) if "fps" in made else None,
            reader=str(made["reader"]) if "reader" in made else None,
        )
        job.start(replace(work.training, features=features))

    @app.delete("/api/training", status_code=202)
    def stop() -> None:
        job.stop()

    @app.get("/api/state")
    def state() -> dict[str, Any]:
        videos, reading = searcher.library.videos, searcher.progress
        about = [visible_text(model.about) for model in searcher.models]
        return {
            "version": __version__,
            "title": visible_text(work.title),
            "videos": len(videos),
            "found": max([len(videos), *(searcher.library.reading or ())]),
            "seconds": sum(video.duration for video in videos),
            "models": about,
            "model": searcher.models.index(searcher.model),
            "reading": None if reading is None else messages.progress_message(reading),
            "problems": [visible_text(problem) for problem in searcher.problems],
            "rows": work.corrections.training_rows(),
            "data": visible_text(home_relative(work.corrections.folder)),
            "training": _training_message(job.status),
        }


def _training_message(status: TrainingStatus) -> dict[str, Any]:
    is_shown = status.stage is not Stage.NONE
    return {
        "stage": status.stage.value,
        "reason": visible_text(status.reason),
        "progress": messages.progress_message(status.progress) if is_shown else None,
    }


def _own_file(name: str, kind: str) -> Response:
    content = (files("mttsg_core.server") / "assets" / name).read_bytes()
    return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})


def _existing(video: LibraryVideo) -> LibraryVideo:
    """Return a video whose file exists. Raises UnknownVideoError if it has gone."""
    if not is_file(video.path):
        raise UnknownVideoError(f"{video.name}: the file has gone")
    return video


def _moment_in(video: LibraryVideo, start: float, end: float) -> Moment:
    """Return a moment of a video, cut to its end. Raises DataError if it is none."""
    end = min(end, video.duration)
    if not 0 <= start < end:
        raise DataError("the moment must start before it ends, and within the video")
    return Moment(start, end)


async def _explain(request: Request, error: Exception) -> Response:
    """Answer with the line of an error that a user can cause."""
    code = 404 if isinstance(error, UnknownVideoError) else 409 if isinstance(error, BusyError) else 400
    return JSONResponse({"error": visible_text(str(error))}, code)


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer to a request that the page never sends; nothing of it is repeated."""
    return JSONResponse({"error": "the request is not one of the page"}, 422)

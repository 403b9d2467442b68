"""The web application: paths and what answers them. It only reads, and only below its directory."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files as package
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from chaos.report.charts.embed import OURS, VEGA
from chaos.result import read_result
from chaos.serve import pages
from chaos.serve.catalogue import Catalogue, Summary
from chaos.serve.explorer import Explorer, Query, explore
from chaos.serve.live import Watcher
from checkers.history import HistoryError

if TYPE_CHECKING:
    from typing_extensions import Buffer

LOOK_S = 0.5
"""Between two looks at a run that is under way."""
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'"
)
_STATIC = {
    "report.css": ("chaos.report", "text/css"),
    "serve.css": ("chaos.serve", "text/css"),
    "live.js": ("chaos.serve", "text/javascript"),
    VEGA: ("chaos.report.charts", "text/javascript"),
    OURS: ("chaos.report.charts", "text/javascript"),
}
_TEXTS = frozenset({".json", ".jsonl", ".yaml", ".txt", ".log", ".conf", ".md"})
"""Files of a run that are shown as text."""


def application(out: Path, host: str = "127.0.0.1") -> Starlette:
    """The results browser for the runs below `out`.

    It answers requests for `host` and this machine's own names only: a page of somebody else's that a browser was led
    to cannot reach it by another name.
    """
    browser = _Browser(Catalogue(out), Explorer())
    own = ["localhost", "127.0.0.1", "[::1]", "testserver", host]
    allowed = ["*"] if _is_wildcard(host) else own
    routes = [
        Route("/", browser.listing),
        Route("/compare", browser.compare),
        Route("/runs/{name}", browser.run),
        Route("/runs/{name}/report.html", browser.report),
        Route("/runs/{name}/operations", browser.operations),
        Route("/runs/{name}/archive.tar.gz", browser.archive),
        Route("/runs/{name}/live", browser.live),
        Route("/runs/{name}/files/{file:path}", browser.file),
        Route("/static/{file}", _static),
    ]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=allowed)])


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _page(html: str, status: int = 200) -> HTMLResponse:
    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return HTMLResponse(html, status, headers)


def _missing(what: str) -> HTMLResponse:
    return _page(pages.problem("Not found", what), 404)


class _Browser:
    """What answers. Methods that are not `async` are called in threads, so a long history holds nobody else up."""

    def __init__(self, catalogue: Catalogue, explorer: Explorer) -> None:
        self._catalogue = catalogue
        self._explorer = explorer

    def listing(self, request: Request) -> Response:
        return _page(pages.listing(self._catalogue.runs(), dict(request.query_params)))

    def compare(self, request: Request) -> Response:
        names = request.query_params.getlist("run")
        runs = [(run, run_dir) for run, run_dir in map(self._find, names) if run is not None and run_dir is not None]
        checked = [(run, read_result(run_dir)) for run, run_dir in runs if run.counts is not None]
        if len(checked) < 2 or len(checked) != len(names):
            return _page(pages.problem("Which runs?", "Tick two runs or more of the list that were checked."), 400)
        return _page(pages.comparison(checked))

    def run(self, request: Request) -> Response:
        run, run_dir = self._asked(request)
        if run is None or run_dir is None:
            return _missing("There is no run of this name.")
        result = read_result(run_dir) if run.counts is not None else None
        return _page(pages.run_page(run, result, _files(run_dir)))

    def report(self, request: Request) -> Response:
        _, run_dir = self._asked(request)
        path = run_dir / "report.html" if run_dir is not None else None
        if path is None or not path.is_file():
            return _missing("This run has no report (yet).")
        return FileResponse(path, headers={"X-Content-Type-Options": "nosniff"})  # it brings a policy of its own

    def operations(self, request: Request) -> Response:
        run, run_dir = self._asked(request)
        if run is None or run_dir is None:
            return _missing("There is no run of this name.")
        try:
            query = Query.of(request.query_params)
            history = self._explorer.history(run_dir)
        except ValueError as error:
            return _page(pages.problem("Not understood", str(error)), 400)
        except FileNotFoundError:
            return _missing("The history of a run is there when it has ended.")
        except HistoryError as error:
            return _page(pages.problem("Not readable", str(error)), 500)
        return _page(pages.operations_page(run, history, query, explore(history, query)))

    def file(self, request: Request) -> Response:
        _, run_dir = self._asked(request)
        name = request.path_params["file"]
        if run_dir is None or name not in _files(run_dir):
            return _missing("This run has no such file.")
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}
        return FileResponse(run_dir / name, media_type="text/plain; charset=utf-8", headers=headers)

    def archive(self, request: Request) -> Response:
        run, run_dir = self._asked(request)
        if run is None or run_dir is None:
            return _missing("There is no run of this name.")
        headers = {"Content-Disposition": f'attachment; filename="{run.name}.tar.gz"'}
        return StreamingResponse(_archived(run_dir), media_type="application/gzip", headers=headers)

    async def live(self, request: Request) -> Response:
        _, run_dir = self._asked(request)
        if run_dir is None:
            return _missing("There is no run of this name.")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_looks(run_dir), media_type="text/event-stream", headers=headers)

    def _asked(self, request: Request) -> tuple[Summary | None, Path | None]:
        return self._find(request.path_params["name"])

    def _find(self, name: str) -> tuple[Summary | None, Path | None]:
        return self._catalogue.run(name), self._catalogue.directory(name)


async def _looks(run_dir: Path) -> AsyncIterator[bytes]:
    """Server-sent events: one a look, and `over` once the run has been checked or records no more."""
    watcher = Watcher(run_dir)
    while True:
        seen = await run_in_threadpool(watcher.look)
        yield b"data: " + msgspec.json.encode(seen) + b"\n\n"
        if (run_dir / "results.json").exists() or not seen["running"]:
            yield b"event: over\ndata: {}\n\n"
            return
        await asyncio.sleep(LOOK_S)


def _files(run_dir: Path) -> list[str]:
    """The files of a run that can be shown as text, by their paths in it."""
    found = [*run_dir.glob("*"), *run_dir.glob("logs/*")]
    return sorted(str(path.relative_to(run_dir)) for path in found if path.suffix in _TEXTS and _plain(path))


def _plain(path: Path) -> bool:
    """A file, and not a link that leads out of the run."""
    return path.is_file() and not path.is_symlink()


def _archived(run_dir: Path) -> Iterator[bytes]:
    """The whole run as a compressed archive, piece by piece."""
    pieces = _Pieces()
    with tarfile.open(fileobj=pieces, mode="w|gz") as archive:
        for path in sorted(run_dir.rglob("*")):
            if _plain(path):
                archive.add(path, f"{run_dir.name}/{path.relative_to(run_dir)}")
                yield from pieces.taken()
    yield from pieces.taken()


class _Pieces(io.RawIOBase):
    """A file that only collects what is written to it."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: Buffer) -> int:
        self._written.append(bytes(data))
        return len(self._written[-1])

    def taken(self) -> Iterator[bytes]:
        """What was written since the last time."""
        written, self._written = self._written, []
        return iter(written)


def _static(request: Request) -> Response:
    name = request.path_params["file"]
    where, kind = _STATIC.get(name, ("chaos.serve", ""))
    file = package(where).joinpath(name)
    if not kind or not file.is_file():  # the script of charts is made when the package is installed
        return _missing("There is no such file.")
    return Response(file.read_bytes(), media_type=kind, headers={"X-Content-Type-Options": "nosniff"})

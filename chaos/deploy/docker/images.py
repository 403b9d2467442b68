"""The images of a run: the server's, which is left as it is, and the small ones that are built where there is none.

A small image is a program of this machine with the libraries that it needs, and nothing else: no shell, no package
manager. Its tag names the content, so it is built once and every later run finds it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker.errors import DockerException, ImageNotFound
from requests.exceptions import RequestException

from chaos.deploy import delayer, nftables, round_trip, servers
from chaos.deploy.docker.engine import Engine, in_words, labels, told
from chaos.deploy.docker.orders import given
from chaos.errors import ServerError

SERVER_REPOSITORY = "cachequake/server"
HELPER_REPOSITORY = "cachequake/helper"
CONTROLLER_REPOSITORY = "cachequake/controller"
DATA = "/data"
"""Where a node finds its configuration and keeps its data, in every image."""
_PROGRAMS = map(Path, (nftables.__file__, delayer.__file__, round_trip.__file__))
HELPER_PROGRAMS = {f"/{path.name}": path for path in _PROGRAMS}
"""What a helper can run, by place in its image: the first from its start on, the others when asked."""
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")
_IMPORTED = """
import runpy, sys
for program in sys.argv[1:]:
    runpy.run_path(program)
print(*sorted({m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)}), sep="\\n")
"""


@dataclass(frozen=True)
class Image:
    """An image to make containers of."""

    name: str
    command: Sequence[str]
    """What comes before the server's configuration file, besides the image's own entry point."""
    note: str | None = None
    """What a person should know of how it came to be used."""


def server_image(engine: Engine, named: str | None, server: str | None) -> Image:
    """The image called `named`, pulled when the engine lacks it; else one built of a server program of this machine.

    `server` is the path of that program (see `chaos.deploy.servers`). A controller that was sent to the engine is told.
    Raises ServerError when there is neither.
    """
    if (orders := given()) is not None:
        return Image(orders.image, orders.command, orders.note)
    if named is None:
        return _built(engine, server, because="")
    reason = _obtain(engine, named)
    if reason is None:
        return Image(named, _command(engine, named))
    return _built(engine, server, because=f"{named} is not on the engine and cannot be pulled ({reason}); ")


def helper_image(engine: Engine) -> str:
    """The image of the programs that cut and slow links from inside a container's network, built unless it is there.

    A controller that was sent to the engine is told.
    """
    if (orders := given()) is not None:
        return orders.helper
    python = _python()
    modules = subprocess.run(
        [python, "-I", "-S", "-c", _IMPORTED, *HELPER_PROGRAMS.values()],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.split()
    native = [Path(module) for module in modules if module.endswith(".so")]
    landmark = Path(os.__file__)  # by which Python finds its library
    files = {str(path): path for path in (python, landmark, *map(Path, modules), *_libraries([python, *native]))}
    entry = helper_command(next(iter(HELPER_PROGRAMS)))
    return _import(engine, HELPER_REPOSITORY, "links", {**files, **HELPER_PROGRAMS}, entry)


def controller_image(engine: Engine) -> str:
    """The image of a Python that can run the controller and the clients, built unless it is there."""
    from chaos.deploy.docker import python_files  # only here: it imports all that a controller does

    needed = python_files.needed()
    native = [path for path in needed if path.suffix == ".so"]
    libraries = _libraries([python_files.interpreter(), *native])
    files = {os.path.normpath(path): path for path in (*needed, *libraries)}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    entry = [str(python_files.interpreter())]
    return _import(engine, CONTROLLER_REPOSITORY, version, files, entry, python_files.compiled)


def helper_command(program: str) -> list[str]:
    """What runs one of `HELPER_PROGRAMS` in a helper."""
    return [str(_python()), "-I", "-S", program]


def _python() -> Path:
    """The real one, not that of a virtual environment."""
    return Path(sys._base_executable)  # type: ignore[attr-defined]


def _built(engine: Engine, path: str | None, because: str) -> Image:
    server = servers.find(path)
    program = f"/usr/local/bin/{server.name}-server"
    files = {program: server.path} | {str(library): library for library in _libraries([server.path])}
    name = _import(engine, SERVER_REPOSITORY, f"{server.name}-{server.version}", files, [program])
    return Image(name, [], f"{because}tested is {name}, built of {server.path} ({server})")


def _obtain(engine: Engine, name: str) -> str | None:
    """Have the engine hold an image; None, or why it cannot."""
    try:
        engine.api.inspect_image(name)
    except ImageNotFound:
        repository, tag = name, None if ":" in name.rpartition("/")[2] or "@" in name else "latest"
        try:
            engine.api.pull(repository, tag)
        except (DockerException, RequestException) as error:
            return in_words(error)
    return None


def _command(engine: Engine, name: str) -> list[str]:
    """What starts the server in an image of others: official ones take the configuration file as it is.

    Where there is no entry point the first word of the image's command is the server.
    """
    with told(f"looking at image {name}"):
        config = engine.api.inspect_image(name)["Config"]
    if config.get("Entrypoint"):
        return []
    if config.get("Cmd"):
        return [str(config["Cmd"][0])]
    raise ServerError(f"image {name} does not say how its server is started: it has neither entry point nor command")


def _libraries(programs: Iterable[Path]) -> list[Path]:
    """The shared libraries that programs need, the loader included, at the paths where they look for them."""
    if shutil.which("ldd") is None:
        raise ServerError("building an image takes a Linux machine with ldd: name an image with --image instead")
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False, timeout=30)
    return [Path(path) for path in sorted(set(_LIBRARY.findall(done.stdout)))]  # none for a program that needs none


def _import(
    engine: Engine,
    repository: str,
    version: str,
    files: dict[str, Path],
    entry: list[str],
    derived: Callable[[], Mapping[str, bytes]] = dict,
) -> str:
    """Make an image of files (by their place in it), unless the engine has it; returns its name.

    `derived` gives more of them, which can be made of the others and so do not count for the name.
    """
    archive = _archive(files)
    digest = hashlib.sha256(archive + repr(entry).encode()).hexdigest()[:12]
    name = f"{repository}:{version}-{digest}"
    changes = [f"ENTRYPOINT {_words(entry)}", f"WORKDIR {DATA}"]
    changes += [f'LABEL {label}="{value}"' for label, value in labels().items()]
    with told(f"building {name}"):
        try:
            engine.api.inspect_image(name)
        except ImageNotFound:
            more = derived()
            archive = _archive({**files, **more}) if more else archive
            engine.api.import_image_from_data(archive, repository, f"{version}-{digest}", changes)
    return name


def _words(entry: list[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in entry) + "]"


def _archive(files: Mapping[str, Path | bytes]) -> bytes:
    """A root file system of files or their content, the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("tmp", DATA.lstrip("/")):
            tar.addfile(_entry(folder, tarfile.DIRTYPE, 0o1777))
        for place in sorted(files):
            file = files[place]
            content = file if isinstance(file, bytes) else file.read_bytes()
            entry = _entry(place.lstrip("/"), tarfile.REGTYPE, 0o755)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry


def main() -> None:
    """Build the server image, of the program given or found, unless it is there, and print its name."""
    parser = argparse.ArgumentParser(prog="python -m chaos.deploy.docker.images", description=main.__doc__)
    parser.add_argument("--server", metavar="PATH", help="the server program to put into it")
    engine = Engine()
    try:
        print(server_image(engine, None, parser.parse_args().server).name)
    finally:
        engine.close()


if __name__ == "__main__":
    main()

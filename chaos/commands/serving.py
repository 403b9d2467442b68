"""The command that shows runs in a web browser: `serve`."""

from __future__ import annotations

from pathlib import Path

import click

from chaos.errors import BadInput


@click.command()
@click.argument("directory", default="runs", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
def serve(directory: Path, host: str, port: int) -> int:
    """Show the runs in DIRECTORY in a web browser. Only reads; whoever can reach the address sees them all."""
    import uvicorn

    from chaos.serve.app import application

    if not directory.is_dir():
        raise BadInput(f"{directory} is no directory; runs are in the one that `run --out` names, `runs` if none is")
    server = uvicorn.Server(uvicorn.Config(application(directory, host), host=host, port=port, log_level="warning"))
    try:
        listening = server.config.bind_socket()
    except SystemExit:
        raise BadInput(f"--host {host} --port {port}: cannot listen there; choose another --port") from None
    listening.listen()  # so that whoever reads the address can use it at once
    name, number = listening.getsockname()[:2]
    click.echo(f"http://{f'[{name}]' if ':' in name else name}:{number}/ shows {directory}; end with Ctrl-C")
    server.run(sockets=[listening])
    return 0

"""Puts the libraries that are preloaded into servers into a wheel, for each machine that a compiler is there for.

For another machine than this one it is a cross compiler by its usual name, `aarch64-linux-gnu-gcc` say (Debian's
`gcc-aarch64-linux-gnu`). A machine without one gets no library, and makes its own when it needs it.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MACHINES = ("x86_64", "aarch64")


class Libraries(BuildHookInterface):
    """Compiles for `MACHINES` when a wheel is built on Linux; an editable install takes them from its own cache."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is put together; what is to go into it is added to `build_data`."""
        if version == "editable" or not sys.platform.startswith("linux"):
            return
        sys.path.insert(0, self.root)
        from chaos.deploy.preload import READY
        from chaos.deploy.skew import LIBRARY
        from chaos.deploy.virtual.shim_library import SHIM

        made = Path(self.directory) / "ready"
        for machine in MACHINES:
            cc = compiler_for(machine)
            for library in (LIBRARY, SHIM) if cc else ():
                name = library.file_name(machine)
                library.compile(cc, made / name)
                build_data["force_include"][str(made / name)] = str(READY.relative_to(self.root) / name)
            self.app.display_info(f"libraries to preload on {machine}: {f'made with {cc}' if cc else 'no compiler'}")


def compiler_for(machine: str) -> str | None:
    """The compiler that makes programs for a machine: here the one that CC names, or `cc`."""
    own = sysconfig.get_platform().endswith(machine)
    return shutil.which(os.environ.get("CC") or "cc") if own else shutil.which(f"{machine}-linux-gnu-gcc")

"""Makes what a wheel holds beside the sources: the script that draws charts, and libraries to preload into servers.

The script is Vega-Lite with all that it needs, as vl-convert bundles it: that is a requirement of building, and none
of running. An editable install gets it as well, beside its sources; in a source tree that was never installed,
`python hatch_build.py` makes it.

Libraries are compiled for each machine that a compiler is there for. For another machine than this one it is a cross
compiler by its usual name, `aarch64-linux-gnu-gcc` say (Debian's `gcc-aarch64-linux-gnu`). A machine without one gets
no library, and makes its own when it needs it.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MACHINES = ("x86_64", "aarch64")
VEGA_LITE = "6.4"
SCRIPT = "chaos/report/charts/vega.js"
LICENSES = "chaos/report/charts/vega.LICENSE"


class Made(BuildHookInterface):
    """Makes the script of the charts, and libraries for `MACHINES` when a wheel is built on Linux.

    An editable install takes libraries from its own cache.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is put together; what is to go into it is added to `build_data`."""
        script = make_script(Path(self.root))
        if version == "editable":
            return
        build_data["force_include"][str(script)] = SCRIPT
        if sys.platform.startswith("linux"):
            self._add_libraries(build_data)

    def _add_libraries(self, build_data: dict[str, Any]) -> None:
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


def make_script(root: Path) -> Path:
    """Where the script of the charts is below `root`; made unless this version of it is there."""
    import vl_convert

    script = root / SCRIPT
    made_of = f"/* Vega-Lite {VEGA_LITE}, bundled by vl-convert {vl_convert.__version__}.\n"
    if not script.is_file() or not script.read_text(encoding="utf-8").startswith(made_of):
        code = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
        licenses = (root / LICENSES).read_text(encoding="utf-8")
        half = script.with_suffix(f".{os.getpid()}")
        half.write_text(f"{made_of}\n{licenses}*/\n{code}\n", encoding="utf-8")
        half.replace(script)  # complete or not there, also when two build at once
    return script


def compiler_for(machine: str) -> str | None:
    """The compiler that makes programs for a machine: here the one that CC names, or `cc`."""
    own = sysconfig.get_platform().endswith(machine)
    return shutil.which(os.environ.get("CC") or "cc") if own else shutil.which(f"{machine}-linux-gnu-gcc")


if __name__ == "__main__":
    print(make_script(Path(__file__).resolve().parent))

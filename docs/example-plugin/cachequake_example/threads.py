"""Deployment `threads`: as `local`, with servers that read and write in two threads unless the scenario says more."""

from pathlib import Path

from msgspec.structs import replace

from chaos.extend import Deployment, LocalKind, Plan


class Threads(LocalKind):
    def open(self, plan: Plan, run_dir: Path, server: str | None, image: str | None) -> Deployment:
        cluster = plan.scenario.cluster
        threaded = replace(cluster, config={"io-threads": "2", **cluster.config})
        plan = replace(plan, scenario=replace(plan.scenario, cluster=threaded))
        return super().open(plan, run_dir, server, image)

"""Route `awaited`: another route, each write of whatever workload followed by WAIT on its own connection."""

from dataclasses import dataclass, replace

from chaos.extend import Command, Effects, Job, Machine, Operation, Plans, Route, Terms, bare_client, wrong_over


@dataclass(frozen=True)
class Awaited:
    plans: Plans
    wait: Command

    def operation(self, client: int, n: int, seed: int) -> Operation:
        planned = self.plans.operation(client, n, seed)
        return planned._replace(commands=(*planned.commands, self.wait)) if planned.writes else planned


def make(job: Job, terms: Terms, effects: Effects) -> Machine:
    wait: Command = ("WAIT", job.route_options["replicas"], job.route_options["patience_ms"])
    return bare_client(job, replace(terms, mixture=Awaited(terms.mixture, wait)), effects)


ROUTE = Route(
    "another route (`over`), each write followed by WAIT: the history says how many replicas had it",
    {"over": "bare", "replicas": 1, "patience_ms": 100},
    wrong=lambda options: wrong_over(options["over"]),
    make=make,
)

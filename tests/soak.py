"""Long measurements on real servers, run by hand (`make soak`): rates over seeds, replays, and killed controllers.

    python tests/soak.py [--deploy docker] [--server PATH] [--out DIR] runs primary-partition steady --seeds 10
    python tests/soak.py planted RUN...       every kind of anomaly planted into healthy runs: is it found?
    python tests/soak.py replays RUN...       how often does the anomaly of a failing run come back?
    python tests/soak.py kills --count 10     controllers killed at random moments: what is left?

Each prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from containers import left_on_engine  # noqa: E402
from leftovers import controllers, processes_of  # noqa: E402
from planting import PLANTERS, read  # noqa: E402

from chaos.claims import broken_kinds  # noqa: E402
from chaos.clean import clean_up  # noqa: E402
from chaos.judge import check_run  # noqa: E402
from chaos.plan import read_plan  # noqa: E402
from chaos.replay import replay_run  # noqa: E402
from chaos.replays import wilson  # noqa: E402
from chaos.result import read_result  # noqa: E402
from chaos.run import run_scenario  # noqa: E402
from chaos.scenario import Scenario, load_scenario  # noqa: E402
from chaos.store import HISTORY, PLAN, locked  # noqa: E402
from checkers import check  # noqa: E402


def runs(arguments: argparse.Namespace) -> None:
    print("| scenario | runs | claims | runs with each kind of anomaly | operations | checked, by checker, at least |")
    print("|---|---|---|---|---|---|")
    for name in arguments.scenarios:
        claims: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        checked: dict[str, int] = {}
        operations = 0
        for seed in range(1, arguments.seeds + 1):
            scenario = load_scenario(name, {"deploy": arguments.deploy})
            result = run_scenario(scenario, seed=seed, server=arguments.server, out=arguments.out).result
            claims[result.claims_verdict] += 1
            kinds.update({kind for finding in result.findings.values() for kind in finding.counts})
            operations += sum(result.operations.values())
            for checker, finding in result.findings.items():
                count = int(finding.metrics.get("checked") or 0)
                checked[checker] = min(count, checked.get(checker, count))
            if result.error:
                print(f"{name} seed {seed}: {result.error}", file=sys.stderr)
        print(
            f"| {name} | {arguments.seeds} | {_listed(claims)} | {_listed(kinds) or 'none'} | {operations:,} "
            f"| {', '.join(f'{checker} {count:,}' for checker, count in checked.items())} |",
            flush=True,
        )


def planted(arguments: argparse.Namespace) -> None:
    found: Counter[str] = Counter()
    impossible: Counter[str] = Counter()
    for run_dir in arguments.runs:
        recording = read(run_dir / HISTORY)
        for kind, plant in PLANTERS.items():
            changed = recording.copy()
            if plant(changed):
                found[kind] += any(kind in finding.counts for finding in check(changed.history()).values())
            else:
                impossible[kind] += 1
    print("| planted | found | of | nothing to plant it into |\n|---|---|---|---|")
    for kind in PLANTERS:
        print(f"| {kind} | {found[kind]} | {len(arguments.runs) - impossible[kind]} | {impossible[kind]} |")


def replays(arguments: argparse.Namespace) -> None:
    """Beside each run how often fresh seeds of its scenario show the same, so that one sees what a replay adds."""
    print("| run | kinds that broke a claim | replays with each | fresh seeds with each |\n|---|---|---|---|")
    came = total = 0
    for run_dir in map(Path.resolve, arguments.runs):
        again = [_kinds_of_replay(run_dir, arguments) for _ in range(arguments.times)]
        scenario, first = read_plan(run_dir / PLAN).scenario, read_result(run_dir)
        wanted = sorted(broken_kinds(scenario.claims, first.findings))
        fresh = [_kinds_of_seed(scenario, 900_000 + seed, arguments) for seed in range(arguments.fresh)]
        came += sum(found[kind] > 0 for found in again for kind in wanted)
        total += len(again) * len(wanted)
        rates = (", ".join(f"{kind} {_share(kind, each)}" for kind in wanted) for each in (again, fresh))
        print(f"| {run_dir.name} | {', '.join(wanted)} | {' | '.join(rates)} |", flush=True)
    low, high = wilson(came, total)
    print(f"\n{came} of {total} came back ({came / total:.1%}; {low:.1%} to {high:.1%} with 95 % confidence)")


def _kinds_of_replay(run_dir: Path, arguments: argparse.Namespace) -> Counter[str]:
    return Counter(replay_run(run_dir, server=arguments.server, out=arguments.out).after)


def _kinds_of_seed(scenario: Scenario, seed: int, arguments: argparse.Namespace) -> Counter[str]:
    done = run_scenario(scenario, seed=seed, server=arguments.server, out=arguments.out)
    return Counter(done.result.counts)


def _share(kind: str, found: list[Counter[str]]) -> str:
    return f"{sum(each[kind] > 0 for each in found)}/{len(found)}"


def kills(arguments: argparse.Namespace) -> None:
    print("| killed after | events recorded | left after clean | history checked |\n|---|---|---|---|")
    for number in range(arguments.count):
        out = arguments.out / f"kill-{number}"
        command = ["run", arguments.scenario, "--seed", str(number), "--deploy", arguments.deploy, "--out", str(out)]
        child = subprocess.Popen(
            [sys.executable, "-c", "from chaos.cli import main; main()", *command],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not (out / "latest").exists():
            time.sleep(0.01)
        moment = random.uniform(0.0, arguments.within)
        time.sleep(moment)  # the moment is the experiment, it waits for nothing
        run_dir = (out / "latest").resolve()
        child.kill()  # first the command, which would clean up
        child.wait()
        for pid in controllers(run_dir):
            os.kill(pid, signal.SIGKILL)
        while processes_of(run_dir) or not _unlocked(run_dir):  # clients finish what is under way
            time.sleep(0.01)
        clean_up(out)
        result = check_run(run_dir)
        events = (run_dir / HISTORY).read_bytes().count(b"\n") - 1
        left = len(processes_of(run_dir)) + (run_dir / "work").exists()
        left += len(left_on_engine(run_dir)) if arguments.deploy == "docker" else 0
        print(f"| {moment:.1f} s | {events:,} | {left} | yes, {result.verdict} |", flush=True)


def _unlocked(run_dir: Path) -> bool:
    with locked(run_dir) as ours:
        return ours


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


def main() -> None:
    parser = argparse.ArgumentParser(description="Long measurements on real servers.")
    parser.add_argument("--out", type=Path, default=Path("runs") / "soak")
    parser.add_argument("--server")
    parser.add_argument("--deploy", default="local")
    commands = parser.add_subparsers(required=True)
    each = commands.add_parser("runs")
    each.add_argument("scenarios", nargs="+")
    each.add_argument("--seeds", type=int, default=10)
    each.set_defaults(do=runs)
    for name, do in (("planted", planted), ("replays", replays)):
        each = commands.add_parser(name)
        each.add_argument("runs", nargs="+", type=Path)
        each.set_defaults(do=do)
        if do is replays:
            each.add_argument("--times", type=int, default=10)
            each.add_argument("--fresh", type=int, default=10)
    each = commands.add_parser("kills")
    each.add_argument("--count", type=int, default=10)
    each.add_argument("--scenario", default="everything")
    each.add_argument("--within", type=float, default=12.0, help="seconds; a busy machine takes longer to begin")
    each.set_defaults(do=kills)
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    main()

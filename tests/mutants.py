"""Mutation testing over `checkers/`: `make mutants`, run by hand.

    python tests/mutants.py [--only WORD]... [--sample 100%] [--seed 1] [--patience 20] [--workers 1] [--out DIR]

Makes one small change at a time (see `tests/support/mutations.py`) and runs the tests that execute the changed
statement, until one fails. Tests in `tests/checkers` only, the quickest first; properties draw the same examples each
time. No file is changed: the changed code is put into a process forked from one that has collected all tests already,
or is imported in its place when it runs on import. A test that takes ten times as long as it should counts as failed.

DIR (`.mutants` by default) keeps what was measured: which test executes which line, and what became of each mutant.
Mutants of a function that has not changed since and that were killed are not tried again, unless `--again` is given.
Prints the survivors and a Markdown table: module to mutants, killed, and the score with its interval when sampled.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import math
import os
import pickle
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process with threads does not fork well

import coverage
import hypothesis
import networkx  # noqa: F401 - imported once, before the forks
import pytest
import scipy.sparse.csgraph  # noqa: F401
from _pytest.runner import runtestprotocol

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from mutations import Mutation, mutated, mutations  # noqa: E402

TESTS = "tests/checkers"
REWRITTEN = "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning"
MOST_EXAMPLES = 60
"""Examples that a property draws for one mutant."""
_SETUP_S = 3.0
"""Processor time that any test may take, whatever it took before."""
_MOST_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Mutant:
    """One mutation of one module, and a name for it that lasts until the function around it changes."""

    file: str
    mutation: Mutation
    key: str


def mutants_of(path: Path) -> list[Mutant]:
    """All mutants of a module."""
    source = path.read_text()
    file = str(path.relative_to(ROOT))
    texts = _function_texts(source)
    seen: Counter[str] = Counter()
    found = []
    for mutation in mutations(source):
        text = f"{file} {mutation.function} {texts.get(mutation.function, '')} {mutation.before} {mutation.after}"
        seen[text] += 1
        key = hashlib.sha256(f"{text} {seen[text]}".encode()).hexdigest()[:16]
        found.append(Mutant(file, mutation, key))
    return found


def _function_texts(source: str) -> dict[str | None, str]:
    """By name (`Class.method`), the code of each outermost function without comments."""
    texts: dict[str | None, str] = {}
    for node in ast.parse(source).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        for member in members:
            if isinstance(member, ast.FunctionDef):
                name = f"{node.name}.{member.name}" if isinstance(node, ast.ClassDef) else member.name
                texts[name] = ast.unparse(member)
    return texts


def forked(work: Callable[[], Any]) -> Any:
    """What a function returns in a process of its own, so that this one stays as it was."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            with os.fdopen(writing, "wb") as stream:
                stream.write(pickle.dumps(work()))
        except BaseException:  # noqa: BLE001 - nothing of the other process may run in this one
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    if not answer:
        sys.exit("mutants: a process ended without an answer; what it printed says why")
    return pickle.loads(answer)


class OnCollected:
    """Does something with the collected tests instead of running them."""

    def __init__(self, work: Callable[[list[pytest.Item]], Any]) -> None:
        self.work, self.answer = work, None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.answer = self.work(session.items)
        return True


def with_tests(work: Callable[[list[pytest.Item]], Any], selected: list[str] | None = None) -> Any:
    """Collect tests and hand them to a function."""
    hypothesis.settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
    )
    hypothesis.settings.load_profile("mutants")
    plugin = OnCollected(work)
    switches = ["-q", "--capture=no", "--tb=no", "-p", "no:cacheprovider", "-W", REWRITTEN]
    pytest.main([*switches, *(selected or [TESTS])], plugins=[plugin])
    if plugin.answer is None:
        raise RuntimeError("pytest could not collect the tests; what it printed says why")
    return plugin.answer


def draw_less(items: list[pytest.Item], most: int, seconds: dict[str, float]) -> None:
    """Let properties draw no more examples than that, and expect them to take as much less time."""
    for item in items:
        settings = getattr(getattr(item, "obj", None), "_hypothesis_internal_use_settings", None)
        if settings is not None and settings.max_examples > most:
            seconds[item.nodeid] *= most / settings.max_examples
            item.obj._hypothesis_internal_use_settings = hypothesis.settings(settings, max_examples=most)


def passes(item: pytest.Item) -> bool:
    """Run one test."""
    return not any(report.failed for report in runtestprotocol(item, nextitem=None, log=False))


# -- which test executes what --


@dataclass
class Reach:
    """What the tests of one file execute and how long they take."""

    state: str
    """Fingerprint of all that this depends on."""
    seconds: dict[str, float]
    """Processor time by test."""
    tests: dict[str, dict[int, set[str]]]
    """By file and line, the tests that execute it."""


class Reaches:
    """Which tests can notice a mutant: measured anew only for the files of tests that could have changed."""

    def __init__(self, path: Path) -> None:
        before: dict[str, Reach] = pickle.loads(path.read_bytes()) if path.exists() else {}
        common = fingerprint([ROOT / folder for folder in ("checkers", "tests/support", "tests/golden")])
        files = sorted((ROOT / TESTS).glob("test_*.py"))
        states = {str(file.relative_to(ROOT)): common + fingerprint([file]) for file in files}
        self.by_file = {
            name: before[name] for name, state in states.items() if name in before and before[name].state == state
        }
        if missing := {name: state for name, state in states.items() if name not in self.by_file}:
            self.by_file |= forked(lambda: with_tests(lambda items: measured(items, missing), list(missing)))
            path.write_bytes(pickle.dumps(self.by_file))
        self.seconds = {test: taken for reach in self.by_file.values() for test, taken in reach.seconds.items()}

    def of(self, mutant: Mutant, patience_s: float) -> list[str]:
        """The tests that execute what a mutant changes, the quickest first, up to so many seconds altogether."""
        found: set[str] = set()
        for reach in self.by_file.values():
            lines = reach.tests.get(mutant.file, {})
            inside = lines if mutant.mutation.function is None else mutant.mutation.statement
            found.update(*(lines.get(line, ()) for line in inside))
        chosen, spent = [], 0.0
        for test in sorted(found, key=lambda name: (self.seconds[name], name)):
            spent += self.seconds[test]
            if spent > patience_s and chosen:
                break
            chosen.append(test)
        return chosen

    def state(self, tests: list[str]) -> str:
        """Fingerprint of some tests: the same as long as nothing that they depend on has changed."""
        files = sorted({test.partition("::")[0] for test in tests})
        return hashlib.sha256(repr((tests, [self.by_file[file].state for file in files])).encode()).hexdigest()[:16]


def fingerprint(paths: list[Path]) -> str:
    """Of the contents of files and folders."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix != ".pyc":
                digest.update(file.read_bytes())
    return digest.hexdigest()


def measured(items: list[pytest.Item], states: dict[str, str]) -> dict[str, Reach]:
    """Run tests, and note the lines of `checkers/` that each executes."""
    meter = coverage.Coverage(data_file=None, config_file=False, source=[str(ROOT / "checkers")])
    reaches = {name: Reach(state, {}, {}) for name, state in states.items()}
    meter.start()
    for item in items:
        meter.switch_context(item.nodeid)
        before = time.process_time()
        if not passes(item):
            raise RuntimeError(f"{item.nodeid} fails without any mutant; mend that first")
        reaches[item.nodeid.partition("::")[0]].seconds[item.nodeid] = time.process_time() - before
    meter.stop()
    data = meter.get_data()
    for path in data.measured_files():
        file = str(Path(path).relative_to(ROOT))
        for line, tests in data.contexts_by_lineno(path).items():
            for test in set(tests) - {""}:
                reaches[test.partition("::")[0]].tests.setdefault(file, {}).setdefault(line, set()).add(test)
    return reaches


# -- one mutant --


def outermost(code: CodeType) -> Iterator[CodeType]:
    """Code of the functions and methods of a module."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            if not inner.co_flags & 2:  # the body of a class: its names are not local variables
                yield from outermost(inner)


class Functions:
    """The functions of `checkers/` that live in this process."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
        for thing in gc.get_objects():
            if isinstance(thing, FunctionType) and thing.__code__.co_filename.startswith(str(ROOT / "checkers")):
                code = thing.__code__
                self.found[code.co_filename, code.co_qualname, code.co_firstlineno].append(thing)

    def of(self, mutant: Mutant, code: CodeType) -> list[FunctionType]:
        """Those that a mutant's code takes the place of."""
        return self.found.get((str(ROOT / mutant.file), code.co_qualname, code.co_firstlineno), [])


def compiled(mutants: list[Mutant]) -> dict[str, CodeType]:
    """By key: the code of the function that a mutant changes, or of the whole module; all mutants of one module."""
    path, wanted = ROOT / mutants[0].file, {mutant.mutation: mutant.key for mutant in mutants}
    codes = {}
    for mutation, tree in mutated(path.read_text()):
        if mutation in wanted:
            code = compile(tree, str(path), "exec", dont_inherit=True)
            for inner in outermost(code) if mutation.function else ():
                if inner.co_qualname == mutation.function and inner.co_firstlineno <= mutation.line:
                    code = inner
            codes[wanted[mutation]] = code
    return codes


class MutantLoader(importlib.machinery.SourceFileLoader):
    """Imports a module with a mutation made."""

    mutant: Mutant

    def get_code(self, fullname: str) -> CodeType:
        """Compile the changed module."""
        return compiled([self.mutant])[self.mutant.key]


class MutantFinder(importlib.abc.MetaPathFinder):
    """Finds the one module that is changed."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.module = mutant.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def find_spec(
        self, name: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Specification of the changed module."""
        if name != self.module:
            return None
        loader = MutantLoader(name, str(ROOT / self.mutant.file))
        loader.mutant = self.mutant
        return importlib.util.spec_from_file_location(name, str(ROOT / self.mutant.file), loader=loader)


def judge(items: list[pytest.Item], seconds: dict[str, float], tell: Callable[[str], None]) -> None:
    """Run tests until one fails, and tell which; ends the process when one takes far too long."""
    for item in items:
        tell(item.nodeid)
        signal.setitimer(signal.ITIMER_VIRTUAL, _SETUP_S + 10 * seconds.get(item.nodeid, 0))
        if not passes(item):
            tell("killed")
            return
    tell("survived")


class Trial:
    """A process that tries one mutant, and the pipe on which it tells."""

    def __init__(self, mutant: Mutant, state: str, work: Callable[[Callable[[str], None]], None]) -> None:
        self.mutant, self.state, self.began = mutant, state, time.monotonic()
        self.reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(writing)
            return
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
        try:
            work(lambda said: void(os.write(writing, f"{said}\n".encode())))
        except BaseException:  # noqa: BLE001 - however it breaks, it was noticed
            os.write(writing, b"killed\n")
        os._exit(0)

    def record(self) -> dict[str, Any]:
        """What became of the mutant, once its process has ended."""
        with os.fdopen(self.reading) as stream:
            said = stream.read().splitlines()
        last = said[-1] if said else "import"
        outcome = last if last in ("killed", "survived") else "timeout"
        by = next((line for line in reversed(said) if line not in ("killed", "survived")), "import")
        seconds = round(time.monotonic() - self.began, 2)
        return record(self.mutant, outcome, self.state, by if outcome != "survived" else None, seconds)


def void(_: object) -> None:
    """Nothing, whatever was returned."""


def record(mutant: Mutant, outcome: str, state: str, by: str | None = None, seconds: float = 0) -> dict[str, Any]:
    """A line of the results."""
    change = mutant.mutation
    return {
        "key": mutant.key,
        "file": mutant.file,
        "line": change.line,
        "function": change.function,
        "before": change.before,
        "after": change.after,
        "outcome": outcome,
        "by": by,
        "state": state,
        "seconds": seconds,
    }


class Pool:
    """Runs a few trials at a time, and writes down how each ended."""

    def __init__(self, workers: int, results: Path) -> None:
        self.workers, self.results = workers, results
        self.running: dict[int, Trial] = {}

    def start(self, mutant: Mutant, state: str, work: Callable[[Callable[[str], None]], None]) -> None:
        """Begin a trial, after waiting for a free place."""
        while len(self.running) >= self.workers:
            self.wait()
        trial = Trial(mutant, state, work)
        self.running[trial.pid] = trial

    def wait(self) -> None:
        """Wait for one trial to end."""
        pid, _ = os.wait()
        self.write(self.running.pop(pid).record())

    def write(self, line: dict[str, Any]) -> None:
        """Note how a mutant ended."""
        with self.results.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        if line["outcome"] in ("survived", "uncovered"):
            print(f"{line['file']}:{line['line']}: {line['before']} -> {line['after']}: {line['outcome']}", flush=True)

    def finish(self) -> None:
        """Wait for all."""
        while self.running:
            self.wait()


def try_functions(left: list[Mutant], reach: Reaches, patience_s: float, pool: Pool) -> list[Mutant]:
    """Try the mutants of functions; returns those whose function could not be found."""

    def work(items: list[pytest.Item]) -> list[Mutant]:
        by_name = {item.nodeid: item for item in items}
        functions, lost = Functions(), []
        draw_less(items, MOST_EXAMPLES, reach.seconds)
        gc.freeze()
        for _, group in groupby(left, key=lambda mutant: mutant.file):
            mutants = list(group)
            codes = compiled(mutants)
            for mutant in mutants:
                code = codes[mutant.key]
                changing = functions.of(mutant, code)
                if changing:
                    tests = reach.of(mutant, patience_s)
                    attempt = partial(try_function, changing, code, [by_name[test] for test in tests], reach.seconds)
                    pool.start(mutant, reach.state(tests), attempt)
                else:
                    lost.append(mutant)
        pool.finish()
        return lost

    return forked(lambda: with_tests(work)) if left else []


def try_function(
    functions: list[FunctionType],
    code: CodeType,
    tests: list[pytest.Item],
    seconds: dict[str, float],
    tell: Callable[[str], None],
) -> None:
    """Put a mutant's code into the functions that it changes, and judge it."""
    for function in functions:
        function.__code__ = code
    judge(tests, seconds, tell)


def try_modules(left: list[Mutant], reach: Reaches, patience_s: float, pool: Pool) -> None:
    """Try the mutants of what runs when a module is imported."""
    for mutant in left:
        tests = reach.of(mutant, patience_s)

        def attempt(tell: Callable[[str], None], mutant: Mutant = mutant, tests: list[str] = tests) -> None:
            sys.meta_path.insert(0, MutantFinder(mutant))
            signal.setitimer(signal.ITIMER_VIRTUAL, 60)
            order = {test: place for place, test in enumerate(tests)}

            def work(items: list[pytest.Item]) -> bool:
                draw_less(items, MOST_EXAMPLES, reach.seconds)
                chosen = [item for item in items if item.nodeid in order]
                judge(sorted(chosen, key=lambda item: order[item.nodeid]), reach.seconds, tell)
                return True

            files = sorted({test.partition("::")[0] for test in tests})
            if not with_tests(work, files):
                tell("killed")

        pool.start(mutant, reach.state(tests), attempt)
    pool.finish()


# -- the whole --


def chosen(share: float, seed: int, only: list[str]) -> list[Mutant]:
    """The mutants to try: a share of each module, by lot. A larger share of the same seed contains the smaller."""
    found = []
    for path in sorted((ROOT / "checkers").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if not only or any(word in name for word in only):
            every = mutants_of(path)
            random.Random(f"{seed} {name}").shuffle(every)
            found += every[: math.ceil(share * len(every))]
    return found


def is_known(line: dict[str, Any] | None, tests: list[str], reach: Reaches) -> bool:
    """Whether trying a mutant again would show nothing new."""
    return line is not None and (line["outcome"] in ("killed", "timeout") or line["state"] == reach.state(tests))


def wilson(killed: int, tried: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson's score interval)."""
    z, share = 1.96, killed / tried
    middle = share + z * z / (2 * tried)
    spread = z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    return (middle - spread) / (1 + z * z / tried), (middle + spread) / (1 + z * z / tried)


def table(lines: list[dict[str, Any]]) -> str:
    """The score by module."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        for name in (line["file"], "all"):
            rows[name][line["outcome"]] += 1
    text = [
        "| module | mutants | killed | of these by time | survived | not executed | score |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, counts in sorted(rows.items(), key=lambda row: (row[0] == "all", row[0])):
        tried = counts.total()
        killed = counts["killed"] + counts["timeout"]
        text.append(
            f"| {name} | {tried} | {killed} | {counts['timeout']} | {counts['survived']} | {counts['uncovered']} "
            f"| {killed / tried:.1%} |"
        )
    return "\n".join(text)


def main() -> int:
    """Try the mutants, and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="modules whose path has this in it")
    parser.add_argument("--sample", default="100%", help="share of each module to try")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=20, metavar="SECONDS", help="of tests for one mutant")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="try the killed ones again, too")
    parser.add_argument("--out", type=Path, default=ROOT / ".mutants")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "results.jsonl"
    share = float(arguments.sample.removesuffix("%")) / 100
    wanted = chosen(share, arguments.seed, arguments.only)
    known = {}
    if results.exists() and not arguments.again:
        known = {line["key"]: line for line in map(json.loads, results.read_text().splitlines())}
    reach = Reaches(arguments.out / "reach.pickle")
    pool = Pool(arguments.workers, results)
    left = [
        mutant for mutant in wanted if not is_known(known.get(mutant.key), reach.of(mutant, arguments.patience), reach)
    ]
    print(f"{len(wanted)} mutants, {len(left)} to try", flush=True)
    for mutant in [mutant for mutant in left if not reach.of(mutant, arguments.patience)]:
        pool.write(record(mutant, "uncovered", reach.state([])))
        left.remove(mutant)
    inside = [mutant for mutant in left if mutant.mutation.function is not None]
    lost = try_functions(inside, reach, arguments.patience, pool)
    try_modules([m for m in left if m.mutation.function is None] + lost, reach, arguments.patience, pool)
    latest = {line["key"]: line for line in map(json.loads, results.read_text().splitlines())}
    lines = [latest[mutant.key] for mutant in wanted]
    print(table(lines))
    killed = sum(line["outcome"] in ("killed", "timeout") for line in lines)
    if share < 1:
        low, high = wilson(killed, len(lines))
        print(f"a sample: the score is {low:.1%} to {high:.1%} with 95 % confidence")
    return 0 if killed >= 0.9 * len(lines) else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())

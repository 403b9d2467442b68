"""What stands around the clients: the job, the recorder, and redis-py's attempts judged from below."""

import json

import msgspec
import pytest

from chaos.drive import RunClock, make_crew
from chaos.errors import BadInput
from chaos.job import Job, Share, read_job
from chaos.operation import Operation
from chaos.recorder import Recorder
from chaos.routes.redis_client import Attempt, outcome_of
from checkers.events import Event
from checkers.history import load


def job(**more):
    given = {
        "part": "part.jsonl",
        "streams": {0: 2**64 - 1},
        "total": 1,
        "workloads": {"register": Share()},
        "duration_ms": 10,
        "nodes": {"n1": ("127.0.0.1", 1)},
        "slots": [(0, 16383, "n1")],
    }
    return Job(**(given | more))


def test_a_job_survives_being_written(tmp_path):
    wanted = job(workloads={"set": Share({"keys": 3}, 2.0)}, sources={0: "127.0.88.1"}, rate=2.5)
    wanted.save(tmp_path / "job.json")
    assert read_job(tmp_path / "job.json") == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workloads": {"registers": Share()}}, "unknown workload 'registers'"),
        ({"workloads": {"register": Share({"kees": 1})}}, "no option 'kees'"),
        ({"route": "bear"}, "unknown route 'bear'"),
        ({"route_options": {"retries": 3}}, "no option 'retries'"),
    ],
)
def test_a_job_that_cannot_be_done_is_refused(tmp_path, change, message):
    with pytest.raises(BadInput, match=message):
        make_crew(job(**change), Recorder(tmp_path / "part"), RunClock())


def test_a_file_that_is_no_job_is_named(tmp_path):
    (tmp_path / "job.json").write_text(json.dumps({"part": 5}))
    with pytest.raises(BadInput, match=r"job\.json.*not a job"):
        read_job(tmp_path / "job.json")


def test_events_are_in_the_file_when_write_returns(tmp_path):
    recorder = Recorder(tmp_path / "part.jsonl")
    events = [
        Event(type="invoke", f="write", process=0, time=5, key="k1", value=41),
        Event(type="ok", f="write", process=0, time=9, key="k1", value=41, node="n1"),
    ]
    recorder.write(*events)
    lines = (tmp_path / "part.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Event) for line in lines] == events
    assert json.loads(lines[0]) == {"type": "invoke", "f": "write", "process": 0, "time": 5, "key": "k1", "value": 41}
    recorder.close()
    operations = load(tmp_path / "part.jsonl").operations
    assert (operations.start[0], operations.end[0], operations.node_name(0)) == (5, 9, "n1")


def test_a_recorder_adds_to_what_is_there(tmp_path):
    for time in (1, 2):
        recorder = Recorder(tmp_path / "part.jsonl")
        recorder.write(Event(type="info", f="phase", process="controller", time=time))
        recorder.close()
    assert [event.time for event in load(tmp_path / "part.jsonl").context] == [1, 2]


def attempt(*replies, sent=True, commands=1):
    made = Attempt("n1", 0, commands, asking=False)
    made.sent = sent
    made.replies.extend(replies)
    return made


MOVED = Exception("MOVED 5 127.0.0.1:7002")
DOWN = Exception("CLUSTERDOWN The cluster is down")


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([], "fail"),
        ([attempt(sent=False)], "fail"),
        ([attempt(DOWN)], "fail"),
        ([attempt(MOVED), attempt(DOWN)], "fail"),
        ([attempt()], "info"),
        ([attempt(), attempt(DOWN)], "info"),
        ([attempt(), attempt(sent=False)], "info"),
        ([attempt(MOVED), attempt()], "info"),
        ([attempt(b"OK")], "info"),
        ([attempt(Exception("ERR unheard of"))], "info"),
    ],
)
def test_an_operation_is_open_if_any_attempt_is_whatever_was_raised_last(attempts, expected):
    write = Operation("register", "write", "k", 1, (("SET", "k", 1),), "k", True, lambda replies: 1)
    assert outcome_of(write, attempts, AttributeError("'NoneType' object")) == expected
    assert outcome_of(write._replace(writes=False), attempts, AttributeError()) == "fail"


def test_a_transaction_cut_off_before_its_exec_was_answered_is_open():
    commands = (("MULTI",), ("SET", "k", 1), ("EXEC",))
    write = Operation("multikey", "mset", "k", {"k": 1}, commands, "k", True, lambda replies: 1)
    assert outcome_of(write, [attempt(b"OK", b"QUEUED", commands=3)], ConnectionError()) == "info"
    aborted = Exception("EXECABORT Transaction discarded because of previous errors.")
    assert outcome_of(write, [attempt(b"OK", MOVED, aborted, commands=3)], MOVED) == "fail"

import io
import logging
import os
import sys
import threading

import pytest

from meshlib.dataplane import Response
from meshlib.model.telemetry import (
    AccessLog,
    Comparison,
    FileAccessLog,
    StatusCodeFilter,
)
from meshlib.telemetry import access_log
from meshlib.telemetry.access_log import compile_log
from meshlib.telemetry.access_log import writer as writer_module
from meshlib.telemetry.access_log.writer import Writer, Writers


@pytest.fixture
def writers():
    made = Writers()
    yield made
    made.close()


class Disk:
    """Waits until it is let go on; keeps what it was given."""

    def __init__(self):
        self.texts = []
        self.broken = False
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def put(self, text):
        self.begun.set()
        assert self.go_on.wait(10)
        if self.broken:
            raise OSError("no space left")
        self.texts.append(text)

    def forget(self):
        pass


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr(writer_module, "LINGER", 0.01)
    return Disk()


class Waker(threading.Event):
    """Counts how often somebody was woken."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def set(self):
        self.calls += 1
        super().set()


def test_lines_are_written_in_order(writers, tmp_path):
    writer = writers.of(str(tmp_path / "log"))
    for number in range(1000):
        writer.write(f"{number}\n")
    writers.flush()
    assert (tmp_path / "log").read_text().split() == [str(number) for number in range(1000)]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640 & ~_umask()
    assert writers.dropped() == {str(tmp_path / "log"): 0}


def _umask():
    now = os.umask(0)
    os.umask(now)
    return now


def test_logs_with_one_path_have_one_writer(writers, tmp_path):
    assert writers.of(str(tmp_path / "log")) is writers.of(str(tmp_path / "log"))


def test_a_line_is_written_without_being_asked_for(disk):
    writer = Writer(disk, "disk")
    writer.write("a\n")
    assert disk.begun.wait(10)
    writer.close()
    assert "".join(disk.texts) == "a\n"


def test_lines_are_written_together_and_wake_the_writer_once(disk, monkeypatch):
    monkeypatch.setattr(writer_module, "LINGER", 60)
    writer = Writer(disk, "disk")
    writer._news, writer._haste = Waker(), Waker()
    for _ in range(1000):
        writer.write("line\n")
    assert (writer._news.calls, writer._haste.calls) == (1, 0)
    assert writer.flush()
    assert disk.texts == ["line\n" * 1000]
    writer.close()


def test_where_lines_never_cease_nobody_is_woken_again(disk):
    writer = Writer(disk, "disk")
    writer._news = Waker()
    writer._has_work = lambda: True
    for _ in range(3):
        writer.write("line\n")
        assert disk.begun.wait(10)
        disk.begun.clear()
    assert writer._news.calls == 1
    writer.close()


@pytest.mark.parametrize(("line", "lines"), [("x" * 1000, 300), ("", 5002)])
def test_where_much_waits_it_is_written_at_once(disk, monkeypatch, line, lines):
    monkeypatch.setattr(writer_module, "LINGER", 60)
    writer = Writer(disk, "disk")
    for _ in range(lines):
        writer.write(f"{line}\n")
    assert disk.begun.wait(10)
    writer.close()


def test_whoever_calls_never_waits_for_the_disk(disk):
    disk.go_on.clear()
    writer = Writer(disk, "disk", capacity=3)
    writer.write("first\n")
    assert disk.begun.wait(10)
    for number in range(5):
        writer.write(f"{number}\n")
    assert writer.dropped == 2
    assert not writer.flush(timeout=0)
    disk.go_on.set()
    writer.close()
    assert "".join(disk.texts) == "first\n0\n1\n2\n"
    writer.write("too late\n")
    assert writer.dropped == 3


def test_a_disk_that_fails_is_told_once_and_tried_again(disk, caplog):
    writer = Writer(disk, "disk")
    disk.broken = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            writer.write("lost\n")
            writer.flush()
    assert caplog.messages == ["access log disk: lines are dropped: no space left"]
    assert writer.dropped == 3
    disk.broken = False
    writer.write("kept\n")
    writer.close()
    assert disk.texts == ["kept\n"]


def test_a_rotated_file_is_opened_anew(writers, tmp_path):
    path = tmp_path / "log"
    writer = writers.of(str(path))
    writer.write("old\n")
    writers.flush()
    path.rename(tmp_path / "log.1")
    writer.write("new\n")
    writers.flush()
    assert (tmp_path / "log.1").read_text() == "old\n"
    assert path.read_text() == "new\n"
    path.unlink()
    path.write_text("")
    writer.write("newer\n")
    writers.flush()
    assert path.read_text() == "newer\n"


def test_a_folder_that_is_missing_breaks_nothing(writers, tmp_path, caplog):
    path = tmp_path / "none" / "log"
    writer = writers.of(str(path))
    writer.write("a\n")
    writers.flush()
    assert "none/log" in caplog.text
    path.parent.mkdir()
    writer.write("b\n")
    writers.flush()
    assert path.read_text() == "b\n"


def test_the_streams_are_those_of_the_program(writers, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="")
    monkeypatch.setattr(sys, "stdout", out)
    writer = writers.of("/dev/stdout")
    writer.write("caf\xe9\n")
    writers.flush()
    assert out.buffer.getvalue() == b"caf\\xe9\n"
    monkeypatch.setattr(sys, "stdout", None)
    writer.write("nobody reads this\n")
    writers.flush()
    assert writer.dropped == 1


def test_a_value_without_an_encoding_is_escaped(writers, tmp_path):
    writer = writers.of(str(tmp_path / "log"))
    writer.write("caf\udce9 \xe9\n")
    writers.flush()
    assert (tmp_path / "log").read_bytes() == b"caf\\udce9 \xc3\xa9\n"


def test_a_forked_child_writes_its_own_lines_only(writers, tmp_path, disk):
    path = tmp_path / "log"
    writer = writers.of(str(path))
    writer.write("before\n")
    writers.flush()
    with writer._writing:  # the parent is at it while it forks
        writer.write("the parent's\n")
        writers.begin_anew()  # as a child does
        writer.write("the child's\n")
        assert writer.flush(timeout=5)
    assert path.read_text() == "before\nthe child's\n"


def test_a_call_is_told_or_not_and_never_fails_for_it(writers, site, call, tmp_path, caplog):
    path = tmp_path / "log"
    log = compile_log(
        AccessLog(
            name="mine",
            config=FileAccessLog(path=str(path), text="%RESPONSE_CODE%\n"),
            filter=StatusCodeFilter(comparison=Comparison.GE, value=500),
        ),
        site,
        writers,
    )
    log(call(Response(200)))
    log(call(Response(503)))
    broken = call(Response(503))
    broken.outcome = None
    with caplog.at_level(logging.ERROR):
        log(broken)
        log(broken)
    assert len(caplog.records) == 1
    writers.flush()
    assert path.read_text() == "503\n"


def test_a_log_without_a_format_has_envoys(call, tmp_path):
    path = tmp_path / "log"
    log = compile_log(AccessLog(name="mine", config=FileAccessLog(path=str(path))))
    log(call())
    access_log.flush()
    assert '"GET /books?page=2 HTTP/1.1" 200 - 0 0 250 -' in path.read_text()
    assert access_log.dropped().get(str(path)) == 0


def test_what_was_dropped_is_a_metric(tmp_path):
    writer = access_log.WRITERS.of(str(tmp_path / "none" / "log"))
    writer.write("a\n")
    writer.flush()
    assert access_log.dropped()[str(tmp_path / "none" / "log")] == 1


def test_a_pipe_that_nobody_reads_holds_up_neither_calls_nor_the_end(writers, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = writers.of(str(pipe))
    writer.write("first\n")
    assert writer.flush(0.2) is False
    writer.write("second\n")
    with pipe.open() as reading:
        assert writer.flush() is True
        writers.close()
        assert reading.read() == "first\nsecond\n"


def test_whoever_waits_for_a_line_does_not_write_it(disk):
    writer = Writer(disk, "slow")
    disk.go_on.clear()
    writer.write("line\n")
    assert writer.flush(0.05) is False
    disk.go_on.set()
    assert writer.flush() is True
    assert disk.texts == ["line\n"]
    writer.close()


def test_what_is_told_after_the_end_of_the_thread_is_written_by_who_waits(disk):
    writer = Writer(disk, "ended")
    writer.write("line\n")
    writer.close()
    assert writer.flush(1) is True
    writer.write("too late\n")
    assert (disk.texts, writer.dropped) == (["line\n"], 1)


def test_long_lines_that_wait_take_no_more_room_than_there_may_be(disk, monkeypatch):
    monkeypatch.setattr(writer_module, "ROOM", 100)
    writer = Writer(disk, "slow")
    disk.go_on.clear()
    writer.write("first\n")
    assert disk.begun.wait(10)
    for _ in range(10):
        writer.write("x" * 59 + "\n")
    assert writer.dropped == 8
    disk.go_on.set()
    assert writer.flush() is True
    writer.write("last\n")
    writer.close()
    assert disk.texts[-1] == "last\n"
    assert writer.dropped == 8

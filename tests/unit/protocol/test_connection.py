"""One connection as a conversation: what runs, what waits, and until when. The clock is a number."""

import pytest

from oxd_protocol.connection import CHANGE_WAIT, CLOSED, COPY_WAIT, REPEAT_WAIT, Connection, Wait
from oxd_protocol.errors import FramingError

A = b'{"command":"a"}'
B = b'{"command":"b"}'
FOREVER = Wait(None)


def _frame(body: bytes) -> bytes:
    return b"%04d" % len(body) + body


FA, FB = _frame(A), _frame(B)


def _connection(*received: bytes, frame_timeout: float | None = None, idle_timeout: float | None = None) -> Connection:
    connection = Connection(1000, frame_timeout=frame_timeout, idle_timeout=idle_timeout)
    for data in received:
        connection.receive_data(data)
    return connection


def _after_first(*received: bytes) -> Connection:
    """Return a connection whose first frame A was answered at time 0; then, and not before, the rest arrived."""
    connection = _connection(FA)
    assert connection.next_event(0.0) == A
    assert connection.next_event(0.0) == FOREVER
    for data in received:
        connection.receive_data(data)
    return connection


def test_a_frame_runs_as_soon_as_it_is_there() -> None:
    """A frame in pieces is waited for without limit, and runs with its last byte."""
    connection = _connection()
    assert connection.next_event(0.0) == FOREVER
    connection.receive_data(FA[:7])
    assert connection.next_event(1.0) == FOREVER
    connection.receive_data(FA[7:])
    assert connection.next_event(2.0) == A
    assert connection.next_event(3.0) == FOREVER


def test_the_connection_stays_open() -> None:
    """By default nothing ever closes an idle connection."""
    connection = _after_first()
    assert connection.next_event(1e9) == FOREVER


def test_pipelining() -> None:
    """Frames that came together run in their order, without a wait (row 28)."""
    connection = _connection(FA + FB + FB + FA)
    assert [connection.next_event(0.0) for _ in range(4)] == [A, B, B, A]
    assert connection.next_event(0.0) == FOREVER


def test_end_without_a_frame() -> None:
    """A peer that connects and closes gets nothing."""
    assert _connection(b"").next_event(0.0) is CLOSED


def test_end_after_frames() -> None:
    """Frames that came before a peer closed its side run and are answered: it may still be reading."""
    connection = _connection(FA + FB, b"")
    assert [connection.next_event(0.0) for _ in range(3)] == [A, B, CLOSED]
    assert connection.next_event(1.0) is CLOSED


def test_end_within_a_frame() -> None:
    """Part of a frame never runs once its peer is gone."""
    connection = _connection(FA + FB[:-1], b"")
    assert [connection.next_event(0.0) for _ in range(2)] == [A, CLOSED]


def test_a_copy_and_close() -> None:
    """A A close (PHP): the copy waits, and is dropped when the peer closes (row 1)."""
    connection = _connection(FA + FA)
    assert connection.next_event(0.0) == A
    assert connection.next_event(5.0) == Wait(5.0 + COPY_WAIT)
    connection.receive_data(b"")
    assert connection.next_event(9.9) is CLOSED


def test_two_copies_and_close() -> None:
    """A A A close (Perl): both copies are dropped, whenever they arrive (row 1)."""
    connection = _after_first(FA)
    assert connection.next_event(0.0) == Wait(REPEAT_WAIT)
    connection.receive_data(FA)
    assert connection.next_event(0.01) == Wait(REPEAT_WAIT)
    connection.receive_data(b"")
    assert connection.next_event(0.011) is CLOSED


def test_a_copy_and_a_peer_that_closed_before_the_answer() -> None:
    """A A close, all of it before the first answer: the copy is dropped without a wait."""
    connection = _connection(FA + FA, b"")
    assert [connection.next_event(0.0) for _ in range(2)] == [A, CLOSED]


def test_the_close_counts_even_when_it_is_seen_late() -> None:
    """A peer that has closed is gone, though the wait is over by the time that anybody looks."""
    connection = _after_first(FA)
    assert connection.next_event(0.0) == Wait(REPEAT_WAIT)
    connection.receive_data(b"")
    assert connection.next_event(9.0) is CLOSED


def test_a_copy_and_silence() -> None:
    """A, and A a moment after the answer, then silence: the repeated command was meant, and runs."""
    connection = _after_first(FA)
    assert connection.next_event(0.0) == Wait(0.25)
    assert connection.next_event(0.2499) == Wait(0.25)
    assert connection.next_event(0.25) == A
    assert connection.next_event(0.251) == FOREVER


def test_copies_before_the_answer_and_silence() -> None:
    """A A A, all of it before the first answer left, and 5 seconds of silence: only then do the copies run."""
    connection = _connection(FA)
    assert connection.next_event(0.0) == A
    before_the_answer = connection.expects_copies
    connection.receive_data(FA + FA)
    assert connection.next_event(1.0) == Wait(6.0)
    assert (before_the_answer, connection.expects_copies) == (True, False)
    assert [connection.next_event(6.0) for _ in range(3)] == [A, A, FOREVER]


def test_a_copy_that_began_before_the_answer() -> None:
    """A and the first byte of A before the answer, the rest of it after: it is a copy like any other."""
    connection = _connection(FA + FA[:1])
    assert connection.next_event(0.0) == A
    assert connection.next_event(0.0) == FOREVER
    connection.receive_data(FA[1:])
    assert connection.next_event(0.1) == Wait(0.1 + COPY_WAIT)


CHANGING = _frame(b'{"command":"register_site"}')
REFUSED = _frame(b'{"params":{}}')


@pytest.mark.parametrize(
    ("frame", "seconds"),
    [(CHANGING, CHANGE_WAIT), (_frame(b'{"command":"get_rp"}'), REPEAT_WAIT), (REFUSED, REPEAT_WAIT)],
    ids=["changes something", "changes nothing", "is no command"],
)
def test_how_long_a_late_copy_waits(frame: bytes, seconds: float) -> None:
    """A copy that arrives after the answer waits longer if running it by mistake would change something."""
    connection = _connection(frame)
    connection.next_event(0.0)
    assert connection.next_event(0.0) == FOREVER
    connection.receive_data(frame)
    assert connection.next_event(1.0) == Wait(1.0 + seconds)


def test_two_copies_and_silence() -> None:
    """A A A and silence: both copies run, one after the other, after one wait."""
    connection = _after_first(FA + FA)
    assert connection.next_event(0.0) == Wait(REPEAT_WAIT)
    assert [connection.next_event(1.0) for _ in range(3)] == [A, A, FOREVER]


def test_a_copy_and_another_frame() -> None:
    """A A B: another frame shows that the copy was meant; both run in order, at once."""
    connection = _connection(FA + FA + FB)
    assert [connection.next_event(0.0) for _ in range(4)] == [A, A, B, FOREVER]


def test_another_frame_during_the_wait() -> None:
    """A A, then B within the wait: the wait ends, the copy runs, then B."""
    connection = _after_first(FA)
    assert connection.next_event(0.0) == Wait(REPEAT_WAIT)
    connection.receive_data(FB)
    assert [connection.next_event(0.001) for _ in range(3)] == [A, B, FOREVER]


def test_another_frame_and_close() -> None:
    """A A B close: all three run, for a peer that sends B does not send copies."""
    connection = _connection(FA + FA + FB, b"")
    assert [connection.next_event(0.0) for _ in range(4)] == [A, A, B, CLOSED]


def test_the_rule_is_off_after_another_frame() -> None:
    """A B A A: after a different frame nothing is taken for a copy."""
    connection = _connection(FA + FB + FA + FA)
    assert [connection.next_event(0.0) for _ in range(5)] == [A, B, A, A, FOREVER]


def test_copies_of_a_later_frame_run() -> None:
    """A B B: the rule knows the first frame only."""
    connection = _connection(FA + FB + FB)
    assert [connection.next_event(0.0) for _ in range(4)] == [A, B, B, FOREVER]


def test_the_same_command_later() -> None:
    """A, and A again much later: it waits once, counted from its arrival; after that repeats run at once."""
    connection = _after_first()
    assert connection.next_event(0.0) == FOREVER
    connection.receive_data(FA)
    assert connection.next_event(60.0) == Wait(60.0 + REPEAT_WAIT)
    assert connection.next_event(60.25) == A
    connection.receive_data(FA)
    assert connection.next_event(70.0) == A


def test_the_rule_is_off_for_good() -> None:
    """Once a copy was meant, further ones are: they run even if the peer closes right behind them."""
    connection = _after_first(FA)
    assert connection.next_event(0.0) == Wait(REPEAT_WAIT)
    assert connection.next_event(0.25) == A
    connection.receive_data(FA + FA)
    connection.receive_data(b"")
    assert [connection.next_event(1.0) for _ in range(3)] == [A, A, CLOSED]


def test_the_wait_begins_when_the_copy_could_run() -> None:
    """While the first frame is being run the copy's wait has not begun."""
    connection = _connection(FA + FA)
    assert connection.next_event(0.0) == A
    assert connection.next_event(30.0) == Wait(30.0 + COPY_WAIT)


def test_half_a_copy_and_close() -> None:
    """A, half of A, close: nothing more runs."""
    connection = _after_first(FA[:9])
    assert connection.next_event(0.0) == FOREVER
    connection.receive_data(b"")
    assert connection.next_event(0.001) is CLOSED


def test_half_a_copy_does_not_end_the_wait() -> None:
    """A A and half of A: the wait goes on; when it is over, the first copy runs and the half is waited for."""
    connection = _after_first(FA + FA[:9])
    assert connection.next_event(0.0) == Wait(REPEAT_WAIT)
    assert connection.next_event(0.25) == A
    assert connection.next_event(0.25) == FOREVER
    connection.receive_data(FA[9:])
    assert connection.next_event(0.26) == A


def test_a_copy_and_junk() -> None:
    """A A junk: the copy runs, then the stream is broken."""
    connection = _after_first(FA + b"junk")
    assert connection.next_event(0.0) == A
    with pytest.raises(FramingError):
        connection.next_event(0.0)


def test_junk_after_the_first_frame() -> None:
    """A junk: A runs, then the stream is broken."""
    connection = _after_first(b"junk")
    for _ in range(2):
        with pytest.raises(FramingError):
            connection.next_event(0.0)


def test_junk_at_once() -> None:
    """A stream that begins with junk is broken at once, and stays so after its end."""
    connection = _connection(b"junk")
    with pytest.raises(FramingError):
        connection.next_event(0.0)
    connection.receive_data(b"")
    with pytest.raises(FramingError):
        connection.next_event(0.0)


def test_white_space_does_not_end_the_wait() -> None:
    """Line ends between copies say nothing."""
    connection = _after_first(b"\n" + FA + b"\r\n")
    assert connection.next_event(0.0) == Wait(REPEAT_WAIT)
    connection.receive_data(b"")
    assert connection.next_event(0.001) is CLOSED


def test_many_copies_take_no_memory() -> None:
    """Copies are counted, not kept: each of them runs if they were meant."""
    connection = _after_first(FA * 5000)
    assert connection.next_event(0.0) == Wait(REPEAT_WAIT)
    assert [connection.next_event(1.0) for _ in range(5001)] == [A] * 5000 + [FOREVER]


def test_frames_behind_copies_stay_in_order() -> None:
    """A A A B A B: whatever follows the copies follows them."""
    connection = _connection(FA * 3 + FB + FA + FB)
    assert [connection.next_event(0.0) for _ in range(7)] == [A, A, A, B, A, B, FOREVER]


def test_idle_timeout() -> None:
    """The time between an answer and the next frame's first byte has its limit, and then the connection closes."""
    connection = _connection(idle_timeout=10)
    assert connection.next_event(0.0) == Wait(10)
    assert connection.next_event(9.9) == Wait(10)
    connection.receive_data(FA)
    assert connection.next_event(9.9) == A
    assert connection.next_event(20.0) == Wait(30)
    assert connection.next_event(30.0) is CLOSED


def test_white_space_does_not_keep_a_connection() -> None:
    """White space is no frame, so it does not put off the idle timeout."""
    connection = _connection(idle_timeout=10)
    assert connection.next_event(0.0) == Wait(10)
    connection.receive_data(b"\n")
    assert connection.next_event(9.0) == Wait(10)


def test_a_frame_that_came_in_time() -> None:
    """A frame that is there when the idle timeout passes runs."""
    connection = _connection(idle_timeout=10)
    assert connection.next_event(0.0) == Wait(10)
    connection.receive_data(FA)
    assert connection.next_event(10.0) == A


def test_frame_timeout() -> None:
    """A frame that does not arrive in time breaks the stream, however its bytes trickle in."""
    connection = _connection(FA[:1], frame_timeout=5)
    assert connection.next_event(0.0) == Wait(5)
    connection.receive_data(FA[1:6])
    assert connection.next_event(4.0) == Wait(5)
    connection.receive_data(FA[6:7])
    with pytest.raises(FramingError, match="within 5 seconds") as caught:
        connection.next_event(5.0)
    assert caught.value.code == "invalid_request"


def test_frame_and_idle_timeout() -> None:
    """The frame timeout begins with a frame's first byte, the idle timeout anew with each answer."""
    connection = _connection(frame_timeout=5, idle_timeout=10)
    assert connection.next_event(0.0) == Wait(10)
    connection.receive_data(FA[:6])
    assert connection.next_event(9.0) == Wait(14)
    connection.receive_data(FA[6:] + FB[:6])
    assert connection.next_event(13.0) == A
    assert connection.next_event(20.0) == Wait(25)
    connection.receive_data(FB[6:])
    assert connection.next_event(24.0) == B
    assert connection.next_event(24.0) == Wait(34)


def test_frame_timeout_after_a_copy() -> None:
    """The rest of half a copy has its own time after the wait."""
    connection = _connection(FA + FA + FA[:5], frame_timeout=5)
    assert connection.next_event(0.0) == A
    assert connection.next_event(0.0) == Wait(COPY_WAIT)
    assert connection.next_event(6.0) == A
    assert connection.next_event(6.0) == Wait(11)
    with pytest.raises(FramingError):
        connection.next_event(11.0)


def test_idle_timeout_does_not_shorten_the_wait_for_a_copy() -> None:
    """A copy that arrives just before the idle timeout has its own wait and then runs."""
    connection = _connection(FA, idle_timeout=10)
    assert connection.next_event(0.0) == A
    assert connection.next_event(0.0) == Wait(10)
    connection.receive_data(FA)
    assert connection.next_event(9.99) == Wait(9.99 + REPEAT_WAIT)
    assert connection.next_event(10.25) == A
    assert connection.next_event(10.25) == Wait(20.25)


def test_the_cap() -> None:
    """A frame above the connection's cap is refused with its own code."""
    with pytest.raises(FramingError) as caught:
        _connection(b"1001{").next_event(0.0)
    assert caught.value.code == "request_too_long"

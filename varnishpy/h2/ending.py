"""How a stream ends: the whole way from the last octet sent, or the last word received, to the stream freed.

```
   our last octet is sent           given up unsent, or half sent       the stream is reset, by either side
        response_sent                      response_lost <---------------------- reset
              |  our half is closed              |                                 |  both halves are closed
              `---------------.------------------'                                 |
                              v                                                    |
                       _response_over: the source is closed; `Holding.over`        |
                         |                        |                                |
                         | nobody holds           | a request thread still holds the request:
                         v                        v                                |
                    Desk.finish         it finishes the request when it lets go,   |
                         |              and leaves the `Holding` in the inbox      |
                         |                        v                                |
                         |                  request_finished                       |
                         |                        |                                |
                         `------------.-----------'--------------------------------'
                                      v
                                    free: closed, and nobody holds the request
```

A request that ends without a response (it failed, or its thread raised) comes by `request_finished` too: its stream is
reset. Everything here runs on the session thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.h2.frames import rst_stream_frame
from varnishpy.h2.stream import Stream, advance
from varnishpy.h2.tables import CE, CLOSED, IDLE, RECEIVED_END, RECEIVED_RESET, SE, SENT_END, SENT_RESET, H2Error
from varnishpy.log.tag_numbers import DEBUG, ERROR

if TYPE_CHECKING:
    from varnishpy.h2.outgoing import Outgoing


STOP_PATIENCE: Final = 1.0  # seconds a client has to end its request when it has the whole response


# -- the response ----------------------------------------------------------------------------------------------------


def response_sent(out: Outgoing) -> None:
    """Our last octet has left, and so our half of the stream is closed.

    A client that is still sending is told to stop (RFC 9113 section 8.1): when it goes on, or when it has not come to
    its end in a while. Not at once, because the end may be on its way.
    """
    stream = out.stream
    if stream.state is not CLOSED:
        advance(stream, SENT_END)
        if not stream.rx_ended:
            h2 = stream.h2
            if h2.compat:
                reset(stream, SE.NO_ERROR)
            else:
                stream.t_stop = h2.now + STOP_PATIENCE
                h2.due(stream.t_stop)
    _response_over(out)


def response_lost(out: Outgoing, error: H2Error | None) -> None:
    """A response was not sent, or not wholly."""
    request = out.request
    if request is not None:
        request.doclose = request.doclose or "TX_ERROR"
        if error is not None and error.code:
            request.log.put(ERROR, f"H2: delivery error ({error.log_name})")
    _response_over(out)


def _response_over(out: Outgoing) -> None:
    stream = out.stream
    out.over()
    if stream.response is out:
        stream.response = None
    if out.request is None:  # a response of our own making; a request thread has the request, or has finished it
        free(stream)
    elif stream.holding.over():
        stream.h2.host.desk.finish(stream)
        if stream.state is CLOSED:
            _remove(stream)


def request_finished(stream: Stream) -> None:
    """A request thread was the last that held the request, and has finished it."""
    if stream.state is not CLOSED and stream.response is None:
        # no response, and none to come
        reset(stream, stream.async_error or SE.INTERNAL_ERROR, charge=False)
    else:
        free(stream)


# -- the stream ------------------------------------------------------------------------------------------------------


def end_received(stream: Stream) -> None:
    """The client has said END_STREAM: wake the reader, close the stream if we had ended it too."""
    advance(stream, RECEIVED_END)
    if stream.reader is not None:
        wake_reader(stream)
    free(stream)


def reset(stream: Stream, error: H2Error, by_peer: bool = False, charge: bool = True) -> None:
    """End a stream before its time, or let it go when its time has come (NO_ERROR).

    :param by_peer: the client reset it, so there is nobody to tell
    :param charge: a young stream's end counts against the rapid-reset budget, unless the reason is NO_ERROR
    """
    h2 = stream.h2
    h2.assert_session_thread()
    holding = stream.holding
    state = stream.state
    h2.log.put(DEBUG, f"KILL st={stream.number} state={state:d} sched={holding.busy:d} error={error.code}")
    first = stream.error is None
    alive = state is not CLOSED and state is not IDLE
    if first and not by_peer and h2.error is None and alive:
        h2.stats.h2_resets_tx += 1
        h2.control(rst_stream_frame(stream.number, error.code))
    if first or stream.error is SE.NO_ERROR:
        stream.error = error
    if first and charge and error.code != 0:
        h2.charge_reset(stream.t_open)
    if stream is h2.block.stream:
        h2.block.stream = None
        if h2.error is None:
            h2.fail(CE.COMPRESSION_ERROR)
    h2.transmitter.unstick(stream)
    if stream.state is not CLOSED and stream.state is not IDLE:  # saying so may have had to flush, and that may fail
        advance(stream, RECEIVED_RESET if by_peer else SENT_RESET)
    stream.async_error = None
    stream.rx_ended = True
    out = h2.transmitter.withdraw(stream)
    if out is not None:
        response_lost(out, stream.error or h2.error)
    if holding.busy:
        wake_reader(stream)
        if error.code != 0 or h2.error is not None:
            h2.host.desk.walk_away(stream)
    free(stream)


def wake_reader(stream: Stream) -> None:
    """Have whoever waits for the stream's body look again."""
    with stream.h2.mutex:
        if stream.reader is not None:
            stream.reader.notify_all()


def free(stream: Stream) -> None:
    """Take a stream out of the session's table, if it is closed and nobody holds its request."""
    if stream.state is CLOSED and not stream.holding.busy:
        _remove(stream)


def _remove(stream: Stream) -> None:
    if stream.h2.streams.pop(stream.number, None) is not None:
        stream.request = None
        if stream.rx_buffer is not None:
            stream.rx_buffer.free()
            stream.rx_buffer = None

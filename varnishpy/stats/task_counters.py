"""The counters of MAIN that tasks count in slots of their own.

Made by tools/genviews (``make docs``) from the tables: do not edit.
"""

from __future__ import annotations


class TaskCounters:
    """What one task has counted and not yet added to MAIN. One thread at a time."""

    __slots__ = (
        "sess_conn", "client_req_400", "client_req_417", "client_req", "esi_req", "cache_hit", "cache_hit_grace",
        "cache_hitpass", "cache_hitmiss", "cache_miss", "beresp_uncacheable", "beresp_shortlived", "backend_conn",
        "backend_unhealthy", "backend_busy", "backend_fail", "backend_reuse", "backend_recycle", "backend_retry",
        "backend_wait", "backend_wait_fail", "fetch_head", "fetch_length", "fetch_chunked", "fetch_eof", "fetch_bad",
        "fetch_none", "fetch_1xx", "fetch_204", "fetch_304", "fetch_failed", "fetch_stale", "bgfetch_no_thread",
        "threads", "busy_sleep", "busy_wakeup", "req_reset", "req_body_slow", "req_contained", "n_object",
        "n_objectcore", "n_objecthead", "n_expired", "s_sess", "pipe_limited", "s_pipe", "s_pass", "s_fetch",
        "s_bgfetch", "s_synth", "s_req_hdrbytes", "s_req_bodybytes", "s_resp_hdrbytes", "s_resp_bodybytes",
        "s_pipe_hdrbytes", "s_pipe_in", "s_pipe_out", "transit_stored", "transit_buffered", "sess_closed",
        "sess_readahead", "sess_herd", "client_resp_500", "ws_backend_overflow", "ws_client_overflow",
        "ws_thread_overflow", "backend_req", "vcl_fail", "bans_lurker_tested", "bans_lurker_tests_tested",
        "bans_lurker_obj_killed", "bans_lurker_obj_killed_cutoff", "n_purges", "n_obj_purged", "n_search_rule",
        "n_invalidated", "exp_received", "n_gzip", "n_gunzip", "n_pack", "n_unpack", "n_test_gunzip",
        "http1_iovs_flush", "http1_held", "http1_absolute_form", "h2_streams", "h2_streams_live", "h2_streams_refused",
        "h2_parks", "h2_parked", "h2_polls", "h2_frames_rx", "h2_frames_tx", "h2_sends", "h2_bogosity", "h2_errors",
        "h2_resets_rx", "h2_resets_tx", "h2_rapid_reset", "h2_floods", "h2_lists_too_large", "h2_window_stuck",
        "h2_control_full",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sess_conn = 0
        self.client_req_400 = 0
        self.client_req_417 = 0
        self.client_req = 0
        self.esi_req = 0
        self.cache_hit = 0
        self.cache_hit_grace = 0
        self.cache_hitpass = 0
        self.cache_hitmiss = 0
        self.cache_miss = 0
        self.beresp_uncacheable = 0
        self.beresp_shortlived = 0
        self.backend_conn = 0
        self.backend_unhealthy = 0
        self.backend_busy = 0
        self.backend_fail = 0
        self.backend_reuse = 0
        self.backend_recycle = 0
        self.backend_retry = 0
        self.backend_wait = 0
        self.backend_wait_fail = 0
        self.fetch_head = 0
        self.fetch_length = 0
        self.fetch_chunked = 0
        self.fetch_eof = 0
        self.fetch_bad = 0
        self.fetch_none = 0
        self.fetch_1xx = 0
        self.fetch_204 = 0
        self.fetch_304 = 0
        self.fetch_failed = 0
        self.fetch_stale = 0
        self.bgfetch_no_thread = 0
        self.threads = 0
        self.busy_sleep = 0
        self.busy_wakeup = 0
        self.req_reset = 0
        self.req_body_slow = 0
        self.req_contained = 0
        self.n_object = 0
        self.n_objectcore = 0
        self.n_objecthead = 0
        self.n_expired = 0
        self.s_sess = 0
        self.pipe_limited = 0
        self.s_pipe = 0
        self.s_pass = 0
        self.s_fetch = 0
        self.s_bgfetch = 0
        self.s_synth = 0
        self.s_req_hdrbytes = 0
        self.s_req_bodybytes = 0
        self.s_resp_hdrbytes = 0
        self.s_resp_bodybytes = 0
        self.s_pipe_hdrbytes = 0
        self.s_pipe_in = 0
        self.s_pipe_out = 0
        self.transit_stored = 0
        self.transit_buffered = 0
        self.sess_closed = 0
        self.sess_readahead = 0
        self.sess_herd = 0
        self.client_resp_500 = 0
        self.ws_backend_overflow = 0
        self.ws_client_overflow = 0
        self.ws_thread_overflow = 0
        self.backend_req = 0
        self.vcl_fail = 0
        self.bans_lurker_tested = 0
        self.bans_lurker_tests_tested = 0
        self.bans_lurker_obj_killed = 0
        self.bans_lurker_obj_killed_cutoff = 0
        self.n_purges = 0
        self.n_obj_purged = 0
        self.n_search_rule = 0
        self.n_invalidated = 0
        self.exp_received = 0
        self.n_gzip = 0
        self.n_gunzip = 0
        self.n_pack = 0
        self.n_unpack = 0
        self.n_test_gunzip = 0
        self.http1_iovs_flush = 0
        self.http1_held = 0
        self.http1_absolute_form = 0
        self.h2_streams = 0
        self.h2_streams_live = 0
        self.h2_streams_refused = 0
        self.h2_parks = 0
        self.h2_parked = 0
        self.h2_polls = 0
        self.h2_frames_rx = 0
        self.h2_frames_tx = 0
        self.h2_sends = 0
        self.h2_bogosity = 0
        self.h2_errors = 0
        self.h2_resets_rx = 0
        self.h2_resets_tx = 0
        self.h2_rapid_reset = 0
        self.h2_floods = 0
        self.h2_lists_too_large = 0
        self.h2_window_stuck = 0
        self.h2_control_full = 0

    def move(self, into: dict[str, int]) -> bool:
        """Add all to the counters of those names and begin again from zero; whether there was anything."""
        moved = False
        if self.sess_conn:
            into["sess_conn"] += self.sess_conn
            self.sess_conn = 0
            moved = True
        if self.client_req_400:
            into["client_req_400"] += self.client_req_400
            self.client_req_400 = 0
            moved = True
        if self.client_req_417:
            into["client_req_417"] += self.client_req_417
            self.client_req_417 = 0
            moved = True
        if self.client_req:
            into["client_req"] += self.client_req
            self.client_req = 0
            moved = True
        if self.esi_req:
            into["esi_req"] += self.esi_req
            self.esi_req = 0
            moved = True
        if self.cache_hit:
            into["cache_hit"] += self.cache_hit
            self.cache_hit = 0
            moved = True
        if self.cache_hit_grace:
            into["cache_hit_grace"] += self.cache_hit_grace
            self.cache_hit_grace = 0
            moved = True
        if self.cache_hitpass:
            into["cache_hitpass"] += self.cache_hitpass
            self.cache_hitpass = 0
            moved = True
        if self.cache_hitmiss:
            into["cache_hitmiss"] += self.cache_hitmiss
            self.cache_hitmiss = 0
            moved = True
        if self.cache_miss:
            into["cache_miss"] += self.cache_miss
            self.cache_miss = 0
            moved = True
        if self.beresp_uncacheable:
            into["beresp_uncacheable"] += self.beresp_uncacheable
            self.beresp_uncacheable = 0
            moved = True
        if self.beresp_shortlived:
            into["beresp_shortlived"] += self.beresp_shortlived
            self.beresp_shortlived = 0
            moved = True
        if self.backend_conn:
            into["backend_conn"] += self.backend_conn
            self.backend_conn = 0
            moved = True
        if self.backend_unhealthy:
            into["backend_unhealthy"] += self.backend_unhealthy
            self.backend_unhealthy = 0
            moved = True
        if self.backend_busy:
            into["backend_busy"] += self.backend_busy
            self.backend_busy = 0
            moved = True
        if self.backend_fail:
            into["backend_fail"] += self.backend_fail
            self.backend_fail = 0
            moved = True
        if self.backend_reuse:
            into["backend_reuse"] += self.backend_reuse
            self.backend_reuse = 0
            moved = True
        if self.backend_recycle:
            into["backend_recycle"] += self.backend_recycle
            self.backend_recycle = 0
            moved = True
        if self.backend_retry:
            into["backend_retry"] += self.backend_retry
            self.backend_retry = 0
            moved = True
        if self.backend_wait:
            into["backend_wait"] += self.backend_wait
            self.backend_wait = 0
            moved = True
        if self.backend_wait_fail:
            into["backend_wait_fail"] += self.backend_wait_fail
            self.backend_wait_fail = 0
            moved = True
        if self.fetch_head:
            into["fetch_head"] += self.fetch_head
            self.fetch_head = 0
            moved = True
        if self.fetch_length:
            into["fetch_length"] += self.fetch_length
            self.fetch_length = 0
            moved = True
        if self.fetch_chunked:
            into["fetch_chunked"] += self.fetch_chunked
            self.fetch_chunked = 0
            moved = True
        if self.fetch_eof:
            into["fetch_eof"] += self.fetch_eof
            self.fetch_eof = 0
            moved = True
        if self.fetch_bad:
            into["fetch_bad"] += self.fetch_bad
            self.fetch_bad = 0
            moved = True
        if self.fetch_none:
            into["fetch_none"] += self.fetch_none
            self.fetch_none = 0
            moved = True
        if self.fetch_1xx:
            into["fetch_1xx"] += self.fetch_1xx
            self.fetch_1xx = 0
            moved = True
        if self.fetch_204:
            into["fetch_204"] += self.fetch_204
            self.fetch_204 = 0
            moved = True
        if self.fetch_304:
            into["fetch_304"] += self.fetch_304
            self.fetch_304 = 0
            moved = True
        if self.fetch_failed:
            into["fetch_failed"] += self.fetch_failed
            self.fetch_failed = 0
            moved = True
        if self.fetch_stale:
            into["fetch_stale"] += self.fetch_stale
            self.fetch_stale = 0
            moved = True
        if self.bgfetch_no_thread:
            into["bgfetch_no_thread"] += self.bgfetch_no_thread
            self.bgfetch_no_thread = 0
            moved = True
        if self.threads:
            into["threads"] += self.threads
            self.threads = 0
            moved = True
        if self.busy_sleep:
            into["busy_sleep"] += self.busy_sleep
            self.busy_sleep = 0
            moved = True
        if self.busy_wakeup:
            into["busy_wakeup"] += self.busy_wakeup
            self.busy_wakeup = 0
            moved = True
        if self.req_reset:
            into["req_reset"] += self.req_reset
            self.req_reset = 0
            moved = True
        if self.req_body_slow:
            into["req_body_slow"] += self.req_body_slow
            self.req_body_slow = 0
            moved = True
        if self.req_contained:
            into["req_contained"] += self.req_contained
            self.req_contained = 0
            moved = True
        if self.n_object:
            into["n_object"] += self.n_object
            self.n_object = 0
            moved = True
        if self.n_objectcore:
            into["n_objectcore"] += self.n_objectcore
            self.n_objectcore = 0
            moved = True
        if self.n_objecthead:
            into["n_objecthead"] += self.n_objecthead
            self.n_objecthead = 0
            moved = True
        if self.n_expired:
            into["n_expired"] += self.n_expired
            self.n_expired = 0
            moved = True
        if self.s_sess:
            into["s_sess"] += self.s_sess
            self.s_sess = 0
            moved = True
        if self.pipe_limited:
            into["pipe_limited"] += self.pipe_limited
            self.pipe_limited = 0
            moved = True
        if self.s_pipe:
            into["s_pipe"] += self.s_pipe
            self.s_pipe = 0
            moved = True
        if self.s_pass:
            into["s_pass"] += self.s_pass
            self.s_pass = 0
            moved = True
        if self.s_fetch:
            into["s_fetch"] += self.s_fetch
            self.s_fetch = 0
            moved = True
        if self.s_bgfetch:
            into["s_bgfetch"] += self.s_bgfetch
            self.s_bgfetch = 0
            moved = True
        if self.s_synth:
            into["s_synth"] += self.s_synth
            self.s_synth = 0
            moved = True
        if self.s_req_hdrbytes:
            into["s_req_hdrbytes"] += self.s_req_hdrbytes
            self.s_req_hdrbytes = 0
            moved = True
        if self.s_req_bodybytes:
            into["s_req_bodybytes"] += self.s_req_bodybytes
            self.s_req_bodybytes = 0
            moved = True
        if self.s_resp_hdrbytes:
            into["s_resp_hdrbytes"] += self.s_resp_hdrbytes
            self.s_resp_hdrbytes = 0
            moved = True
        if self.s_resp_bodybytes:
            into["s_resp_bodybytes"] += self.s_resp_bodybytes
            self.s_resp_bodybytes = 0
            moved = True
        if self.s_pipe_hdrbytes:
            into["s_pipe_hdrbytes"] += self.s_pipe_hdrbytes
            self.s_pipe_hdrbytes = 0
            moved = True
        if self.s_pipe_in:
            into["s_pipe_in"] += self.s_pipe_in
            self.s_pipe_in = 0
            moved = True
        if self.s_pipe_out:
            into["s_pipe_out"] += self.s_pipe_out
            self.s_pipe_out = 0
            moved = True
        if self.transit_stored:
            into["transit_stored"] += self.transit_stored
            self.transit_stored = 0
            moved = True
        if self.transit_buffered:
            into["transit_buffered"] += self.transit_buffered
            self.transit_buffered = 0
            moved = True
        if self.sess_closed:
            into["sess_closed"] += self.sess_closed
            self.sess_closed = 0
            moved = True
        if self.sess_readahead:
            into["sess_readahead"] += self.sess_readahead
            self.sess_readahead = 0
            moved = True
        if self.sess_herd:
            into["sess_herd"] += self.sess_herd
            self.sess_herd = 0
            moved = True
        if self.client_resp_500:
            into["client_resp_500"] += self.client_resp_500
            self.client_resp_500 = 0
            moved = True
        if self.ws_backend_overflow:
            into["ws_backend_overflow"] += self.ws_backend_overflow
            self.ws_backend_overflow = 0
            moved = True
        if self.ws_client_overflow:
            into["ws_client_overflow"] += self.ws_client_overflow
            self.ws_client_overflow = 0
            moved = True
        if self.ws_thread_overflow:
            into["ws_thread_overflow"] += self.ws_thread_overflow
            self.ws_thread_overflow = 0
            moved = True
        if self.backend_req:
            into["backend_req"] += self.backend_req
            self.backend_req = 0
            moved = True
        if self.vcl_fail:
            into["vcl_fail"] += self.vcl_fail
            self.vcl_fail = 0
            moved = True
        if self.bans_lurker_tested:
            into["bans_lurker_tested"] += self.bans_lurker_tested
            self.bans_lurker_tested = 0
            moved = True
        if self.bans_lurker_tests_tested:
            into["bans_lurker_tests_tested"] += self.bans_lurker_tests_tested
            self.bans_lurker_tests_tested = 0
            moved = True
        if self.bans_lurker_obj_killed:
            into["bans_lurker_obj_killed"] += self.bans_lurker_obj_killed
            self.bans_lurker_obj_killed = 0
            moved = True
        if self.bans_lurker_obj_killed_cutoff:
            into["bans_lurker_obj_killed_cutoff"] += self.bans_lurker_obj_killed_cutoff
            self.bans_lurker_obj_killed_cutoff = 0
            moved = True
        if self.n_purges:
            into["n_purges"] += self.n_purges
            self.n_purges = 0
            moved = True
        if self.n_obj_purged:
            into["n_obj_purged"] += self.n_obj_purged
            self.n_obj_purged = 0
            moved = True
        if self.n_search_rule:
            into["n_search_rule"] += self.n_search_rule
            self.n_search_rule = 0
            moved = True
        if self.n_invalidated:
            into["n_invalidated"] += self.n_invalidated
            self.n_invalidated = 0
            moved = True
        if self.exp_received:
            into["exp_received"] += self.exp_received
            self.exp_received = 0
            moved = True
        if self.n_gzip:
            into["n_gzip"] += self.n_gzip
            self.n_gzip = 0
            moved = True
        if self.n_gunzip:
            into["n_gunzip"] += self.n_gunzip
            self.n_gunzip = 0
            moved = True
        if self.n_pack:
            into["n_pack"] += self.n_pack
            self.n_pack = 0
            moved = True
        if self.n_unpack:
            into["n_unpack"] += self.n_unpack
            self.n_unpack = 0
            moved = True
        if self.n_test_gunzip:
            into["n_test_gunzip"] += self.n_test_gunzip
            self.n_test_gunzip = 0
            moved = True
        if self.http1_iovs_flush:
            into["http1_iovs_flush"] += self.http1_iovs_flush
            self.http1_iovs_flush = 0
            moved = True
        if self.http1_held:
            into["http1_held"] += self.http1_held
            self.http1_held = 0
            moved = True
        if self.http1_absolute_form:
            into["http1_absolute_form"] += self.http1_absolute_form
            self.http1_absolute_form = 0
            moved = True
        if self.h2_streams:
            into["h2_streams"] += self.h2_streams
            self.h2_streams = 0
            moved = True
        if self.h2_streams_live:
            into["h2_streams_live"] += self.h2_streams_live
            self.h2_streams_live = 0
            moved = True
        if self.h2_streams_refused:
            into["h2_streams_refused"] += self.h2_streams_refused
            self.h2_streams_refused = 0
            moved = True
        if self.h2_parks:
            into["h2_parks"] += self.h2_parks
            self.h2_parks = 0
            moved = True
        if self.h2_parked:
            into["h2_parked"] += self.h2_parked
            self.h2_parked = 0
            moved = True
        if self.h2_polls:
            into["h2_polls"] += self.h2_polls
            self.h2_polls = 0
            moved = True
        if self.h2_frames_rx:
            into["h2_frames_rx"] += self.h2_frames_rx
            self.h2_frames_rx = 0
            moved = True
        if self.h2_frames_tx:
            into["h2_frames_tx"] += self.h2_frames_tx
            self.h2_frames_tx = 0
            moved = True
        if self.h2_sends:
            into["h2_sends"] += self.h2_sends
            self.h2_sends = 0
            moved = True
        if self.h2_bogosity:
            into["h2_bogosity"] += self.h2_bogosity
            self.h2_bogosity = 0
            moved = True
        if self.h2_errors:
            into["h2_errors"] += self.h2_errors
            self.h2_errors = 0
            moved = True
        if self.h2_resets_rx:
            into["h2_resets_rx"] += self.h2_resets_rx
            self.h2_resets_rx = 0
            moved = True
        if self.h2_resets_tx:
            into["h2_resets_tx"] += self.h2_resets_tx
            self.h2_resets_tx = 0
            moved = True
        if self.h2_rapid_reset:
            into["h2_rapid_reset"] += self.h2_rapid_reset
            self.h2_rapid_reset = 0
            moved = True
        if self.h2_floods:
            into["h2_floods"] += self.h2_floods
            self.h2_floods = 0
            moved = True
        if self.h2_lists_too_large:
            into["h2_lists_too_large"] += self.h2_lists_too_large
            self.h2_lists_too_large = 0
            moved = True
        if self.h2_window_stuck:
            into["h2_window_stuck"] += self.h2_window_stuck
            self.h2_window_stuck = 0
            moved = True
        if self.h2_control_full:
            into["h2_control_full"] += self.h2_control_full
            self.h2_control_full = 0
            moved = True
        return moved

"""The counters of the cache process as a whole (class MAIN)."""

from __future__ import annotations

from varnishpy.stats.columns import Column, counter, gauge, task_counter, task_gauge

_SESSION_CLOSES = (
    ("rem_close", False, "the client closed"),
    ("req_close", False, "the client asked to close"),
    ("req_http10", True, "a protocol before HTTP/1.1"),
    ("rx_bad", True, "a bad request or response was received"),
    ("rx_body", True, "the request body could not be received"),
    ("rx_junk", True, "something other than HTTP was received"),
    ("rx_overflow", True, "a request outgrew its buffer"),
    ("rx_timeout", True, "receiving took too long"),
    ("rx_close_idle", True, "idle for timeout_idle"),
    ("tx_pipe", False, "the connection was piped"),
    ("tx_error", True, "the response could not be sent"),
    ("tx_eof", False, "the end of the response is the end of the connection"),
    ("resp_close", False, "the backend or VCL asked to close"),
    ("overload", True, "some resource ran out"),
    ("pipe_overflow", True, "too many pipes"),
    ("range_short", True, "the body ended before the range did"),
    ("req_http20", True, "HTTP/2 is not accepted here"),
    ("vcl_failure", True, "VCL failed"),
    ("rapid_reset", True, "streams were reset too fast"),
    ("bankrupt", True, "no stream had any window left for too long"),
)

_CLIENT: tuple[Column, ...] = (
    counter("summs", "Statistics merges", "How often a thread's own counters were added to these.", "debug"),
    counter("uptime", "Age of the cache process", "Seconds since the cache process started.", format="duration"),
    task_counter("sess_conn", "Connections accepted", "Client connections that were accepted."),
    counter("sess_fail", "Failed accepts", "Connections that could not be accepted: the sum of the sess_fail_* rows."),
    counter("sess_fail_econnaborted", "Failed accepts: aborted", "The client was gone before the accept; harmless."),
    counter("sess_fail_eintr", "Failed accepts: interrupted", "A signal interrupted the accept; harmless."),
    counter(
        "sess_fail_emfile", "Failed accepts: no descriptor", "File descriptors ran out: raise the limit (ulimit -n)."
    ),
    counter("sess_fail_ebadf", "Failed accepts: bad socket", "The listen socket was invalid; should never happen."),
    counter("sess_fail_enomem", "Failed accepts: no memory", "The system had no memory for socket buffers."),
    counter("sess_fail_other", "Failed accepts: other", "Some other reason; the SessError records of the log name it."),
    task_counter("client_req_400", "Malformed requests", "Requests answered with 400 because they made no sense."),
    task_counter(
        "client_req_417", "Requests with a bad Expect", "Requests answered with 417 because of their Expect header."
    ),
    task_counter("client_req", "Client requests", "Well-formed requests received."),
    task_counter("esi_req", "ESI subrequests", "Requests made for ESI includes."),
    task_counter("cache_hit", "Hits", "Requests answered from the cache without asking a backend first."),
    task_counter(
        "cache_hit_grace", "Hits in grace", "Hits on expired objects that were still in grace; also in cache_hit."
    ),
    task_counter("cache_hitpass", "Hit-for-pass", "Requests passed because an earlier one decided so for this object."),
    task_counter(
        "cache_hitmiss", "Hit-for-miss", "Requests fetched alone because the object is known to be uncacheable."
    ),
    task_counter("cache_miss", "Misses", "Requests for which the object had to be fetched first."),
    task_counter("beresp_uncacheable", "Uncacheable responses", "Backend responses that may not be kept."),
    task_counter(
        "beresp_shortlived", "Short-lived objects", "Objects whose ttl, grace and keep sum to less than 'shortlived'."
    ),
)

_BACKEND: tuple[Column, ...] = (
    task_counter("backend_conn", "Backend connections made", "Connections to backends that were established."),
    task_counter("backend_unhealthy", "Backend was sick", "Connections not tried because the backend was sick."),
    task_counter("backend_busy", "Backend was busy", "Connections not tried because max_connections was reached."),
    task_counter(
        "backend_fail", "Backend connections failed", "Connections to backends that could not be established."
    ),
    task_counter("backend_reuse", "Backend connections reused", "Times an idle connection was taken from the pool."),
    task_counter("backend_recycle", "Backend connections kept", "Times a connection went back to the pool after use."),
    task_counter(
        "backend_retry", "Backend connections retried", "Times a reused connection proved dead and a new one was made."
    ),
    task_counter(
        "backend_wait", "Waits for a backend connection", "Fetches that queued because max_connections was reached."
    ),
    task_counter("backend_wait_fail", "Waits in vain", "Fetches that queued and got no connection in time."),
    task_counter("fetch_head", "Fetches without body: HEAD", "The request was HEAD."),
    task_counter("fetch_length", "Fetches with length", "The response said how long it is."),
    task_counter("fetch_chunked", "Fetches in chunks", "The response came in chunks."),
    task_counter("fetch_eof", "Fetches to the end of connection", "The end of the connection ended the body."),
    task_counter("fetch_bad", "Fetches with a bad coding", "How the body is framed could not be told."),
    task_counter("fetch_none", "Fetches of nothing", "The response has an empty body."),
    task_counter("fetch_1xx", "Fetches without body: 1xx", "The status has no body."),
    task_counter("fetch_204", "Fetches without body: 204", "The status has no body."),
    task_counter("fetch_304", "Fetches without body: 304", "The status has no body."),
    task_counter("fetch_failed", "Failed fetches", "Fetches that failed, for any reason."),
    task_counter("fetch_stale", "Stale after failure", "Failures hidden by a stale object (stale_if_error)."),
    task_counter("bgfetch_no_thread", "Background fetches without thread", "Given up because no worker was to be had."),
)

_THREADS: tuple[Column, ...] = (
    gauge("pools", "Thread pools", "See parameter thread_pools."),
    task_gauge(
        "threads", "Worker threads", "Workers in all pools. See parameters thread_pool_min and thread_pool_max."
    ),
    counter(
        "threads_limited", "Pools at their limit", "Times one more worker was needed and thread_pool_max forbade it."
    ),
    counter("threads_created", "Workers created", "Worker threads started since the process began."),
    counter("threads_destroyed", "Workers ended", "Worker threads that were retired."),
    counter("threads_failed", "Workers not created", "Times the system refused a thread. See thread_fail_delay."),
    counter("core_moves", "Changes of core", "Times all threads were put on a core, or let go. See keep_core.", "diag"),
    gauge("thread_queue_len", "Tasks that wait for a worker", "Length of all queues. See thread_queue_limit."),
    task_counter(
        "busy_sleep", "Requests put to sleep", "Requests that met an object being fetched and left their worker."
    ),
    task_counter("busy_wakeup", "Requests woken", "Requests taken off a waiting list and scheduled again."),
    counter(
        "busy_killed", "Requests given up in sleep", "Requests on a waiting list that ended for want of resources."
    ),
    counter("sess_queued", "Sessions queued", "Sessions that had to wait for a worker."),
    counter("sess_dropped", "Sessions dropped", "Connections reset because the pools were stopping."),
    counter("sess_held", "Acceptors held", "Times an acceptor left connections in the listen queue: no pool had room."),
    gauge(
        "sess_waiting",
        "Connections not yet accepted",
        "Connections in the kernel's listen queues. At listen_depth the kernel lets clients try again.",
    ),
    counter("req_dropped", "Requests dropped", "HTTP/2 streams refused because the queue was full."),
    task_counter("req_reset", "Requests reset", "Requests abandoned because their client had gone."),
    task_counter(
        "req_body_slow",
        "Request bodies that came too slowly",
        "Bodies given up because threads were scarce and they kept one waiting: see timeout_reqbody, reqbody_rate.",
    ),
    task_counter(
        "req_contained",
        "Requests failed by a defect",
        "Requests ended by an internal error that harmed nothing else; their log has the traceback.",
    ),
)

_OBJECTS: tuple[Column, ...] = (
    task_gauge("n_object", "Objects", "Objects in the cache."),
    gauge(
        "n_vampireobject",
        "Unresurrected objects",
        "Objects of a persistent storage that were not looked at yet.",
        "diag",
    ),
    task_gauge(
        "n_objectcore", "Object cores", "Objects, hit-for-pass and hit-for-miss markers, and fetches under way."
    ),
    task_gauge("n_objecthead", "Object heads", "Different hash keys in the cache."),
    gauge("n_backend", "Backends", "Backends known in all loaded VCLs."),
    task_counter("n_expired", "Objects expired", "Objects that left the cache because of their age."),
    counter("n_superseded", "Objects superseded", "Objects replaced by a newer one of the same key.", "diag"),
    counter("n_lru_nuked", "Objects evicted", "Objects thrown out to make room for others."),
    counter("n_lru_moved", "LRU moves", "Times an object moved to the fresh end of its LRU list.", "diag"),
    counter("n_lru_limited", "nuke_limit reached", "Times making room was given up after nuke_limit evictions."),
    counter("losthdr", "Headers lost", "Header fields that did not fit: http_max_hdr or workspace."),
    task_counter("s_sess", "Sessions", "Sessions served."),
    gauge("n_pipe", "Pipes now", "Connections being piped."),
    task_counter("pipe_limited", "Pipes refused", "Pipes refused because of pipe_sess_max."),
    task_counter("s_pipe", "Pipes", "Requests that were piped."),
    task_counter("s_pass", "Passes", "Requests that were passed."),
    task_counter("s_fetch", "Fetches", "Fetches begun, those in the background included."),
    task_counter("s_bgfetch", "Background fetches", "Fetches begun while a client got an older object."),
    task_counter("s_synth", "Synthetic responses", "Responses made in VCL."),
    task_counter("s_req_hdrbytes", "Request header octets", "Received from clients.", format="bytes"),
    task_counter("s_req_bodybytes", "Request body octets", "Received from clients.", format="bytes"),
    task_counter("s_resp_hdrbytes", "Response header octets", "Sent to clients.", format="bytes"),
    task_counter("s_resp_bodybytes", "Response body octets", "Sent to clients.", format="bytes"),
    task_counter("s_pipe_hdrbytes", "Pipe request octets", "Request heads of piped requests.", format="bytes"),
    task_counter("s_pipe_in", "Piped octets from clients", "", format="bytes"),
    task_counter("s_pipe_out", "Piped octets to clients", "", format="bytes"),
    task_counter(
        "transit_stored",
        "Uncacheable octets stored",
        "Body octets that passed through Transient storage.",
        format="bytes",
    ),
    task_counter(
        "transit_buffered", "Uncacheable octets held back", "Body octets limited by transit_buffer.", format="bytes"
    ),
    task_counter("sess_closed", "Sessions closed", "Sessions that ended."),
    counter("sess_closed_err", "Sessions closed on an error", "Sessions that ended badly; the sc_* rows say why."),
    task_counter("sess_readahead", "Pipelined requests", "Requests whose first octets came with the previous one."),
    task_counter("sess_herd", "Sessions come to rest", "Times a session with nothing to read left its worker.", "diag"),
    *(
        counter(
            f"sc_{name}",
            f"Closed {'on error' if error else 'well'}: {name.upper()}",
            f"Sessions that ended with {name.upper()}: {text}.",
            "diag",
        )
        for name, error, text in _SESSION_CLOSES
    ),
)

_PROCESS: tuple[Column, ...] = (
    task_counter(
        "client_resp_500",
        "Deliveries failed for workspace",
        "Responses replaced by a 500 for want of workspace.",
        "diag",
    ),
    task_counter("ws_backend_overflow", "workspace_backend overflows", "Times that workspace was too small."),
    task_counter("ws_client_overflow", "workspace_client overflows", "Times that workspace was too small."),
    task_counter("ws_thread_overflow", "workspace_thread overflows", "Times that workspace was too small."),
    counter("ws_session_overflow", "workspace_session overflows", "Times that workspace was too small."),
    counter("shm_records", "Log records", "Records written to the log.", "diag"),
    counter("shm_writes", "Log writes", "Batches and single records written to the log.", "diag"),
    counter("shm_flushes", "Log flushes of full buffers", "Batches written early because vsl_buffer was full.", "diag"),
    counter("shm_cont", "Log lock contention", "Writes that had to wait for another thread's.", "diag"),
    counter("shm_cycles", "Log cycles", "Times the log began again at its start.", "diag"),
    counter("shm_bytes", "Log octets", "Octets written to the log.", "diag", "bytes"),
    task_counter("backend_req", "Backend requests", "Requests sent to backends."),
    gauge("n_vcl", "VCLs", "VCLs loaded."),
    gauge("n_vcl_avail", "VCLs available", "VCLs that can be used.", "diag"),
    gauge("n_vcl_discard", "VCLs discarded", "VCLs that go away when their last task ends.", "diag"),
    task_counter("vcl_fail", "VCL failures", "VCL subroutines that ended in failure."),
    gauge("bans", "Bans", "Bans in the list, completed ones included."),
    gauge("bans_completed", "Bans completed", "Bans that need not be looked at any more.", "diag"),
    gauge("bans_obj", "Bans on obj.*", "Bans that the lurker can test.", "diag"),
    gauge("bans_req", "Bans on req.*", "Bans that only a request can test.", "diag"),
    counter("bans_added", "Bans added", "", "diag"),
    counter("bans_deleted", "Bans deleted", "", "diag"),
    counter("bans_tested", "Bans tested at lookup", "Bans held against an object because a request found it.", "diag"),
    counter("bans_obj_killed", "Objects banned at lookup", "", "diag"),
    task_counter("bans_lurker_tested", "Bans tested by the lurker", "", "diag"),
    counter("bans_tests_tested", "Ban conditions tested at lookup", "A ban can have several conditions.", "diag"),
    task_counter("bans_lurker_tests_tested", "Ban conditions tested by the lurker", "", "diag"),
    task_counter("bans_lurker_obj_killed", "Objects banned by the lurker", "", "diag"),
    task_counter("bans_lurker_obj_killed_cutoff", "Objects killed to shorten the list", "See ban_cutoff.", "diag"),
    counter("bans_dups", "Bans superseded", "Bans completed by an equal newer one. See ban_dups.", "diag"),
    counter("bans_lurker_contention", "Lurker gave way", "Times the lurker stepped back for a lookup.", "diag"),
    gauge("bans_persisted_bytes", "Octets of the stored ban list", "", "diag", "bytes"),
    gauge("bans_persisted_fragmentation", "Waste in the stored ban list", "", "diag", "bytes"),
    task_counter("n_purges", "Purges", "Purge operations done."),
    task_counter("n_obj_purged", "Objects purged", ""),
    task_gauge("n_search_rule", "Resources with No-Vary-Search", "With feature +no_vary_search."),
    task_counter("n_invalidated", "Objects invalidated", "By requests with unsafe methods, with feature +invalidate."),
    counter("exp_mailed", "Objects sent to expiry", "", "diag"),
    task_counter("exp_received", "Objects taken by expiry", "", "diag"),
    counter("hcb_nolock", "Lookups without lock", "", "debug"),
    counter("hcb_lock", "Lookups with lock", "", "debug"),
    counter("hcb_insert", "Hash inserts", "", "debug"),
    counter("esi_errors", "ESI errors", "Documents whose ESI markup is broken.", "diag"),
    counter("esi_warnings", "ESI warnings", "Documents whose ESI markup is doubtful.", "diag"),
    gauge("vmods", "VMODs", "Modules loaded."),
    task_counter("n_gzip", "Bodies compressed", ""),
    task_counter("n_gunzip", "Bodies decompressed", ""),
    task_counter("n_pack", "Bodies packed otherwise", "In a coding of http_codings, while being fetched."),
    task_counter("n_unpack", "Bodies unpacked otherwise", "Or tested, in a coding of http_codings."),
    task_counter("n_test_gunzip", "Bodies tested", "Compressed bodies from backends checked while being fetched."),
    task_counter("http1_iovs_flush", "Early vector flushes", "Writes done because the vector was full."),
    task_counter("http1_held", "Answers held", "Answers to pipelined requests that left in one write with the next."),
    task_counter("http1_absolute_form", "Absolute-form requests", "Requests whose target is a whole URL."),
)

# HTTP/2: varnishpy's own.
_H2: tuple[Column, ...] = (
    counter("h2_sessions", "HTTP/2 sessions", "Connections that became HTTP/2."),
    gauge("h2_sessions_live", "HTTP/2 sessions now", "HTTP/2 connections open."),
    task_counter("h2_streams", "HTTP/2 streams", "Streams opened by clients."),
    task_gauge("h2_streams_live", "HTTP/2 streams now", "Streams open."),
    task_counter("h2_streams_refused", "HTTP/2 streams refused", "Streams reset with REFUSED_STREAM."),
    task_counter("h2_parks", "HTTP/2 sessions parked", "Times an idle session left its worker.", "diag"),
    task_gauge("h2_parked", "HTTP/2 sessions parked now", "Idle sessions that hold no worker."),
    counter("h2_wakeups", "HTTP/2 wakeups", "Signals sent to session threads.", "diag"),
    counter("h2_wakeups_spared", "HTTP/2 wakeups spared", "Signals left out because one was pending.", "diag"),
    task_counter(
        "h2_polls",
        "HTTP/2 poll returns",
        "Times a session thread woke up, for its socket, a signal or a moment.",
        "diag",
    ),
    task_counter("h2_frames_rx", "HTTP/2 frames received", "", "diag"),
    task_counter("h2_frames_tx", "HTTP/2 frames sent", "", "diag"),
    task_counter("h2_sends", "HTTP/2 sends", "System calls that sent frames.", "diag"),
    task_counter("h2_bogosity", "HTTP/2 bogosities", "Unknown frame types and flags, ignored.", "diag"),
    task_counter("h2_errors", "HTTP/2 connection errors", "Connections ended by an error of the protocol."),
    task_counter("h2_resets_rx", "HTTP/2 resets received", "RST_STREAM frames received.", "diag"),
    task_counter("h2_resets_tx", "HTTP/2 resets sent", "RST_STREAM frames sent.", "diag"),
    task_counter(
        "h2_rapid_reset", "HTTP/2 rapid resets", "Streams that used up some of the rapid-reset budget.", "diag"
    ),
    task_counter(
        "h2_floods", "HTTP/2 floods", "Connections ended for frames that get no work done, such as PING.", "diag"
    ),
    task_counter(
        "h2_lists_too_large", "HTTP/2 header lists too large", "Header blocks over http_req_size or the hard limit."
    ),
    task_counter("h2_window_stuck", "HTTP/2 windows run dry", "Times a stream had to wait for its window.", "diag"),
    task_counter(
        "h2_control_full", "HTTP/2 control buffer full", "Times the control buffer had to be flushed early.", "diag"
    ),
)

# Tools and watchers: varnishpy's own.
_OBSERVERS: tuple[Column, ...] = (
    counter("stats_clients", "Stats socket connections", "Connections accepted on the stats socket.", "diag"),
    counter(
        "stats_dropped", "Stats socket clients dropped", "Clients of the stats socket too many or too slow.", "diag"
    ),
    counter(
        "stats_refused", "Stats requests refused", "Requests to stats_listen from other sites or without token.", "diag"
    ),
)

MAIN_COLUMNS: tuple[Column, ...] = _CLIENT + _BACKEND + _THREADS + _OBJECTS + _PROCESS + _H2 + _OBSERVERS

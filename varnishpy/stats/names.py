"""The names of the counters of each class, for the type checker.

Made by tools/genviews (``make docs``) from the tables: do not edit.
"""

from __future__ import annotations

from typing import Literal

MainName = Literal[
    "summs", "uptime", "sess_conn", "sess_fail", "sess_fail_econnaborted", "sess_fail_eintr", "sess_fail_emfile",
    "sess_fail_ebadf", "sess_fail_enomem", "sess_fail_other", "client_req_400", "client_req_417", "client_req",
    "esi_req", "cache_hit", "cache_hit_grace", "cache_hitpass", "cache_hitmiss", "cache_miss", "beresp_uncacheable",
    "beresp_shortlived", "backend_conn", "backend_unhealthy", "backend_busy", "backend_fail", "backend_reuse",
    "backend_recycle", "backend_retry", "backend_wait", "backend_wait_fail", "fetch_head", "fetch_length",
    "fetch_chunked", "fetch_eof", "fetch_bad", "fetch_none", "fetch_1xx", "fetch_204", "fetch_304", "fetch_failed",
    "fetch_stale", "bgfetch_no_thread", "pools", "threads", "threads_limited", "threads_created", "threads_destroyed",
    "threads_failed", "core_moves", "thread_queue_len", "busy_sleep", "busy_wakeup", "busy_killed", "sess_queued",
    "sess_dropped", "sess_held", "sess_waiting", "req_dropped", "req_reset", "req_body_slow", "req_contained",
    "n_object", "n_vampireobject", "n_objectcore", "n_objecthead", "n_backend", "n_expired", "n_superseded",
    "n_lru_nuked", "n_lru_moved", "n_lru_limited", "losthdr", "s_sess", "n_pipe", "pipe_limited", "s_pipe", "s_pass",
    "s_fetch", "s_bgfetch", "s_synth", "s_req_hdrbytes", "s_req_bodybytes", "s_resp_hdrbytes", "s_resp_bodybytes",
    "s_pipe_hdrbytes", "s_pipe_in", "s_pipe_out", "transit_stored", "transit_buffered", "sess_closed",
    "sess_closed_err", "sess_readahead", "sess_herd", "sc_rem_close", "sc_req_close", "sc_req_http10", "sc_rx_bad",
    "sc_rx_body", "sc_rx_junk", "sc_rx_overflow", "sc_rx_timeout", "sc_rx_close_idle", "sc_tx_pipe", "sc_tx_error",
    "sc_tx_eof", "sc_resp_close", "sc_overload", "sc_pipe_overflow", "sc_range_short", "sc_req_http20",
    "sc_vcl_failure", "sc_rapid_reset", "sc_bankrupt", "client_resp_500", "ws_backend_overflow", "ws_client_overflow",
    "ws_thread_overflow", "ws_session_overflow", "shm_records", "shm_writes", "shm_flushes", "shm_cont", "shm_cycles",
    "shm_bytes", "backend_req", "n_vcl", "n_vcl_avail", "n_vcl_discard", "vcl_fail", "bans", "bans_completed",
    "bans_obj", "bans_req", "bans_added", "bans_deleted", "bans_tested", "bans_obj_killed", "bans_lurker_tested",
    "bans_tests_tested", "bans_lurker_tests_tested", "bans_lurker_obj_killed", "bans_lurker_obj_killed_cutoff",
    "bans_dups", "bans_lurker_contention", "bans_persisted_bytes", "bans_persisted_fragmentation", "n_purges",
    "n_obj_purged", "n_search_rule", "n_invalidated", "exp_mailed", "exp_received", "hcb_nolock", "hcb_lock",
    "hcb_insert", "esi_errors", "esi_warnings", "vmods", "n_gzip", "n_gunzip", "n_pack", "n_unpack", "n_test_gunzip",
    "http1_iovs_flush", "http1_held", "http1_absolute_form", "h2_sessions", "h2_sessions_live", "h2_streams",
    "h2_streams_live", "h2_streams_refused", "h2_parks", "h2_parked", "h2_wakeups", "h2_wakeups_spared", "h2_polls",
    "h2_frames_rx", "h2_frames_tx", "h2_sends", "h2_bogosity", "h2_errors", "h2_resets_rx", "h2_resets_tx",
    "h2_rapid_reset", "h2_floods", "h2_lists_too_large", "h2_window_stuck", "h2_control_full", "stats_clients",
    "stats_dropped", "stats_refused",
]  # fmt: skip

MgtName = Literal[
    "uptime", "child_start", "child_exit", "child_stop", "child_died", "child_dump", "child_panic",
]  # fmt: skip

MempoolName = Literal[
    "live", "pool", "sz_wanted", "sz_actual", "allocs", "frees", "recycle", "timeout", "toosmall", "surplus", "randry",
]  # fmt: skip

SmaName = Literal[
    "c_req", "c_fail", "c_bytes", "c_freed", "g_alloc", "g_bytes", "g_space",
]  # fmt: skip

SmfName = Literal[
    "c_req", "c_fail", "c_bytes", "c_freed", "g_alloc", "g_bytes", "g_space", "g_smf", "g_smf_frag", "g_smf_large",
]  # fmt: skip

SmpName = Literal[
    "c_req", "c_fail", "c_bytes", "c_freed", "g_alloc", "g_bytes", "g_space", "g_cold", "g_backlog", "c_late",
    "c_error", "c_damaged", "c_unlogged", "c_commit", "c_written",
]  # fmt: skip

VbeName = Literal[
    "happy", "bereq_hdrbytes", "bereq_bodybytes", "beresp_hdrbytes", "beresp_bodybytes", "pipe_hdrbytes", "pipe_out",
    "pipe_in", "conn", "req", "unhealthy", "busy", "fail", "fail_eacces", "fail_eaddrnotavail", "fail_econnrefused",
    "fail_enetunreach", "fail_etimedout", "fail_other", "helddown",
]  # fmt: skip

LckName = Literal[
    "creat", "destroy", "locks", "dbg_busy", "dbg_try_fail",
]  # fmt: skip

WaiterName = Literal[
    "conns", "remclose", "timeout", "action",
]  # fmt: skip

VcpName = Literal[
    "ref_hit", "ref_miss",
]  # fmt: skip

XkeyName = Literal[
    "g_keys", "g_bytes", "g_hashhead_bytes", "g_ochead_bytes", "g_oc_bytes",
]  # fmt: skip

TierName = Literal[
    "hit", "miss", "stale", "invalid", "behind", "corrupt", "put", "put_refused", "put_failed", "dropped", "error",
    "timeout", "late", "opened", "octets_in", "octets_out", "waited", "sent", "queued", "applied", "gaps", "blind",
    "limits", "limits_local", "queue", "queue_octets", "pending", "lag", "open",
]  # fmt: skip

DebugName = Literal[
    "count",
]  # fmt: skip

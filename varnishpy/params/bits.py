"""The names inside bit parameters.

Names are varnishd's; those at the end of a table, after the comment, are ours.
"""

from __future__ import annotations

DEBUG_BITS: dict[str, str] = {
    "req_state": "Log the steps of the request state machine",
    "workspace": "Log workspace operations",
    "waitinglist": "Log what happens on waiting lists",
    "syncvsl": "Write log records at once instead of per task",
    "hashedge": "For one structure of Varnish's hash; has no effect here",
    "vclrel": "Release VCL when a task ends instead of keeping it for the next; always so here",
    "lurker": "Log what the ban lurker does",
    "esi_chop": "Feed ESI bodies to the parser in small pieces",
    "flush_head": "Flush after an HTTP/1 header block",
    "vtc_mode": "Run for the test language",
    "witness": "Log the orders in which threads take locks; read when the child starts",
    "vsm_keep": "Keep shared-memory files on restart",
    "slow_acceptor": "Slow the acceptor down",
    "h2_nocheck": "Turn some HTTP/2 checks off",
    "vmod_so_keep": "Keep copies of VMOD files; none are made here",
    "processors": "Log fetch and delivery processors",
    "protocol": "Log protocol details",
    "vcl_keep": "Keep generated VCL files",
    "lck": "Count how often locks are taken, and were not free; read when the child starts",
    "cli_show_sensitive": "Log CLI commands that may hold secrets (tls.*) as well",
    # ours
    "workspace_emulator": "Make every workspace allocation an object of its own that catches misuse",
    "perturb": "Stop threads for a moment at locks and between the steps of requests and fetches, by lot, so that rare "
    "interleavings become common; read when the child starts",
}

EXPERIMENTAL_BITS: dict[str, str] = {
    "drop_pools": "Let the number of thread pools shrink",
    # ours
    "pass_trailers": "Pass HTTP/2 trailers on in pass transactions",
}

FEATURE_BITS: dict[str, str] = {
    "http2": "Speak HTTP/2",
    "short_panic": "Leave the long sections out of panic dumps",
    "no_coredump": "Write no core files; set before the child starts",
    "https_scheme": "Take the host out of an absolute https URI in the request line as well",
    "http_date_postel": "Accept dates whose day has one digit: 'Thu, 4 Jan 2018 06:26:29 GMT'",
    "esi_ignore_https": "Treat https in ESI includes as http",
    "esi_disable_xml_check": "Process ESI in bodies that do not look like XML",
    "esi_ignore_other_elements": "Skip XML errors outside of ESI elements",
    "esi_remove_bom": "Drop a UTF-8 byte order mark in front of ESI bodies",
    "esi_include_onerror": "Honour the onerror attribute of ESI includes",
    "wait_silo": "Look at all objects of persistent storage before the start",
    "validate_headers": "Check header values set in VCL (RFC 9110 section 5.5)",
    "busy_stats_rate": "Hold busy workers to thread_stats_rate too: they wait for the global counters if they must",
    "trace": "Trace VCL by default",
    "vcl_req_reset": "Stop a request's VCL once its client is gone, counted in req_reset",
    # ours
    "http1_compat": "Read HTTP/1 requests as leniently as Varnish: lines that end in a lone LF, folded headers, more "
    "blanks than needed; end a chunked request body towards a backend even where the client's broke off, which passes "
    "for a whole one there (debug +vtc_mode brings it)",
    "h2_compat": "React to HTTP/2 errors as Varnish does where RFC 9113 differs (debug +vtc_mode brings it)",
    "cache_compat": "Judge requests, responses and what is stored as Varnish does where RFC 9110 and RFC 9111 demand "
    "something else (debug +vtc_mode brings it)",
    "must_revalidate": "Serve nothing stale that says must-revalidate, proxy-revalidate or s-maxage (RFC 9111 section "
    "5.2.2)",
    "explicit_grace": "Serve nothing stale for default_grace: only the origin may allow it (RFC 9111 section 4.2.4); "
    "that long it is kept to be asked about",
    "invalidate": "Take out of the cache what a request with an unsafe method has succeeded on (RFC 9111 section 4.4)",
    "interim": "Pass interim responses such as 103 on to the client (RFC 9110 section 15.2)",
    "targeted": "Obey targeted fields, those that targeted_fields names, in place of Cache-Control (RFC 9213)",
    "heuristic": "Keep what has no lifetime for a tenth of the time since it was modified, default_ttl at the most "
    "(RFC 9111 section 4.2.2)",
    "age": "Reckon ages with what the response was on its way, and lifetimes by the origin's clock (RFC 9111 section "
    "4.2)",
    "all_statuses": "Keep errors of the server too, and all that is public, if they say how long; know must-understand",
    "no_cache": "Keep what has no lifetime or says no-cache, if it can be asked about each time (RFC 9111 section "
    "5.2.2.4)",
    "cookies": "Share what says how long in spite of cookies in request or response (RFC 9111 section 7.3)",
    "authorization": "Look Authorization up; share its answer only if it says so (RFC 9111 section 3.5)",
    "any_method": "Pass methods that nobody has heard of on to the backend",
    "unknown_coding": "Read a body in an unknown transfer coding to the end of its connection (RFC 9112 section 6.3)",
    "no_transform": "Neither pack nor unpack what says no-transform (RFC 9110 section 7.7)",
    "stale_if_error": "Serve what says stale-if-error when the backend fails, that long (RFC 5861)",
    "cache_groups": "Know Cache-Groups, and take away what Cache-Group-Invalidation names (RFC 9875)",
    "cache_status": "Tell in Cache-Status what was done with a request (RFC 9211)",
    "no_vary_search": "Know No-Vary-Search: parameters of a query that make no difference",
    "multi_range": "Answer several ranges in one response, multipart/byteranges (RFC 9110 section 14.6)",
    "trace_context": "Take part in traces (W3C): a traceparent for each fetch, in the client's trace or a new one",
}

#: names that stand for several bits of feature
FEATURE_GROUPS: dict[str, tuple[str, ...]] = {
    # where RFC 9110, 9111 and 9213 leave no choice or a better one than Varnish's
    "rfc9111": (
        *("must_revalidate", "explicit_grace", "invalidate", "interim", "targeted", "heuristic", "age"),
        *("all_statuses", "no_cache", "cookies", "authorization", "any_method", "unknown_coding"),
        *("no_transform", "stale_if_error"),
    ),
}

VCC_FEATURE_BITS: dict[str, str] = {
    "err_unref": "Unused VCL objects are errors",
    "allow_inline_c": "Allow inline C in VCL; it cannot run here, so the bit only changes the message",
    "unsafe_path": "Allow / in the paths of VMODs and includes, and import with from",
}

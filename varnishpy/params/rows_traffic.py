"""Parameters of client and backend traffic: HTTP, HTTP/2, objects, bans, backends."""

from __future__ import annotations

from varnishpy.params.bits import FEATURE_BITS, FEATURE_GROUPS
from varnishpy.params.codings import wrong_codings
from varnishpy.params.spec import Flag, Spec, row

EXP = Flag.EXPERIMENTAL
SLOW = Flag.DELAYED_EFFECT
WIZ = Flag.WIZARD
STICKY = Flag.OBJ_STICKY
_RAPID = "\nRead when a session starts, so a change concerns new HTTP/2 sessions only."
_SETTING = "\n\nSent as SETTINGS_{} when an HTTP/2 session starts."

CLIENT: list[Spec] = [
    row(
        "http_gzip_support",
        "bool",
        "on",
        "Ask backends for gzip, keep objects compressed, and decompress for clients that do not accept it. A client's "
        "Accept-Encoding becomes gzip, or is removed.\nWhen off, beresp.do_gzip and beresp.do_gunzip do nothing.",
    ),
    row(
        "http_max_hdr",
        "uint",
        "64",
        "Header lines that a message may have. The first line counts as five of them.",
        low="32",
        high="65535",
        units="header lines",
    ),
    row("http_range_support", "bool", "on", "Answer Range requests with parts of objects."),
    row(
        "http_req_hdr_len",
        "bytes",
        "8k",
        "Longest header line accepted from a client, with its continuations.",
        low="40b",
    ),
    row(
        "http_req_size",
        "bytes",
        "32k",
        "Largest request head accepted from a client, up to the empty line that ends it. Must fit workspace_client.\n"
        "HTTP/2 clients learn it as SETTINGS_MAX_HEADER_LIST_SIZE.",
        low="0.25k",
    ),
    row(
        "http_req_overflow_status",
        "uint_orzero",
        "431",
        "Status of the answer to a request head larger than http_req_size (RFC 9110 section 5.4). With 0, the default "
        "with debug +vtc_mode, the connection is closed without an answer.",
        low="400",
        high="500",
        units="HTTP status code or 0 to disable",
    ),
    row(
        "http1_hold_time",
        "duration",
        "0.005",
        "How long answers to pipelined HTTP/1 requests may be held, so that they leave in one write with those to the "
        "requests behind them. Nothing is held while anything is waited for. 0: each answer leaves by itself.",
        low="0",
    ),
    row(
        "http1_iovs",
        "uint",
        "64",
        "Pieces that one system call may send when delivering over HTTP/1.",
        low="5",
        high="1024",
        units="pieces",
        flags=WIZ,
    ),
    row(
        "idle_send_timeout",
        "timeout",
        "60s",
        "How long a client may take none of what we send. The session is closed then, unless send_timeout allows more.",
        low="0s",
        high="1h",
        flags=SLOW,
    ),
    row(
        "send_timeout",
        "timeout",
        "600",
        "How long one response may take to be sent. A client too slow for it loses its connection, or in HTTP/2 "
        "its stream.",
        flags=SLOW,
    ),
    row(
        "timeout_idle",
        "duration",
        "5s",
        "How long a client connection may stay idle. It counts as idle until a request head has arrived in full; an "
        "HTTP/2 session, while it has no open stream.",
        low="0s",
        high="1h",
    ),
    row(
        "timeout_reqbody",
        "timeout",
        "20s",
        "How long a request body may keep a thread waiting, all waits together, while more than half of "
        "thread_pool_max are busy. The fewer are free the less of it remains, but a second. With every reqbody_rate "
        "octets a second is added. The request fails then, and its connection or stream is closed "
        "(MAIN.req_body_slow).",
        low="0",
        flags=EXP,
    ),
    row(
        "reqbody_rate",
        "bytes",
        "500b",
        "Octets of a request body that allow for a second more than timeout_reqbody; 0: none do.",
        low="0b",
        flags=EXP,
    ),
    row(
        "timeout_linger",
        "duration",
        "0.050",
        "How long an HTTP/2 session that ends may take for a last chance to send GOAWAY. Workers of Varnish also wait "
        "so long for the next request on a connection; here a session with nothing to read leaves its worker at once.",
        low="0",
        flags=EXP,
    ),
    row(
        "tls_err_dup_servername",
        "bool",
        "off",
        "Refuse a certificate for a name that another of the same listener is for already.",
    ),
    row(
        "tls_ja3",
        "bool",
        "off",
        "Make the JA3 fingerprint of each TLS client from its ClientHello, for tls.ja3() of VMOD tls.",
    ),
    row("tls_handshake_timeout", "duration", "8", "How long a TLS handshake with a client may take.", low="0"),
    row("max_esi_depth", "uint", "5", "How deep ESI includes may nest.", low="0", units="levels"),
    row("max_restarts", "uint", "4", "How often a request may restart.", low="0", units="restarts", flags=SLOW),
    row(
        "pipe_sess_max",
        "uint",
        "0",
        "Sessions that may be in pipe mode at once; 0 is no limit.",
        low="0",
        units="connections",
    ),
    row("pipe_task_deadline", "timeout", "0", "How long a pipe may last, busy or not; 0 is no limit."),
    row("pipe_timeout", "timeout", "60", "How long a pipe may be idle in both directions."),
    row(
        "gzip_buffer",
        "bytes",
        "32k",
        "Size of the pieces in which bodies are compressed and decompressed.",
        low="2k",
        flags=EXP,
    ),
    row(
        "http_codings",
        "string",
        "",
        "Content codings beside gzip, br or zstd or both, the better one first: backends are asked for them for "
        "clients that take them, and beresp.do_gzip packs in them. Each makes variants of its own (Vary: "
        "Accept-Encoding). They need the packages brotli and zstandard. Pages with ESI and what they include are plain "
        "or gzip.",
        check=wrong_codings,
    ),
    row("br_level", "uint", "5", "How hard to compress with br: 0 fastest, 11 smallest.", low="0", high="11"),
    row("zstd_level", "uint", "3", "How hard to compress with zstd: 1 fastest, 19 smallest.", low="1", high="19"),
    row("gzip_level", "uint", "6", "How hard to compress: 0 not at all, 1 fastest, 9 smallest.", low="0", high="9"),
    row("gzip_memlevel", "uint", "8", "Memory used to compress: 1 least, 9 most and fastest.", low="1", high="9"),
    row(
        "rush_exponent",
        "uint",
        "3",
        "Waiting requests that each finished one sets going again. 1 resumes them one after the other.",
        low="1",
        units="requests per request",
        flags=EXP,
    ),
    row(
        "vary_notice",
        "uint",
        "10",
        "Log a Notice when a lookup had to look at this many variants.",
        low="1",
        units="variants",
    ),
    row(
        "feature",
        "bits",
        "none,+https_scheme,+validate_headers,+vcl_req_reset",
        "Turn features on and off.\n\tdefault\tThe default value (param.reset does the same)\n\tnone\tAll off\n\n"
        "Prefix a name with + to turn it on, with - to turn it off. rfc9111 stands for all bits from must_revalidate "
        "to stale_if_error:",
        bits=FEATURE_BITS,
        groups=FEATURE_GROUPS,
    ),
    row(
        "targeted_fields",
        "string",
        "CDN-Cache-Control",
        "Targeted fields that are meant for this cache (RFC 9213), the most specific first, separated by blanks or "
        "commas. They count with feature +targeted.",
    ),
]

HTTP2: list[Spec] = [
    row(
        "h2_header_table_size",
        "bytes",
        "4k",
        "Size of the HPACK table that clients may use towards us." + _SETTING.format("HEADER_TABLE_SIZE"),
        low="0b",
    ),
    row(
        "h2_initial_window_size",
        "bytes",
        "65535b",
        "Octets of request body that a stream may send before it needs credit."
        + _SETTING.format("INITIAL_WINDOW_SIZE"),
        low="65535b",
        high="2147483647b",
    ),
    row(
        "h2_max_concurrent_streams",
        "uint",
        "100",
        "Requests that may be active at once on one connection." + _SETTING.format("MAX_CONCURRENT_STREAMS"),
        low="0",
        units="streams",
    ),
    row(
        "h2_max_frame_size",
        "bytes",
        "16k",
        "Largest frame that we accept." + _SETTING.format("MAX_FRAME_SIZE"),
        low="16k",
        high="16777215b",
    ),
    row(
        "h2_max_header_list_size",
        "bytes",
        "0b",
        "Largest header list that is decoded at all; a larger one ends the connection. One that exceeds http_req_size "
        "only, which is what clients are told, resets its stream.\n"
        "0 stands for one and a half times http_req_size, and a value below http_req_size has no effect.",
        low="0b",
        high="2147483647b",
    ),
    row(
        "h2_rapid_reset",
        "duration",
        "1",
        "A stream reset sooner than this after its HEADERS is charged to the limit of h2_rapid_reset_limit." + _RAPID,
        low="0",
        flags=EXP | SLOW,
    ),
    row(
        "h2_rapid_reset_limit",
        "uint",
        "100",
        "Rapid resets allowed per h2_rapid_reset_period; one more ends the connection. 0 is no limit." + _RAPID,
        low="0",
        flags=EXP | SLOW,
    ),
    row(
        "h2_rapid_reset_period",
        "duration",
        "60",
        "Time in which a used-up budget of h2_rapid_reset_limit is full again." + _RAPID,
        low="1",
        flags=EXP | SLOW | WIZ,
    ),
    row(
        "h2_rx_window_increment",
        "bytes",
        "1M",
        "Credit that a connection's WINDOW_UPDATE gives for request bodies.",
        low="1M",
        high="1G",
        flags=WIZ,
    ),
    row(
        "h2_rx_window_low_water",
        "bytes",
        "10M",
        "A connection's window for request bodies is refilled when it falls below this.",
        low="65535",
        high="1G",
        flags=WIZ,
    ),
    row(
        "h2_window_timeout",
        "timeout",
        "5",
        "How long a stream may wait for window credit before it is reset. When every stream waits that long, the "
        "connection ends.",
        low="0",
        flags=WIZ,
    ),
    row(
        "h2_inline",
        "bool",
        "on",
        "Whether the thread that serves an HTTP/2 session runs short requests itself. It gives its session away before "
        "a request waits. Off: every request is run by a thread of its own.",
    ),
    row(
        "h2_inline_time",
        "duration",
        "0.005",
        "How long the requests that an HTTP/2 session's thread runs in one go may take, until it gives its session to "
        "another thread. It looks between requests, and before each VCL method.",
        low="0",
    ),
    row(
        "h2_rxbuf_storage",
        "string",
        "Transient",
        "Storage that request bodies of HTTP/2 are buffered in.",
        flags=Flag.MUST_RESTART,
    ),
]

OBJECTS: list[Spec] = [
    row(
        "ban_any_variant",
        "uint",
        "0",
        "Variants that a lookup may test against bans although they do not match the request. 0 tests matching ones "
        "only.",
        low="0",
        units="checks",
    ),
    row(
        "ban_cutoff",
        "uint",
        "0",
        "Keep the ban list shorter than this by expiring every object older than that many bans. 0 is off.",
        low="0",
        units="bans",
        flags=EXP,
    ),
    row("ban_dups", "bool", "on", "Mark older bans that are identical to a new one as done."),
    row("ban_lurker_age", "duration", "60", "The ban lurker leaves bans younger than this to requests.", low="0"),
    row("ban_lurker_batch", "uint", "1000", "Objects that the ban lurker looks at between two sleeps.", low="1"),
    row(
        "ban_lurker_holdoff",
        "duration",
        "0.010",
        "How long the ban lurker steps back when a lookup wants its lock.",
        low="0",
        flags=EXP,
    ),
    row(
        "ban_lurker_sleep",
        "duration",
        "0.010",
        "How long the ban lurker sleeps between batches. 0 turns the lurker off.",
        low="0",
    ),
    row(
        "clock_skew", "uint", "10", "Seconds by which a backend's clock may differ from ours.", low="0", units="seconds"
    ),
    row(
        "default_grace",
        "duration",
        "10s",
        "How long an object may be delivered after it expired, while a new one is being fetched.",
        low="0",
        flags=STICKY,
    ),
    row(
        "default_keep",
        "duration",
        "0s",
        "How long an object is kept after its grace, for conditional fetches only.",
        low="0",
        flags=STICKY,
    ),
    row(
        "default_ttl", "duration", "2m", "TTL of objects when neither backend nor VCL gives one.", low="0", flags=STICKY
    ),
    row(
        "uncacheable_ttl",
        "duration",
        "2m",
        "TTL that the builtin VCL gives to the marker of an uncacheable object.",
        low="0",
        flags=STICKY,
    ),
    row(
        "fetch_chunksize", "bytes", "16k", "Storage taken at a time for a body of unknown length.", low="4k", flags=EXP
    ),
    row("fetch_maxchunksize", "bytes", "0.25G", "Largest piece of storage taken at once.", low="64k", flags=EXP),
    row(
        "lru_interval",
        "duration",
        "2",
        "An object used again within this time is not moved up the LRU list.",
        low="0",
        flags=EXP,
    ),
    row(
        "nuke_limit",
        "uint",
        "50",
        "Objects that may be evicted to make room for one body.",
        low="0",
        units="allocations",
        flags=EXP,
    ),
    row(
        "shortlived",
        "duration",
        "10",
        "Objects whose ttl, grace and keep add up to less go to transient storage.",
        low="0",
    ),
    row(
        "transit_buffer",
        "bytes",
        "0k",
        "How far the fetch of an uncacheable body may run ahead of its client. 0 is no limit. It is the default of "
        "beresp.transit_buffer.",
        low="0k",
    ),
]

BACKENDS: list[Spec] = [
    row("backend_idle_timeout", "duration", "60", "Unused backend connections are closed after this.", low="1"),
    row(
        "backend_local_error_holddown",
        "duration",
        "10",
        "After a connection attempt failed for a local reason (no address or port, no permission), fail further ones "
        "at once for so long.",
        low="0",
        flags=EXP,
    ),
    row(
        "backend_remote_error_holddown",
        "duration",
        "0.250",
        "After a backend refused a connection or was unreachable, fail further attempts at once for so long.",
        low="0",
        flags=EXP,
    ),
    row(
        "backend_wait_limit",
        "uint",
        "0",
        "Fetches that may wait for a backend whose max_connections are in use. 0 lets none wait. VCL can set it per "
        "backend.",
        low="0",
        flags=EXP,
    ),
    row(
        "backend_wait_timeout",
        "timeout",
        "0",
        "How long a fetch may wait for a connection, where backend_wait_limit lets it. VCL can set it per backend.",
        flags=EXP,
    ),
    row(
        "between_bytes_timeout",
        "timeout",
        "60",
        "How long a backend may pause within a response. VCL can set it per backend and per request; pipes ignore it.",
    ),
    row(
        "connect_timeout",
        "timeout",
        "3.5",
        "How long connecting to a backend may take. VCL can set it per backend and per request.",
    ),
    row(
        "first_byte_timeout",
        "timeout",
        "60",
        "How long a backend may take to begin its response. VCL can set it per backend and per request; pipes ignore "
        "it.",
    ),
    row(
        "http_resp_hdr_len",
        "bytes",
        "8k",
        "Longest header line accepted from a backend, with its continuations.",
        low="40b",
    ),
    row(
        "http_resp_size",
        "bytes",
        "32k",
        "Largest response head accepted from a backend. It must fit workspace_backend.",
        low="0.25k",
    ),
    row("max_retries", "uint", "4", "How often a fetch may be retried.", low="0", units="retries", flags=SLOW),
    row("prefer_ipv6", "bool", "off", "Use a backend's IPv6 address first when it has both kinds."),
]

ROWS: list[Spec] = CLIENT + HTTP2 + OBJECTS + BACKENDS

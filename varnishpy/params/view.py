"""The parameters as the process reads them.

Made by tools/genviews (``make docs``) from the tables: do not edit.
"""

from __future__ import annotations

from math import inf

from varnishpy.params.tag_names import VSL_TAGS
from varnishpy.params.values import PoolParam, Switches, TagMask


class DebugBits(Switches):
    """The bits of ``debug``."""

    __slots__ = (
        "req_state", "workspace", "waitinglist", "syncvsl", "hashedge", "vclrel", "lurker", "esi_chop", "flush_head",
        "vtc_mode", "witness", "vsm_keep", "slow_acceptor", "h2_nocheck", "vmod_so_keep", "processors", "protocol",
        "vcl_keep", "lck", "cli_show_sensitive", "workspace_emulator", "perturb",
    )  # fmt: skip

    def __init__(self) -> None:
        self.req_state = False
        self.workspace = False
        self.waitinglist = False
        self.syncvsl = False
        self.hashedge = False
        self.vclrel = False
        self.lurker = False
        self.esi_chop = False
        self.flush_head = False
        self.vtc_mode = False
        self.witness = False
        self.vsm_keep = False
        self.slow_acceptor = False
        self.h2_nocheck = False
        self.vmod_so_keep = False
        self.processors = False
        self.protocol = False
        self.vcl_keep = False
        self.lck = False
        self.cli_show_sensitive = False
        self.workspace_emulator = False
        self.perturb = False

    def assign(self, names: frozenset[str]) -> None:
        """Turn on exactly these; each bit changes by itself."""
        self.req_state = "req_state" in names
        self.workspace = "workspace" in names
        self.waitinglist = "waitinglist" in names
        self.syncvsl = "syncvsl" in names
        self.hashedge = "hashedge" in names
        self.vclrel = "vclrel" in names
        self.lurker = "lurker" in names
        self.esi_chop = "esi_chop" in names
        self.flush_head = "flush_head" in names
        self.vtc_mode = "vtc_mode" in names
        self.witness = "witness" in names
        self.vsm_keep = "vsm_keep" in names
        self.slow_acceptor = "slow_acceptor" in names
        self.h2_nocheck = "h2_nocheck" in names
        self.vmod_so_keep = "vmod_so_keep" in names
        self.processors = "processors" in names
        self.protocol = "protocol" in names
        self.vcl_keep = "vcl_keep" in names
        self.lck = "lck" in names
        self.cli_show_sensitive = "cli_show_sensitive" in names
        self.workspace_emulator = "workspace_emulator" in names
        self.perturb = "perturb" in names


class ExperimentalBits(Switches):
    """The bits of ``experimental``."""

    __slots__ = (
        "drop_pools", "pass_trailers",
    )  # fmt: skip

    def __init__(self) -> None:
        self.drop_pools = False
        self.pass_trailers = False

    def assign(self, names: frozenset[str]) -> None:
        """Turn on exactly these; each bit changes by itself."""
        self.drop_pools = "drop_pools" in names
        self.pass_trailers = "pass_trailers" in names


class FeatureBits(Switches):
    """The bits of ``feature``."""

    __slots__ = (
        "http2", "short_panic", "no_coredump", "https_scheme", "http_date_postel", "esi_ignore_https",
        "esi_disable_xml_check", "esi_ignore_other_elements", "esi_remove_bom", "esi_include_onerror", "wait_silo",
        "validate_headers", "busy_stats_rate", "trace", "vcl_req_reset", "http1_compat", "h2_compat", "cache_compat",
        "must_revalidate", "explicit_grace", "invalidate", "interim", "targeted", "heuristic", "age", "all_statuses",
        "no_cache", "cookies", "authorization", "any_method", "unknown_coding", "no_transform", "stale_if_error",
        "cache_groups", "cache_status", "no_vary_search", "multi_range", "trace_context",
    )  # fmt: skip

    def __init__(self) -> None:
        self.http2 = False
        self.short_panic = False
        self.no_coredump = False
        self.https_scheme = False
        self.http_date_postel = False
        self.esi_ignore_https = False
        self.esi_disable_xml_check = False
        self.esi_ignore_other_elements = False
        self.esi_remove_bom = False
        self.esi_include_onerror = False
        self.wait_silo = False
        self.validate_headers = False
        self.busy_stats_rate = False
        self.trace = False
        self.vcl_req_reset = False
        self.http1_compat = False
        self.h2_compat = False
        self.cache_compat = False
        self.must_revalidate = False
        self.explicit_grace = False
        self.invalidate = False
        self.interim = False
        self.targeted = False
        self.heuristic = False
        self.age = False
        self.all_statuses = False
        self.no_cache = False
        self.cookies = False
        self.authorization = False
        self.any_method = False
        self.unknown_coding = False
        self.no_transform = False
        self.stale_if_error = False
        self.cache_groups = False
        self.cache_status = False
        self.no_vary_search = False
        self.multi_range = False
        self.trace_context = False

    def assign(self, names: frozenset[str]) -> None:
        """Turn on exactly these; each bit changes by itself."""
        self.http2 = "http2" in names
        self.short_panic = "short_panic" in names
        self.no_coredump = "no_coredump" in names
        self.https_scheme = "https_scheme" in names
        self.http_date_postel = "http_date_postel" in names
        self.esi_ignore_https = "esi_ignore_https" in names
        self.esi_disable_xml_check = "esi_disable_xml_check" in names
        self.esi_ignore_other_elements = "esi_ignore_other_elements" in names
        self.esi_remove_bom = "esi_remove_bom" in names
        self.esi_include_onerror = "esi_include_onerror" in names
        self.wait_silo = "wait_silo" in names
        self.validate_headers = "validate_headers" in names
        self.busy_stats_rate = "busy_stats_rate" in names
        self.trace = "trace" in names
        self.vcl_req_reset = "vcl_req_reset" in names
        self.http1_compat = "http1_compat" in names
        self.h2_compat = "h2_compat" in names
        self.cache_compat = "cache_compat" in names
        self.must_revalidate = "must_revalidate" in names
        self.explicit_grace = "explicit_grace" in names
        self.invalidate = "invalidate" in names
        self.interim = "interim" in names
        self.targeted = "targeted" in names
        self.heuristic = "heuristic" in names
        self.age = "age" in names
        self.all_statuses = "all_statuses" in names
        self.no_cache = "no_cache" in names
        self.cookies = "cookies" in names
        self.authorization = "authorization" in names
        self.any_method = "any_method" in names
        self.unknown_coding = "unknown_coding" in names
        self.no_transform = "no_transform" in names
        self.stale_if_error = "stale_if_error" in names
        self.cache_groups = "cache_groups" in names
        self.cache_status = "cache_status" in names
        self.no_vary_search = "no_vary_search" in names
        self.multi_range = "multi_range" in names
        self.trace_context = "trace_context" in names


class VccFeatureBits(Switches):
    """The bits of ``vcc_feature``."""

    __slots__ = (
        "err_unref", "allow_inline_c", "unsafe_path",
    )  # fmt: skip

    def __init__(self) -> None:
        self.err_unref = False
        self.allow_inline_c = False
        self.unsafe_path = False

    def assign(self, names: frozenset[str]) -> None:
        """Turn on exactly these; each bit changes by itself."""
        self.err_unref = "err_unref" in names
        self.allow_inline_c = "allow_inline_c" in names
        self.unsafe_path = "unsafe_path" in names


class Params:
    """The values now in force, one attribute each: seconds as ``float``, sizes and counts as ``int``."""

    __slots__ = (
        "accept_filter", "acceptor_sleep_decay", "acceptor_sleep_incr", "acceptor_sleep_max", "auto_restart",
        "backend_idle_timeout", "backend_local_error_holddown", "backend_remote_error_holddown", "backend_wait_limit",
        "backend_wait_timeout", "ban_any_variant", "ban_cutoff", "ban_dups", "ban_lurker_age", "ban_lurker_batch",
        "ban_lurker_holdoff", "ban_lurker_sleep", "between_bytes_timeout", "br_level", "cc_command", "cc_warnings",
        "cli_limit", "cli_timeout", "clock_skew", "clock_step", "connect_timeout", "critbit_cooloff", "debug",
        "default_grace", "default_keep", "default_ttl", "experimental", "feature", "fetch_chunksize",
        "fetch_maxchunksize", "first_byte_timeout", "gzip_buffer", "gzip_level", "gzip_memlevel",
        "h2_header_table_size", "h2_initial_window_size", "h2_inline", "h2_inline_time", "h2_max_concurrent_streams",
        "h2_max_frame_size", "h2_max_header_list_size", "h2_rapid_reset", "h2_rapid_reset_limit",
        "h2_rapid_reset_period", "h2_rx_window_increment", "h2_rx_window_low_water", "h2_rxbuf_storage",
        "h2_window_timeout", "http1_hold_time", "http1_iovs", "http_codings", "http_gzip_support", "http_max_hdr",
        "http_range_support", "http_req_hdr_len", "http_req_overflow_status", "http_req_size", "http_resp_hdr_len",
        "http_resp_size", "idle_send_timeout", "keep_core", "latency_buckets", "listen_depth", "lru_interval",
        "max_esi_depth", "max_restarts", "max_retries", "max_vcl", "max_vcl_handling", "nuke_limit", "panic_buffer",
        "pcre2_depth_limit", "pcre2_jit_compilation", "pcre2_match_limit", "ping_interval", "pipe_sess_max",
        "pipe_task_deadline", "pipe_timeout", "pool_req", "pool_sess", "pool_vbo", "prefer_ipv6", "reqbody_rate",
        "rush_exponent", "send_timeout", "shortlived", "sigsegv_handler", "ssl_buffer", "sslbuf_pool",
        "startup_timeout", "stats_listen", "stats_socket", "stats_token_file", "syslog_cli_traffic", "targeted_fields",
        "tcp_fastopen", "tcp_keepalive_intvl", "tcp_keepalive_probes", "tcp_keepalive_time", "thread_pool_add_delay",
        "thread_pool_destroy_delay", "thread_pool_fail_delay", "thread_pool_max", "thread_pool_min",
        "thread_pool_reserve", "thread_pool_stack", "thread_pool_timeout", "thread_pool_track", "thread_pool_watchdog",
        "thread_pools", "thread_queue_limit", "thread_stats_rate", "tier_bans", "tier_breaker_errors",
        "tier_breaker_pause", "tier_gap_purge", "tier_lease", "tier_log_length", "tier_max_lag", "tier_max_life",
        "tier_max_object", "tier_purge_wait", "tier_queue", "tier_timeout", "tier_variants", "tier_wait",
        "timeout_idle", "timeout_linger", "timeout_reqbody", "tls_cleanup_batch", "tls_err_dup_servername",
        "tls_handshake_timeout", "tls_ja3", "transit_buffer", "uncacheable_ttl", "vary_notice", "vcc_feature",
        "vcl_cooldown", "vcl_path", "vmod_path", "vsl_buffer", "vsl_layout", "vsl_mask", "vsl_reclen", "vsl_space",
        "vsm_free_cooldown", "workspace_backend", "workspace_client", "workspace_session", "workspace_thread",
        "zstd_level",
    )  # fmt: skip

    def __init__(self) -> None:
        self.accept_filter: bool = False
        self.acceptor_sleep_decay: float = 0.9
        self.acceptor_sleep_incr: float = 0.0
        self.acceptor_sleep_max: float = 0.05
        self.auto_restart: bool = True
        self.backend_idle_timeout: float = 60.0
        self.backend_local_error_holddown: float = 10.0
        self.backend_remote_error_holddown: float = 0.25
        self.backend_wait_limit: int = 0
        self.backend_wait_timeout: float = 0.0
        self.ban_any_variant: int = 0
        self.ban_cutoff: int = 0
        self.ban_dups: bool = True
        self.ban_lurker_age: float = 60.0
        self.ban_lurker_batch: int = 1000
        self.ban_lurker_holdoff: float = 0.01
        self.ban_lurker_sleep: float = 0.01
        self.between_bytes_timeout: float = 60.0
        self.br_level: int = 5
        self.cc_command: str = ""
        self.cc_warnings: str = ""
        self.cli_limit: int = 65536
        self.cli_timeout: float = 60.0
        self.clock_skew: int = 10
        self.clock_step: float = inf
        self.connect_timeout: float = 3.5
        self.critbit_cooloff: float = 180.0
        self.debug = DebugBits()
        self.default_grace: float = 10.0
        self.default_keep: float = 0.0
        self.default_ttl: float = 120.0
        self.experimental = ExperimentalBits()
        self.feature = FeatureBits()
        self.fetch_chunksize: int = 16384
        self.fetch_maxchunksize: int = 268435456
        self.first_byte_timeout: float = 60.0
        self.gzip_buffer: int = 32768
        self.gzip_level: int = 6
        self.gzip_memlevel: int = 8
        self.h2_header_table_size: int = 4096
        self.h2_initial_window_size: int = 65535
        self.h2_inline: bool = True
        self.h2_inline_time: float = 0.005
        self.h2_max_concurrent_streams: int = 100
        self.h2_max_frame_size: int = 16384
        self.h2_max_header_list_size: int = 0
        self.h2_rapid_reset: float = 1.0
        self.h2_rapid_reset_limit: int = 100
        self.h2_rapid_reset_period: float = 60.0
        self.h2_rx_window_increment: int = 1048576
        self.h2_rx_window_low_water: int = 10485760
        self.h2_rxbuf_storage: str = "Transient"
        self.h2_window_timeout: float = 5.0
        self.http1_hold_time: float = 0.005
        self.http1_iovs: int = 64
        self.http_codings: str = ""
        self.http_gzip_support: bool = True
        self.http_max_hdr: int = 64
        self.http_range_support: bool = True
        self.http_req_hdr_len: int = 8192
        self.http_req_overflow_status: int = 431
        self.http_req_size: int = 32768
        self.http_resp_hdr_len: int = 8192
        self.http_resp_size: int = 32768
        self.idle_send_timeout: float = 60.0
        self.keep_core: bool = True
        self.latency_buckets: str = "0.0001 0.00025 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10"
        self.listen_depth: int = 1024
        self.lru_interval: float = 2.0
        self.max_esi_depth: int = 5
        self.max_restarts: int = 4
        self.max_retries: int = 4
        self.max_vcl: int = 100
        self.max_vcl_handling: int = 1
        self.nuke_limit: int = 50
        self.panic_buffer: int = 65536
        self.pcre2_depth_limit: int = 20
        self.pcre2_jit_compilation: bool = True
        self.pcre2_match_limit: int = 10000
        self.ping_interval: int = 3
        self.pipe_sess_max: int = 0
        self.pipe_task_deadline: float = 0.0
        self.pipe_timeout: float = 60.0
        self.pool_req: PoolParam = PoolParam(min_pool=10, max_pool=100, max_age=10.0)
        self.pool_sess: PoolParam = PoolParam(min_pool=10, max_pool=100, max_age=10.0)
        self.pool_vbo: PoolParam = PoolParam(min_pool=10, max_pool=100, max_age=10.0)
        self.prefer_ipv6: bool = False
        self.reqbody_rate: int = 500
        self.rush_exponent: int = 3
        self.send_timeout: float = 600.0
        self.shortlived: float = 10.0
        self.sigsegv_handler: bool = True
        self.ssl_buffer: int = 20480
        self.sslbuf_pool: PoolParam = PoolParam(min_pool=10, max_pool=100, max_age=10.0)
        self.startup_timeout: float = 0.0
        self.stats_listen: str = "none"
        self.stats_socket: str = ""
        self.stats_token_file: str = ""
        self.syslog_cli_traffic: bool = True
        self.targeted_fields: str = "CDN-Cache-Control"
        self.tcp_fastopen: bool = False
        self.tcp_keepalive_intvl: float = 75.0
        self.tcp_keepalive_probes: int = 9
        self.tcp_keepalive_time: float = 7200.0
        self.thread_pool_add_delay: float = 0.0
        self.thread_pool_destroy_delay: float = 1.0
        self.thread_pool_fail_delay: float = 0.2
        self.thread_pool_max: int = 5000
        self.thread_pool_min: int = 100
        self.thread_pool_reserve: int = 0
        self.thread_pool_stack: int = 81920
        self.thread_pool_timeout: float = 300.0
        self.thread_pool_track: bool = True
        self.thread_pool_watchdog: float = 60.0
        self.thread_pools: int = 1
        self.thread_queue_limit: int = 20
        self.thread_stats_rate: int = 10
        self.tier_bans: int = 1000
        self.tier_breaker_errors: int = 5
        self.tier_breaker_pause: float = 1.0
        self.tier_gap_purge: bool = True
        self.tier_lease: float = 5.0
        self.tier_log_length: int = 100000
        self.tier_max_lag: float = 10.0
        self.tier_max_life: float = 604800.0
        self.tier_max_object: int = 16777216
        self.tier_purge_wait: float = 1.0
        self.tier_queue: int = 67108864
        self.tier_timeout: float = 0.05
        self.tier_variants: int = 32
        self.tier_wait: float = 0.0
        self.timeout_idle: float = 5.0
        self.timeout_linger: float = 0.05
        self.timeout_reqbody: float = 20.0
        self.tls_cleanup_batch: int = 100
        self.tls_err_dup_servername: bool = False
        self.tls_handshake_timeout: float = 8.0
        self.tls_ja3: bool = False
        self.transit_buffer: int = 0
        self.uncacheable_ttl: float = 120.0
        self.vary_notice: int = 10
        self.vcc_feature = VccFeatureBits()
        self.vcl_cooldown: float = 600.0
        self.vcl_path: str = "/etc/varnishpy:/etc/varnish:/usr/share/varnish/vcl"
        self.vmod_path: str = ""
        self.vsl_buffer: int = 16384
        self.vsl_layout: int = 2
        self.vsl_mask = TagMask(VSL_TAGS)
        self.vsl_reclen: int = 255
        self.vsl_space: int = 83886080
        self.vsm_free_cooldown: float = 60.0
        self.workspace_backend: int = 98304
        self.workspace_client: int = 98304
        self.workspace_session: int = 768
        self.workspace_thread: int = 2048
        self.zstd_level: int = 3

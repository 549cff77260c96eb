"""Parameters of the processes: threads, workspaces, sockets, logs, VCL, the management interface."""

from __future__ import annotations

import socket

from varnishpy.params.bits import DEBUG_BITS, EXPERIMENTAL_BITS, VCC_FEATURE_BITS
from varnishpy.params.buckets import DEFAULT_BUCKETS, wrong_buckets
from varnishpy.params.spec import Flag, Spec, row
from varnishpy.params.stats_addresses import wrong_stats_address, wrong_stats_path, wrong_token_path
from varnishpy.params.tag_names import VSL_TAGS, VSL_TAGS_MASKED

EXP = Flag.EXPERIMENTAL
SLOW = Flag.DELAYED_EFFECT
RESTART = Flag.MUST_RESTART
_POOL = (
    "\n\nAccepted for the sake of existing command lines, without effect: Python's allocator keeps spare memory itself."
    "\n\nThe three numbers are:\n\tmin_pool\tFewest spare ones to keep.\n\tmax_pool\tMost spare ones to keep.\n"
    "\tmax_age\tSeconds after which a spare one is given back."
)
_SIGNS = "\n\nPrefix a name with + to turn it on, with - to turn it off:"


def _tcp_default(option: int, otherwise: int) -> str:
    """What the kernel uses for a TCP option when nobody sets it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            return str(sock.getsockopt(socket.IPPROTO_TCP, option) or otherwise)
        except OSError:
            return str(otherwise)


THREADS: list[Spec] = [
    row(
        "thread_pools",
        "uint",
        "1",
        "Worker pools, each with its own queue. More of them help only where many "
        " cores run Python at once: with a GIL, a second pool only adds threads that take turns with those of the "
        "first (Varnish, which has no such lock, starts two).\n"
        "Can grow at any time; shrinking needs a restart, or experimental=+drop_pools.",
        low="1",
        high="32",
        units="pools",
        flags=EXP | SLOW,
    ),
    row("thread_pool_max", "uint", "5000", "Most worker threads in each pool.", low="100", units="threads", flags=SLOW),
    row(
        "thread_pool_min",
        "uint",
        "100",
        "Fewest worker threads in each pool. More of them absorb a sudden load without waiting for threads to start.",
        low="5",
        high="5000",
        units="threads",
        flags=SLOW,
    ),
    row(
        "thread_pool_reserve",
        "uint",
        "0",
        "Threads of each pool that only tasks may use which finish work already begun: fetches, requests of running "
        "sessions. So new sessions cannot take the threads that they themselves wait for.\n"
        "0 stands for 5% of thread_pool_min; the effective value is at least 5.",
        high="95",
        units="threads",
        flags=SLOW,
    ),
    row(
        "thread_pool_timeout",
        "duration",
        "300",
        "A thread beyond thread_pool_min ends after it was idle this long.",
        low="10",
        flags=EXP | SLOW,
    ),
    row(
        "thread_pool_watchdog",
        "duration",
        "60",
        "When tasks are queued and none was taken for this long, the child panics.",
        low="0.1",
        flags=EXP,
    ),
    row("thread_pool_destroy_delay", "duration", "1", "Pause after ending a thread.", low="0.01", flags=EXP | SLOW),
    row("thread_pool_add_delay", "duration", "0", "Pause after starting a thread.", low="0", flags=EXP),
    row(
        "thread_pool_fail_delay",
        "duration",
        "0.2",
        "Pause after a thread could not be started: the process is short of something, and haste makes it worse.",
        low=".01",
        flags=EXP,
    ),
    row(
        "thread_pool_stack",
        "bytes",
        "80k",
        "Stack of a worker thread. The interpreter needs 4M to find that recursion goes too deep before the kernel "
        "does; a smaller value has no effect. What a thread does not use of it takes no memory.",
        low="16k",
        flags=SLOW,
    ),
    row(
        "keep_core",
        "bool",
        "on",
        "Keep all threads on one core while the process is busy but its interpreter computes on one core at a time, as "
        "CPython does with its global lock: they find each other's data in that core's cache. The core changes when "
        "others need it. An interpreter without the lock is left alone.",
    ),
    row("thread_pool_track", "bool", "on", "Keep track of what each worker does, for the scoreboard."),
    row(
        "thread_queue_limit",
        "uint",
        "20",
        "Tasks that may wait for a thread, per pool. Beyond it connections are left in the kernel's queue "
        "(listen_depth) until there is room, and requests of HTTP/2 sessions are refused.",
        low="0",
        units="requests",
        flags=EXP,
    ),
    row(
        "thread_stats_rate",
        "uint",
        "10",
        "Tasks that a worker may do before it must add its counts to the global counters, idle or not.",
        low="0",
        units="requests",
        flags=EXP,
    ),
]

MEMORY: list[Spec] = [
    row(
        "workspace_backend",
        "bytes",
        "96k",
        "Workspace of a fetch: request to and response head from the backend.",
        low="1k",
        flags=SLOW,
    ),
    row("workspace_client", "bytes", "96k", "Workspace of a client request.", low="9k", flags=SLOW),
    row(
        "workspace_session",
        "bytes",
        "0.75k",
        "Workspace of a session: addresses and what its protocol must keep.",
        low="384b",
        flags=SLOW,
    ),
    row(
        "workspace_thread",
        "bytes",
        "2k",
        "Workspace of a worker thread, used within one task.",
        low="0.25k",
        high="8k",
        flags=SLOW,
    ),
    row("pool_req", "pool", "10,100,10", "Spare request objects." + _POOL),
    row("pool_sess", "pool", "10,100,10", "Spare session objects." + _POOL),
    row("pool_vbo", "pool", "10,100,10", "Spare fetch objects." + _POOL),
    row("sslbuf_pool", "pool", "10,100,10", "Spare buffers for TLS." + _POOL),
    row(
        "vsl_buffer",
        "bytes",
        "16k",
        "Log records that a task collects before it writes them to the log. Too little costs locking, too much memory.",
        low="267",
    ),
    row(
        "ssl_buffer",
        "bytes",
        "20k",
        "Octets that are put together before TLS encrypts and sends them. A record of TLS holds 16k: from there on "
        "only whole records count.",
        low="0.25k",
    ),
    row("vsl_reclen", "bytes", "255b", "Longest log record; more is cut off.", low="16b", high="65535b"),
    row(
        "vsl_space",
        "bytes",
        "80M",
        "Size of the log in shared memory. Slow readers need a larger one.",
        low="1M",
        high="4G",
        flags=RESTART,
    ),
    row(
        "vsl_layout",
        "uint",
        "2",
        "Layout of the log in shared memory: 1 is read by programs of Varnish up to 7.2, 2 by later ones.",
        low="1",
        high="2",
        flags=RESTART,
    ),
    row(
        "vsl_mask",
        "mask",
        VSL_TAGS_MASKED,
        "Log records that are not written.\n\tall\tWrite all of them\n\tdefault\tThe default value (param.reset does "
        "the same)\n\nPrefix a tag with + to write it, with - to leave it out. Tags are listed in vsl(7).",
        bits=dict.fromkeys(VSL_TAGS, ""),
    ),
    row(
        "vsm_free_cooldown",
        "duration",
        "60",
        "How long a shared-memory segment stays after its end, for readers.",
        low="10",
        high="600",
    ),
    row("panic_buffer", "bytes", "64k", "Longest panic dump that is kept.", low="4k", high="10m", flags=RESTART),
]

SOCKETS: list[Spec] = [
    row(
        "accept_filter",
        "bool",
        "off",
        "Let the kernel hold back connections until they have sent something.",
        flags=RESTART | Flag.NOT_IMPLEMENTED,
    ),
    row(
        "acceptor_sleep_decay",
        "double",
        "0.9",
        "Factor on the acceptor's pause for each connection it could accept.",
        low="0",
        high="1",
        flags=EXP,
    ),
    row(
        "acceptor_sleep_incr",
        "duration",
        "0",
        "What is added to the acceptor's pause when it runs out of descriptors or threads.",
        low="0",
        high="1",
        flags=EXP,
    ),
    row("acceptor_sleep_max", "duration", "0.05", "Longest pause of the acceptor.", low="0", high="10", flags=EXP),
    row(
        "listen_depth",
        "uint",
        "1024",
        "Length of the kernel's queue of connections to be accepted.",
        low="0",
        units="connections",
        flags=RESTART,
    ),
    row("tcp_fastopen", "bool", "off", "Accept TCP Fast Open.", flags=RESTART),
    row(
        "tcp_keepalive_intvl",
        "duration",
        _tcp_default(socket.TCP_KEEPINTVL, 5),
        "Seconds between keep-alive probes of TCP.",
        low="1",
        high="100",
        flags=EXP,
    ),
    row(
        "tcp_keepalive_probes",
        "uint",
        _tcp_default(socket.TCP_KEEPCNT, 5),
        "Unanswered keep-alive probes of TCP before a connection is dead.",
        low="1",
        high="100",
        units="probes",
        flags=EXP,
    ),
    row(
        "tcp_keepalive_time",
        "duration",
        _tcp_default(socket.TCP_KEEPIDLE, 600),
        "Idle seconds before TCP sends keep-alive probes.",
        low="1",
        high="7200",
        flags=EXP,
    ),
]

MANAGEMENT: list[Spec] = [
    row(
        "critbit_cooloff",
        "duration",
        "180",
        "How long the hash named critbit keeps what it has taken out. There is one kind of hash here, and it does not.",
        low="60.000",
        high="254.000",
        flags=Flag.WIZARD | Flag.NO_EFFECT,
    ),
    row(
        "tls_cleanup_batch",
        "uint",
        "100",
        "Contexts of certificates freed at a time after tls.cert.commit. Here each goes with its last connection.",
        low="1",
        units="SSL_CTX",
        flags=Flag.NO_EFFECT,
    ),
    row("auto_restart", "bool", "on", "Start the child again when it died."),
    row(
        "cli_limit",
        "bytes",
        "64k",
        "Longest answer of the management interface. A longer one is cut and gets status 201.",
        low="128b",
        high="99999999b",
    ),
    row("cli_timeout", "timeout", "60", "How long the child may take to answer the manager."),
    row(
        "clock_step",
        "timeout",
        "never",
        "A backward step of the clock larger than this is a panic. Nothing but the age of objects depends on it.",
    ),
    row(
        "ping_interval",
        "uint",
        "3",
        "Seconds between the manager's pings of the child. 0 turns them off, so that a debugger can hold the child.",
        low="0",
        units="seconds",
        flags=RESTART,
    ),
    row(
        "sigsegv_handler", "bool", "on", "Write the Python stacks of all threads when the child crashes.", flags=RESTART
    ),
    row(
        "latency_buckets",
        "string",
        DEFAULT_BUCKETS,
        "Upper bounds in seconds of the buckets in which /metrics counts how long the first octet of a response took.",
        units="seconds",
        flags=RESTART,
        check=wrong_buckets,
    ),
    row("startup_timeout", "timeout", "0", "How long the child may take to start, if that is more than cli_timeout."),
    row(
        "stats_socket",
        "string",
        "",
        "Path of the statistics socket; empty is stats.sock in the working directory, none turns it off.",
        flags=RESTART,
        check=wrong_stats_path,
    ),
    row(
        "stats_listen",
        "string",
        "none",
        "Address and port, such as 127.0.0.1:7071, on which browsers find the pages of the statistics socket; none "
        "turns it off. Without stats_token_file it must be a loopback address, and every local user can read them, "
        "the log included.",
        flags=RESTART,
        check=wrong_stats_address,
    ),
    row(
        "stats_token_file",
        "string",
        "",
        "File whose first line is the token that stats_listen asks for: the password of any user, or a bearer token.",
        flags=RESTART,
        check=wrong_token_path,
    ),
    row("syslog_cli_traffic", "bool", "on", "Send management commands and answers to syslog."),
    row("debug", "bits", "none", "Turn debugging aids on and off.\n\tnone\tAll off" + _SIGNS, bits=DEBUG_BITS),
    row(
        "experimental",
        "bits",
        "none",
        "Turn experimental features on and off.\n\tnone\tAll off" + _SIGNS,
        bits=EXPERIMENTAL_BITS,
    ),
]

VCL: list[Spec] = [
    row(
        "cc_command",
        "string",
        "",
        "Command that Varnish compiles VCL with. VCL becomes Python here.",
        flags=Flag.MUST_RELOAD | Flag.BUILD_OPTIONS | Flag.NO_EFFECT,
    ),
    row(
        "cc_warnings",
        "string",
        "",
        "Warnings of the C compiler that Varnish compiles VCL with. VCL becomes Python here.",
        flags=Flag.MUST_RELOAD | Flag.BUILD_OPTIONS | Flag.NO_EFFECT,
    ),
    row("max_vcl", "uint", "100", "Loaded VCLs beyond which max_vcl_handling applies; labels do not count.", low="0"),
    row(
        "max_vcl_handling",
        "uint",
        "1",
        "What happens beyond max_vcl: 0 nothing, 1 a warning, 2 loading is refused.",
        low="0",
        high="2",
    ),
    row("pcre2_depth_limit", "uint", "20", "How deep the matching of one regular expression may nest.", low="1"),
    row("pcre2_jit_compilation", "bool", "on", "Compile regular expressions to machine code where possible."),
    row("pcre2_match_limit", "uint", "10000", "Steps that matching one regular expression may take.", low="1"),
    row(
        "vcc_feature",
        "bits",
        "none,+err_unref,+unsafe_path",
        "Turn features of the VCL compiler on and off.\n\tdefault\tThe default value (param.reset does the same)\n"
        "\tnone\tAll off" + _SIGNS,
        bits=VCC_FEATURE_BITS,
    ),
    row("vcl_cooldown", "duration", "600", "How long a VCL stays warm after it was replaced.", low="1"),
    row(
        "vcl_path",
        "string",
        "/etc/varnishpy:/etc/varnish:/usr/share/varnish/vcl",
        "Directories, separated by colons, in which VCL files with relative names are looked for.",
        flags=Flag.BUILD_OPTIONS,
    ),
    row(
        "vmod_path",
        "string",
        "",
        "Directories, separated by colons, in which Python modules are looked for as VMODs.",
        flags=Flag.BUILD_OPTIONS,
    ),
]

ALIASES: dict[str, str] = {
    "deprecated_dummy": "debug",
    "vcc_err_unref": "vcc_feature",
    "vcc_allow_inline_c": "vcc_feature",
    "vcc_unsafe_path": "vcc_feature",
}
"""Names that are kept for old command lines. The ``vcc_`` ones are switches for one bit of vcc_feature."""

ROWS: list[Spec] = THREADS + MEMORY + SOCKETS + MANAGEMENT + VCL

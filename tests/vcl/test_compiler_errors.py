"""What the compiler refuses, and how it says so. Each text was held against what Varnish's own compiler prints."""

from __future__ import annotations

import pytest

from varnishpy.vcl.compiler import CompileOptions, VclError, compile_vcl, report

HEAD = 'vcl 4.1;\nbackend b { .host = "127.0.0.1"; }\n'


def refusal(text: str, **options: object) -> str:
    with pytest.raises(VclError) as caught:
        compile_vcl(text, "test", CompileOptions(filename="input", **options))  # type: ignore[arg-type]
    return str(caught.value)


def test_report_has_the_shape_of_varnishd() -> None:
    with pytest.raises(VclError) as caught:
        compile_vcl(HEAD + "sub vcl_recv {\n\tset req.url = foo.bar;\n}\n", "boot", CompileOptions(filename="input"))
    assert report(caught.value) == (
        "Message from VCC-compiler:\n"
        "Symbol not found: 'foo.bar'\n"
        "At: ('input' Line 4 Pos 23) -- (Pos 29)\n"
        "        set req.url = foo.bar;\n"
        "----------------------#######-\n"
        "\n"
        "Running VCC-compiler failed, exited with 2\n"
        "VCL compilation failed"
    )


def test_illegal_return_names_the_way_there() -> None:
    text = refusal(HEAD + "sub foo { return (deliver); }\nsub vcl_recv { call foo; }\n")
    assert text.startswith("Invalid return \"deliver\"\n('input' Line 3 Pos 19)\n")
    assert '...in subroutine "foo"' in text
    assert '...called from "vcl_recv"' in text
    assert text.endswith(
        '...which is the "vcl_recv" subroutine\n'
        'Legal returns are: "fail" "hash" "pass" "pipe" "purge" "restart" "synth" "vcl"\n'
    )


BAD = [
    ("", "No backends or directors found in VCL program"),
    ('backend b { .host = "127.0.0.1"; }', "VCL version declaration missing"),
    ("vcl 3.9;", "VCL version 3.9 not supported."),
    ("vcl 4.11;", "Don't play silly buggers with VCL version numbers"),
    ("vcl 4.1;", "No backends or directors found in VCL program"),
    ("vcl 4.0;\nbackend b none;\nvcl 4.1;", "higher than the top level version 4.0"),
    (HEAD + "sub vcl_recv { set req.url = `x`; }", "Syntax error at"),
    (HEAD + 'sub vcl_recv { set req.url = "abc; }', "Unterminated string, starting at"),
    (HEAD + 'sub vcl_recv { set req.url = {"abc; }', "Unterminated long-string, starting at"),
    (HEAD + "/* x ", "Unterminated /* ... */ comment"),
    (HEAD + "/* x /* */", "comment contains /*"),
    (HEAD + "sub vcl_recv { return (deliver); }", 'Invalid return "deliver"'),
    (HEAD + "sub foo { call bar; } sub bar { call foo; } sub vcl_recv { call foo; }", "Subroutine recurses on"),
    (HEAD + "sub vcl_recv { call foo; }", "Undefined sub foo, first reference:"),
    (HEAD + "sub foo { }", "Unused sub foo, defined:"),
    (HEAD + 'acl foo { "1.2.3.4"; }', "Unused acl foo, defined:"),
    (HEAD + 'backend c { .host = "127.0.0.1"; }', "Unused backend c, defined:"),
    (HEAD + 'acl l { "1.2.3.4"/8; } sub vcl_recv { if (client.ip ~ l) { } }', "(maybe use 1.0.0.0/8 ?)"),
    (HEAD + 'acl l { "1.2.3.4"/33; } sub vcl_recv { if (client.ip ~ l) { } }', "Too wide mask (/33) for IPv4 address"),
    (HEAD + 'acl l { "1.2.3.4"; ! "1.2.3.4"; } sub vcl_recv { if (client.ip ~ l) { } }', "Conflicting ACL entries:"),
    (HEAD + "acl l +nonsense { } sub vcl_recv { if (client.ip ~ l) { } }", "Unknown ACL flag. Valid ACL flags are"),
    (HEAD + 'sub vcl_recv { set client.ip = "1.2.3.4"; }', "Variable is read only."),
    (HEAD + "sub vcl_recv { set beresp.ttl = 1s; }", "Cannot be set in subroutine 'vcl_recv'."),
    (HEAD + "sub foo { set beresp.ttl = 1s; } sub vcl_recv { call foo; }", "Cannot be set from subroutine 'vcl_recv'."),
    (HEAD + "sub vcl_recv { set req.http.x = obj.hits; }", "Not available in subroutine 'vcl_recv'."),
    (HEAD + "sub vcl_recv { unset req.url; }", "Variable cannot be unset."),
    (HEAD + "sub vcl_recv { set req.ttl = 10; }", "Expression has type INT, expected DURATION"),
    (HEAD + 'sub vcl_recv { set req.http.x = "a" "b"; }', "Expected ';' got '\"b\"'"),
    (HEAD + "sub vcl_recv { if (req.url == 1) { } }", "Comparison of different types: STRING '==' INT"),
    (HEAD + 'sub vcl_recv { if (client.ip < "1.2.3.4") { } }', "Operator < not possible on IP"),
    (HEAD + "sub vcl_recv { if (1.5) { } }", "Expression has type REAL, expected BOOL"),
    (HEAD + "sub vcl_recv { if (1.5 && 1s) { } }", "'&&' must be preceded by BOOL, found REAL."),
    (HEAD + "sub vcl_recv { if (1s && 1.5) { } }", "'&&' must be followed by BOOL, found REAL."),
    (HEAD + "sub vcl_recv { set req.ttl = now - 1; }", "TIME - INT not possible."),
    (HEAD + "sub vcl_recv { set req.http.s = 1.0 % 2; }", "Operator % only possible on INT."),
    (HEAD + "sub vcl_recv { set req.ttl = 10q; }", "Unknown duration unit 'q'"),
    (HEAD + 'sub vcl_recv { if (req.url ~ "(") { } }', "Regexp compilation error:\n\nmissing closing parenthesis"),
    (HEAD + 'sub vcl_recv { if (client.ip == "1.2.3.x") { } }', "could not be resolved to an IP address"),
    (
        'vcl 4.0;\nbackend b none;\nsub vcl_recv { set req.http."a.b" = "1"; }',
        "Quoted headers are available for VCL >= 4.1.",
    ),
    (HEAD + "sub vcl_recv { set req.esi = true; }", "(Only available when VCL syntax <= 4.0)"),
    (
        "vcl 4.0;\nbackend b none;\nsub vcl_recv { set req.http.x = sess.xid; }",
        "(Only available when 4.1 <= VCL syntax)",
    ),
    (HEAD + "sub vcl_recv { C{ }C }", "Inline-C not allowed"),
    (HEAD + "C{ }C", "Inline-C not allowed"),
    (HEAD + 'sub vcl_recv { if (req.url) { } else set req.url = "x"; }', "'else' must be followed by 'if' or '{'"),
    (HEAD + "sub vcl_foo { }", "The names 'vcl_*' are reserved for subroutines."),
    (HEAD + "sub foo { } sub foo { } sub vcl_recv { call foo; }", "Subroutine 'foo' redefined"),
    (HEAD + 'backend b { .host = "127.0.0.1"; }', "Backend 'b' redefined."),
    (HEAD + "sub my.sub { }", "Name of subroutine, 'my.sub', contains illegal character '.'"),
    (HEAD + "sub vcl_recv { return (synth); }", "Missing argument."),
    (HEAD + "sub vcl_recv { return (hash(1)); }", "Arguments not allowed."),
    (HEAD + "sub vcl_recv { return (foo); }", "Expected return action name."),
    (HEAD + 'sub vcl_recv { synthetic("x"); }', "Not a valid action in subroutine 'vcl_recv'."),
    (HEAD + "sub vcl_recv { set req.http.x = 1234567890123456; }", "Too many digits for integer."),
    (HEAD + "sub vcl_recv { set req.http.x = 1.2345; }", "Too many digits for real."),
    (HEAD + "sub vcl_recv { foo bar; }", "Symbol not found: 'foo'"),
    (HEAD + "sub vcl_recv { std.log(1); }", "Symbol not found: 'std.log'"),
    (HEAD + "sub vcl_recv { elseif (true) { } }", "Symbol not found.\n('input' Line 3 Pos 16)"),
    (HEAD + "vcl 4;", "Expected FNUM got '4'"),
    (HEAD + "vcl 40;", "Don't play silly buggers with VCL version numbers\n('input' Line 3 Pos 5)"),
    (HEAD + 'import debug;\nsub vcl_init { new x = debug.obj("a", four); }', "Expected argument: ENUM number"),
    (
        HEAD + 'import nosuch from "/nonexistent.so";',
        "File name: /nonexistent.so\n\tError: No such file or directory\n",
    ),
    (HEAD + 'import std from "nosuch";', "Could not find VMOD std\n"),
    (HEAD + 'sub vcl_recv { set req.http."" = 1; }', "HTTP header names cannot be empty."),
    (HEAD + "sub vcl_recv { req.url; }", "Symbol cannot be used here."),
    (HEAD + "sub vcl_recv { :aaaa=aa: }", "Wrong padding ('=') in BLOB:"),
    (HEAD + "foo bar;", "Found: 'foo' at"),
    (HEAD + "import nosuch;", "Could not find VMOD nosuch"),
    (HEAD + "import std;\nsub vcl_recv { std.nofunc(); }", "Symbol not found: 'std.nofunc'"),
    (HEAD + "import std;\nsub vcl_recv { std.log(); }", "Argument 's' missing"),
    (HEAD + 'import std;\nsub vcl_recv { set req.http.x = std.log("x"); }', "Function returns VOID:"),
    (HEAD + "import std;\nsub vcl_recv { set req.http.x = std.integer(foo=1); }", "Unknown argument 'foo'"),
    (HEAD + "import directors;\nsub vcl_recv { new rr = directors.round_robin(); }", "Not a valid action"),
    (
        HEAD + "import directors;\nsub vcl_init { new rr = directors.round_robin(); rr.foo(b); }",
        "Unknown property 'foo'",
    ),
    (HEAD + 'include "/nonexistent.vcl";', "Cannot read file '/nonexistent.vcl' (No such file or directory)"),
    (HEAD + "include foo;", "include not followed by string constant."),
    (HEAD + 'include +glob "/nonexistent/*.vcl";', "glob pattern matched no files."),
    ('vcl 4.1;\nbackend a { .hosst = "127.0.0.1"; }', "Unknown field: 'hosst' at"),
    ('vcl 4.1;\nbackend a { .host = "127.0.0.1"; .host = "1.1.1.1"; }', "Field 'host' redefined at:"),
    ('vcl 4.1;\nbackend a { .port = "80"; }', "Expected .host or .path."),
    ('vcl 4.1;\nbackend a { .host = "300.300.300.300"; }', "could not be resolved to an IP address:"),
    ('vcl 4.0;\nbackend a { .path = "/x"; }', "Unix socket backends only supported in VCL4.1 and higher."),
    ('vcl 4.1;\nbackend a { .host = "127.0.0.1"; .proxy_header = 3; }', ".proxy_header must be 1 or 2"),
    ('vcl 4.1;\nbackend a { .host = "127.0.0.1"; .probe = { .window = 6; } }', "Must specify .threshold with .window"),
    (
        'vcl 4.1;\nbackend a { .host = "127.0.0.1"; .probe = { .window = 65; .threshold = 1; } }',
        "Window must be 64 or less.",
    ),
    ('vcl 4.1;\nprobe p { }\nbackend a { .host = "127.0.0.1"; }', "Unused probe p, defined:"),
    ('vcl 4.1;\nbackend a { .host = "1.2.3.4"; .ssl_sni = 1; .ssl_nosni = 1; }', "conflicts with field 'ssl_sni'."),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[message[:40] for _text, message in BAD])
def test_refused(text: str, message: str) -> None:
    assert message in refusal(text)


HINTS = [
    # subroutines: mistyped, and as they were called before VCL 4
    ("sub vcl_recieve { }", "Did you mean vcl_recv?\n"),
    ("sub vcl_delivery { }", "Did you mean vcl_deliver?\n"),
    ("sub vcl_backend_respone { }", "Did you mean vcl_backend_response"),
    ("sub vcl_fetch { }", "Did you mean vcl_backend_response?\n"),
    ("sub vcl_error { }", "Did you mean vcl_synth or vcl_backend_error?\n"),
    ("sub normalize { } sub vcl_recv { call normalise; call normalize; }", "Did you mean normalize?\n"),
    # names
    ("sub vcl_recv { remove req.http.x; }", "Did you mean unset?\n"),
    ('sub vcl_recv { if (req.request == "GET") { } }', "Did you mean req.method?\n"),
    ("sub vcl_backend_response { set beresp.tll = 1s; }", "Did you mean beresp.ttl?\n"),
    ('sub vcl_recv { set req.htpp.Accept = "x"; }', "Did you mean req.http.Accept?\n"),
    ("sub vcl_recv { set req.http.x = req.htp.Accept; }", "Did you mean req.http.Accept?\n"),
    ("sub vcl_recv { set req.http.x = client.identty; }", "Did you mean client.identity?\n"),
    ("sub vcl_recv { unset req.grce; }", "Did you mean req.grace?\n"),
    ("sub vcl_recv { if (req.grce > 1s) { } }", "Did you mean req.grace?\n"),
    ("sub vcl_recv { if (storage.s0.hapy) { } }", "Did you mean .happy?\n"),
    ("backend images none; sub vcl_recv { set req.backend_hint = image; }", "Did you mean images?\n"),
    ("sub vcl_recv { retrun (pass); }", "Did you mean return?\n"),
    ("sub vcl_recv { return (lokup); }", "Did you mean lookup?\n"),
    ("bakend c none;", "Did you mean backend?\n"),
    ('backend c { .hosst = "127.0.0.1"; }', "Did you mean .host?\n"),
]


@pytest.mark.parametrize(("text", "hint"), HINTS, ids=[text for text, _hint in HINTS])
def test_what_may_have_been_meant(text: str, hint: str) -> None:
    assert hint in refusal(HEAD + text)


@pytest.mark.parametrize(
    "text",
    [
        "sub vcl_xyzzy { }",
        "sub vcl_recv { set req.xyzzy = 1; }",
        "sub vcl_recv { call xyzzy; }",
        "sub vcl_recv { set beresp.ttl = 1s; }",
    ],
)
def test_nothing_is_guessed_where_nothing_is_near(text: str) -> None:
    assert "Did you mean" not in refusal(HEAD + text)


OPEN = "\nsub vcl_recv\n{\n\tif (req.url) {\n\t\treturn (pass);\n\n}\n"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (OPEN, "Subroutine 'vcl_recv'"),
        (OPEN + "sub vcl_deliver { }\n", "Subroutine 'vcl_recv'"),
        (OPEN + 'backend c { .host = "127.0.0.1"; }\n', "Subroutine 'vcl_recv'"),
        ('\nbackend c\n{\n\t.host = "127.0.0.1";\n', "Backend 'c'"),
        ('\nbackend c\n{\n\t.host = "127.0.0.1";\nsub vcl_recv { }\n', "Backend 'c'"),
        ('\nacl c\n{\n\t"127.0.0.1";\nsub vcl_recv { }\n', "Acl 'c'"),
    ],
)
@pytest.mark.parametrize("version", ["4.0", "4.1"])
def test_what_was_never_closed_is_named_with_its_line(version: str, text: str, what: str) -> None:
    said = refusal(HEAD.replace("4.1", version) + text)
    assert said.endswith(f"{what} was not closed before that, it was opened here:\n('input' Line 5 Pos 1)\n{{\n#\n\n")


@pytest.mark.parametrize(
    "text",
    [
        "sub vcl_recv { set req.url = backend; }",
        "sub vcl_recv { foo; } sub vcl_deliver { }",
        "sub foo { } sub foo { } sub vcl_recv { call foo; }",
        "sub vcl_recv",
    ],
)
def test_other_mistakes_are_not_blamed_on_a_brace(text: str) -> None:
    assert "was not closed" not in refusal(HEAD + text)


def test_unused_symbols_are_warnings_when_so_wished() -> None:
    compiled = compile_vcl(HEAD + "sub foo { }", "test", CompileOptions(err_unref=False))
    assert "Unused sub foo, defined:" in compiled.warnings
    assert "(That was just a warning)" in compiled.warnings


def test_what_is_deprecated_is_a_warning() -> None:
    text = 'vcl 4.0; backend default none; sub vcl_backend_response { set beresp.storage_hint = "s0"; }'
    compiled = compile_vcl(text, "test", CompileOptions())
    assert "beresp.storage_hint is deprecated" in compiled.warnings
    assert "set beresp.storage = storage.NAME" in compiled.warnings
    assert "(That was just a warning)" in compiled.warnings


def test_unsafe_paths_are_refused_when_so_wished() -> None:
    assert "VCL filename '/x.vcl' is unsafe." in refusal(HEAD + 'include "/x.vcl";', unsafe_path=False)
    assert "is unsafe" in refusal(HEAD + 'import std from "/x";', unsafe_path=False)


def test_inline_c_that_does_nothing_is_passed_over_where_it_is_allowed() -> None:
    nothing = HEAD + "C{ #include <stdio.h>\n /* x */ ; // y\n }C\nsub vcl_recv { C{ /* z */ }C }"
    compile_vcl(nothing, "test", CompileOptions(allow_inline_c=True))
    assert "Inline-C not allowed" in refusal(nothing)
    for code in ("C{ int i; }C", "sub vcl_recv { C{ /* a */ foo(); /* b */ }C }"):
        assert "Inline-C not allowed" in refusal(HEAD + code, allow_inline_c=True)


def test_deep_nesting_is_no_crash() -> None:
    depth = 3000
    assert "nested too deeply" in refusal(HEAD + "sub vcl_recv {" + "{" * depth + "}" * depth + "}")


def test_arguments_without_a_name_are_known_by_their_place() -> None:
    head = f"{HEAD}import directors;\nsub vcl_init {{ new h = directors.hash(); "
    assert "Argument 1 missing" in refusal(head + "h.add_backend(); }")
    assert "Unknown argument 'backend'" in refusal(head + "h.add_backend(backend=b); }")
    assert "Expected argument: REAL weight" in refusal(head + 'h.add_backend(b, weight="x"); }')
    assert "Expected argument: BACKEND (unnamed argument)" in refusal(head + 'h.add_backend("x"); }')

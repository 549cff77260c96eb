# Drupal: cache tags of its purger, sessions that are passed, a page in place of a bare error.
vcl 4.1;

import std;

backend web1 { .host = "web1.drupal.internal"; .port = "8080"; }
backend web2 { .host = "web2.drupal.internal"; .port = "8080"; }

acl purgers { "10.10.0.0"/16; "127.0.0.1"; }

sub vcl_recv {
    set req.backend_hint = web1;
    if (!std.healthy(web1)) {
        set req.backend_hint = web2;
    }
    if (req.method == "BAN") {
        if (client.ip !~ purgers) {
            return (synth(403));
        }
        if (!req.http.Cache-Tags) {
            return (synth(400, "Cache-Tags missing"));
        }
        ban("obj.http.Cache-Tags ~ (^|\s)" + req.http.Cache-Tags + "(\s|$)");
        return (synth(200, "Ban added"));
    }
    if (req.url ~ "^/(user|admin|node/add|batch)(/|\?|$)") {
        return (pass);
    }
    if (req.http.Cookie) {
        # sessions only: SESS… over HTTP, SSESS… over HTTPS
        set req.http.Cookie = ";" + req.http.Cookie;
        set req.http.Cookie = regsuball(req.http.Cookie, "; +", ";");
        set req.http.Cookie = regsuball(req.http.Cookie, ";(S?SESS[a-z0-9]+|NO_CACHE)=", "; \1=");
        set req.http.Cookie = regsuball(req.http.Cookie, ";[^ ][^;]*", "");
        set req.http.Cookie = regsuball(req.http.Cookie, "^[; ]+|[; ]+$", "");
        if (req.http.Cookie == "") {
            unset req.http.Cookie;
        } else {
            return (pass);
        }
    }
}

sub vcl_backend_response {
    set beresp.grace = 6h;
    if (beresp.status >= 500 && bereq.retries == 0 && bereq.method == "GET") {
        return (retry);
    }
}

sub vcl_backend_fetch {
    if (bereq.retries > 0) {
        set bereq.backend = web2;
    }
}

sub vcl_backend_error {
    set beresp.http.Content-Type = "text/html; charset=utf-8";
    set beresp.http.Retry-After = "5";
    set beresp.body = "<h1>We will be back in a moment</h1>";
    return (deliver);
}

sub vcl_deliver {
    unset resp.http.Cache-Tags;
}

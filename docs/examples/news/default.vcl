# A news site: pages put together of fragments (ESI), stale ones served while new ones are fetched.
vcl 4.1;

import std;

backend cms { .host = "cms.news.internal"; .port = "8000"; .probe = { .url = "/alive"; } }
backend images { .host = "images.news.internal"; }

sub vcl_recv {
    if (req.url ~ "^/(img|media)/") {
        set req.backend_hint = images;
        unset req.http.Cookie;
        return (hash);
    }
    if (req.url ~ "^/esi/" && req.esi_level == 0) {
        return (synth(404));    # fragments are no pages
    }
    if (req.http.Cookie ~ "subscriber=1" && req.url ~ "^/esi/greeting") {
        return (pass);
    }
    unset req.http.Cookie;
    if (std.healthy(req.backend_hint)) {
        set req.grace = 30s;
    }
}

sub vcl_backend_response {
    if (beresp.http.Content-Type ~ "^text/html") {
        set beresp.do_esi = true;
        set beresp.do_gzip = true;
    }
    if (bereq.url ~ "^/breaking") {
        set beresp.ttl = 5s;
    } elseif (beresp.ttl < 1m && beresp.status == 200 && !beresp.uncacheable) {
        set beresp.ttl = 1m;
    }
    set beresp.grace = 24h;
}

sub vcl_backend_error {
    if (bereq.url ~ "^/esi/") {
        # a page without one of its fragments is still a page
        set beresp.status = 200;
        set beresp.http.Content-Type = "text/html";
        set beresp.body = "<!-- not available -->";
        set beresp.ttl = 1s;
        return (deliver);
    }
}

sub vcl_deliver {
    if (resp.http.Age && std.integer(resp.http.Age, 0) > 60) {
        set resp.http.Warning = {"110 - "Response is Stale""};
    }
}

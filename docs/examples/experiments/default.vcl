# A/B tests: each visitor is given an arm once, pages are cached for each arm, and nobody sees two.
vcl 4.1;

import cookie;
import std;

backend web { .host = "web.internal"; }

sub assign {
    cookie.parse(req.http.Cookie);
    if (cookie.get("arm") ~ "^(a|b|control)$") {
        set req.http.X-Arm = cookie.get("arm");
        return;
    }
    set req.http.X-New-Arm = "1";
    if (std.random(0, 100) < 50) {
        set req.http.X-Arm = "control";
    } elseif (std.random(0, 100) < 50) {
        set req.http.X-Arm = "a";
    } else {
        set req.http.X-Arm = "b";
    }
}

sub vcl_recv {
    unset req.http.X-Arm;
    unset req.http.X-New-Arm;
    if (req.url ~ "^/static/") {
        unset req.http.Cookie;
        return (hash);
    }
    call assign;
    unset req.http.Cookie;
}

sub vcl_hash {
    if (req.http.X-Arm) {
        hash_data(req.http.X-Arm);
    }
}

sub vcl_backend_response {
    if (beresp.http.Set-Cookie && bereq.http.X-Arm) {
        # what is shared by an arm sets no cookies
        unset beresp.http.Set-Cookie;
    }
}

sub vcl_deliver {
    if (req.http.X-New-Arm) {
        set resp.http.Set-Cookie = "arm=" + req.http.X-Arm + "; Path=/; Max-Age=2592000";
        set resp.http.Cache-Control = "private, no-cache";
    }
}

# Rate limits: searches and logins for each visitor, everything for those who do not say who they are.
vcl 4.1;

import std;
import vsthrottle;

backend app { .host = "app.internal"; .port = "9000"; .max_connections = 50; }

acl trusted { "127.0.0.2"; "10.20.0.0"/16; }

sub vcl_recv {
    set req.http.X-Visitor = client.ip;
    if (client.ip ~ trusted && req.http.X-Forwarded-For ~ "^[0-9a-f.:]+,") {
        # our own load balancer: the first of its list is who it says
        set req.http.X-Visitor = regsub(req.http.X-Forwarded-For, ",.*$", "");
    }
    if (req.url ~ "^/login" && req.method == "POST") {
        if (vsthrottle.is_denied("login:" + req.http.X-Visitor, 5, 60s, 300s)) {
            return (synth(429, "Too many logins"));
        }
        return (pass);
    }
    if (req.url ~ "^/search") {
        if (vsthrottle.is_denied("search:" + req.http.X-Visitor, 10, 10s)) {
            return (synth(429, "Too many searches"));
        }
    }
    if (!req.http.User-Agent) {
        if (vsthrottle.is_denied("nameless", 100, 1s)) {
            return (synth(429, "Busy"));
        }
    }
}

sub vcl_backend_response {
    if (bereq.url ~ "^/search") {
        set beresp.ttl = 10s;
    }
}

sub vcl_synth {
    if (resp.status == 429) {
        if (req.url ~ "^/login") {
            set resp.http.Retry-After = "300";
        } else {
            set resp.http.Retry-After = "10";
        }
        std.log("limited " + req.http.X-Visitor);
        synthetic(resp.reason);
        return (deliver);
    }
}

# An API gateway: versions go to services, tokens are checked for their shape, answers are cached for each token or not.
vcl 4.1;

import std;
import directors;

backend users_a { .host = "users-a.internal"; .port = "7000"; }
backend users_b { .host = "users-b.internal"; .port = "7000"; }
backend orders { .host = "orders.internal"; .port = "7001"; .between_bytes_timeout = 5s; }

sub vcl_init {
    new users = directors.round_robin();
    users.add_backend(users_a);
    users.add_backend(users_b);
}

sub refuse {
    set req.http.X-Problem = "1";
    return (synth(401, "A bearer token is needed"));
}

sub vcl_recv {
    unset req.http.X-Problem;
    if (req.method == "OPTIONS") {
        return (synth(204, "No Content"));
    }
    if (req.url ~ "^/v2/users/") {
        set req.backend_hint = users.backend();
    } elseif (req.url ~ "^/v2/orders/") {
        set req.backend_hint = orders;
    } else {
        return (synth(404, "No such service"));
    }
    if (req.http.Authorization !~ "^Bearer [A-Za-z0-9._-]+$") {
        call refuse;
    }
    set req.http.X-Request-Id = std.tolower(req.http.X-Request-Id);
    if (req.http.X-Request-Id !~ "^[0-9a-f-]{8,36}$") {
        set req.http.X-Request-Id = req.xid;
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    return (hash);
}

sub vcl_hash {
    hash_data(req.http.Authorization);
}

sub vcl_backend_response {
    if (beresp.http.Cache-Control ~ "no-store|private" && beresp.http.Cache-Control !~ "max-age") {
        return (pass(30s));
    }
    if (beresp.status >= 500) {
        set beresp.ttl = 0s;
        set beresp.uncacheable = true;
    }
    set beresp.grace = 10s;
    return (deliver);
}

sub vcl_synth {
    if (resp.status == 204) {
        set resp.http.Access-Control-Allow-Origin = "*";
        set resp.http.Access-Control-Allow-Methods = "GET, POST, PUT, DELETE";
        set resp.http.Access-Control-Max-Age = "600";
        return (deliver);
    }
    set resp.http.Content-Type = "application/problem+json";
    if (req.http.X-Problem) {
        set resp.http.WWW-Authenticate = "Bearer";
    }
    synthetic({"{"status": "} + resp.status + {", "title": ""} + resp.reason + {"""} + "}");
    return (deliver);
}

sub vcl_deliver {
    set resp.http.X-Request-Id = req.http.X-Request-Id;
    set resp.http.Access-Control-Allow-Origin = "*";
}

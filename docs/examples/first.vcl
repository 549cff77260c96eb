vcl 4.1;

backend default {
    .host = "127.0.0.1";
    .port = "8080";
}

sub vcl_recv {
    # what belongs to one user is never stored
    if (req.url ~ "^/admin") {
        return (pass);
    }
    # everything else is the same for all
    unset req.http.Cookie;
}

sub vcl_backend_response {
    # while a new copy is fetched, and while the origin is down, the old one will do
    set beresp.grace = 1h;
}

sub vcl_deliver {
    set resp.http.X-Cache = "miss";
    if (obj.hits > 0) {
        set resp.http.X-Cache = "hit";
    }
}

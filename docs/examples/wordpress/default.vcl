# WordPress: readers share pages; who is logged in, comments or previews does not.
vcl 4.1;

backend php { .host = "wordpress.internal"; .port = "80"; }

acl self { "127.0.0.1"; "::1"; "wordpress.internal"; }

sub vcl_recv {
    if (req.method == "PURGE") {
        if (client.ip !~ self) {
            return (synth(405, "Not allowed"));
        }
        return (purge);
    }
    if (req.method == "BAN") {
        if (client.ip !~ self) {
            return (synth(405, "Not allowed"));
        }
        ban("obj.http.X-Url ~ " + req.url + " && obj.http.X-Host == " + req.http.Host);
        return (synth(200, "Banned"));
    }
    if (req.url ~ "^/wp-(admin|login|cron)" || req.url ~ "[?&]preview=true" || req.url ~ "^/xmlrpc\.php") {
        return (pass);
    }
    if (req.url ~ "\.(?:css|js|png|jpe?g|gif|svg|webp|woff2?)(?:\?|$)") {
        unset req.http.Cookie;
        return (hash);
    }
    if (req.http.Cookie ~ "(?:^|; )(?:wordpress_logged_in_|comment_author_|wp-postpass_)") {
        return (pass);
    }
    unset req.http.Cookie;
}

sub vcl_backend_response {
    set beresp.http.X-Url = bereq.url;
    set beresp.http.X-Host = bereq.http.Host;
    if (bereq.url !~ "^/wp-(admin|login)" && bereq.method != "POST") {
        unset beresp.http.Set-Cookie;
    }
    if (beresp.status == 301 || beresp.status == 302) {
        set beresp.ttl = 10m;
    } elseif (beresp.status == 200 && beresp.ttl > 0s) {
        set beresp.ttl = 1d;
    }
    set beresp.grace = 6h;
}

sub vcl_deliver {
    unset resp.http.X-Url;
    unset resp.http.X-Host;
    unset resp.http.X-Powered-By;
}

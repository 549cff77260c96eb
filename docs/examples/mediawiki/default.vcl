# MediaWiki: anonymous readers share pages, editors do not; the wiki purges what changes.
vcl 4.1;

backend wiki { .host = "wiki.internal"; .port = "8080"; .max_connections = 200; }

acl wikis { "127.0.0.1"; "172.20.0.0"/14; }

sub normalise_encoding {
    if (req.http.Accept-Encoding) {
        if (req.http.User-Agent ~ "MSIE 6" || req.url ~ "\.(gz|zip|png|jpg)$") {
            unset req.http.Accept-Encoding;
        } elseif (req.http.Accept-Encoding ~ "gzip") {
            set req.http.Accept-Encoding = "gzip";
        } else {
            unset req.http.Accept-Encoding;
        }
    }
}

sub vcl_recv {
    call normalise_encoding;
    # before anything is purged: it is part of the hash
    set req.http.X-Variant = "desktop";
    if (req.http.Host ~ "^m\.") {
        set req.http.X-Variant = "mobile";
    }
    if (req.method == "PURGE") {
        if (client.ip !~ wikis) {
            return (synth(405, "Method not allowed"));
        }
        return (purge);
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    if (req.http.Authorization || req.http.Cookie ~ "(session|Token|UserID|UserName)=") {
        return (pass);
    }
    unset req.http.Cookie;
}

sub vcl_hash {
    hash_data(req.http.X-Variant);
}

sub vcl_miss {
    if (req.http.If-None-Match) {
        set req.http.X-Revalidates = "1";
    }
}

sub vcl_backend_response {
    set beresp.grace = 2m;
    if (beresp.http.Vary ~ "Cookie") {
        # logged-in readers never get here
        set beresp.http.Vary = regsub(beresp.http.Vary, ",? *Cookie", "");
    }
    if (beresp.status == 503) {
        set beresp.ttl = 5s;
        set beresp.uncacheable = true;
        return (deliver);
    }
}

sub vcl_deliver {
    set resp.http.X-Cache = obj.hits;
    if (req.http.X-Revalidates) {
        set resp.http.X-Revalidated = "1";
    }
}

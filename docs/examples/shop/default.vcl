# A shop: pages shared by all visitors, a cart and an account that are not, tags to purge by.
vcl 4.1;

import std;
import xkey;

backend app {
    .host = "app.shop.internal";
    .port = "8080";
    .first_byte_timeout = 30s;
    .probe = {
        .url = "/health";
        .interval = 5s;
        .window = 8;
        .threshold = 3;
    }
}

acl editors {
    "127.0.0.1";
    "10.0.0.0"/8;
    "office.shop.internal";
}

sub vcl_recv {
    if (req.method == "PURGE") {
        if (client.ip !~ editors) {
            return (synth(403, "Not for you"));
        }
        if (req.http.xkey-purge) {
            set req.http.X-Purged = xkey.softpurge(req.http.xkey-purge);
            return (synth(200, "Purged " + req.http.X-Purged));
        }
        return (purge);
    }

    # what marks a campaign makes no other page
    set req.url = regsuball(req.url, "([?&])(utm_[a-z]+|gclid|fbclid)=[^&]*", "\1");
    set req.url = regsuball(regsub(req.url, "\?&+", "?"), "&&+", "&");
    set req.url = regsub(req.url, "[?&]+$", "");
    set req.url = std.querysort(req.url);

    if (req.url ~ "^/(cart|checkout|account)(/|\?|$)") {
        return (pass);
    }
    if (req.http.Cookie) {
        # the language is the only thing in a cookie that pages differ by
        set req.http.X-Language = regsub(req.http.Cookie, "^(?:.*; )?language=([a-z]{2}).*$", "\1");
        if (req.http.X-Language !~ "^[a-z]{2}$") {
            unset req.http.X-Language;
        }
        unset req.http.Cookie;
    }
}

sub vcl_hash {
    hash_data(req.http.X-Language);
}

sub vcl_backend_response {
    set beresp.grace = 1h;
    if (beresp.status >= 500 && bereq.is_bgfetch) {
        return (abandon);    # the old page is better than the new error
    }
    if (beresp.status == 404) {
        set beresp.ttl = 30s;
    }
}

sub vcl_deliver {
    unset resp.http.xkey;
    if (obj.hits > 0) {
        set resp.http.X-Cache = "hit";
    } else {
        set resp.http.X-Cache = "miss";
    }
}

# Device detection: three kinds of pages, by the browser's word or by the visitor's own choice.
vcl 4.1;

import cookie;

backend web { .host = "web.internal"; .port = "3000"; }

sub detect {
    if (req.http.Cookie ~ "(^|; )device=(phone|tablet|desktop)(;|$)") {
        cookie.parse(req.http.Cookie);
        set req.http.X-Device = cookie.get("device");
    } elseif (req.http.Sec-CH-UA-Mobile == "?1") {
        set req.http.X-Device = "phone";
    } elseif (req.http.User-Agent ~ "(?i)ipad|tablet|kindle|android(?!.*mobile)") {
        set req.http.X-Device = "tablet";
    } elseif (req.http.User-Agent ~ "(?i)iphone|android|mobile|opera mini") {
        set req.http.X-Device = "phone";
    } else {
        set req.http.X-Device = "desktop";
    }
}

sub vcl_recv {
    # nobody but us says what a visitor's device is
    unset req.http.X-Device;
    call detect;
    if (req.url ~ "^/switch\?to=(phone|tablet|desktop)$") {
        return (synth(302, regsub(req.url, "^.*=", "")));
    }
    unset req.http.Cookie;
}

sub vcl_hash {
    if (req.url !~ "^/(assets|api)/") {
        hash_data(req.http.X-Device);
    }
}

sub vcl_synth {
    if (resp.status == 302) {
        set resp.http.Location = "/";
        set resp.http.Set-Cookie = "device=" + resp.reason + "; Path=/; Max-Age=31536000";
        set resp.reason = "Found";
        return (deliver);
    }
}

sub vcl_deliver {
    if (req.url !~ "^/(assets|api)/") {
        # caches behind us cannot know how we decide
        set resp.http.Vary = "User-Agent, Cookie";
        set resp.http.Accept-CH = "Sec-CH-UA-Mobile";
    }
}

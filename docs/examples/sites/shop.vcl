# The shop's own rules.
vcl 4.1;

backend shop { .host = "shop.internal"; }

sub vcl_recv {
    if (req.http.Host == "www.shop.example") {
        return (synth(301, "https://shop.example" + req.url));
    }
    unset req.http.Cookie;
}

sub vcl_synth {
    if (resp.status == 301) {
        set resp.http.Location = resp.reason;
        set resp.reason = "Moved Permanently";
        return (deliver);
    }
}

# Several sites behind one address: each has a program of its own, reached by its label.
#
#   vcl.load shop /etc/varnish/shop.vcl ; vcl.label site-shop shop
#   vcl.load blog /etc/varnish/blog.vcl ; vcl.label site-blog blog
#   vcl.load top  /etc/varnish/default.vcl ; vcl.use top
vcl 4.1;

import std;

backend default none;

sub vcl_recv {
    set req.http.Host = std.tolower(regsub(req.http.Host, ":[0-9]+$", ""));
    if (req.http.Host == "shop.example" || req.http.Host == "www.shop.example") {
        return (vcl(site-shop));
    }
    if (req.http.Host ~ "(^|\.)blog\.example$") {
        return (vcl(site-blog));
    }
    return (synth(421, "Misdirected Request"));
}

sub vcl_synth {
    set resp.http.Content-Type = "text/plain";
    synthetic("No site of that name here: " + req.http.Host);
    return (deliver);
}

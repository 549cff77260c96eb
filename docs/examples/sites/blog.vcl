# The blog's own rules.
vcl 4.1;

backend blog { .host = "blog.internal"; }

sub vcl_backend_response {
    set beresp.ttl = 10m;
}

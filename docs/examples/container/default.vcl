vcl 4.1;

# the service `app` of compose.yaml
backend app {
    .host = "app";
    .port = "8000";
    .probe = { .url = "/"; .interval = 5s; }
}

sub vcl_backend_response {
    set beresp.grace = 1h;
}

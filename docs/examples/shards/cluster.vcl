# Several nodes, one cache, no engine: each object belongs to one node, which a shard director finds by the object's hash.
# The same program runs on all nodes; each is started with -i and the name of its own backend below.
#
# A node asks the owner, the owner asks the origin. If the owner is sick the next node takes its place.
vcl 4.1;

import directors;

backend origin { .host = "origin.internal"; }

backend node_a {
    .host = "a.internal";
    .probe = { .url = "/cluster-health"; .interval = 1s; .initial = 2; .threshold = 2; .window = 4; }
}

backend node_b {
    .host = "b.internal";
    .probe = { .url = "/cluster-health"; .interval = 1s; .initial = 2; .threshold = 2; .window = 4; }
}

backend node_c {
    .host = "c.internal";
    .probe = { .url = "/cluster-health"; .interval = 1s; .initial = 2; .threshold = 2; .window = 4; }
}

sub vcl_init {
    new cluster = directors.shard();
    cluster.add_backend(node_a);
    cluster.add_backend(node_b);
    cluster.add_backend(node_c);
    cluster.reconfigure();
}

sub vcl_recv {
    if (req.url == "/cluster-health") {
        return (synth(200, "OK"));
    }
}

sub vcl_backend_fetch {
    # what another node asks for is fetched here, whoever it thinks the owner is: so nothing goes round in circles
    if (bereq.http.X-Cluster-Asked-By) {
        unset bereq.http.X-Cluster-Asked-By;
        set bereq.backend = origin;
    } else {
        set bereq.backend = cluster.backend(by=HASH, resolve=NOW);
        if ("" + bereq.backend == server.identity || !bereq.backend) {
            set bereq.backend = origin;
        } else {
            set bereq.http.X-Cluster-Asked-By = server.identity;
        }
    }
}

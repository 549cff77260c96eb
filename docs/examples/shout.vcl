vcl 4.1;

import shout;

backend default none;

sub vcl_recv {
    return (synth(200, shout.loud("hey ", times = 2)));
}

# What a cache does when the program in use says nothing else.
#
# Every built-in subroutine ends here: its own text runs first, this is appended. Each decision stands in a subroutine
# of its own (vcl_req_*, vcl_beresp_*, vcl_refresh_*), so that a program can change one of them by defining it.

vcl 4.0;

# ---- client side

sub vcl_recv {
	call vcl_builtin_recv;
	return (hash);
}

sub vcl_builtin_recv {
	call vcl_req_url;
	call vcl_req_host;
	call vcl_req_method;
	call vcl_req_authorization;
	call vcl_req_cookie;
}

sub vcl_req_host {
	# names of hosts know no case, cache keys do
	if (req.http.host ~ "[[:upper:]]") {
		set req.http.host = req.http.host.lower();
	}
	if (!req.http.host && req.esi_level == 0 && req.proto == "HTTP/1.1") {
		# RFC 9112 section 3.2
		return (synth(400));
	}
}

sub vcl_req_url {
	if (req.url == "*" && req.method == "OPTIONS") {
		return;
	}
	# a CONNECT names an authority; vcl_req_method decides about it
	if (req.url !~ "^/" && req.method != "CONNECT") {
		return (synth(400));
	}
}

sub vcl_req_method {
	if (req.method == "CONNECT" || (!feature.any_method &&
	    req.method != "GET" && req.method != "HEAD" && req.method != "PUT" && req.method != "POST" &&
	    req.method != "TRACE" && req.method != "OPTIONS" && req.method != "DELETE" && req.method != "PATCH")) {
		# CONNECT, and what nobody has heard of
		set req.http.Connection = "close";
		return (synth(501));
	}
	if (req.method != "GET" && req.method != "HEAD") {
		return (pass);
	}
}

sub vcl_req_authorization {
	if (req.http.Authorization && !feature.authorization) {
		# the answer may be meant for one user only
		return (pass);
	}
}

sub vcl_req_cookie {
	if (req.http.Cookie && !feature.cookies) {
		# as above
		return (pass);
	}
}

sub vcl_pipe {
	call vcl_builtin_pipe;
	# a piped connection is not used again: "Connection: close" is already set
	return (pipe);
}

sub vcl_builtin_pipe {
}

sub vcl_pass {
	call vcl_builtin_pass;
	return (fetch);
}

sub vcl_builtin_pass {
}

sub vcl_hash {
	call vcl_builtin_hash;
	return (lookup);
}

sub vcl_builtin_hash {
	hash_data(req.url);
	if (req.http.host) {
		hash_data(req.http.host);
	} else {
		hash_data(server.ip);
	}
}

sub vcl_purge {
	call vcl_builtin_purge;
	return (synth(200, "Purged"));
}

sub vcl_builtin_purge {
}

sub vcl_hit {
	call vcl_builtin_hit;
	return (deliver);
}

sub vcl_builtin_hit {
}

sub vcl_miss {
	call vcl_builtin_miss;
	return (fetch);
}

sub vcl_builtin_miss {
}

sub vcl_deliver {
	call vcl_builtin_deliver;
	return (deliver);
}

sub vcl_builtin_deliver {
}

# also for errors that no program asked for: 400, 500, 503
sub vcl_synth {
	call vcl_builtin_synth;
	return (deliver);
}

sub vcl_builtin_synth {
	set resp.http.Content-Type = "text/html; charset=utf-8";
	set resp.http.Retry-After = "5";
	set resp.body = {"<!DOCTYPE html>
<html>
  <head>
    <title>"} + resp.status + " " + resp.reason + {"</title>
  </head>
  <body>
    <h1>Error "} + resp.status + " " + resp.reason + {"</h1>
    <p>"} + resp.reason + {"</p>
    <h3>Guru Meditation:</h3>
    <p>XID: "} + req.xid + {"</p>
    <hr>
    <p>Varnish cache server</p>
  </body>
</html>
"};
}

# ---- backend side

sub vcl_backend_fetch {
	call vcl_builtin_backend_fetch;
	return (fetch);
}

sub vcl_builtin_backend_fetch {
	if (bereq.method == "GET") {
		unset bereq.body;
	}
}

sub vcl_backend_refresh {
	call vcl_builtin_backend_refresh;
	return (merge);
}

sub vcl_builtin_backend_refresh {
	call vcl_refresh_valid;
	call vcl_refresh_conditions;
	call vcl_refresh_status;
}

# the stale object may have been invalidated meanwhile: then the whole of it is asked for, as the first time
sub vcl_refresh_valid {
	if (!obj_stale.is_valid) {
		if (feature.cache_compat) {
			return (error(503, "Invalid object for refresh"));
		}
		return (retry);
	}
}

# a 304 that nobody asked for
sub vcl_refresh_conditions {
	if (!bereq.http.if-modified-since && !bereq.http.if-none-match) {
		return (error(503, "Unexpected 304"));
	}
}

# only complete, ordinary answers are refreshed
sub vcl_refresh_status {
	if (obj_stale.status != 200) {
		return (error(503, "Invalid object for refresh (status)"));
	}
}

sub vcl_backend_response {
	call vcl_builtin_backend_response;
	return (deliver);
}

sub vcl_builtin_backend_response {
	call vcl_beresp_range;
	if (bereq.uncacheable) {
		return (deliver);
	}
	call vcl_beresp_stale;
	call vcl_beresp_authorization;
	call vcl_beresp_cookie;
	call vcl_beresp_control;
	call vcl_beresp_vary;
}

sub vcl_beresp_range {
	if (beresp.status != 206 && beresp.status != 416 && feature.cache_compat) {
		# meaningless with any other status (RFC 9110 section 14.4), so that it may as well stay
		unset beresp.http.Content-Range;
	}
}

sub vcl_beresp_stale {
	if (beresp.status == 200 && beresp.ttl <= 0s && beresp.grace == 0s && beresp.keep > 0s && feature.no_cache &&
	    (beresp.http.ETag || beresp.http.Last-Modified)) {
		# kept to be asked about each time
		return;
	}
	if (beresp.ttl <= 0s) {
		call vcl_beresp_hitmiss;
	}
}

sub vcl_beresp_authorization {
	# RFC 9111 section 3.5; without feature +authorization such requests pass
	if (bereq.http.Authorization && feature.authorization &&
	    beresp.cache_control !~ "(?i)public|must-revalidate|s-maxage") {
		call vcl_beresp_hitmiss;
	}
}

sub vcl_beresp_cookie {
	if (feature.cookies) {
		# what was made for one user may have been forgotten to be called private
		if ((beresp.http.Set-Cookie || bereq.http.Cookie) && !beresp.http.Expires &&
		    beresp.cache_control !~ "(?i)public|max-age|s-maxage") {
			call vcl_beresp_hitmiss;
		}
	} elsif (beresp.http.Set-Cookie) {
		call vcl_beresp_hitmiss;
	}
}

sub vcl_beresp_control {
	if (beresp.cache_control ~ "(?i:no-store|private)" ||
	    (beresp.cache_control ~ "(?i:no-cache)" && !feature.no_cache)) {
		call vcl_beresp_hitmiss;
	}
}

sub vcl_beresp_vary {
	if (beresp.http.Vary ~ "(^|,)[ \t]*\*[ \t]*(,|$)") {
		call vcl_beresp_hitmiss;
	}
}

sub vcl_beresp_hitmiss {
	set beresp.ttl = param.uncacheable_ttl;
	set beresp.uncacheable = true;
	return (deliver);
}

sub vcl_backend_error {
	call vcl_builtin_backend_error;
	return (deliver);
}

sub vcl_builtin_backend_error {
	set beresp.http.Content-Type = "text/html; charset=utf-8";
	set beresp.http.Retry-After = "5";
	set beresp.body = {"<!DOCTYPE html>
<html>
  <head>
    <title>"} + beresp.status + " " + beresp.reason + {"</title>
  </head>
  <body>
    <h1>Error "} + beresp.status + " " + beresp.reason + {"</h1>
    <p>"} + beresp.reason + {"</p>
    <h3>Guru Meditation:</h3>
    <p>XID: "} + bereq.xid + {"</p>
    <hr>
    <p>Varnish cache server</p>
  </body>
</html>
"};
}

# ---- housekeeping

sub vcl_init {
	return (ok);
}

sub vcl_fini {
	return (ok);
}

"""The program of the container example: what is stale is served for an hour while the application is away."""

from pathlib import Path

VCL = Path(__file__).with_name("default.vcl")


def test_what_is_stale_is_kept_for_an_hour(vcl):
    assert vcl.unit(VCL).backend_response(headers={"Cache-Control": "max-age=1"}).beresp.grace == 3600


def test_the_application_may_be_away(varnishpy):
    cache = varnishpy(VCL, backends={"app": lambda request: (200, {"Cache-Control": "max-age=1"}, "page")})
    cache.get("/").assert_miss()
    cache.sick("app")
    cache.travel(1800)
    assert cache.get("/").text == "page"

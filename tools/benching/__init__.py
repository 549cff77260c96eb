"""The stand on which varnishpy is compared with other servers; `tools/bench` is its command.

* `scenarios`: what is asked, as data, and the ratios to reach;
* `peers`: the servers, how each is started and what it uses of the machine;
* `origin`: what the caches stand in front of (a process of its own);
* `fair`: a client that serves its connections in turn and counts the answers of each;
* `load`: one measurement of one scenario at one peer;
* `report`: medians, ratios, the table, the chart, the check against recorded ratios.
"""
